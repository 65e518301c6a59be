//! A server: its parts, put together in the order in which they need each other, and its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use runyard_build::environment::Confine;
use runyard_console::Console;
use runyard_domain::Env as _;
use runyard_engine::{Engine, SystemEnv};
use runyard_fleet::Fleet;
use runyard_listener::raise_open_files;
use runyard_manage::{Containers, DiskKeeper, Info, Manage, RestOptions};
use runyard_runtime::process::ProcessRuntime;
use runyard_runtime::{Paths, Runtime};
use runyard_store::sqlite::SqliteStore;
use runyard_store::{Blobs, Command, Reserve, Store as _};
use runyard_vault::{Sealer, Signer, Vault};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::acme::Keeper;
use crate::client::{self, Clients};
use crate::config::Config;
use crate::edge;
use crate::home::Home;
use crate::keys::{FirstKey, first_key, write_key_uses};
use crate::operator::{self, Operator};
use crate::port::Port;
use crate::sides::routes;
use crate::sweep::Sweeper;
use crate::telemetry::{Latest, Sampler};
use crate::{ServerError, home, listen, tls};

/// How long the last answers may take once nothing waits any more.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// What kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keys are needed; the agent outlives the server.
    Up,
    /// No key on loopback, any free port will do, and everything ends with the server.
    Dev,
}

/// A server that runs.
pub struct Server {
    /// The base URL that users call.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// A key that was made at this start.
    pub first_key: Option<FirstKey>,
    /// What keeps workers away from the data directory.
    pub boundary: String,
    engine: Engine,
    fleet: Fleet,
    runtime: Arc<dyn Runtime>,
    inside: Router,
    console: Console,
    mode: Mode,
    drain_grace: Duration,
    tasks: Vec<JoinHandle<()>>,
    public: JoinHandle<()>,
    closing: Arc<Notify>,
    port: Port,
    _home: Home,
}

/// The parts that an opened data directory has with and without workers.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) blobs: Blobs,
    pub(crate) home: Home,
}

/// Opens store, vault and engine.
pub(crate) fn core(data: &Path, config: &Config) -> Result<Core, ServerError> {
    let home = home::open(data)?;
    home::place_key_file(&home.paths, config.key_file.as_deref())?;
    let env = Arc::new(SystemEnv);
    let path = home.paths.reserve();
    // Before anything else: on a full disk it makes the room that opening the store needs.
    let reserve = Reserve::open(&path, config.disk_reserve_mib << 20)
        .map_err(|source| ServerError::File { operation: "keep a reserve of disk space in", path, source })?;
    let blobs = Blobs::open(home.paths.blobs())?.with_reserve(reserve);
    let mut store = SqliteStore::open(&home.paths.db(), blobs.clone())?;
    let reader = store.reader();
    let (sealer, changed) = Sealer::open(&home.paths.vault_key(), reader.data_keys()?, &*env)?;
    if !changed.is_empty() {
        store.commit(env.now(), &[Command::PutDataKeys(changed)])?;
    }
    let _ = std::fs::remove_file(home.paths.vault_lost());
    let keys = reader.keys()?;
    let vault = Arc::new(Vault::new(env.clone(), sealer, keys));
    reader.members()?.into_iter().for_each(|member| vault.learn_member(member));
    vault.sign_with(Signer::open(&home.paths.webhook_secret(), &*env)?);
    let options = runyard_engine::Options { store: Box::new(store), blobs: blobs.clone(), env, vault };
    Ok(Core { engine: Engine::start(options)?, blobs, home })
}

/// What the machine gives to workers.
pub(crate) fn fleet(engine: &Engine, runtime: Arc<dyn Runtime>, paths: &Paths, config: &Config) -> Fleet {
    Fleet::new(runyard_fleet::Options {
        engine: engine.clone(),
        runtime,
        gpus: config.machine(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory_gb: memory_gb(),
        volumes: paths.volumes(),
        idle_drain_ms: 10_000,
    })
}

/// A folder by its one name: the agent's.
fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

fn memory_gb() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / (1024 * 1024)
}

/// How a server presents itself.
pub(crate) struct Face<'a> {
    /// The base URL that users call.
    pub(crate) url: &'a str,
    /// What keeps workers away from the data directory.
    pub(crate) boundary: &'a str,
    /// No key is needed.
    pub(crate) open: bool,
    /// The data directory is only looked at.
    pub(crate) offline: bool,
    /// What kind of server.
    pub(crate) mode: Mode,
}

