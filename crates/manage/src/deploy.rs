//! A deploy: environment, release, test, traffic, rollout; told line by line. It goes on when its client goes
//! away, and a release that fails leaves the one before it serving.

mod again;
mod request;
mod told;
mod traffic;
mod turn;

pub(crate) use again::Other;
pub use request::asked_of;
pub(crate) use request::{Case, Request, check_env, is_variable};

use std::path::{Path as FsPath, PathBuf};

use axum::extract::{Path, State};
use axum::response::Response;
use runyard_build::{Environment, environment, source};
use runyard_domain::endpoint::Managed;
use runyard_domain::release::{Given, Launch, Release, ReleaseState};
use runyard_domain::{Access, Endpoint, FailReason, Settings};
use runyard_engine::{Engine, Trail};
use runyard_fleet::{FleetError, TestRequest};
use runyard_logs::{Level, Origin, Source, Writer};
use runyard_vault::Caller;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::auth::Auth;
use crate::problem::Problem;
use crate::releases::{self, Move};
use crate::stream::{Body, lines};
use crate::{Manage, container, endpoints};

use turn::Turn;

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Request>,
) -> Result<Response, Problem> {
    let request = manage.read_to(&auth.0, Access::Deploy, &ep, body)?;
    let (lines, response) = lines();
    manage.deploy(auth.0, &ep, request, lines).await?;
    Ok(response)
}

impl Manage {
    /// Begins a deploy, which goes on by itself and tells `lines` how it goes.
    pub(crate) async fn deploy(
        &self,
        caller: Caller,
        ep: &str,
        request: Request,
        lines: UnboundedSender<Value>,
    ) -> Result<(), Problem> {
        let known = self.inner.engine.endpoint(ep).filter(|e| caller.sees(&e.id));
        let creates = known.is_none() && request.create;
        // First of all: who may not deploy here learns nothing of what else is wrong.
        if creates {
            caller.may(Access::Deploy, None)?;
        } else {
            self.endpoint(&caller, Access::Deploy, ep)?;
        }
        self.check_request(&request)?;
        self.check_references(&request.env)?;
        let how = releases::first_move(request.canary)?;
        // What is a local command here is not pulled.
        if let Some(container) = request.container.as_ref().filter(|one| self.local_image(one).is_none()) {
            let before = known.as_ref().map(|endpoint| endpoint.settings.clone()).unwrap_or_default();
            self.check_login(container.image.as_deref(), &endpoints::changed(&before, &request.settings)?)?;
        }
        let code = self.code_of(&caller, &request)?;
        let endpoint = if creates {
            self.create_endpoint(&caller, ep, &request.settings).await?
        } else {
            (*self.endpoint(&caller, Access::Deploy, ep)?).clone()
        };
        let settings = match &request.managed {
            Some(managed) => managed.settings.clone(),
            None => endpoints::changed(&endpoint.settings, &request.settings)?,
        };
        self.check_gpus(&settings.gpus)?;
        let turn = Some(self.take_turn(&endpoint)?);
        let release = self.new_release(&caller, &endpoint, &settings, &request).await?;
        let remarks = request.remarks.clone();
        let Request { settings: changes, container, handler, cases, tests, managed, of_blueprint, .. } =
            request;
        let cases: Vec<TestRequest> = cases.into_iter().map(Case::request).collect();
        let tests = if cases.is_empty() { Tests::Own(tests) } else { Tests::These(cases) };
        let deploy = Deploy {
            manage: self.clone(),
            caller,
            endpoint,
            settings,
            changes,
            rename: None,
            managed,
            of_blueprint,
            release,
            how,
            turn,
            container,
            lines,
            log: None,
        };
        tokio::spawn(Trail::carried(deploy.run(code, handler, tests, remarks)));
        Ok(())
    }
}

