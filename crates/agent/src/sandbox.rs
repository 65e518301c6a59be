//! What a worker may touch of the file system, as Landlock rules. Landlock only knows permissions, no
//! prohibitions: to leave the data directory out, everything beside the path to it is allowed instead.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// The newest interface that the rules are written for; older kernels enforce the part they know.
const NEWEST: ABI = ABI::V9;

/// Folders outside the data directory that a worker may write to.
const SHARED: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/runpod-volume"];

/// The file system as one worker shall see it. All paths are absolute and without links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Out of reach, with all that is below.
    pub hidden: Vec<PathBuf>,
    /// Readable, also inside what is hidden.
    pub readable: Vec<PathBuf>,
    /// The worker's own.
    pub own: PathBuf,
}

/// Whether the kernel has Landlock.
pub fn available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Execute)
        .and_then(Ruleset::create)
        .is_ok()
}

/// The rules of a view, to be enforced by `restrict_self`.
pub fn rules(view: &View) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read: BitFlags<AccessFs> = AccessFs::from_read(NEWEST) | AccessFs::ResolveUnix | AccessFs::IoctlDev;
    // Devices have a rule of their own: a disk's would lead around everything else.
    let mut hidden = view.hidden.clone();
    hidden.push(PathBuf::from("/dev"));
    let mut readable = Vec::new();
    beside(Path::new("/"), &hidden, &mut readable);
    let mut writable = Vec::new();
    for folder in SHARED {
        beside(Path::new(folder), &view.hidden, &mut writable);
    }
    Ruleset::default()
        .handle_access(all)?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(&view.readable, read))?
        .add_rules(path_beneath_rules(writable, all))?
        .add_rules(path_beneath_rules(devices(), all))?
        .add_rules(path_beneath_rules(["/dev"], AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(["/proc"], read | AccessFs::WriteFile | AccessFs::Truncate))?
        .add_rules(path_beneath_rules([&view.own], all))
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

/// Devices but disks, memory and the kernel's log.
fn devices() -> Vec<PathBuf> {
    const CLOSED: [&str; 4] = ["mem", "kmem", "port", "kmsg"];
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink() && !kind.is_block_device()))
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| !CLOSED.contains(&name)))
        .map(|entry| entry.path())
        .collect()
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
