//! What keeps workers away from the data directory: another user where we are root and everything the worker
//! needs is open to other users, and Landlock where the kernel has it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use runyard_domain::EndpointId;
use runyard_runtime::{Paths, WorkerSpec};

use crate::sandbox;

/// The first of a thousand user ids for workers, far above people's.
const FIRST_UID: u32 = 64_000;

/// What is possible here.
#[derive(Debug, Clone)]
pub struct Boundary {
    root: bool,
    landlock: bool,
    /// Why no worker can run as another user, although we are root.
    closed: Option<PathBuf>,
}

/// What one worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The user and group it runs as, where that is another.
    pub uid: Option<u32>,
    /// Whether Landlock holds it.
    pub landlock: bool,
}

impl Boundary {
    /// Looks at what this machine offers.
    pub fn look(paths: &Paths) -> Self {
        let root = rustix::process::geteuid().is_root();
        Self { root, landlock: sandbox::available(), closed: closed_to_others(&paths.work(), 0o001) }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match (self.root && self.closed.is_none(), self.landlock) {
            (true, true) => "another user and Landlock".to_owned(),
            (true, false) => "another user".to_owned(),
            (false, true) => "Landlock".to_owned(),
            (false, false) => format!("not a boundary: {}", self.lack()),
        }
    }

    fn lack(&self) -> String {
        match &self.closed {
            Some(path) if self.root => format!(
                "the kernel has no Landlock, and workers cannot run as another user because {} is closed to others",
                path.display()
            ),
            _ => "the kernel has no Landlock, and only root can run workers as another user".to_owned(),
        }
    }

    /// What holds a worker of this spec.
    pub fn fence(&self, spec: &WorkerSpec) -> Fence {
        let needs = spec.command.first().into_iter().chain([&spec.code_dir]).chain(&spec.read_dirs);
        let open = self.closed.is_none()
            && needs.into_iter().all(|path| closed_to_others(Path::new(path), 0o005).is_none());
        Fence { uid: (self.root && open).then(|| uid(&spec.endpoint)), landlock: self.landlock }
    }
}

impl Fence {
    /// One line for the worker's log.
    pub fn line(&self) -> String {
        match (self.uid, self.landlock) {
            (Some(uid), true) => format!("as user {uid}, held by Landlock"),
            (Some(uid), false) => format!("as user {uid}"),
            (None, true) => "held by Landlock".to_owned(),
            (None, false) => "without a boundary".to_owned(),
        }
    }
}

/// The user id of an endpoint's workers.
fn uid(endpoint: &EndpointId) -> u32 {
    let hash = endpoint
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    FIRST_UID + hash % 1000
}

/// The first part of the way to `path` that a user without rights of its own cannot pass or, at its end, use
/// as `dir` says for a folder (a file has to be readable), if any. Both ways count: the one written, and the
/// one behind links.
fn closed_to_others(path: &Path, dir: u32) -> Option<PathBuf> {
    let Ok(real) = fs::canonicalize(path) else { return Some(path.to_owned()) };
    let mode = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    let wanted = if fs::metadata(&real).is_ok_and(|meta| meta.is_dir()) { dir } else { 0o004 };
    if mode(&real) & wanted != wanted {
        return Some(real);
    }
    let ways = real.ancestors().skip(1).chain(path.ancestors().skip(1));
    ways.filter(|way| !way.as_os_str().is_empty()).find(|way| mode(way) & 0o001 == 0).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_found() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().canonicalize()?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        let open = root.join("open");
        fs::create_dir(&open)?;
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755))?;
        assert_eq!(closed_to_others(&open, 0o005), Some(root.clone()));
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711))?;
        assert_eq!(closed_to_others(&open, 0o005), None);
        let file = open.join("secret");
        fs::write(&file, "")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        assert_eq!(closed_to_others(&file, 0o005), Some(file.clone()));
        Ok(())
    }

    #[test]
    fn users_are_far_above_peoples() {
        let uid = uid(&EndpointId::new("ep"));
        assert!((FIRST_UID..FIRST_UID + 1000).contains(&uid));
    }
}
