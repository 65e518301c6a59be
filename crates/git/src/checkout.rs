//! A commit's files in a folder of their own, with the facts about it. Git writes them itself, from its object store:
//! nothing that the commit says is run, no link is followed while they are written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_domain::git::{is_commit_id, is_inner_path};
use tempfile::TempDir;

use crate::command::Bounds;
use crate::error::GitError;
use crate::remote::Remote;
use crate::room::{Ground, Room};
use crate::submodules::{self, Level};

const WHAT: &str = "Reading the commit";

/// How long writing the files may take, and how many bytes they may have.
const TIME: Duration = Duration::from_mins(5);
const BYTES: u64 = 4 << 30;

/// The folder of a room that has the files.
pub(crate) const CODE: &str = "code";

/// The most that is kept of a message, in characters.
const MESSAGE: usize = 4_000;

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its hash.
    pub id: String,
    /// Who wrote it.
    pub author: String,
    /// When it was made, in seconds since 1970, by its author's clock.
    pub committed_at_s: i64,
    /// What was written about it.
    pub message: String,
}

/// A commit's files, gone when this is dropped.
#[derive(Debug)]
pub struct Checkout {
    dir: TempDir,
    /// What is known of the commit.
    pub facts: Facts,
}

impl Checkout {
    /// The files of what `reference` leads to in the repository, in a folder of `room`, with those of the submodules
    /// that `part` has. `from` is the repository elsewhere that it is of, if it is one.
    pub(crate) async fn of(
        room: Room,
        repository: &Path,
        reference: &str,
        ground: &Ground,
        from: Option<&Remote>,
        part: Option<&str>,
    ) -> Result<Self, GitError> {
        let facts = files(&room, repository, reference).await?;
        let part = part.unwrap_or_default();
        let level = Level { room, repository, commit: &facts.id, part, from };
        Ok(Self { dir: submodules::complete(ground, level).await?, facts })
    }

    /// The folder with the files, or one below it.
    pub fn folder(&self, path: Option<&str>) -> Result<PathBuf, GitError> {
        let root = self.dir.path().join(CODE);
        let root = root.canonicalize().map_err(|error| GitError::here(WHAT, &error))?;
        let Some(path) = path else { return Ok(root) };
        let refused = |why: &str| Err(GitError::Refused(format!("the folder '{path}' {why}")));
        if !is_inner_path(path) {
            return refused("is not one below the repository's root: write it as services/t2i");
        }
        match root.join(path).canonicalize() {
            Ok(folder) if !folder.starts_with(&root) => refused("leads out of the repository"),
            Ok(folder) if folder.is_dir() => Ok(folder),
            Ok(_) => refused("is a file in this commit"),
            Err(_) => refused("is not in this commit"),
        }
    }
}

/// Writes the files of what `reference` leads to into the room's folder for them.
pub(crate) async fn files(room: &Room, repository: &Path, reference: &str) -> Result<Facts, GitError> {
    let facts = facts(room, repository, reference).await?;
    let code = room.folder(CODE).map_err(|error| GitError::here(WHAT, &error))?;
    let git = || {
        let mut git = room.git();
        git.env("GIT_INDEX_FILE", room.path().join("index"));
        git.arg("--git-dir").arg(repository).arg("--work-tree").arg(&code).current_dir(&code);
        git
    };
    let folder = Some((code.clone(), BYTES));
    let bounds = Bounds { time: TIME, answer: 1 << 20, folder };
    let mut read = git();
    read.args(["read-tree", &facts.id]);
    room.run(read, WHAT, &bounds).await?;
    let mut write = git();
    write.args(["checkout-index", "--all", "--force", "--quiet"]);
    room.run(write, WHAT, &bounds).await?;
    Ok(facts)
}

