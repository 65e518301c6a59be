//! From a commit to a release: its files are fetched and packed like a folder that somebody deploys, and take the
//! same way from there. What came of it is kept with the build and told to the forge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_build::bundle::{self, Limits};
use runyard_build::hub::{Hub, hub_of};
use runyard_domain::endpoint::Managed;
use runyard_domain::git::{Build, BuildState, Commit, Connection, Origin, Part, Target, Trigger};
use runyard_domain::release::{Release, ReleaseState};
use runyard_domain::{Endpoint, Timestamp, secret};
use runyard_engine::{Deed, Trail};
use runyard_git::{Checkout, GitError};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::unbounded_channel;

use super::file::{self, Said};
use super::tell::News;
use super::views::spoken;
use crate::audit::DEPLOY;
use crate::deploy::Request;
use crate::stream::{Outcome, outcome_of};
use crate::{Manage, container};

/// How often it is looked whether the deploy before has ended.
const TURN: Duration = Duration::from_millis(500);

/// What is deployed of a commit.
struct Asked {
    /// Its code, where an image does not bring it.
    bundle: Option<String>,
    /// Everything else, as a deploy takes it.
    release: Map<String, Value>,
    /// What the endpoint's record says of its file.
    managed: Option<Managed>,
    /// What is not done of it.
    remarks: Vec<String>,
}

/// What a step came to.
pub(super) enum Done {
    /// Something changed: look again.
    Something,
    /// The repository changes while it is read: look again in a moment.
    Moved,
    /// There is nothing to do.
    Nothing,
}