/// Moves traffic to a release that is there, told like a deploy.
pub(crate) fn move_to(
    manage: Manage,
    caller: Caller,
    endpoint: &Endpoint,
    release: Release,
    how: Move,
) -> Result<Response, Problem> {
    let turn = Some(manage.take_turn(endpoint)?);
    let (lines, response) = lines();
    let (endpoint, settings, changes) = (endpoint.clone(), endpoint.settings.clone(), Map::new());
    let mut deploy = Deploy {
        manage,
        caller,
        endpoint,
        settings,
        changes,
        rename: None,
        managed: None,
        of_blueprint: false,
        release,
        how,
        turn,
        container: None,
        lines,
        log: None,
    };
    tokio::spawn(Trail::carried(async move {
        let moved = deploy.move_traffic().await;
        deploy.close(moved);
    }));
    Ok(response)
}

/// Releases whose deploy died with the server never get traffic.
pub async fn fail_interrupted(engine: &Engine) -> Result<(), Problem> {
    for endpoint in engine.endpoints() {
        for mut release in engine.reader().releases(&endpoint.id)? {
            if matches!(release.state, ReleaseState::Building | ReleaseState::Testing) {
                let message = "the server stopped during its deploy; deploy it again".to_owned();
                release.state = ReleaseState::Failed {
                    reason: FailReason::Environment { message, last_lines: Vec::new() },
                };
                engine.put_release(release).await?;
            }
        }
    }
    Ok(())
}

impl Manage {
    fn code_of(&self, caller: &Caller, request: &Request) -> Result<PathBuf, Problem> {
        match (&request.bundle, &request.folder) {
            (Some(bundle), None) => self.bundle_dir(bundle),
            (None, Some(folder)) if caller.is_owner() && folder.is_dir() => Ok(folder.clone()),
            // A ready image comes without code.
            (None, None) if request.container.is_some() => Ok(PathBuf::new()),
            (None, Some(_)) => Err(Problem::invalid("'folder' is only for the owner of the data directory")),
            _ => Err(Problem::invalid("name the 'bundle' to deploy by its SHA-256")),
        }
    }

    /// The number of an endpoint's next release, which no other one gets.
    async fn take_number(&self, endpoint: &Endpoint) -> Result<u32, Problem> {
        let mut number = endpoint.next_release;
        let take = |endpoint: &mut Endpoint| {
            number = endpoint.next_release;
            endpoint.next_release += 1;
        };
        self.inner.engine.change_endpoint(&endpoint.id, take).await?;
        Ok(number)
    }

    async fn new_release(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        settings: &Settings,
        request: &Request,
    ) -> Result<Release, Problem> {
        let engine = &self.inner.engine;
        let kept = match &request.inherits {
            Some(from) => self.inherited_secure(endpoint, from)?,
            // A folder that runs in place has what it was given now.
            None if request.folder.is_some() => std::collections::BTreeMap::new(),
            None => self.kept_secure(endpoint)?,
        };
        let secure_env = self.changed_secure(&endpoint.id, kept, request.env.keys(), &request.secret_env)?;
        let release = Release {
            endpoint: endpoint.id.clone(),
            number: self.take_number(endpoint).await?,
            created_at: engine.now(),
            created_by: caller.name().to_owned(),
            state: ReleaseState::Building,
            handler: String::new(),
            bundle: request.bundle.clone().unwrap_or_default(),
            environment: String::new(),
            python: String::new(),
            python_wish: request.python.clone(),
            launch: None,
            env: request.env.clone(),
            secure_env,
            env_read: Vec::new(),
            gpus: settings.gpus.clone(),
            given: Some(Given::of(settings)),
            note: request.note.clone(),
            commit: request.commit.clone(),
            took_ms: None,
        };
        engine.put_release(release.clone()).await?;
        Ok(release)
    }
}

/// What a release is tested with.
enum Tests {
    /// What the folder has, if it is to be run.
    Own(bool),
    /// These requests.
    These(Vec<TestRequest>),
}

pub(crate) struct Deploy {
    pub(crate) manage: Manage,
    caller: Caller,
    pub(crate) endpoint: Endpoint,
    /// The settings that the release is tested with.
    pub(crate) settings: Settings,
    /// Those of them that this deploy changes.
    changes: Map<String, Value>,
    /// The name that the endpoint gets with it.
    rename: Option<String>,
    /// What the endpoint's record says of the file that asked for it.
    managed: Option<Managed>,
    /// Whether it is made of the endpoint's blueprint.
    of_blueprint: bool,
    pub(crate) release: Release,
    how: Move,
    /// Until traffic has moved: a rollout that goes wrong can be rolled back while it is watched.
    turn: Option<Turn>,
    /// The image, where workers are containers.
    container: Option<container::Request>,
    pub(crate) lines: UnboundedSender<Value>,
    pub(crate) log: Option<Writer>,
}

