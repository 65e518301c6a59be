//! What keeps workers and builds away from the data directory: another user where we are root, and Landlock
//! where the kernel has it. Where something that the process needs is closed to other users, as an interpreter
//! in root's home, and Landlock holds it anyway, that user may read past closed folders; never write.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use runyard_domain::EndpointId;
use runyard_runtime::{Paths, WorkerSpec};
use rustix::thread::CapabilitySet;

use crate::sandbox;

/// The first of a thousand user ids for workers, far above people's. Those of builds are the thousand before.
const FIRST_UID: u32 = 64_000;

/// How many there are.
const UIDS: u32 = 1000;

/// What is possible here.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// We may become another user.
    root: bool,
    /// We may let another user read what is closed to it.
    may_read: bool,
    landlock: bool,
    /// Why other users cannot reach the data directory by themselves.
    closed: Option<PathBuf>,
}

/// What one process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The user and group it runs as, where that is another.
    pub uid: Option<u32>,
    /// That user may read what is closed to it, as far as Landlock lets it: its interpreter may be in a closed
    /// home.
    pub reads: bool,
    /// Whether Landlock holds it.
    pub landlock: bool,
}

impl Boundary {
    /// Looks at what this machine offers.
    pub fn look(paths: &Paths) -> Self {
        let root = rustix::process::geteuid().is_root() && maps_our_users();
        let needed = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SETPCAP;
        let may_read = rustix::thread::capabilities(None).is_ok_and(|all| all.permitted.contains(needed));
        let closed = closed_to_others(&paths.work(), 0o001);
        Self { root, may_read, landlock: sandbox::available(), closed }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match (self.root && (self.closed.is_none() || self.may_read && self.landlock), self.landlock) {
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

    /// What holds a process that shall run as `uid` and needs these paths.
    pub fn fence<'a>(&self, uid: u32, needs: impl IntoIterator<Item = &'a Path>) -> Fence {
        let open =
            self.closed.is_none() && needs.into_iter().all(|path| closed_to_others(path, 0o005).is_none());
        // Without Landlock, who may read everything may read the data directory.
        let reads = !open && self.may_read && self.landlock;
        let uid = (self.root && (open || reads)).then_some(uid);
        Fence { uid, reads: uid.is_some() && reads, landlock: self.landlock }
    }

    /// What holds a worker of this spec.
    pub fn worker(&self, spec: &WorkerSpec) -> Fence {
        let needs = spec.command.first().into_iter().chain([&spec.code_dir]).chain(&spec.read_dirs);
        let fence = self.fence(uid(&spec.endpoint), needs.map(Path::new));
        if spec.in_place && self.landlock {
            // It may write to the folder of the one who works on it, so it is that one.
            return Fence { uid: None, reads: false, ..fence };
        }
        fence
    }
}

impl Fence {
    /// One line for a log.
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
    FIRST_UID + hash(endpoint.as_str().as_bytes()) % UIDS
}

/// The user id of a data directory's builds.
pub fn build_uid(data: &Path) -> u32 {
    FIRST_UID - UIDS + hash(data.as_os_str().as_encoded_bytes()) % UIDS
}

fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether our users exist here: a container may know fewer.
fn maps_our_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [first, _, count] = numbers[..] else { return false };
        first <= u64::from(FIRST_UID - UIDS) && first + count >= u64::from(FIRST_UID + UIDS)
    })
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
        assert!((64_000..65_000).contains(&uid(&EndpointId::new("ep"))));
        assert!((63_000..64_000).contains(&build_uid(Path::new("/data"))));
    }
}