impl Manage {
    /// Builds and deploys one commit. An error is one that may pass: it stays queued.
    pub(super) async fn deliver(&self, connection: &Connection, build: &Build) -> Result<Done, String> {
        let _permit = self.inner.git.builds.acquire().await.map_err(|error| error.to_string())?;
        let checkout = match self.checkout(connection, build).await {
            Ok(checkout) => checkout,
            Err(error) if error.may_pass() => return Err(error.to_string()),
            Err(error) => {
                let outcome = Outcome { release: None, why: Some(error.to_string()) };
                return self.finish(connection, build, outcome).await;
            }
        };
        let (now, facts) = (self.inner.engine.now(), checkout.facts.clone());
        let begun = self.change(&connection.id, |connection| {
            if facts.id != build.commit {
                // It moved on between the look and the fetch.
                connection.want(build.target, &facts.id, &build.reference, now);
                return false;
            }
            let Some(build) = connection.build_mut(build.number) else { return false };
            let first = facts.message.lines().next().unwrap_or_default();
            build.title = Some(first.chars().take(200).collect());
            build.author = Some(facts.author.clone());
            build.started_at = Some(now);
            build.state = BuildState::Building;
            true
        });
        if begun.await.map_err(|error| error.to_string())? != Some(true) {
            return Ok(Done::Moved);
        }
        self.tell(connection, build.target, &build.commit, News::Pending, "building").await;
        let outcome = match self.ship(connection, build, &checkout).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(Done::Something),
            Err(why) => Outcome { release: None, why: Some(why) },
        };
        self.finish(connection, build, outcome).await
    }

    async fn checkout(&self, connection: &Connection, build: &Build) -> Result<Checkout, GitError> {
        let part = connection.part.path.as_deref();
        match &connection.origin {
            Origin::Pushed => self.pushed(&connection.endpoint).checkout(&build.reference, part).await,
            Origin::Remote(remote) => {
                let opened = self.remote(remote, &self.secrets(connection))?;
                opened.fetch(&build.reference, build.commit.len() == 64, part).await
            }
        }
    }

    /// Packs and deploys; `None` where a newer commit came while it waited for its turn.
    async fn ship(
        &self,
        connection: &Connection,
        build: &Build,
        checkout: &Checkout,
    ) -> Result<Option<Outcome>, String> {
        let part = &connection.part;
        let folder = checkout.folder(part.path.as_deref()).map_err(|error| error.to_string())?;
        let endpoint = self.endpoint_of(connection, build.target).await?;
        let now = self.inner.engine.now();
        let said = file::read(connection, build.target, &endpoint.name, &folder, now)?;
        let Asked { bundle, release, managed, remarks } = match said {
            Some(said) => self.asked_by_file(connection, build.target, said, folder).await?,
            None => self.asked_by_folder(connection, build.target, &endpoint, folder).await?,
        };
        let commit = commit_of(connection, build, checkout);
        loop {
            let asked: Request = serde_json::from_value(Value::Object(release.clone()))
                .map_err(|error| format!("what is asked for makes no sense: {error}"))?;
            let request = Request {
                bundle: bundle.clone(),
                managed: managed.clone(),
                remarks: remarks.clone(),
                note: Some(format!("{} {}", commit.short(), commit.title()).chars().take(200).collect()),
                commit: Some(commit.clone()),
                tests: true,
                inherits: Some(connection.endpoint.clone()).filter(|main| *main != endpoint.id),
                ..asked
            };
            let (lines, heard) = unbounded_channel();
            let caller = self.inner.engine.vault().git_caller();
            let deed = Deed { subject: Some(commit.id.clone()), ..self.inner.engine.deed(&caller, DEPLOY) };
            let deploy = self.deploy(caller, endpoint.id.as_str(), request, lines);
            match Trail::new(deed).scope(deploy).await {
                Ok(()) => return Ok(Some(outcome_of(heard).await)),
                Err(problem) if problem.status() == http::StatusCode::CONFLICT => {
                    if self.is_superseded(connection, build).await? {
                        return Ok(None);
                    }
                    tokio::time::sleep(TURN).await;
                }
                Err(problem) => return Err(problem.words()),
            }
        }
    }

    /// What a commit's file asks for.
    async fn asked_by_file(
        &self,
        connection: &Connection,
        target: Target,
        said: Said,
        folder: PathBuf,
    ) -> Result<Asked, String> {
        if target != Target::Main {
            let main = self.inner.engine.endpoint_by_id(&connection.endpoint);
            let main = main.ok_or("its endpoint was removed")?;
            let releases =
                self.inner.engine.reader().releases(&main.id).map_err(|error| error.to_string())?;
            let serving = releases.into_iter().find(|release| Some(release.number) == main.serving);
            let env = serving.map(|release| release.env).unwrap_or_default();
            file::check_preview(&said, &main.settings, &env)?;
        }
        let Said { release, managed, dockerfile, is_image, remarks } = said;
        let bundle = if is_image { None } else { Some(self.bundle(folder, dockerfile).await?) };
        let container = serde_json::from_value(release.get("container").cloned().unwrap_or_default());
        let container: Option<container::Request> = container.map_err(|error| error.to_string())?;
        let container = crate::plan::container_facts(container.as_ref());
        Ok(Asked { bundle, release, managed: Some(Managed { container, ..managed }), remarks })
    }

    /// What a commit without a file asks for: what lies in the folder, and what the connection says.
    async fn asked_by_folder(
        &self,
        connection: &Connection,
        target: Target,
        endpoint: &Endpoint,
        folder: PathBuf,
    ) -> Result<Asked, String> {
        let part = &connection.part;
        if let Some(environment) = part.environment.as_ref().filter(|_| target == Target::Main) {
            return Err(format!(
                "the connection is for the environment '{environment}', and this commit has no runyard.toml in its folder"
            ));
        }
        let hub = hub_of(&folder).map_err(|error| error.to_string())?;
        let dockerfile = dockerfile_of(part, &folder)?;
        let handler = if dockerfile.is_none() { handler_of(part, &folder) } else { None };
        let bundle = self.bundle(folder, dockerfile.clone()).await?;
        let env = self.env_of(connection, endpoint, hub.as_ref())?;
        let first = endpoint.next_release == 1 && target == Target::Main;
        let says = hub.as_ref().filter(|_| first);
        let gpus = says.and_then(|hub| Some(self.hub_gpus(hub.gpus?, hub.gpu_ids.as_deref())));
        let asked = [
            ("handler", json!(handler)),
            ("container", dockerfile.map_or(Value::Null, |file| json!({"dockerfile": file}))),
            ("env", json!(env)),
            ("settings", gpus.map_or(json!({}), |gpus| json!({"gpus": gpus}))),
        ];
        let release = asked.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Asked { bundle: Some(bundle), release, managed: None, remarks: Vec::new() })
    }

    /// Gives way to a newer commit, if there is one.
    async fn is_superseded(&self, connection: &Connection, build: &Build) -> Result<bool, String> {
        let now = self.inner.engine.now();
        let gave_way = self.change(&connection.id, |connection| {
            let waits = |b: &&Build| b.target == build.target && b.state == BuildState::Queued;
            let newer = connection.builds.iter().find(waits).map(|b| b.commit.clone());
            let (Some(by), Some(build)) = (newer, connection.build_mut(build.number)) else { return false };
            build.state = BuildState::Superseded { by };
            build.ended_at = Some(now);
            true
        });
        gave_way.await.map(|gave_way| gave_way != Some(false)).map_err(|error| error.to_string())
    }

    /// The folder as a bundle, as if it had been uploaded; with a Dockerfile, as the context of its build.
    async fn bundle(&self, folder: PathBuf, dockerfile: Option<String>) -> Result<String, String> {
        let bundles = self.inner.bundles.clone();
        let work = move || {
            let bundle = match dockerfile {
                Some(file) => runyard_build::pack_context(&folder, &file)?,
                None => bundle::pack(&folder)?,
            };
            bundle::unpack(&bundle.bytes[..], &bundles.join(&bundle.sha256), &Limits::default())?;
            Ok::<_, bundle::BundleError>(bundle.sha256)
        };
        let packed = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        packed.map_err(|error| error.to_string())
    }

    /// The variables of the release: the repository's own defaults, what was last deployed by hand, what the connection
    /// sets.
    fn env_of(
        &self,
        connection: &Connection,
        endpoint: &Endpoint,
        hub: Option<&Hub>,
    ) -> Result<std::collections::BTreeMap<String, String>, String> {
        let mut env = std::collections::BTreeMap::new();
        env.extend(hub.into_iter().flat_map(Hub::defaults));
        for id in [&connection.endpoint, &endpoint.id] {
            let releases = self.inner.engine.reader().releases(id).map_err(|error| error.to_string())?;
            let by_hand =
                |release: &Release| release.commit.is_none() && release.state == ReleaseState::Ready;
            env.extend(releases.into_iter().find(by_hand).into_iter().flat_map(|release| release.env));
        }
        // What has a secure value gets no other, unless the connection says so.
        let mut given = env.clone();
        for id in [&connection.endpoint, &endpoint.id] {
            let Some(of) = self.inner.engine.endpoint_by_id(id) else { continue };
            for name in self.kept_secure(&of).map_err(|problem| problem.words())?.into_keys() {
                env.remove(&name);
                given.insert(name, secret::MASK.to_owned());
            }
        }
        env.extend(connection.part.env.clone());
        given.extend(connection.part.env.clone());
        match hub.and_then(|hub| hub.missing(&given)) {
            Some(name) => Err(format!(
                ".runpod/hub.json asks for the variable {name}, which has no value: connect the repository with --env \
                 {name}=…, or deploy once with it"
            )),
            None => Ok(env),
        }
    }

    /// Keeps and tells what became of a build.
    async fn finish(&self, connection: &Connection, build: &Build, outcome: Outcome) -> Result<Done, String> {
        let now = self.inner.engine.now();
        let Outcome { release, why } = outcome;
        let state = match &why {
            None => BuildState::Deployed,
            Some(why) => BuildState::Failed { why: why.clone() },
        };
        self.note(connection, build, |build| {
            (build.state, build.release, build.ended_at) = (state, release, Some(now));
        })
        .await?;
        let (news, words) = match (&why, release) {
            (None, Some(release)) => (News::Success, format!("release {release} serves")),
            (None, None) => (News::Success, "it serves".to_owned()),
            (Some(why), _) => (News::Failure, why.clone()),
        };
        if connection.origin == Origin::Pushed
            && let Err(error) = self.pushed(&connection.endpoint).tidy().await
        {
            tracing::warn!(%error, connection.id = %connection.id, "a pushed repository could not be tidied");
        }
        tracing::info!(
            connection.id = %connection.id,
            commit = build.commit,
            release,
            failed = why.is_some(),
            "a commit was built"
        );
        let current = self.connection(&connection.id).map_err(|error| error.to_string())?;
        let connection = current.as_ref().unwrap_or(connection);
        if let Some(told) = self.tell(connection, build.target, &build.commit, news, &words).await {
            self.note(connection, build, |build| build.told = Some(told)).await?;
        }
        Ok(Done::Something)
    }

    async fn note(
        &self,
        connection: &Connection,
        build: &Build,
        note: impl FnOnce(&mut Build),
    ) -> Result<(), String> {
        let noted =
            self.change(&connection.id, |connection| connection.build_mut(build.number).map(note)).await;
        noted.map(drop).map_err(|error| error.to_string())
    }
}

