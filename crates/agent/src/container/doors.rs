//! The engines that run containers of this data directory, and our door on each one's bridge: the address at which
//! its containers reach the agent's listener, and nothing else. The first use of an engine is noted in a file, so that
//! the next agent finds what this one left behind.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runyard_domain::image::Fault;
use runyard_runtime::Paths;
use runyard_runtime::docker::{Bridge, Engine, Labels, Pulled, Used};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::listener;

/// When an engine that did not answer is looked at again.
const AGAIN: Duration = Duration::from_secs(15);

/// How long the removal of what is left may take at the end.
const CLOSE: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The engines in use.
#[derive(Debug)]
pub struct Engines {
    used: Used,
    pulled: Pulled,
    labels: Labels,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    doors: HashMap<String, Door>,
    /// Engines on which an earlier agent's containers were looked for.
    swept: HashSet<String>,
}

/// An engine, and where its containers reach us.
#[derive(Debug, Clone)]
pub struct Door {
    /// The engine.
    pub engine: Engine,
    /// The containers' network.
    pub bridge: Bridge,
    /// The base URL of our listener, from inside.
    pub url: String,
}

impl Engines {
    /// None is in use yet. `data` is the data directory by its real path.
    pub fn new(paths: &Paths, data: &Path) -> Self {
        let (used, pulled) = (Used::new(paths.engines()), Pulled::new(paths.pulled()));
        Self { used, pulled, labels: Labels::of(data), state: Mutex::default() }
    }

    /// The labels of what is ours.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The door of the engine at an address, opened where it is not.
    pub async fn door(&self, agent: &Arc<Agent>, address: &str) -> Result<Door, Fault> {
        let mut state = self.state.lock().await;
        let engine = match state.doors.get(address) {
            Some(door) if door.engine.answers().await => door.engine.clone(),
            _ => Engine::connect(address).await?.noting(self.pulled.clone()),
        };
        if !state.swept.contains(address) {
            self.used.note(address).map_err(|error| refused("note the engine in use", &error))?;
            self.clean(&engine).await?;
            state.swept.insert(address.to_owned());
        }
        // It may have been removed while no container was in it.
        let bridge = engine.bridge(&self.labels).await?;
        let known = state.doors.get(address).filter(|door| door.bridge == bridge);
        let url = match known {
            Some(door) => door.url.clone(),
            None => open(agent, &engine, &bridge)?,
        };
        let door = Door { engine, bridge, url };
        state.doors.insert(address.to_owned(), door.clone());
        Ok(door)
    }

    /// The engine at an address, to ask it something: some take long to say what they are, and that is known of those
    /// in use.
    pub async fn engine(&self, address: &str) -> Result<Engine, Fault> {
        let known = self.state.lock().await.doors.get(address).map(|door| door.engine.clone());
        match known {
            Some(engine) => Ok(engine),
            None => Engine::connect(address).await,
        }
    }

    /// Removes our networks, and containers whose removal has to be tried again: nobody would go on with it.
    pub async fn close(&self) {
        let all = async {
            for door in self.state.lock().await.doors.values() {
                if let Err(fault) = door.engine.sweep(&self.labels).await {
                    tracing::debug!(fault = fault.sentence(), "An engine cannot be swept");
                }
                door.engine.remove_networks(&self.labels).await;
            }
        };
        if timeout(CLOSE, all).await.is_err() {
            tracing::warn!("Containers or networks were not removed in time; the next agent does it");
        }
    }

    /// Removes what an earlier agent left on an engine.
    async fn clean(&self, engine: &Engine) -> Result<(), Fault> {
        let count = engine.sweep(&self.labels).await?;
        if count > 0 {
            tracing::warn!(
                count,
                engine = engine.address(),
                "Containers that an earlier agent left were removed"
            );
        }
        engine.remove_networks(&self.labels).await;
        Ok(())
    }
}

/// Removes what an earlier agent left, on each engine that had something of ours, as soon as that answers.
pub async fn sweep(agent: Arc<Agent>) {
    let engines = &agent.engines;
    let mut left = engines.used.known();
    while !left.is_empty() {
        let mut away = Vec::new();
        for address in left {
            let mut state = engines.state.lock().await;
            if state.swept.contains(&address) {
                continue;
            }
            let cleaned = async { engines.clean(&Engine::connect(&address).await?).await };
            match cleaned.await {
                Ok(()) => {
                    state.swept.insert(address);
                }
                Err(fault) => {
                    tracing::debug!(fault = fault.sentence(), "An engine cannot be swept yet");
                    away.push(address);
                }
            }
        }
        left = away;
        if !left.is_empty() {
            sleep(AGAIN).await;
        }
    }
}

/// Listens on our side of a bridge.
fn open(agent: &Arc<Agent>, engine: &Engine, bridge: &Bridge) -> Result<String, Fault> {
    let listener = listen(bridge.gateway, engine.about().podman).map_err(|error| {
        let message = if error.kind() == io::ErrorKind::AddrNotAvailable {
            format!(
                "{} is no address of this machine: a rootless engine or one in a virtual machine cannot run workers",
                bridge.gateway
            )
        } else {
            error.to_string()
        };
        refused("listen on its bridge", &message)
    })?;
    let address = listener.local_addr().map_err(|error| refused("listen on its bridge", &error))?;
    tracing::info!(%address, engine = engine.address(), "Containers reach the agent here");
    tokio::spawn(listener::serve(Arc::clone(agent), listener));
    Ok(format!("http://{address}"))
}

fn listen(gateway: IpAddr, ahead: bool) -> io::Result<TcpListener> {
    let socket = if gateway.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if ahead && gateway.is_ipv4() {
        // Podman makes the bridge with the first container.
        rustix::net::sockopt::set_ip_freebind(&socket, true)?;
    }
    socket.bind(SocketAddr::new(gateway, 0))?;
    socket.listen(BACKLOG)
}

fn refused(operation: &str, message: &dyn std::fmt::Display) -> Fault {
    Fault::EngineRefused { operation: operation.to_owned(), message: message.to_string() }
}
