//! Where one task with a repository happens: a folder of its own, gone in the end, and what holds each `git` that
//! runs for it. A repository is somebody else's data, and reading it the work of a large program: like the installers
//! of packages, it sees nothing of the data directory but its own folder and writes nothing else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::{fs, io};

use runyard_agent::{Held, Keeper, Wants};
use runyard_webhooks::Reach;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::command::{self, Bounds, run};
use crate::error::GitError;

/// The file of a room that says how a program is held.
const PLAN: &str = "plan";

/// What all repositories of a server share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Which addresses may be called.
    pub reach: Reach,
    /// A folder of ours for what is there for a while: keys, fetched commits.
    pub work: PathBuf,
    /// Where the keys of SSH hosts are kept that were seen before.
    pub known_hosts: PathBuf,
    /// What holds each `git`; nothing does without.
    pub keeper: Option<Arc<Keeper>>,
}

/// One task's folder, and what holds its programs.
#[derive(Debug)]
pub(crate) struct Room {
    // Dropped in this order: processes, then their folder.
    held: Option<Held>,
    dir: TempDir,
}

/// As whom the programs of a room run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// As nobody who has anything, where we may choose.
    Nobody,
    /// As ourselves: OpenSSH runs for nobody whom the machine does not know, and repositories that are pushed here are
    /// ours.
    Ourselves,
}

impl Ground {
    /// A room in which `inside` can be read, beside what is outside of the data directory, and written to by ourselves.
    pub(crate) async fn room(&self, what: &str, who: As, inside: &[&Path]) -> Result<Room, GitError> {
        let (work, keeper) = (self.work.clone(), self.keeper.clone());
        let inside: Vec<PathBuf> = inside.iter().map(|path| (*path).to_owned()).collect();
        let make = move || -> io::Result<Room> {
            let closed = fs::Permissions::from_mode(0o700);
            let dir = tempfile::Builder::new().prefix("git-").permissions(closed).tempdir_in(work)?;
            let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = [dir.path().to_owned()].into_iter();
            let (readable, writable) = match who {
                As::Nobody => (inside, ours.collect()),
                As::Ourselves => (Vec::new(), ours.chain(inside).collect()),
            };
            let wants =
                Wants { name, readable, writable, needs: needs(), as_ourselves: who == As::Ourselves };
            let held = keeper.map(|keeper| keeper.hold(&wants));
            let room = Room { held, dir };
            room.give(room.path())?;
            Ok(room)
        };
        let made = tokio::task::spawn_blocking(make).await.map_err(|error| GitError::here(what, &error))?;
        made.map_err(|error| GitError::here(what, &error))
    }
}

/// The program itself, which may be in somebody's home, and the certificates.
fn needs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let git = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|file| file.is_file());
    let certificates =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    git.into_iter().chain(certificates).collect()
}

impl Room {
    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A `git` of this room.
    pub(crate) fn git(&self) -> Command {
        command::git(self.path())
    }

    /// Runs a command of this room to its end and returns its answer. `what` says in an error what failed.
    pub(crate) async fn run(
        &self,
        command: Command,
        what: &str,
        bounds: &Bounds,
    ) -> Result<Vec<u8>, GitError> {
        let command = match &self.held {
            Some(held) => held_by(held, &command).map_err(|error| GitError::here(what, &error))?,
            None => command,
        };
        run(command, what, bounds).await
    }

    /// Starts a command of this room that reads its standard input.
    pub(crate) fn start(&self, command: Command) -> io::Result<Child> {
        let mut command = match &self.held {
            Some(held) => {
                let Parts { words, env, dir } = Parts::of(&command);
                Command::from(held.fed_command(words, env, &dir, &self.path().join(PLAN))?)
            }
            None => command,
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn()
    }

    /// A new file that only the room's programs read.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, bytes)?;
        self.give(&path)?;
        Ok(path)
    }

    /// A new folder that the room's programs write to.
    pub(crate) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir(&path)?;
        self.give(&path)?;
        Ok(path)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.held.as_ref().and_then(Held::uid) {
            Some(uid) => lchown(path, Some(uid), Some(uid)),
            None => Ok(()),
        }
    }

    /// Its folder, when nothing runs there any more: what a program left running is ended.
    pub(crate) async fn close(mut self) -> Result<TempDir, GitError> {
        let held = self.held.take();
        let ended = tokio::task::spawn_blocking(move || drop(held)).await;
        ended.map_err(|error| GitError::here("Ending git", &error))?;
        Ok(self.dir)
    }
}

/// What a command is made of.
struct Parts {
    words: Vec<String>,
    env: BTreeMap<String, String>,
    dir: PathBuf,
}

impl Parts {
    fn of(command: &Command) -> Self {
        let command = command.as_std();
        let text = |part: &OsStr| part.to_string_lossy().into_owned();
        let words = [command.get_program()].into_iter().chain(command.get_args()).map(text).collect();
        let pair = |(name, value): (&OsStr, Option<&OsStr>)| Some((text(name), text(value?)));
        let env = command.get_envs().filter_map(pair).collect();
        Self { words, env, dir: command.get_current_dir().unwrap_or(Path::new("/")).to_owned() }
    }
}

/// The same command, held.
fn held_by(held: &Held, command: &Command) -> io::Result<Command> {
    let Parts { words, env, dir } = Parts::of(command);
    let mut held = Command::from(held.command(words, env, &dir)?);
    // It begins a session of its own, and so a group.
    held.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(held)
}