fn reason_of(error: FleetError) -> FailReason {
    match error {
        FleetError::Release(reason) => *reason,
        other => FailReason::Environment { message: other.to_string(), last_lines: Vec::new() },
    }
}

fn broken(error: impl std::error::Error) -> FailReason {
    FailReason::Environment { message: error.to_string(), last_lines: Vec::new() }
}

impl Deploy {
    async fn run(mut self, code: PathBuf, handler: Option<PathBuf>, tests: Tests, remarks: Vec<String>) {
        self.open_log();
        for remark in remarks {
            self.say("file", "done", &remark);
        }
        let outcome = self.steps(&code, handler, tests).await;
        self.end(outcome).await;
    }

    fn open_log(&mut self) {
        let origin =
            Origin { endpoint: self.endpoint.id.clone(), worker: None, release: self.release.number };
        self.log = Writer::open(&self.manage.inner.logs, origin).ok();
        if let Some(commit) = self.release.commit.clone() {
            self.note(&format!("commit {} by {}: {}", commit.id, commit.author, commit.title()));
        }
    }

    /// Keeps and says how it ended.
    async fn end(mut self, outcome: Result<(), FailReason>) {
        if let Err(reason) = &outcome {
            let serving = self.manage.inner.engine.endpoint_by_id(&self.endpoint.id).and_then(|e| e.serving);
            let served = matches!(reason, FailReason::RolledBack { .. });
            if serving != Some(self.release.number) && !served {
                let _ = self.write_release(ReleaseState::Failed { reason: reason.clone() }).await;
                // Its tests may have passed, and what came after them failed: their worker would wait for ever.
                self.manage.inner.fleet.end_tests(&self.endpoint.id, self.release.number).await;
            }
        }
        self.close(outcome);
    }

    async fn steps(
        &mut self,
        code: &FsPath,
        handler: Option<PathBuf>,
        tests: Tests,
    ) -> Result<(), FailReason> {
        self.prepare(code, handler).await?;
        self.prove(code, tests).await
    }

    /// Tests what is prepared and moves traffic to it.
    async fn prove(&mut self, code: &FsPath, tests: Tests) -> Result<(), FailReason> {
        self.write_release(ReleaseState::Testing).await?;
        self.say("release", "done", &format!("#{}  {}", self.release.number, self.release.handler));
        self.test(code, tests).await?;
        self.write_release(ReleaseState::Ready).await?;
        self.move_traffic().await
    }

