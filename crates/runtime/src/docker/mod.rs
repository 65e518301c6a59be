//! A container engine that speaks Docker's API on a socket of this machine: Docker itself, or Podman. Images come
//! and are looked at (`image`), are built (`build`), and run (`container`) on a network of their own (`network`). What
//! of that takes space is counted and removed (`stock`, `cache`, by what was noted in `notes`).
//! What goes wrong is a [`Fault`], the enumerated reason that people get to see.
//!
//! The agent supervises containers with it; the server resolves and builds images with it before a deploy. Nothing
//! here knows endpoints or jobs: ids pass through as labels.

mod build;
mod buildkit;
mod cache;
mod container;
mod credentials;
mod error;
mod exec;
mod gpus;
mod image;
mod network;
mod notes;
mod peek;
mod stats;
mod stock;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use runyard_domain::image::Fault;
use runyard_domain::registry::Login;
use tokio::sync::watch;

pub use build::Build;
pub use cache::{BuildCache, Excess, Part};
pub use container::{End, Labels, Making, Output, Piece};
pub use exec::{Exec, ExecEnd};
pub use image::{Found, Progress};
pub use network::Bridge;
pub use notes::{Pulled, Used};
pub use peek::Peek;
pub use stock::{BUILT, Gone, Layer, Origin, Stock, Stored, name_of_build, share};

/// How long the engine may take to begin an answer; images and builds have their own limits.
const ANSWER_S: u64 = 120;

/// Where engines usually listen, best first; those below the user's runtime folder come after.
const USUAL: [&str; 3] = ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"];

/// A connection to one engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// An image's name, and the login that it is pulled with.
type PullOf = (String, Option<Login>);

struct Inner {
    address: String,
    docker: Docker,
    about: About,
    /// Pulls under way: whoever wants the same image with the same login waits for the same one.
    pulls: Mutex<HashMap<PullOf, watch::Receiver<image::Pull>>>,
    /// Where images that a pull brings are noted.
    pulled: OnceLock<Pulled>,
    /// The engine has no init to put in front of a command.
    no_init: AtomicBool,
}

/// What an engine says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// What it runs, as `linux/amd64`.
    pub platform: String,
    /// Whether it is Podman.
    pub podman: bool,
    /// GPUs that it offers by CDI, as `nvidia.com/gpu=0`.
    pub cdi: Vec<String>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

/// Where an engine of this machine listens: what was said, else the first usual place with a socket.
pub fn find(said: Option<&str>) -> Option<String> {
    if let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) {
        let is_path = said.starts_with('/');
        return Some(if is_path { format!("unix://{said}") } else { said.to_owned() });
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.iter().flat_map(|dir| [dir.join("docker.sock"), dir.join("podman/podman.sock")]);
    let mut places = USUAL.iter().map(PathBuf::from).chain(own);
    places.find(|path| path.exists()).map(|path| format!("unix://{}", path.display()))
}

impl Engine {
    /// Connects to the engine at an address (`unix:///var/run/docker.sock`) and agrees on a version with it.
    pub async fn connect(address: &str) -> Result<Self, Fault> {
        let away = |message: String| Fault::EngineAway { message: format!("{address}: {message}") };
        let Some(path) = address.strip_prefix("unix://") else {
            return Err(away(
                "it has to be a socket of this machine, as unix:///var/run/docker.sock".to_owned(),
            ));
        };
        if !Path::new(path).exists() {
            return Err(away(
                "there is no such socket; start Docker, or name its socket with docker_host".to_owned(),
            ));
        }
        let docker = Docker::connect_with_unix(path, ANSWER_S, API_DEFAULT_VERSION)
            .map_err(|error| away(error.to_string()))?;
        let docker = docker.negotiate_version().await.map_err(|error| away(error::words(&error)))?;
        let about = look(&docker).await.map_err(|error| away(error::words(&error)))?;
        let inner = Inner {
            address: address.to_owned(),
            docker,
            about,
            pulls: Mutex::default(),
            pulled: OnceLock::new(),
            no_init: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Notes the images that its pulls bring from now on: nobody else's are ever removed.
    #[must_use]
    pub fn noting(self, pulled: Pulled) -> Self {
        let _ = self.inner.pulled.set(pulled);
        self
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.inner.about
    }

    /// Whether it answers.
    pub async fn answers(&self) -> bool {
        let ping = self.docker().ping();
        matches!(tokio::time::timeout(Duration::from_secs(5), ping).await, Ok(Ok(_)))
    }

    fn docker(&self) -> &Docker {
        &self.inner.docker
    }

    fn has_init(&self) -> bool {
        !self.inner.no_init.load(Ordering::Relaxed)
    }
}

async fn look(docker: &Docker) -> Result<About, bollard::errors::Error> {
    let version = docker.version().await?;
    let info = docker.info().await?;
    let podman = version.components.iter().flatten().any(|part| part.name.contains("Podman"));
    let devices = info.discovered_devices.into_iter().flatten();
    let cdi = devices.filter(|device| device.source.as_deref() == Some("cdi")).filter_map(|device| device.id);
    Ok(About {
        version: version.version.unwrap_or_default(),
        platform: platform(&version.os.unwrap_or_default(), &version.arch.unwrap_or_default()),
        podman,
        cdi: cdi.collect(),
    })
}

/// A platform as images name it.
fn platform(os: &str, architecture: &str) -> String {
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", if os.is_empty() { "linux" } else { os })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_found_by_what_was_said() {
        assert_eq!(find(Some("/x/docker.sock")).as_deref(), Some("unix:///x/docker.sock"));
        assert_eq!(find(Some("unix:///y")).as_deref(), Some("unix:///y"));
    }

    #[test]
    fn platforms_have_one_spelling() {
        assert_eq!(platform("linux", "x86_64"), "linux/amd64");
        assert_eq!(platform("", "aarch64"), "linux/arm64");
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named() {
        let says = Engine::connect("unix:///nowhere.sock").await.map_err(|fault| fault.sentence());
        assert!(says.is_err_and(|text| text.contains("/nowhere.sock")));
        let says = Engine::connect("tcp://1.2.3.4:2375").await.map_err(|fault| fault.sentence());
        assert!(says.is_err_and(|text| text.contains("this machine")));
    }
}