async fn facts(room: &Room, repository: &Path, reference: &str) -> Result<Facts, GitError> {
    let mut show = room.git();
    show.arg("--git-dir").arg(repository);
    show.args(["show", "--no-patch", "--no-show-signature", "--encoding=UTF-8"]);
    show.args(["--format=%H%x00%an <%ae>%x00%ct%x00%B", &format!("{reference}^{{commit}}"), "--"]);
    let answer = room.run(show, WHAT, &Bounds::brief()).await?;
    let text = String::from_utf8_lossy(&answer);
    parse_facts(&text).ok_or_else(|| GitError::here(WHAT, &"git's answer cannot be read"))
}

fn parse_facts(text: &str) -> Option<Facts> {
    let mut parts = text.splitn(4, '\0');
    let mut part = || Some(parts.next()?.trim());
    let (id, author, at, message) = (part()?, part()?, part()?, part()?);
    let plain = |text: &str, most: usize| -> String {
        text.chars().filter(|c| *c == '\n' || !c.is_control()).take(most).collect()
    };
    is_commit_id(id).then_some(())?;
    Some(Facts {
        id: id.to_owned(),
        author: plain(author, 300),
        committed_at_s: at.parse().ok()?,
        message: plain(message, MESSAGE),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use runyard_webhooks::Reach;

    use super::*;
    use crate::room::As;

    /// A repository with one commit of what `fill` puts into the folder.
    fn repository(fill: impl FnOnce(&Path)) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &["-c", "user.name=Ann", "-c", "user.email=a@x", "commit", "--quiet", "-m", "First\n\nWhy."],
        ] {
            let done = Command::new("git").args(args).current_dir(dir.path()).status().unwrap();
            assert!(done.success(), "{args:?}");
        }
        dir
    }

    async fn checkout(repository: &TempDir) -> Checkout {
        let work = std::env::temp_dir();
        let ground =
            Ground { reach: Reach::Public, known_hosts: work.join("known_hosts"), work, keeper: None };
        let room = ground.room("Testing", As::Nobody, &[]).await.unwrap();
        let git = repository.path().join(".git");
        Checkout::of(room, &git, "refs/heads/main", &ground, None, None).await.unwrap()
    }

    #[tokio::test]
    async fn files_and_facts_are_those_of_the_commit() {
        let repository = repository(|dir| {
            std::fs::create_dir(dir.join("app")).unwrap();
            std::fs::write(dir.join("app/handler.py"), "x = 1\n").unwrap();
            std::fs::write(dir.join("file"), "").unwrap();
        });
        let it = checkout(&repository).await;
        assert_eq!((it.facts.author.as_str(), it.facts.message.as_str()), ("Ann <a@x>", "First\n\nWhy."));
        let app = it.folder(Some("app")).unwrap();
        assert_eq!(std::fs::read_to_string(app.join("handler.py")).unwrap(), "x = 1\n");
        for bad in ["../..", "/etc", "none", "file", ".git"] {
            assert!(it.folder(Some(bad)).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_link_out_of_the_tree_is_no_folder() {
        let repository = repository(|dir| symlink("/etc", dir.join("out")).unwrap());
        let error = checkout(&repository).await.folder(Some("out")).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }

    #[tokio::test]
    async fn filters_and_hooks_of_a_repository_do_not_run() {
        let repository = repository(|dir| {
            std::fs::write(dir.join(".gitattributes"), "* filter=evil\n").unwrap();
            std::fs::write(dir.join("x"), "plain\n").unwrap();
        });
        let it = checkout(&repository).await;
        assert_eq!(std::fs::read_to_string(it.folder(None).unwrap().join("x")).unwrap(), "plain\n");
    }

    #[test]
    fn facts_are_bounded_and_plain() {
        let id = "a".repeat(40);
        let facts = parse_facts(&format!("{id}\0A\x1b[31m <a>\0{}\0{}\n", 12, "x".repeat(9000))).unwrap();
        assert_eq!((facts.author.as_str(), facts.committed_at_s), ("A[31m <a>", 12));
        assert_eq!(facts.message.len(), MESSAGE);
        assert_eq!(parse_facts("zz\0a\x001\0m"), None);
    }
}