/// The management API over these parts.
pub(crate) fn manage(
    engine: &Engine,
    fleet: &Fleet,
    home: &Home,
    config: &Config,
    face: &Face<'_>,
    disk: Arc<dyn DiskKeeper>,
) -> Manage {
    let paths = &home.paths;
    Manage::new(runyard_manage::Options {
        engine: engine.clone(),
        fleet: fleet.clone(),
        bundles: paths.bundles(),
        envs: paths.envs(),
        tools: paths.tools(),
        // The link: it leads to the program that runs, also when its file was replaced by an upgrade.
        confine: Some(Confine::new(paths, PathBuf::from("/proc/self/exe"))),
        logs: paths.logs(),
        git: paths.git(),
        git_reach: config.git_reach(face.mode),
        containers: Containers {
            engine: config.docker_host.clone(),
            driver: config.driver(),
            private: paths.run().to_owned(),
            data: real(&paths.data),
            engines: paths.engines(),
            pulled: paths.pulled(),
        },
        info: Info {
            data: paths.data.display().to_string(),
            listen: config.listen.clone(),
            url: face.url.to_owned(),
            boundary: face.boundary.to_owned(),
            config: config.values.clone(),
            started_at: engine.now().0,
            open: face.open,
            offline: face.offline,
        },
        disk,
        catalogue: config.catalogue.clone(),
        rest: RestOptions {
            volumes: paths.volumes(),
            cuda: config.driver().map(|driver| driver.cuda),
            ..config.rest.clone()
        },
        sign_in: config.sign_in.clone(),
    })
}

impl Server {
    /// Starts a server on `data`. `exe` is this program, which also is the agent.
    pub async fn start(data: &Path, config: Config, mode: Mode, exe: PathBuf) -> Result<Self, ServerError> {
        Self::start_on(data, config, mode, exe, None).await
    }

    /// The same, on a listener that was handed to this process, where there is one.
    pub async fn start_on(
        data: &Path,
        config: Config,
        mode: Mode,
        exe: PathBuf,
        given: Option<std::net::TcpListener>,
    ) -> Result<Self, ServerError> {
        let (listener, address) = match given {
            Some(listener) => listen::take_over(listener)?,
            None => listen::tcp(&config.listen, mode == Mode::Dev).await?,
        };
        let port = Port::of(&listener, &config.listen)?;
        if mode == Mode::Dev && !address.ip().is_loopback() {
            return Err(ServerError::Config {
                origin: format!("listen = {}", config.listen),
                message: "a development server needs no key and therefore listens on loopback only; \
                          'runyard up' is for other machines"
                    .to_owned(),
            });
        }
        let Core { engine, blobs, home } = core(data, &config)?;
        let paths = home.paths.clone();
        let tls = tls::load(&config.door, &paths.acme())?;
        let runtime: Arc<dyn Runtime> = Arc::new(ProcessRuntime::connect(paths.clone(), exe).await?);
        let boundary = runtime.boundary().await?;
        let fleet = fleet(&engine, runtime.clone(), &paths, &config);
        let first_key = first_key(&engine, mode).await?;
        runyard_manage::fail_interrupted(&engine).await.map_err(|_| ServerError::Releases)?;
        // Workers reach us over this socket: nothing may be asked before everything is taken over.
        fleet.attach().await?;
        let url = config
            .public_url
            .clone()
            .or_else(|| config.door.url())
            .unwrap_or_else(|| format!("{}://{address}", config.door.scheme()));
        let url = url.trim_end_matches('/').to_owned();
        let open = mode == Mode::Dev;
        let face = Face { url: &url, boundary: &boundary, open, offline: false, mode };
        let sweeper = Sweeper::new(&engine, runtime.clone(), &paths, config.keep);
        let manage = manage(&engine, &fleet, &home, &config, &face, Arc::new(sweeper.clone()));
        let files = raise_open_files();
        let (mut limits, few_files) = config.limits.clone().within(files);
        if let Some(said) = few_files {
            tracing::warn!("{said}");
        }
        limits.public.shared = config.door.trusted_proxies.clone();
        edge::write_owner_key(&engine, &paths)?;
        let (latest, connections) = (Latest::default(), listen::Connections::default());
        let operator = Operator::new(operator::Options {
            engine: engine.clone(),
            runtime: runtime.clone(),
            paths: paths.clone(),
            blobs,
            config: config.clone(),
            tls: tls.clone(),
            address: Some(address),
            files,
            latest: latest.clone(),
        });
        let sides = routes(&engine, &fleet, &manage, &operator, &face, &limits);
        let clients = Clients {
            trusted: config.door.trusted_proxies.clone(),
            share: limits.public.per_address,
            https: tls.is_some(),
            at_once: Arc::default(),
        };
        let users = sides.public.layer(middleware::from_fn_with_state(clients, client::know));
        let reconciler = fleet.clone();
        let closing = Arc::new(Notify::new());
        let sampler = Sampler::of(&fleet, &paths, &connections, latest);
        let bounds = limits.public.clone();
        let public = listen::serve_tcp(listener, tls.clone(), bounds, users, closing.clone(), connections);
        let mut tasks = vec![
            tokio::spawn(config.webhooks(&engine, mode).run()),
            tokio::spawn(async move { reconciler.run().await }),
            tokio::spawn(sweeper.run()),
            tokio::spawn(sampler.run()),
            tokio::spawn(manage.follower().run()),
            tokio::spawn(manage.builder().run()),
            tokio::spawn(write_key_uses(engine.clone())),
            listen::serve_unix(listen::unix(&paths)?, limits.socket(), sides.socket),
        ];
        if let (Some(acme), Some(tls)) = (config.door.acme.clone(), tls.clone()) {
            tasks.push(tokio::spawn(Keeper::new(acme, paths.acme(), tls, engine.clone()).run()));
        }
        tasks.extend(tls.map(|tls| tokio::spawn(tls::keep_fresh(tls))));
        let drain_grace = Duration::from_secs(config.drain_grace_s);
        let data = paths.data.clone();
        Ok(Self {
            url,
            address,
            data,
            first_key,
            boundary,
            engine,
            fleet,
            runtime,
            inside: sides.inside,
            console: sides.console,
            mode,
            drain_grace,
            tasks,
            public,
            closing,
            port,
            _home: home,
        })
    }

