//! Repositories that are pushed to this server: bare, one for each endpoint, made at the first push.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_domain::git::{is_commit_id, is_valid_reference};

use crate::checkout::Checkout;
use crate::command::{self, Bounds, run, size};
use crate::error::GitError;
use crate::remote::Ref;
use crate::room::{As, Ground};

/// The most that one push may bring, in bytes.
const PUSH_BYTES: u64 = 512 << 20;

/// A repository that has more takes no further push.
const REPOSITORY_BYTES: u64 = 2 << 30;

/// How long tidying may take.
const TIDY_TIME: Duration = Duration::from_mins(5);

/// A repository on this server.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Its folder.
    pub path: PathBuf,
    /// What all repositories share.
    pub ground: Ground,
}

impl Pushed {
    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.join("HEAD").is_file()
    }

    /// Makes it, where it is not there.
    pub async fn make(&self) -> Result<(), GitError> {
        const WHAT: &str = "Making a repository";
        if self.exists() {
            return Ok(());
        }
        let home = self.home(WHAT)?;
        let fresh = home.path().join("fresh.git");
        let mut init = command::git(home.path());
        init.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]).arg(&fresh);
        run(init, WHAT, &Bounds::brief()).await?;
        for (name, value) in [
            ("http.receivepack", "true".to_owned()),
            ("receive.fsckObjects", "true".to_owned()),
            ("receive.maxInputSize", PUSH_BYTES.to_string()),
            ("receive.autogc", "false".to_owned()),
        ] {
            let mut config = command::git(home.path());
            config.arg("--git-dir").arg(&fresh).args(["config", name, &value]);
            run(config, WHAT, &Bounds::brief()).await?;
        }
        match std::fs::rename(&fresh, &self.path) {
            Err(error) if !self.exists() => Err(GitError::here(WHAT, &error)),
            _ => Ok(()),
        }
    }

    /// Refuses a push to a repository that is full.
    pub fn has_room(&self) -> Result<(), GitError> {
        if size(&self.path) > REPOSITORY_BYTES {
            return Err(GitError::Large { what: "The push".to_owned(), limit: REPOSITORY_BYTES });
        }
        Ok(())
    }

    /// Its branches.
    pub async fn branches(&self) -> Result<Vec<Ref>, GitError> {
        const WHAT: &str = "Reading the pushed branches";
        if !self.exists() {
            return Ok(Vec::new());
        }
        let room = self.ground.room(WHAT, As::Nobody, &[&self.path]).await?;
        let mut list = room.git();
        list.arg("--git-dir").arg(&self.path);
        list.args(["for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads"]);
        let answer = room.run(list, WHAT, &Bounds::brief()).await?;
        room.close().await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let read = |line: &str| {
            let (commit, name) = line.split_once('\t')?;
            let fine = is_commit_id(commit) && is_valid_reference(name.strip_prefix("refs/heads/")?);
            fine.then(|| Ref { name: name.to_owned(), commit: commit.to_owned() })
        };
        Ok(text.lines().filter_map(read).collect())
    }

    /// The files of what a full name leads to, with those of the submodules that `part` has.
    pub async fn checkout(&self, name: &str, part: Option<&str>) -> Result<Checkout, GitError> {
        let room = self.ground.room("Reading the commit", As::Nobody, &[&self.path]).await?;
        Checkout::of(room, &self.path, name, &self.ground, None, part).await
    }

    /// Packs what many pushes left lying about, and removes what no branch has had for a day.
    pub async fn tidy(&self) -> Result<(), GitError> {
        const WHAT: &str = "Tidying a repository";
        let room = self.ground.room(WHAT, As::Ourselves, &[&self.path]).await?;
        let mut gc = room.git();
        let more = [("gc.auto", "500"), ("gc.autoDetach", "false"), ("gc.pruneExpire", "1.day.ago")];
        command::settings(&mut gc, more.map(|(name, value)| (name, value.to_owned())));
        gc.arg("--git-dir").arg(&self.path).args(["gc", "--auto", "--quiet"]);
        room.run(gc, WHAT, &Bounds { time: TIDY_TIME, ..Bounds::brief() }).await?;
        room.close().await.map(drop)
    }

    fn home(&self, what: &str) -> Result<tempfile::TempDir, GitError> {
        tempfile::Builder::new()
            .prefix("git-")
            .tempdir_in(&self.ground.work)
            .map_err(|e| GitError::here(what, &e))
    }
}

/// The branch that is deployed of a repository which is pushed here: `main`, else `master`.
pub fn deployed(branches: &[Ref]) -> Option<&Ref> {
    ["refs/heads/main", "refs/heads/master"].iter().find_map(|name| branches.iter().find(|b| b.name == *name))
}

/// The folder of an endpoint's repository below `folder`.
pub fn path(folder: &Path, endpoint: &str) -> PathBuf {
    folder.join(format!("{endpoint}.git"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn what_is_pushed_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (work, known_hosts) = (dir.path().to_owned(), dir.path().join("known_hosts"));
        let ground = Ground { reach: runyard_webhooks::Reach::Public, work, known_hosts, keeper: None };
        let it = Pushed { path: path(dir.path(), "e"), ground };
        assert!(it.branches().await.unwrap().is_empty());
        it.make().await.unwrap();
        it.make().await.unwrap();
        assert!(deployed(&it.branches().await.unwrap()).is_none());
        let mine = dir.path().join("mine");
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(mine.join("handler.py"), "x\n").unwrap();
        let to = it.path.display().to_string();
        for args in [
            &["init", "--quiet", "--initial-branch=master"][..],
            &["add", "."],
            &["-c", "user.name=Ann", "-c", "user.email=a@x", "commit", "--quiet", "-m", "One"],
            &["push", "--quiet", &to, "master", "master:refs/heads/other"],
        ] {
            assert!(
                Command::new("git").args(args).current_dir(&mine).status().unwrap().success(),
                "{args:?}"
            );
        }
        let branches = it.branches().await.unwrap();
        assert_eq!(branches.len(), 2);
        let found = deployed(&branches).unwrap();
        assert_eq!(found.name, "refs/heads/master");
        let checkout = it.checkout(&found.name, None).await.unwrap();
        assert_eq!(checkout.facts.id, found.commit);
        assert!(checkout.folder(None).unwrap().join("handler.py").is_file());
        it.tidy().await.unwrap();
        it.has_room().unwrap();
    }
}
