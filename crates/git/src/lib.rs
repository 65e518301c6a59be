//! Git repositories, read with the system's `git`: from an address and a branch to a folder with a commit's files and
//! the facts about it. Nothing here knows of endpoints or releases.
//!
//! - [`address`] takes a repository's address apart and refuses those that are tricks.
//! - [`remote`] asks a repository elsewhere for its branches and tags, and fetches one commit.
//! - [`pushed`] keeps repositories that are pushed to this server, and [`cgi`] serves them with `git http-backend`.
//! - [`checkout`] is the folder with a commit's files and those of its submodules, gone when it is dropped.
//! - [`submodules`] and [`lfs`] bring what a commit has elsewhere.
//! - [`room`] is where all of this happens, and what holds the programs that do it.
//! - [`hook`] checks and reads the messages of GitHub, GitLab and Gitea, and [`pulls`] their lists of pull requests.
//!
//! Every `git` runs with a scrubbed environment, without hooks, prompts, or the settings of a person, for a bounded
//! time and within a bounded size; what is secret never stands in its arguments. Those that read what others wrote are
//! held like installers are, away from the data directory.

pub mod address;
pub mod cgi;
pub mod checkout;
mod command;
mod error;
pub mod hook;
pub mod lfs;
pub mod pulls;
pub mod pushed;
pub mod remote;
pub mod room;
pub mod submodules;

pub use address::Address;
pub use checkout::Checkout;
pub use error::GitError;
pub use remote::{Access, Remote};
pub use room::Ground;
pub use runyard_agent::Keeper;