    /// The routes as the owner of the data directory reaches them, in this process.
    pub fn inside(&self) -> Router {
        self.inside.clone()
    }

    /// The address that opens the console for whoever started this server, without a key.
    pub fn console_link(&self) -> String {
        self.console.link()
    }

    /// Resolves when the store has failed for good: the server has to stop.
    pub async fn failed(&self) {
        self.engine.failed().await;
    }

    /// Ends: new jobs are refused, running ones get the grace, unfinished ones return to the queue. Warm
    /// workers live on with the agent, except in development.
    pub async fn stop(self) {
        self.engine.close_submissions();
        self.fleet.close();
        let grace = if self.mode == Mode::Dev { Duration::ZERO } else { self.drain_grace };
        if tokio::time::timeout(grace, self.until_nothing_runs()).await.is_err() {
            tracing::info!(
                running = self.engine.running(),
                "the grace is over: running jobs return to the queue"
            );
        }
        self.fleet.end_busy().await;
        // Whoever still waits gets the state as it is, and the job's id with it.
        self.engine.end_waiting();
        self.console.close();
        self.closing.notify_one();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.public).await;
        if let Err(error) = self.engine.write_key_uses().await {
            tracing::warn!(%error, "the last uses of keys were not written");
        }
        for task in &self.tasks {
            task.abort();
        }
        if self.mode == Mode::Dev
            && let Err(error) = self.runtime.shut_down().await
        {
            tracing::warn!(%error, "the agent could not be ended");
        }
    }

    /// Ends for a server that takes this one's place in the same process: what is being answered is answered, whoever
    /// waits gets the state as it is, and workers go on with the agent. New connections wait in the port that is
    /// answered, which stays open.
    pub async fn hand_over(self) -> Port {
        self.fleet.close();
        self.engine.end_waiting();
        self.console.close();
        self.closing.notify_one();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.public).await;
        for task in &self.tasks {
            task.abort();
        }
        self.port
    }

    async fn until_nothing_runs(&self) {
        let mut changes = self.engine.watch();
        while self.engine.running() > 0 {
            if let Err(tokio::sync::broadcast::error::RecvError::Closed) = changes.recv().await {
                return;
            }
        }
    }
}
