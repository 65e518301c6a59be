//! Git: endpoints that follow a repository. A connection's record says what is wanted and what became of it; the
//! [`Follower`] looks at repositories and deploys what is wanted, one commit after the other. Messages of forges
//! ([`hook`]) and pushes to this server ([`push`]) only say that it is time to look: one that is missed costs time
//! and never correctness.

pub(crate) mod connections;
mod deliver;
mod file;
mod follow;
pub(crate) mod hook;
mod look;
mod pace;
mod preview;
mod pulls;
pub(crate) mod push;
mod tell;
mod views;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::git::{Connection, Remote};
use runyard_domain::{ConnectionId, EndpointId};
use runyard_engine::EngineError;
use runyard_git::pushed::Pushed;
use runyard_git::{Access, Address, GitError, Ground, Keeper};
use runyard_webhooks::{Asker, Reach};
use serde::{Deserialize, Serialize};
use tokio::sync::{MutexGuard, Notify, Semaphore};

use crate::{Manage, Problem};

pub use follow::Follower;

/// Where forges send their messages.
pub(crate) const HOOK: &str = "/hooks/git/{connection}";

/// Where Git clients push to.
pub(crate) const PUSH: &str = "/git/{*path}";

/// How many messages are remembered, to know a repetition.
const REMEMBERED: usize = 512;

/// Commits that are built at once, and Git clients that are served at once.
const BUILDS: usize = 2;
const CLIENTS: usize = 8;

/// What is secret of a connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// What the forge signs its messages with.
    pub(crate) webhook: String,
    /// The name that goes with the token.
    pub(crate) user: Option<String>,
    /// A token that reads the repository, and perhaps writes commit statuses.
    pub(crate) token: Option<String>,
    /// A private key that reads the repository.
    pub(crate) key: Option<String>,
}

/// What the following of repositories keeps in memory.
pub(crate) struct Git {
    folder: PathBuf,
    ground: Ground,
    asker: Asker,
    /// One change of a record after the other.
    changing: tokio::sync::Mutex<()>,
    nudges: Mutex<HashMap<ConnectionId, Arc<Notify>>>,
    /// A connection was made.
    appeared: Notify,
    heard: Mutex<VecDeque<(ConnectionId, String)>>,
    pulls: pulls::Lists,
    builds: Semaphore,
    clients: Arc<Semaphore>,
}

impl Git {
    pub(crate) fn new(folder: PathBuf, reach: Reach, keeper: Option<Arc<Keeper>>) -> Self {
        let (work, known_hosts) = (folder.join("work"), folder.join("known_hosts"));
        Self {
            folder,
            ground: Ground { reach, work, known_hosts, keeper },
            asker: Asker::new(reach),
            changing: tokio::sync::Mutex::default(),
            nudges: Mutex::default(),
            appeared: Notify::new(),
            heard: Mutex::default(),
            pulls: pulls::Lists::default(),
            builds: Semaphore::new(BUILDS),
            clients: Arc::new(Semaphore::new(CLIENTS)),
        }
    }

    fn nudge_of(&self, id: &ConnectionId) -> Arc<Notify> {
        let mut nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        nudges.entry(id.clone()).or_default().clone()
    }

    /// It is time to look at this repository.
    pub(crate) fn nudge(&self, id: &ConnectionId) {
        self.nudge_of(id).notify_one();
        self.appeared.notify_one();
    }

    /// No connection changes while this is held.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    fn forget(&self, id: &ConnectionId) {
        self.nudges.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.pulls.forget(id);
    }

    /// Whether this message was heard before.
    fn is_repeated(&self, id: &ConnectionId, delivery: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.iter().any(|(of, known)| of == id && known == delivery) {
            return true;
        }
        heard.push_back((id.clone(), delivery.to_owned()));
        if heard.len() > REMEMBERED {
            heard.pop_front();
        }
        false
    }
}

