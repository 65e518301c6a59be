//! Git repositories, read with the system's `git`: from an address and a branch to a folder with a commit's files and
//! the facts about it. Nothing here knows of endpoints or releases.
//!
//! - [`address`] takes a repository's address apart and refuses those that are tricks.
//! - [`remote`] asks a repository elsewhere for its branches and tags, and fetches one commit.
//! - [`pushed`] keeps repositories that are pushed to this server, and [`cgi`] serves them with `git http-backend`.
//! - [`checkout`] is the folder with a commit's files, gone when it is dropped.
//! - [`hook`] checks and reads the messages of GitHub, GitLab and Gitea.
//!
//! Every `git` runs with a scrubbed environment, without hooks, prompts, or the settings of a person, for a bounded
//! time and within a bounded size; what is secret never stands in its arguments.

pub mod address;
pub mod cgi;
pub mod checkout;
mod command;
mod error;
pub mod hook;
pub mod pushed;
pub mod remote;

pub use address::Address;
pub use checkout::Checkout;
pub use error::GitError;
pub use remote::{Access, Remote};
