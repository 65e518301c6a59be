//! The listener that local workers talk to: loopback, a port for the agent's life, kept-alive HTTP/1.1. No worker can
//! take it away from the others: connections that show no token give way, and those of one worker have a number.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_listener::{Limits, Networks, raise_open_files};
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::forward;
use crate::worker::{Seat, Worker, locked};

/// Connections of all workers.
const CONNECTIONS: usize = 16_000;

fn limits() -> Limits {
    let connections = raise_open_files().connections(CONNECTIONS);
    Limits {
        connections,
        // All are of this machine.
        per_address: connections,
        // A ping names every job that its worker runs.
        header_bytes: 256 << 10,
        headers: 100,
        header_timeout: Duration::from_secs(20),
        first_timeout: Duration::from_secs(20),
        // Longer than any SDK keeps one: a result that meets a closing connection is lost.
        idle_timeout: Duration::from_mins(15),
        patience: Duration::from_mins(2),
        rate: 500,
        send_buffer: None,
        shared: Networks::default(),
    }
}

/// Serves workers as long as the agent lives.
pub async fn serve(agent: Arc<Agent>, listener: TcpListener) {
    let each = |_| {
        let (agent, whose) = (Arc::clone(&agent), Arc::new(Whose::default()));
        move |request| forward::answer(Arc::clone(&agent), Arc::clone(&whose), request)
    };
    runyard_listener::serve_tcp(listener, None, limits(), each, std::future::pending()).await;
}

/// Whose a connection is, once a token was shown on it.
#[derive(Debug, Default)]
pub struct Whose(Mutex<Option<Seat>>);

impl Whose {
    /// Counts the connection as this worker's; not where it has too many.
    pub fn is_taken_by(&self, worker: &Arc<Worker>) -> bool {
        let mut seat = locked(&self.0);
        if !seat.as_ref().is_some_and(|seat| seat.is_of(worker)) {
            *seat = worker.sit();
        }
        seat.is_some()
    }
}
