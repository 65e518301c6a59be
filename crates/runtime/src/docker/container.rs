//! One container's life: made, listened to, started, waited for, ended, removed. Containers carry labels that say
//! whose they are, so that those of a dead agent are found and removed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptions,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use runyard_domain::image::Fault;

use super::{Engine, error, gpus};
use crate::{ImageSpec, SharedFolder, Stop};

/// Shared memory where nothing is said: data loaders need more than Docker's 64 MiB, and only what is used counts.
const SHM_MIB: u32 = 1024;

/// Processes and threads where nothing is said: enough for any server, and an end to a fork bomb.
const PIDS: u32 = 8192;

/// What a container has no use for.
const DROPPED: [&str; 2] = ["NET_RAW", "MKNOD"];

/// Whose things are: the labels of a data directory's images, containers, networks and volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The data directory's name.
    pub data: String,
    /// Where it is, so that things of one that was deleted are told.
    pub path: String,
}

/// The label that names the data directory.
pub(super) const DATA: &str = "runyard.data";

/// The label that says where it is.
pub(super) const PATH: &str = "runyard.path";

/// The label of containers that are never started.
pub(super) const PEEK: &str = "runyard.peek";

impl Labels {
    /// Those of a data directory, which has to be told by its real path.
    pub fn of(data: &Path) -> Self {
        Self { data: crate::name_of(data), path: data.display().to_string() }
    }

    /// The labels, with further ones.
    pub(super) fn with(&self, more: &[(&str, String)]) -> HashMap<String, String> {
        let own = [(DATA.to_owned(), self.data.clone()), (PATH.to_owned(), self.path.clone())];
        let more = more.iter().map(|(name, value)| (format!("runyard.{name}"), value.clone()));
        own.into_iter().chain(more).collect()
    }

    /// A filter for what has them.
    pub(super) fn filter(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{DATA}={}", self.data)])])
    }
}

/// A container to make.
#[derive(Debug)]
pub struct Making<'a> {
    /// Its name; also its host name is made of it.
    pub name: &'a str,
    /// The worker in it, its endpoint and its release: labels.
    pub whose: [(&'a str, String); 3],
    /// The image's id.
    pub image: &'a str,
    /// What it runs and gets.
    pub spec: &'a ImageSpec,
    /// Folders of this machine that it sees.
    pub shared: &'a [SharedFolder],
    /// Its environment, beyond the image's.
    pub env: &'a BTreeMap<String, String>,
    /// The network that it is in.
    pub network: &'a str,
    /// The data directory.
    pub labels: &'a Labels,
}

/// A piece of output.
#[derive(Debug)]
pub enum Piece {
    /// Of standard output.
    Out(Bytes),
    /// Of standard error.
    Err(Bytes),
}

/// What a container prints, as it comes.
pub type Output = Pin<Box<dyn Stream<Item = Piece> + Send>>;

/// A container as the engine sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Whether it runs, or shall run in a moment.
    pub running: bool,
    /// Its main process.
    pub pid: u32,
    /// How it ended.
    pub code: Option<i32>,
    /// Whether memory ran out.
    pub out_of_memory: bool,
}

impl Engine {
    /// Makes a container; answers its id.
    pub async fn create(&self, making: &Making<'_>) -> Result<String, Fault> {
        gpus::check(self.about(), &making.spec.gpus)?;
        let create = || {
            let options = CreateContainerOptionsBuilder::default().name(making.name).build();
            self.docker().create_container(Some(options), self.body(making))
        };
        let made = match create().await {
            // Podman says here what Docker says at the start.
            Err(error) if self.has_init() && error::lacks_init(&error) => {
                self.inner.no_init.store(true, Ordering::Relaxed);
                create().await
            }
            made => made,
        };
        made.map(|made| made.id).map_err(|error| match error::status(&error) {
            Some(404) => {
                Fault::ImageNotFound { image: making.spec.image.name.clone(), message: error::words(&error) }
            }
            Some(400) if error::words(&error).to_lowercase().contains("no command") => {
                Fault::NoCommand { image: making.spec.image.name.clone() }
            }
            _ => error::plain("make the container", &error),
        })
    }

    fn body(&self, making: &Making<'_>) -> ContainerCreateBody {
        let image = &making.spec.image;
        // An entrypoint of one's own takes the image's command away, as everywhere.
        let (entrypoint, cmd) = (image.entrypoint.clone(), image.command.clone());
        ContainerCreateBody {
            hostname: Some(making.name.chars().take(63).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(making.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            entrypoint,
            cmd,
            image: Some(making.image.to_owned()),
            labels: Some(making.labels.with(&making.whose)),
            host_config: Some(self.host(making)),
            ..ContainerCreateBody::default()
        }
    }

    fn host(&self, making: &Making<'_>) -> HostConfig {
        let limits = &making.spec.container;
        let or = |value: u32, usual: u32| i64::from(if value == 0 { usual } else { value });
        let memory = (limits.memory_mib > 0).then(|| i64::from(limits.memory_mib) << 20);
        let log = HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            // What it prints is kept by us; the engine's own copy is for its tools.
            config: Some(HashMap::from([("max-size".to_owned(), "10m".to_owned())])),
        };
        HostConfig {
            nano_cpus: (limits.cpu_millis > 0).then(|| i64::from(limits.cpu_millis) * 1_000_000),
            memory,
            // No swap beside it: it would only put the end off.
            memory_swap: memory,
            pids_limit: Some(or(limits.pids, PIDS)),
            shm_size: Some(or(limits.shm_mib, SHM_MIB) << 20),
            device_requests: gpus::request(self.about(), &making.spec.gpus),
            mounts: Some(mounts(making)),
            network_mode: Some(making.network.to_owned()),
            cap_drop: Some(DROPPED.map(str::to_owned).to_vec()),
            log_config: Some(log),
            init: self.has_init().then_some(true),
            ..HostConfig::default()
        }
    }

    /// What a container prints from now on.
    pub async fn attach(&self, container: &str) -> Result<Output, Fault> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let attached = self.docker().attach_container(container, Some(options)).await;
        let attached = attached.map_err(|error| error::plain("listen to the container", &error))?;
        Ok(pieces(attached.output))
    }

