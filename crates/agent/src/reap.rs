//! Takes the exit status of every child: workers' main processes, whose supervisors wait for it, and orphans
//! that became ours because we are the subreaper.

use std::io;
use std::sync::Arc;

use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::Agent;
use crate::worker::{Death, locked};

/// Begins to hear of children's ends; to be called before the first child.
pub fn listen() -> io::Result<Signal> {
    signal(SignalKind::child())
}

/// Reaps as long as the agent lives.
pub async fn reap(agent: Arc<Agent>, mut signals: Signal) {
    loop {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            locked(&agent.table).bury(pid, death(status));
        }
        if signals.recv().await.is_none() {
            return;
        }
    }
}

fn death(status: WaitStatus) -> Death {
    Death { code: status.exit_status(), signal: status.terminating_signal() }
}
