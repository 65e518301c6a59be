//! What a worker or a build may touch of the file system, as Landlock rules. Landlock only knows permissions,
//! no prohibitions: to leave the data directory out, everything beside the path to it is allowed instead.
//!
//! Outside its own folders it only reads. Above all it writes nothing below `/proc` and `/sys` but what is about
//! its own main process: for root these are the machine's controls. Sockets are connected to in its own and the
//! shared folders only, where the kernel can tell (Landlock 9); before, the sockets' own rights have to do.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use runyard_runtime::Paths;
use serde::{Deserialize, Serialize};

/// The newest interface that the rules are written for; older kernels enforce the part they know.
const NEWEST: ABI = ABI::V9;

/// Folders outside the data directory that every worker may write to.
const SHARED: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/runpod-volume"];

/// Devices, or folders of them, that are nobody's secret and no way to the machine. Disks, memory, the kernel's
/// log, watchdogs and the like are not among them.
const DEVICES: [&str; 13] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "ptmx",
    "pts",
    "shm",
    "mqueue",
    "hugepages",
    "dri",
    "kfd",
];

/// What the names of accelerators begin with, and of what connects them.
const ACCELERATORS: [&str; 8] =
    ["nvidia", "nvhost", "nvmap", "nvgpu", "accel", "neuron", "dxg", "infiniband"];

/// The file system as one process shall see it. All paths are absolute and without links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Out of reach, with all that is below.
    pub hidden: Vec<PathBuf>,
    /// Readable, also inside what is hidden.
    pub readable: Vec<PathBuf>,
    /// Its own.
    pub writable: Vec<PathBuf>,
    /// Whether it may write to the folders for temporary files that all processes of the machine share.
    pub shares: bool,
}

/// Whether the kernel has Landlock.
pub fn available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Execute)
        .and_then(Ruleset::create)
        .is_ok()
}

/// What nobody shall see who is held: the data directory, the sockets, and the user's own credentials.
pub fn hidden(paths: &Paths) -> Vec<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))
        .filter(|path| path.is_absolute());
    let real = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
    let config = config.map(|config| real(config).join("runyard"));
    [Some(paths.data.clone()), Some(paths.run().to_owned()), config].into_iter().flatten().map(real).collect()
}

/// The key file, where it lies apart from the data directory: looked for at each start, because a server may have moved
/// it while this agent ran.
pub fn key_file(paths: &Paths) -> Option<PathBuf> {
    fs::canonicalize(paths.vault_key()).ok()
}

/// The rules of a view, to be enforced by `restrict_self`.
pub fn rules(view: &View) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read: BitFlags<AccessFs> = AccessFs::from_read(NEWEST);
    // Devices have a rule of their own: a disk's would lead around everything else.
    let mut hidden = view.hidden.clone();
    hidden.push(PathBuf::from("/dev"));
    let mut readable = Vec::new();
    beside(Path::new("/"), &hidden, &mut readable);
    let mut writable = Vec::new();
    for folder in SHARED.iter().filter(|_| view.shares) {
        beside(Path::new(folder), &view.hidden, &mut writable);
    }
    Ruleset::default()
        .handle_access(all)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(&view.readable, read))?
        .add_rules(path_beneath_rules(writable, all))?
        .add_rules(path_beneath_rules(devices(), all))?
        .add_rules(path_beneath_rules(["/dev"], AccessFs::ReadDir))?
        // The names of its threads, which CUDA sets.
        .add_rules(path_beneath_rules(["/proc/self"], read | AccessFs::WriteFile | AccessFs::Truncate))?
        .add_rules(path_beneath_rules(&view.writable, all))
}

/// Everything in `folder` but what is hidden: the folder itself where nothing in it is, else its entries,
/// gone through the same way. Links are left out; what they lead to is allowed, or not, by itself.
fn beside(folder: &Path, hidden: &[PathBuf], out: &mut Vec<PathBuf>) {
    if hidden.iter().any(|path| folder.starts_with(path)) {
        return;
    }
    if !hidden.iter().any(|path| path.starts_with(folder)) {
        out.push(folder.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            beside(&entry.path(), hidden, out);
        }
    }
}

/// The devices that are there of those that are allowed.
fn devices() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink() && !kind.is_block_device()))
        .filter(|entry| entry.file_name().to_str().is_some_and(is_open))
        .map(|entry| entry.path())
        .collect()
}

fn is_open(device: &str) -> bool {
    DEVICES.contains(&device) || ACCELERATORS.iter().any(|family| device.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_the_hidden_path_is_allowed() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().canonicalize()?;
        for folder in ["a/b/data/db", "a/b/beside", "a/c", "d"] {
            fs::create_dir_all(root.join(folder))?;
        }
        std::os::unix::fs::symlink(root.join("a"), root.join("d/link"))?;
        std::os::unix::fs::symlink(root.join("a"), root.join("link"))?;
        let mut out = Vec::new();
        beside(&root, &[root.join("a/b/data"), root.join("gone")], &mut out);
        out.sort();
        assert_eq!(out, [root.join("a/b/beside"), root.join("a/c"), root.join("d")]);
        Ok(())
    }
}