    /// Starts a container. The flag of an error says that the engine has no init for it: made anew, it starts.
    pub async fn start(&self, container: &str, image: &str) -> Result<(), (Fault, bool)> {
        match self.docker().start_container(container, None::<StartContainerOptions>).await {
            Ok(()) => Ok(()),
            Err(error) if self.has_init() && error::lacks_init(&error) => {
                self.inner.no_init.store(true, Ordering::Relaxed);
                Err((error::starting(image, &error), true))
            }
            Err(error) => Err((error::starting(image, &error), false)),
        }
    }

    /// Waits until a container has ended; its exit code. An error where the engine went away meanwhile.
    pub async fn wait(&self, container: &str) -> Result<i32, Fault> {
        let mut ends = Box::pin(self.docker().wait_container(container, None::<WaitContainerOptions>));
        match ends.next().await {
            Some(Ok(end)) => Ok(end.status_code as i32),
            // A code other than 0 comes as an error.
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code as i32),
            Some(Err(error)) => Err(error::plain("wait for the container", &error)),
            None => Err(Fault::EngineAway { message: "it ended its answer".to_owned() }),
        }
    }

    /// How a container does; `None` where there is none.
    pub async fn look(&self, container: &str) -> Result<Option<End>, Fault> {
        let seen = match self.docker().inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(seen) => seen,
            Err(error) if error::status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(error::plain("look at the container", &error)),
        };
        let state = seen.state.unwrap_or_default();
        let running = state.running.unwrap_or(false);
        Ok(Some(End {
            running,
            pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
            code: state.exit_code.filter(|_| !running).map(|code| code as i32),
            out_of_memory: state.oom_killed.unwrap_or(false),
        }))
    }

    /// Signals a container's main process; one that is gone is no error.
    pub async fn end(&self, container: &str, how: Stop) {
        let signal = match how {
            Stop::Term => "SIGTERM",
            Stop::Kill => "SIGKILL",
        };
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        if let Err(error) = self.docker().kill_container(container, Some(options)).await {
            tracing::debug!(%error, container, signal, "a container was not signalled");
        }
    }

    /// Removes a container with what it wrote, running or not; none there is no error.
    pub async fn remove(&self, container: &str) -> Result<(), Fault> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker().remove_container(container, Some(options)).await {
            Err(error) if !matches!(error::status(&error), Some(404 | 409)) => {
                Err(error::plain("remove the container", &error))
            }
            _ => Ok(()),
        }
    }

    /// The names of all containers with these labels.
    pub async fn containers(&self, labels: &Labels) -> Result<Vec<String>, Fault> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&labels.filter()).build();
        let listed = self.docker().list_containers(Some(options)).await;
        let listed = listed.map_err(|error| error::plain("list containers", &error))?;
        let name = |names: Vec<String>| names.first().map(|name| name.trim_start_matches('/').to_owned());
        Ok(listed.into_iter().filter_map(|one| one.names.and_then(name).or(one.id)).collect())
    }

    /// Removes every container with these labels; answers how many there were.
    pub async fn sweep(&self, labels: &Labels) -> Result<usize, Fault> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&labels.filter()).build();
        let listed = self.docker().list_containers(Some(options)).await;
        let listed = listed.map_err(|error| error::plain("list containers", &error))?;
        let ids: Vec<String> = listed.into_iter().filter_map(|one| one.id).collect();
        for id in &ids {
            self.remove(id).await?;
        }
        Ok(ids.len())
    }
}

/// What an engine passes on, until it ends or breaks off.
pub(super) fn pieces(output: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static) -> Output {
    let pieces = output.take_while(|piece| std::future::ready(piece.is_ok()));
    Box::pin(pieces.filter_map(|piece| {
        std::future::ready(match piece {
            Ok(LogOutput::StdErr { message }) => Some(Piece::Err(message)),
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => Some(Piece::Out(message)),
            Ok(LogOutput::StdIn { .. }) | Err(_) => None,
        })
    }))
}

/// Volumes are named after their data directory, so that two do not share by chance, and stay when it is not used.
fn mounts(making: &Making<'_>) -> Vec<Mount> {
    let volumes = &making.spec.container.volumes;
    let mount = |volume: &runyard_domain::image::Volume| Mount {
        target: Some(volume.path.clone()),
        source: Some(format!("runyard-{}-{}", making.labels.data, volume.name)),
        typ: Some(MountType::VOLUME),
        read_only: Some(volume.read_only),
        volume_options: Some(MountVolumeOptions {
            labels: Some(making.labels.with(&[("volume", volume.name.clone())])),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    let shared = |shared: &SharedFolder| Mount {
        target: Some(shared.path.clone()),
        source: Some(shared.folder.clone()),
        typ: Some(MountType::BIND),
        ..Mount::default()
    };
    volumes.iter().map(mount).chain(making.shared.iter().map(shared)).collect()
}
