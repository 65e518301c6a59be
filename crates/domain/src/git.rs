//! Git: a connection says which repository an endpoint is deployed from, and keeps what became of its commits.
//! What is to be built, what a newer commit makes needless, and what a restart has to do again is decided here
//! ([`builds`]); reading repositories and deploying is the work of others.

pub mod builds;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, EndpointId, Timestamp};

pub use builds::{Build, BuildState, Target};

/// How many pull requests of a repository have an endpoint at a time.
pub const MOST_PREVIEWS: usize = 100;

/// The commit that a release was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its hash, in lowercase hex.
    pub id: String,
    /// What its author wrote, all lines.
    pub message: String,
    /// Who wrote it: `Name <address>`.
    pub author: String,
    /// When, by the author's clock.
    pub committed_at: Timestamp,
    /// What led to it: `branch main`, `tag v1.2`, `pull request 7`.
    pub reference: String,
    /// The repository's address; `None` where it was pushed to this server.
    pub repository: Option<String>,
}

impl Commit {
    /// The first line of the message.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// The hash as people write it.
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// What makes a commit one to deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// It is the newest of the branch.
    #[default]
    Push,
    /// It has the highest tag, as versions are ordered.
    Tag,
    /// It is that of the latest release which the forge shows.
    Release,
}

/// A repository elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its address, without name and password.
    pub url: String,
    /// The branch that counts.
    pub branch: String,
    /// What makes a commit one to deploy.
    pub on: Trigger,
    /// The tag of the latest release, as far as it was heard of.
    #[serde(default)]
    pub released: Option<String>,
    /// The forge's API, where it is known.
    #[serde(default)]
    pub api: Option<String>,
    /// How often the repository is looked at, in seconds; 0: only when told.
    pub poll_s: u32,
    /// Whether each pull request gets an endpoint of its own.
    #[serde(default)]
    pub previews: bool,
}

/// Where the commits come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// From a repository elsewhere.
    Remote(Remote),
    /// They are pushed to this server.
    Pushed,
}

/// What is deployed of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The folder below the repository's root.
    pub path: Option<String>,
    /// The Dockerfile, below that folder.
    pub dockerfile: Option<String>,
    /// The handler's file, below that folder.
    pub handler: Option<String>,
    /// Environment variables that every release gets.
    pub env: BTreeMap<String, String>,
    /// Secure variables of releases from the first on, sealed for the endpoint; those of a release that serves take their
    /// place.
    pub secure_env: BTreeMap<String, String>,
    /// The environment of the folder's `runyard.toml`.
    pub environment: Option<String>,
}

/// The endpoint of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The pull request's number.
    pub number: u64,
    /// Its branch, in the same repository.
    pub branch: String,
    /// The endpoint, once there is one.
    pub endpoint: Option<EndpointId>,
    /// The pull request was closed: the endpoint goes.
    pub closed: bool,
    /// Builds up to this number were for an endpoint that it had before it was opened again.
    #[serde(default)]
    pub after: u64,
}

/// An endpoint's repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Which one; part of the address of its webhook.
    pub id: ConnectionId,
    /// Whose.
    pub endpoint: EndpointId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a key's id, or `local`.
    pub created_by: String,
    /// Where the commits come from.
    pub origin: Origin,
    /// What is deployed of them.
    pub part: Part,
    /// Secrets, sealed, in base64.
    pub secrets: Option<String>,
    /// Open pull requests with endpoints of their own.
    pub previews: Vec<Preview>,
    /// What became of commits, newest first.
    pub builds: Vec<Build>,
    /// Why the repository, or its list of pull requests, could not be read, since it could not.
    pub trouble: Option<String>,
}

impl Connection {
    /// The repository elsewhere, if it is one.
    pub fn remote(&self) -> Option<&Remote> {
        match &self.origin {
            Origin::Remote(remote) => Some(remote),
            Origin::Pushed => None,
        }
    }

    /// A pull request that is followed.
    pub fn preview(&self, number: u64) -> Option<&Preview> {
        self.previews.iter().find(|preview| preview.number == number)
    }

    /// A pull request is open: it is followed from now on, unless there are too many of them.
    pub fn open_preview(&mut self, number: u64, branch: &str) -> bool {
        let open = self.previews.len();
        match self.previews.iter_mut().find(|preview| preview.number == number) {
            Some(preview) => {
                (preview.closed, preview.branch) = (false, branch.to_owned());
                true
            }
            None if open >= MOST_PREVIEWS => false,
            None => {
                let (branch, after) =
                    (branch.to_owned(), self.builds.first().map_or(0, |newest| newest.number));
                self.previews.push(Preview { number, branch, endpoint: None, closed: false, after });
                true
            }
        }
    }
}

/// Whether Git could have such a branch or tag, and no program takes it for an option.
pub fn is_valid_reference(name: &str) -> bool {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && name.strip_suffix(".lock").is_none()
        && !["..", "@{", "//", "/."].iter().any(|part| name.contains(part))
        && name != "@"
        && !name.chars().any(bad)
}

/// Whether `path` stays below the folder that it is looked up in, as far as its text says.
pub fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1024
        && !path.starts_with(['/', '-'])
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part != ".git")
}

/// Whether this is the hash of a commit: SHA-1 or SHA-256, in lowercase hex.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_are_options_or_tricks_are_refused() {
        for good in ["main", "feature/a-b", "v1.2.3", "release_1", "ümlaut"] {
            assert!(is_valid_reference(good), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=x",
            "-b",
            "a..b",
            "a b",
            "a:b",
            "/a",
            "a/",
            "x.lock",
            "a@{1}",
            "@",
            "a\nb",
            "a/.b",
        ] {
            assert!(!is_valid_reference(bad), "{bad}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b", "services/t2i", "a.b/c"] {
            assert!(is_inner_path(good), "{good}");
        }
        for bad in ["", "..", "../..", "a/../b", "/etc", "a//b", "./a", "-x", "a\\b", ".git/hooks", "a/"] {
            assert!(!is_inner_path(bad), "{bad}");
        }
    }

    #[test]
    fn hashes_are_whole_and_lowercase() {
        assert!(is_commit_id(&"a".repeat(40)) && is_commit_id(&"0".repeat(64)));
        for bad in ["", "abc", &"A".repeat(40), &"g".repeat(40)] {
            assert!(!is_commit_id(bad), "{bad}");
        }
    }
}
