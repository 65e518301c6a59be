//! What the commands that start a server share: where its data lies, its log, the note of the last use.

use std::path::{Path, PathBuf};

use runyard_server::Server;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::last::LastUsed;

/// The data directory: `--data`, `RUNYARD_DATA`, else `name` below the user's data folder.
pub fn data_dir(context: &Context, name: &str) -> anyhow::Result<(PathBuf, bool)> {
    let given = context
        .target
        .data
        .clone()
        .or_else(|| std::env::var_os("RUNYARD_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from));
    match given {
        Some(dir) => Ok((std::path::absolute(dir)?, true)),
        None => Ok((data_home()?.join(name), false)),
    }
}

/// `$XDG_DATA_HOME`, else `~/.local/share`.
fn data_home() -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("XDG_DATA_HOME").filter(|dir| dir.is_absolute()) {
        return Ok(dir);
    }
    let home = set("HOME").ok_or_else(|| {
        crate::errors::Failure::usage("neither HOME nor XDG_DATA_HOME is set")
            .hint("name a folder with --data DIR")
    })?;
    Ok(home.join(".local/share"))
}

/// Notes that this data directory was used last, so that other commands find it.
pub fn note_use(server: &Server) {
    let last = LastUsed { data: server.data.clone(), url: Some(server.url.clone()) };
    if let Err(error) = last.save() {
        tracing::debug!(%error, "the last use could not be noted");
    }
}

/// Sends the program's own log to stderr; `RUNYARD_LOG` sets what is kept, as `debug` or `runyard_fleet=trace`.
pub fn log_to_stderr() {
    log(EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new("info")));
}

/// The same, for a command whose terminal is the user's: only what goes wrong.
pub fn log_trouble_to_stderr() {
    log(EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new("error")));
}

fn log(filter: EnvFilter) {
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Resolves at SIGTERM or SIGINT.
pub async fn told_to_end() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// This program, which also is the agent and the launcher of workers.
pub fn this_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// Whether the address can be reached from other machines.
pub fn is_public(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A path as people write it, with `~` for their home.
pub fn short(path: &Path) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    match path.strip_prefix(&home) {
        Ok(rest) if !home.is_empty() => format!("~/{}", rest.display()),
        _ => path.display().to_string(),
    }
}
