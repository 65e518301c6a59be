//! A command beside a container's own: begun, fed, listened to, ended.

use std::pin::Pin;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::ResizeExecOptionsBuilder;
use runyard_domain::image::Fault;
use tokio::io::AsyncWrite;
use tokio::time::sleep;

use super::container::{Output, pieces};
use super::{Engine, error};
use crate::session::{Size, Start};

/// How often the engine is asked whether a command whose output ended has ended too.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(100);

/// A command that runs.
pub struct Exec {
    /// What the engine knows it by.
    pub id: String,
    /// What it prints.
    pub output: Output,
    /// Its standard input; shut down, it ends.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecEnd {
    /// Whether it runs.
    pub running: bool,
    /// Its process, as this machine sees it; 0 where that is not known.
    pub pid: u32,
    /// How it ended.
    pub code: Option<i32>,
}

impl Engine {
    /// Runs a command in a container.
    pub async fn exec(&self, container: &str, start: &Start) -> Result<Exec, Fault> {
        let refused = |error: bollard::errors::Error| error::plain("run the command", &error);
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(start.terminal.is_some()),
            cmd: Some(start.command.clone()),
            ..CreateExecOptions::default()
        };
        let made = self.docker().create_exec(container, options).await.map_err(refused)?;
        let options =
            StartExecOptions { detach: false, tty: start.terminal.is_some(), ..StartExecOptions::default() };
        let started = self.docker().start_exec(&made.id, Some(options)).await.map_err(refused)?;
        let StartExecResults::Attached { output, input } = started else {
            let message = "it let go of it".to_owned();
            return Err(Fault::EngineRefused { operation: "run the command".to_owned(), message });
        };
        if let Some(size) = start.terminal {
            self.resize(&made.id, size).await;
        }
        Ok(Exec { id: made.id, output: pieces(output), input })
    }

    /// Gives a command's terminal another size. Where it has ended meanwhile, nothing happens.
    pub async fn resize(&self, exec: &str, size: Size) {
        let options =
            ResizeExecOptionsBuilder::default().h(i32::from(size.rows)).w(i32::from(size.columns)).build();
        if let Err(error) = self.docker().resize_exec(exec, options).await {
            tracing::debug!(%error, "a terminal was not resized");
        }
    }

    /// How a command does.
    pub async fn look_at_exec(&self, exec: &str) -> Result<ExecEnd, Fault> {
        let seen = self.docker().inspect_exec(exec).await;
        let seen = seen.map_err(|error| error::plain("look at the command", &error))?;
        let running = seen.running.unwrap_or(false);
        Ok(ExecEnd {
            running,
            pid: seen.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
            code: seen.exit_code.filter(|_| !running).and_then(|code| i32::try_from(code).ok()),
        })
    }

    /// The exit code of a command whose output has ended: the engine knows it a moment later. `None` where it goes on
    /// without output.
    pub async fn exec_code(&self, exec: &str) -> Result<Option<i32>, Fault> {
        for _ in 0..LOOKS {
            let seen = self.look_at_exec(exec).await?;
            if !seen.running {
                return Ok(seen.code);
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }
}
