//! Holds processes that are no workers the way workers are held: installers, and whatever the packages run that
//! they install, and programs that read what others wrote, as `git` does. The server starts them itself, through the
//! same launcher; they die with it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use runyard_runtime::Paths;

use crate::boundary::{Boundary, Fence, build_uid};
use crate::launch::Plan;
use crate::leftovers::{self, Which};
use crate::sandbox::{self, View};
use crate::worker::locked;

/// Holds the builds of one data directory.
#[derive(Debug)]
pub struct Keeper {
    launcher: PathBuf,
    boundary: Boundary,
    hidden: Vec<PathBuf>,
    uid: u32,
    data_name: String,
    at_work: Mutex<usize>,
}

/// What one build shall be able to do.
#[derive(Debug, Default)]
pub struct Wants {
    /// Tells it from others of the same data directory.
    pub name: String,
    /// What it reads inside the data directory; the rest of that is hidden from it. Outside it reads all.
    pub readable: Vec<PathBuf>,
    /// What it writes. Nothing else.
    pub writable: Vec<PathBuf>,
    /// What it cannot do without, besides those: programs, files of settings.
    pub needs: Vec<PathBuf>,
    /// Whether it runs as ourselves also where it could be another user, held by Landlock alone.
    pub as_ourselves: bool,
}

/// One build. Whatever it left running is ended with this.
#[derive(Debug)]
pub struct Held {
    keeper: Arc<Keeper>,
    fence: Fence,
    view: Option<View>,
    mark: String,
}

impl Keeper {
    /// Looks at what this machine offers. `launcher` is the program that knows `agent-exec`.
    pub fn look(paths: &Paths, launcher: PathBuf) -> Self {
        let data = paths.data.canonicalize().unwrap_or_else(|_| paths.data.clone());
        Self {
            launcher,
            boundary: Boundary::look(paths),
            hidden: sandbox::hidden(paths).into_iter().chain(sandbox::key_file(paths)).collect(),
            uid: build_uid(&data),
            data_name: runyard_runtime::name_of(&data),
            at_work: Mutex::default(),
        }
    }

    /// The user that a build which wants this runs as, where that is another.
    pub fn user(&self, wants: &Wants) -> Option<u32> {
        self.fence(wants).uid
    }

    fn fence(&self, wants: &Wants) -> Fence {
        let needs = wants.readable.iter().chain(&wants.needs).map(PathBuf::as_path);
        let fence = self.boundary.fence(self.uid, needs);
        if wants.as_ourselves { Fence { uid: None, reads: false, ..fence } } else { fence }
    }

    /// Begins a build, after ending what an earlier one of the same name left running. Reads `/proc`, so it
    /// belongs on a thread that may block.
    pub fn hold(self: &Arc<Self>, wants: &Wants) -> Held {
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let fence = self.fence(wants);
        let view = fence.landlock.then(|| View {
            hidden: self.hidden.clone(),
            readable: wants.readable.iter().map(real).collect(),
            writable: wants.writable.iter().map(real).collect(),
            shares: false,
        });
        // Not a worker's mark: an agent that begins anew ends those.
        let mark = format!("{}:{}:build", wants.name, self.data_name);
        leftovers::end(&Which::Marked { mark: mark.clone() });
        *locked(&self.at_work) += 1;
        Held { keeper: Arc::clone(self), fence, view, mark }
    }
}

impl Held {
    /// The user that it runs as, where that is another.
    pub fn uid(&self) -> Option<u32> {
        self.fence.uid
    }

    /// One line for a log.
    pub fn line(&self) -> String {
        self.fence.line()
    }

    /// A command of it: a program with its arguments, its whole environment, and where it starts.
    pub fn command(
        &self,
        command: Vec<String>,
        env: BTreeMap<String, String>,
        dir: &Path,
    ) -> io::Result<Command> {
        self.plan(command, env, dir).launcher(&self.keeper.launcher)
    }

    /// The same for a program that reads its standard input. How it is held is told through `file`, which is not there
    /// yet, and is gone when it was read.
    pub fn fed_command(
        &self,
        command: Vec<String>,
        env: BTreeMap<String, String>,
        dir: &Path,
        file: &Path,
    ) -> io::Result<Command> {
        self.plan(command, env, dir).launcher_by_file(&self.keeper.launcher, file)
    }

    fn plan(&self, command: Vec<String>, mut env: BTreeMap<String, String>, dir: &Path) -> Plan {
        env.insert(leftovers::MARK.to_owned(), self.mark.clone());
        Plan {
            parent: std::process::id().cast_signed(),
            command,
            env,
            dir: dir.to_owned(),
            stdin: None,
            terminal: None,
            uid: self.fence.uid,
            reads: self.fence.reads,
            view: self.view.clone(),
            memory_bytes: None,
            open_files: 65_536,
            core_bytes: 0,
        }
    }

    /// Ends what its commands left running: by their mark, and, where no other build is at work, by their user.
    /// Reads `/proc`, so it belongs on a thread that may block.
    pub fn end_leftovers(&self) {
        let at_work = locked(&self.keeper.at_work);
        self.end_beside(*at_work);
    }

    /// The count is locked, so that no other build begins meanwhile.
    fn end_beside(&self, at_work: usize) {
        leftovers::end(&Which::Marked { mark: self.mark.clone() });
        if let Some(uid) = self.fence.uid
            && at_work == 1
        {
            leftovers::end(&Which::User { uid });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut at_work = locked(&self.keeper.at_work);
        self.end_beside(*at_work);
        *at_work -= 1;
    }
}