impl Manage {
    /// The connection of an endpoint, if it has one.
    pub(crate) fn connection_of(&self, endpoint: &EndpointId) -> Result<Option<Connection>, Problem> {
        let all = self.inner.engine.reader().connections()?;
        Ok(all.into_iter().find(|connection| connection.endpoint == *endpoint))
    }

    fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, EngineError> {
        Ok(self.inner.engine.reader().connection(id)?)
    }

    /// Changes a connection's record as it is now. `None`: it is gone.
    async fn change<T>(
        &self,
        id: &ConnectionId,
        change: impl FnOnce(&mut Connection) -> T,
    ) -> Result<Option<T>, EngineError> {
        let _held = self.inner.git.hold().await;
        let Some(before) = self.connection(id)? else { return Ok(None) };
        let mut after = before.clone();
        let changed = change(&mut after);
        if after != before {
            self.inner.engine.put_connection(after).await?;
        }
        Ok(Some(changed))
    }

    fn seal(&self, secrets: &Secrets) -> Result<String, Problem> {
        let text = serde_json::to_vec(secrets).map_err(|error| Problem::internal(&error))?;
        let sealed = self.inner.engine.vault().seal(&text).map_err(|error| Problem::internal(&error))?;
        Ok(STANDARD.encode(sealed))
    }

    fn secrets(&self, connection: &Connection) -> Secrets {
        let open = |text: &String| -> Option<Secrets> {
            let sealed = STANDARD.decode(text).ok()?;
            let text = self.inner.engine.vault().unseal(&sealed).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let opened = connection.secrets.as_ref().map(open);
        if opened.as_ref().is_some_and(Option::is_none) {
            tracing::warn!(connection.id = %connection.id, "the secrets of a Git connection cannot be opened");
        }
        opened.flatten().unwrap_or_default()
    }

    /// A repository elsewhere, ready to be read.
    fn remote(&self, remote: &Remote, secrets: &Secrets) -> Result<runyard_git::Remote, GitError> {
        let (address, _) = Address::parse(&remote.url)?;
        let access = match (&secrets.key, &secrets.token) {
            (Some(key), _) => Access::Key(key.clone()),
            (None, Some(token)) => {
                let user = secrets.user.clone().unwrap_or_else(|| "x-access-token".to_owned());
                Access::Token { user, token: token.clone() }
            }
            (None, None) => Access::Open,
        };
        Ok(runyard_git::Remote { address, access, ground: self.inner.git.ground.clone() })
    }

    /// The repository that is pushed here for an endpoint.
    fn pushed(&self, endpoint: &EndpointId) -> Pushed {
        let git = &self.inner.git;
        let path = runyard_git::pushed::path(&git.folder.join("pushed"), endpoint.as_str());
        Pushed { path, ground: git.ground.clone() }
    }

    /// Ends an endpoint's connection, unless `check` refuses it as it is, with what was pushed here and the endpoints
    /// of pull requests.
    async fn forget_repository(
        &self,
        endpoint: &EndpointId,
        check: impl FnOnce(&Connection) -> Result<(), Problem>,
    ) -> Result<usize, Problem> {
        let held = self.inner.git.hold().await;
        let Some(connection) = self.connection_of(endpoint)? else { return Ok(0) };
        check(&connection)?;
        self.inner.engine.drop_connection(&connection.id).await?;
        drop(held);
        self.clear_repository(connection).await
    }

    /// Removes what is left of a connection that is gone.
    pub(crate) async fn clear_repository(&self, connection: Connection) -> Result<usize, Problem> {
        let path = self.pushed(&connection.endpoint).path;
        if path.is_dir()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, endpoint.id = %connection.endpoint, "a pushed repository could not be removed");
        }
        self.inner.git.nudge(&connection.id);
        let previews: Vec<EndpointId> = connection.previews.into_iter().filter_map(|p| p.endpoint).collect();
        for id in &previews {
            self.remove_endpoint(id).await?;
        }
        Ok(previews.len())
    }
}
