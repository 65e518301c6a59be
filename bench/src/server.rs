//! The server under test: the release binary in a scratch data directory, with the stub workers of this program
//! or workers in Python.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

use crate::http::Client;
use crate::process::{Usage, find, free_port};

/// The key that the server is given.
pub const KEY: &str = "ry_bench_key_that_is_long_enough";

/// The endpoint with the stub workers.
pub const ENDPOINT: &str = "bench";

/// How long a server may take to come up: with a full queue it reads all of it.
const READY: Duration = Duration::from_mins(5);

/// A server that runs.
pub struct Server {
    /// Its host and port.
    pub host: String,
    /// From its last start to the first answer.
    pub ready: Duration,
    child: Child,
    data: tempfile::TempDir,
}

/// The program under test: `RUNYARD_BIN`, or the one beside this.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("RUNYARD_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("runyard"))
}

/// The line that authorizes.
pub fn auth() -> String {
    format!("authorization: {KEY}\r\n")
}

impl Server {
    /// Starts it with nothing in it.
    pub async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let began = Instant::now();
        let child = spawn(data.path(), &host)?;
        let mut server = Self { host, ready: Duration::ZERO, child, data };
        server.until_ready(began).await?;
        Ok(server)
    }

    /// Ends the server's process and starts another on the same data. The agent lives on.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.end_process().await;
        let began = Instant::now();
        self.child = spawn(self.data.path(), &self.host)?;
        self.until_ready(began).await
    }

    async fn until_ready(&mut self, began: Instant) -> anyhow::Result<()> {
        while began.elapsed() < READY {
            if let Ok(mut client) = Client::connect(&self.host).await
                && client.send("GET", "/api/v1/info", &auth(), b"").await.is_ok()
            {
                self.ready = began.elapsed();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("the server was not ready within {} s", READY.as_secs())
    }

    /// Deploys the stub workers of this program.
    pub async fn deploy_stub(&self) -> anyhow::Result<()> {
        let own = std::env::current_exe()?.display().to_string();
        self.deploy(ENDPOINT, &format!("import os\nos.execv({own:?}, [{own:?}, \"worker\"])\n"), &[]).await
    }

    /// Deploys `handler` as a release of endpoint `name`, with one worker that is always there. `flags` are
    /// further ones of `runyard deploy`.
    pub async fn deploy(&self, name: &str, handler: &str, flags: &[&str]) -> anyhow::Result<()> {
        let folder = self.data.path().join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("handler.py"), handler)?;
        let output = command(self.data.path())?
            .args(["deploy", &folder.display().to_string(), "--name", name, "--handler", "handler.py"])
            .args(["--min", "1", "--max", "1", "--idle", "3600", "--url", &format!("http://{}", self.host)])
            .args(flags)
            .output()
            .await
            .context("runyard deploy")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "'{name}' was not deployed: {out}{err}");
        Ok(())
    }

    /// What the server's process uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id().unwrap_or(0))
    }

    /// The agent's process.
    pub fn agent(&self) -> Option<u32> {
        find(&["agent --data", &self.data.path().display().to_string()]).first().copied()
    }

    /// Ends the server, its agent and the workers.
    pub async fn stop(mut self) {
        let agent = self.agent();
        self.end_process().await;
        if let Some(pid) = agent {
            terminate(pid).await;
        }
    }

    async fn end_process(&mut self) {
        if let Some(pid) = self.child.id() {
            terminate(pid).await;
        }
        if tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

async fn terminate(pid: u32) {
    let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
}

fn spawn(data: &Path, host: &str) -> anyhow::Result<Child> {
    let mut command = command(data)?;
    command.args(["up", "--listen", host]).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().context("runyard up")
}

fn command(data: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .env("HOME", data)
        .env("RUNYARD_DATA", data.join("data"))
        .env("RUNYARD_API_KEY", KEY)
        .env("RUNYARD_LOG", "error")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME");
    Ok(command)
}
