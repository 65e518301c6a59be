//! Open files: every connection is one, and many systems begin a process with few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// Before it was raised; `None` means no limit.
    pub before: Option<u64>,
    /// Now; `None` means no limit.
    pub now: Option<u64>,
}

impl OpenFiles {
    /// How many connections there may be, of those wanted, so that a quarter (512 at most) is left for other files.
    pub fn connections(&self, wanted: usize) -> usize {
        let Some(files) = self.now else { return wanted };
        let room = files - (files / 4).min(512);
        wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
    }
}

/// Raises the soft limit to the hard one. Where that fails, the limit stays as it is and is told.
pub fn raise_open_files() -> OpenFiles {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    if found.current != found.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "The limit of open files could not be raised");
    }
    OpenFiles { before: found.current, now: getrlimit(Resource::Nofile).current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let files = raise_open_files();
        assert_eq!(files.now, getrlimit(Resource::Nofile).maximum);
    }

    #[test]
    fn some_files_are_left_for_others() {
        let of = |now| OpenFiles { before: now, now }.connections(20_000);
        assert_eq!((of(None), of(Some(1_024)), of(Some(65_536))), (20_000, 768, 20_000));
    }
}