/// The Dockerfile that its image is built from: the one that was asked for, else the folder's own, unless a handler was.
fn dockerfile_of(part: &Part, folder: &Path) -> Result<Option<String>, String> {
    match &part.dockerfile {
        Some(file) if folder.join(file).is_file() => Ok(Some(file.clone())),
        Some(file) => Err(format!("the Dockerfile '{file}' is not in this commit")),
        None if part.handler.is_none() && folder.join("Dockerfile").is_file() => {
            Ok(Some("Dockerfile".to_owned()))
        }
        None => Ok(None),
    }
}

/// The handler's file, where it is said: `.runpod/handler.py` stands in for the root's.
fn handler_of(part: &Part, folder: &Path) -> Option<PathBuf> {
    let hub = Path::new(".runpod/handler.py");
    let own = || folder.join(hub).is_file().then(|| hub.to_owned());
    part.handler.as_ref().map(PathBuf::from).or_else(own)
}

fn commit_of(connection: &Connection, build: &Build, checkout: &Checkout) -> Commit {
    let facts = &checkout.facts;
    let reference = match connection.remote() {
        Some(remote) if remote.on == Trigger::Release && build.target == Target::Main => {
            spoken(&build.reference, build.target).replacen("tag", "release", 1)
        }
        _ => spoken(&build.reference, build.target),
    };
    Commit {
        id: facts.id.clone(),
        message: facts.message.clone(),
        author: facts.author.clone(),
        committed_at: Timestamp(facts.committed_at_s.saturating_mul(1000)),
        reference,
        repository: connection.remote().map(|remote| remote.url.clone()),
    }
}
