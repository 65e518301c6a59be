//! What holds installers: a package's `setup.py` is somebody's code. It reads the machine but not the data
//! directory, writes the environment that is being made, the installers' cache and a home that goes with it,
//! and reaches the network.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runyard_agent::{Held, Keeper, Wants};
use runyard_runtime::Paths;
use tempfile::TempDir;
use tokio::process::Command;

use super::{EnvPlan, owner};

/// Beside the caches: locked as long as an installer uses one, so that nobody clears it meanwhile.
pub const IN_USE: &str = "in-use";

/// Settings of a person that installers look for in the home, which is not theirs here.
const SETTINGS: [(&str, &str); 4] = [
    ("NETRC", ".netrc"),
    ("PIP_CONFIG_FILE", ".pip/pip.conf"),
    ("GIT_CONFIG_GLOBAL", ".gitconfig"),
    ("XDG_CONFIG_HOME", ".config"),
];

/// Holds the installers of one data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Confine {
    keeper: Arc<Keeper>,
    cache: PathBuf,
}

impl Confine {
    /// Looks at what this machine offers. `launcher` is a program that knows `agent-exec`: `runyard`.
    pub fn new(paths: &Paths, launcher: PathBuf) -> Self {
        Self { keeper: Arc::new(Keeper::look(paths, launcher)), cache: paths.cache() }
    }

    /// Who holds them: one for all of a data directory's programs that are no workers.
    pub fn keeper(&self) -> Arc<Keeper> {
        Arc::clone(&self.keeper)
    }

    /// A room for the making of one environment, whose folder `dir` is there and empty. Blocks.
    pub(super) fn room(&self, plan: &EnvPlan, dir: &Path, tools: &Path) -> io::Result<Room> {
        DirBuilder::new().recursive(true).mode(0o711).create(&self.cache)?;
        let in_use =
            File::options().create(true).truncate(false).write(true).open(self.cache.join(IN_USE))?;
        in_use.lock_shared()?;
        let home = tempfile::Builder::new().prefix("home-").tempdir_in(&self.cache)?;
        DirBuilder::new().mode(0o700).create(home.path().join("tmp"))?;
        let settings = settings();
        let mut needs = vec![plan.python.path.clone(), dir.to_owned()];
        needs.extend(settings.values().map(PathBuf::from).filter(|path| path.is_file()));
        let mut wants = Wants {
            name: plan.hash.clone(),
            readable: vec![plan.code_dir.clone(), tools.to_owned()],
            writable: vec![dir.to_owned(), home.path().to_owned()],
            needs,
            as_ourselves: false,
        };
        let uid = self.keeper.user(&wants);
        let cache = self.cache.join(uid.map_or_else(|| "own".to_owned(), |uid| uid.to_string()));
        if !cache.is_dir() {
            DirBuilder::new().mode(0o700).create(&cache)?;
            chown(&cache, uid, uid)?;
        }
        wants.writable.push(cache.clone());
        let held = self.keeper.hold(&wants);
        if let Some(uid) = held.uid() {
            owner::give(home.path(), uid)?;
            fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))?;
            owner::give(dir, uid)?;
        }
        Ok(Room { held, home, cache, settings, _in_use: in_use })
    }
}

/// Where the installers of one environment run.
#[derive(Debug)]
pub(super) struct Room {
    // Dropped in this order: processes, then their folders.
    held: Held,
    home: TempDir,
    cache: PathBuf,
    settings: BTreeMap<String, String>,
    _in_use: File,
}

impl Room {
    /// Who does the work in it, for the log of the build.
    pub fn line(&self) -> String {
        format!("Packages are installed {}.", self.held.line())
    }

    /// Lets it write to what is in a folder now.
    pub fn give(&self, dir: &Path) -> io::Result<()> {
        self.held.uid().map_or(Ok(()), |uid| owner::give(dir, uid))
    }

    /// The same command, held.
    pub fn command(&self, command: &Command) -> io::Result<Command> {
        let command = command.as_std();
        let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        let words = [command.get_program()].into_iter().chain(command.get_args()).map(text).collect();
        let mut env = self.settings.clone();
        env.extend(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name.to_str()?.into(), value?.to_str()?.into()))),
        );
        let inside = |path: &Path, name: &str| path.join(name).display().to_string();
        let home = self.home.path();
        env.extend([
            ("HOME".to_owned(), home.display().to_string()),
            ("USER".to_owned(), "runyard".to_owned()),
            ("TMPDIR".to_owned(), inside(home, "tmp")),
            ("XDG_CACHE_HOME".to_owned(), inside(&self.cache, "other")),
            ("PIP_CACHE_DIR".to_owned(), inside(&self.cache, "pip")),
            ("UV_CACHE_DIR".to_owned(), inside(&self.cache, "uv")),
        ]);
        // A file that is in the cache and in environments at once could be changed by a later build.
        env.entry("UV_LINK_MODE".to_owned()).or_insert_with(|| "copy".to_owned());
        let dir = command.get_current_dir().unwrap_or(Path::new("/"));
        let mut held = Command::from(self.held.command(words, env, dir)?);
        held.kill_on_drop(true);
        Ok(held)
    }

    /// The work is done: ends what it left running and makes the environment ours. Blocks.
    pub fn close(self, dir: &Path) -> io::Result<()> {
        self.held.end_leftovers();
        if self.held.uid().is_some() {
            owner::take_back(dir)?;
        }
        Ok(())
    }
}

/// The person's settings that are there, by the variables that name them.
fn settings() -> BTreeMap<String, String> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return BTreeMap::new() };
    let there = SETTINGS.iter().map(|(name, file)| (*name, home.join(file)));
    there
        .filter(|(name, file)| std::env::var_os(name).is_none() && file.exists())
        .map(|(name, file)| (name.to_owned(), file.display().to_string()))
        .collect()
}
