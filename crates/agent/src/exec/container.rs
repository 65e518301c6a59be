//! A command in a worker's container. An engine begins commands and ends none: that is done here, by the number that
//! the command's process has on this machine.

use futures_util::StreamExt as _;
use runyard_runtime::docker::{Engine, Piece};
use runyard_runtime::session::{Ended, Frame, Size, Start};
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

use super::Running;
use crate::agent::Agent;
use crate::inside::Inside;
use crate::worker::Worker;

/// What is left of it.
pub struct Hold {
    engine: Engine,
    exec: String,
}

/// Begins a command.
pub async fn begin(
    agent: &Agent,
    worker: &Worker,
    inside: &Inside,
    start: &Start,
) -> Result<Running, String> {
    if let Some(phase) = inside.phase() {
        return Err(format!("it does not run yet: {}", phase.words()));
    }
    let engine = agent.engines.engine(inside.engine()).await.map_err(|fault| fault.sentence())?;
    let name = crate::container::name_of(&worker.id);
    let exec = engine.exec(&name, start).await.map_err(|fault| fault.sentence())?;
    let output = exec.output.map(|piece| match piece {
        Piece::Out(bytes) => Frame::Out(bytes),
        Piece::Err(bytes) => Frame::Err(bytes),
    });
    let hold = Hold { engine, exec: exec.id };
    Ok(Running { output: Box::pin(output), input: exec.input, hold: super::Hold::Container(hold) })
}

impl Hold {
    pub async fn resize(&self, size: Size) {
        self.engine.resize(&self.exec, size).await;
    }

    pub async fn ended(&self) -> Ended {
        match self.engine.exec_code(&self.exec).await {
            Ok(Some(code)) => Ended { code: Some(code), why: None },
            Ok(None) => Ended { code: None, why: Some("it goes on without output".to_owned()) },
            Err(fault) => Ended { code: None, why: Some(fault.sentence()) },
        }
    }

    pub async fn kill(&self) {
        let seen = match self.engine.look_at_exec(&self.exec).await {
            Ok(seen) => seen,
            Err(fault) => {
                return tracing::debug!(fault = fault.sentence(), "A command could not be looked at");
            }
        };
        let Some(pid) = Pid::from_raw(seen.pid.cast_signed()).filter(|_| seen.running && seen.pid > 1) else {
            return;
        };
        // It leads a session of its own, but for engines that do otherwise.
        let killed = match getpgid(Some(pid)) {
            Ok(group) if group == pid => kill_process_group(group, Signal::KILL),
            _ => kill_process(pid, Signal::KILL),
        };
        if let Err(error) = killed {
            tracing::warn!(%error, "A command in a container outlives its client: the agent may not end it");
        }
    }
}
