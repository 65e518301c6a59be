//! The server under test: the release binary in a scratch data directory, one endpoint with stub workers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::http::Client;

/// The key that the server is given.
pub const KEY: &str = "ry_bench_key_that_is_long_enough";

/// The endpoint with the stub workers.
pub const ENDPOINT: &str = "bench";

/// A server that runs.
pub struct Server {
    /// Its host and port.
    pub host: String,
    /// From start to the first answer.
    pub ready_ms: f64,
    child: Child,
    data: tempfile::TempDir,
}

fn binary() -> anyhow::Result<PathBuf> {
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
    /// Starts it and deploys the stub workers.
    pub async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let began = Instant::now();
        let child = command(data.path())?
            .args(["up", "--listen", &host])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut server = Self { host, ready_ms: 0.0, child, data };
        server.until_ready(began).await?;
        server.ready_ms = began.elapsed().as_secs_f64() * 1000.0;
        server.deploy().await?;
        Ok(server)
    }

    async fn until_ready(&mut self, began: Instant) -> anyhow::Result<()> {
        while began.elapsed() < Duration::from_secs(20) {
            if let Ok(mut client) = Client::connect(&self.host).await
                && client.send("GET", "/api/v1/info", &auth(), b"").await.is_ok()
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the server was not ready within 20 s")
    }

    async fn deploy(&self) -> anyhow::Result<()> {
        let folder = self.data.path().join("handler");
        std::fs::create_dir_all(&folder)?;
        let own = std::env::current_exe()?;
        let text = format!("import os\nos.execv({0:?}, [{0:?}, \"worker\"])\n", own.display().to_string());
        std::fs::write(folder.join("handler.py"), text)?;
        let output = command(self.data.path())?
            .args(["deploy", &folder.display().to_string(), "--name", ENDPOINT, "--handler", "handler.py"])
            .args(["--min", "1", "--max", "1", "--idle", "3600", "--url", &format!("http://{}", self.host)])
            .output()
            .await
            .context("runyard deploy")?;
        if !output.status.success() {
            bail!("the stub workers were not deployed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Resident memory of the server's process in MiB.
    pub fn resident_mib(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id().unwrap_or(0));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }

    /// Ends the server, its agent and the workers.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        let data = self.data.path().display().to_string();
        let _ = Command::new("pkill").args(["-TERM", "-f", &format!("agent --data {data}")]).status().await;
    }
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