    /// Finds the handler and prepares the environment.
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::collapsible_if, reason = "where there is an engine, it prepares what is not mapped")
    )]
    async fn prepare(&mut self, code: &FsPath, handler: Option<PathBuf>) -> Result<(), FailReason> {
        if let Some(container) = self.container.take() {
            if let Some(image) = self.manage.local_image(&container) {
                let name = container.image.unwrap_or_default();
                let more = [container.entrypoint, container.command].into_iter().flatten().flatten();
                return self.prepare_local(&name, image, &more.collect::<Vec<_>>()).await;
            }
            #[cfg(feature = "docker")]
            return self.prepare_image(code, container).await;
        }
        self.prepare_folder(code, handler).await
    }

    /// The same for code that runs as a process.
    pub(crate) async fn prepare_folder(
        &mut self,
        code: &FsPath,
        handler: Option<PathBuf>,
    ) -> Result<(), FailReason> {
        let started = self.manage.inner.engine.now();
        self.say("environment", "running", "looking for the handler");
        let found = match &handler {
            Some(file) => source::named_handler(code, file),
            None => source::find_handler(code),
        };
        let found = match found {
            Ok(found) => found,
            // Whoever calls `start` in a way that reading cannot see still gets a try.
            Err(error) => {
                let usual = FsPath::new("handler.py");
                if handler.is_some() || !code.join(usual).is_file() {
                    return Err(broken(error));
                }
                self.note(&error.to_string());
                source::named_handler(code, usual).map_err(broken)?
            }
        };
        let text = source::read(&code.join(&found.file)).unwrap_or_default();
        self.release.env_read = source::env_read(&text);
        self.release.handler = found.file.display().to_string();
        let environment = self.environment(code, &found.file).await?;
        self.release.python.clone_from(&environment.python_version);
        let handler_path = code.join(&found.file).display().to_string();
        let python = environment.python.display().to_string();
        self.release.launch = Some(Launch {
            command: vec![python, "-u".into(), handler_path],
            code_dir: code.display().to_string(),
            in_place: self.release.bundle.is_empty(),
            read_dirs: vec![environment.dir.display().to_string()],
            image: None,
            stands_for: None,
        });
        let cached = if environment.cached { " (cached)" } else { "" };
        let sdk = environment.sdk_version.map_or_else(String::new, |v| format!(" · runpod {v}"));
        let message = format!("python {}{sdk}{cached}", environment.python_version);
        self.say_since("environment", "done", &message, started);
        Ok(())
    }

    async fn environment(&mut self, code: &FsPath, handler: &FsPath) -> Result<Environment, FailReason> {
        let (dir, file) = (code.to_owned(), handler.to_owned());
        let asked = asked_of(&self.release.python_wish);
        let plan = tokio::task::spawn_blocking(move || environment::plan_as_asked(&dir, &file, &asked)).await;
        let plan = plan.map_err(broken)?.map_err(broken)?;
        self.release.environment.clone_from(&plan.hash);
        self.say("environment", "running", &format!("python {}", plan.requirements.label()));
        let (envs, tools) = (self.manage.inner.envs.clone(), self.manage.inner.tools.clone());
        let lines = self.lines.clone();
        let engine = self.manage.inner.engine.clone();
        let log = &mut self.log;
        let on_line = |line: &str| {
            let _ = lines.send(json!({"step": "environment", "state": "output", "message": line}));
            if let Some(log) = log.as_mut() {
                let _ = log.note(engine.now(), Source::Build, Level::Info, None, line);
            }
        };
        let confine = self.manage.inner.confine.as_ref();
        environment::prepare(&plan, &envs, &tools, confine, on_line)
            .await
            .map_err(|error| FailReason::Environment { message: error.message, last_lines: error.last_lines })
    }

    async fn test(&mut self, code: &FsPath, tests: Tests) -> Result<(), FailReason> {
        let started = self.manage.inner.engine.now();
        let tests = match tests {
            Tests::These(tests) => tests,
            Tests::Own(true) if !code.as_os_str().is_empty() => request::own_tests(code).map_err(broken)?,
            Tests::Own(_) => Vec::new(),
        };
        let what =
            if tests.is_empty() { "no test request: the worker has to come up" } else { "starting a worker" };
        self.say("test", "running", what);
        let (id, number) = (self.endpoint.id.clone(), self.release.number);
        let fleet = &self.manage.inner.fleet;
        let run = fleet.test_release(&self.caller, &id, number, &self.settings, &tests);
        let run = self.patiently(run).await;
        let run = run.map_err(reason_of)?;
        let (total, start) = (tests.len(), run.start_ms as f64 / 1000.0);
        let message = match total {
            0 => format!("the worker asks for jobs (cold start {start:.1} s)"),
            _ => format!(
                "{}/{total} passed (cold start {start:.1} s, execution {:.1} s)",
                run.passed,
                run.execution_ms as f64 / 1000.0
            ),
        };
        self.say_since("test", "done", &message, started);
        Ok(())
    }

    async fn write_release(&mut self, state: ReleaseState) -> Result<(), FailReason> {
        if matches!(state, ReleaseState::Ready | ReleaseState::Failed { .. }) {
            let now = self.manage.inner.engine.now();
            self.release.took_ms = Some(now.since(self.release.created_at));
        }
        self.release.state = state;
        self.manage.inner.fleet.release_changed(&self.endpoint.id, self.release.number);
        self.manage.inner.engine.put_release(self.release.clone()).await.map_err(broken)
    }
}
