//! Why something with a repository did not work, for people.

use std::time::Duration;

/// A failed operation on a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The address, branch or folder cannot be meant.
    #[error("{0}")]
    Refused(String),
    /// The repository wants another identity.
    #[error(
        "{what} failed: the repository refused access ({said}); give a token or a deploy key that may read it, with \
         --token or --deploy-key"
    )]
    Denied {
        /// What was tried.
        what: String,
        /// What Git said.
        said: String,
    },
    /// Git said no.
    #[error("{what} failed: {said}")]
    Failed {
        /// What was tried.
        what: String,
        /// What Git said.
        said: String,
    },
    /// It took too long.
    #[error("{what} took longer than {} s and was ended", .limit.as_secs())]
    Slow {
        /// What was tried.
        what: String,
        /// How long it may take.
        limit: Duration,
    },
    /// It is too large.
    #[error("{what} was ended: it is larger than {} MiB", .limit >> 20)]
    Large {
        /// What was tried.
        what: String,
        /// How many bytes it may have.
        limit: u64,
    },
    /// This machine cannot do it.
    #[error("{what} failed on this server: {why}")]
    Here {
        /// What was tried.
        what: String,
        /// Why not.
        why: String,
    },
}

impl GitError {
    /// Whether the same may work later without anybody's doing: the network, the other server.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Slow { .. } | Self::Here { .. })
    }

    pub(crate) fn here(what: &str, why: &impl ToString) -> Self {
        Self::Here { what: what.to_owned(), why: why.to_string() }
    }
}
