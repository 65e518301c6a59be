//! Which server a command talks to, and with which key. In order: the address that was given; the data directory
//! that was given; the credentials file's current server; the default address; and where nothing answers on this
//! machine, the data directory used last. A data directory is reached through its server's socket, or, where no
//! server runs, opened by this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::client::{Client, Key, Transport, Trust};
use crate::credentials::Credentials;
use crate::errors::{Code, Failure};
use crate::files;
use crate::last::LastUsed;
use crate::offline;
use crate::output::Ui;

/// Where a server listens when nobody said otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How long an address on this machine gets to accept a connection before the next one is tried.
const PROBE: Duration = Duration::from_secs(2);

/// The flags that name a server. The environment is read here, not by clap: a flag must win over any variable,
/// also over one that ranks higher among variables.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// The server's address [env: RUNYARD_URL]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data", help_heading = "Global options")]
    pub url: Option<String>,
    /// The API key [env: RUNYARD_API_KEY]
    #[arg(long, global = true, value_name = "KEY", help_heading = "Global options")]
    pub key: Option<String>,
    /// A data directory on this machine, in place of an address [env: RUNYARD_DATA]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub data: Option<PathBuf>,
    /// A file with the certificate authorities to trust at an https address [env: RUNYARD_CACERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub cacert: Option<PathBuf>,
}

impl TargetArgs {
    /// Finds the server; a data directory without one is opened by this process.
    pub async fn resolve(&self, ui: Ui) -> anyhow::Result<Client> {
        self.find(Some(ui)).await
    }

    /// Finds the server if one runs, and says nothing.
    pub async fn running(&self) -> Option<Client> {
        self.find(None).await.ok()
    }

    /// A key for the server at `url` that does not end with it: the one that was given, else the one that is kept.
    pub fn lasting_key(&self, url: &str) -> anyhow::Result<Option<String>> {
        let key = match self.own_key() {
            Some(key) => Some(key),
            None => stored_key(&Credentials::load()?, url),
        };
        Ok(key.map(|key| key.value))
    }

    /// Whom to believe at an `https:` address.
    pub fn trust(&self) -> Trust {
        let named = || variable("RUNYARD_CACERT").map(PathBuf::from);
        Trust { authorities: self.cacert.clone().or_else(named) }
    }

    async fn find(&self, offline: Option<Ui>) -> anyhow::Result<Client> {
        match self.named() {
            Some(Named::Url(url)) => {
                let key = match self.key_at_hand() {
                    Some(key) => Some(key),
                    None => stored_key(&Credentials::load()?, &url).or_else(|| owner_key(&url)),
                };
                Ok(Client::http(&url, key, &self.trust())?)
            }
            Some(Named::Data(dir)) => open_data(&absolute(&dir)?, offline).await,
            None => self.remembered(offline).await,
        }
    }

    fn named(&self) -> Option<Named> {
        let url = |u: String| Named::Url(u);
        let data = |d: PathBuf| Named::Data(d);
        (self.url.clone().map(url))
            .or_else(|| self.data.clone().map(data))
            .or_else(|| variable("RUNYARD_URL").map(url))
            .or_else(|| variable("RUNYARD_DATA").map(|d| data(d.into())))
    }

    /// The key for a server that was named: what the flags and the environment say.
    fn key_at_hand(&self) -> Option<Key> {
        self.own_key().or_else(|| key_from("RUNPOD_API_KEY"))
    }

    fn own_key(&self) -> Option<Key> {
        let flag = self.key.clone().map(|value| Key { value, source: "--key".to_owned() });
        flag.or_else(|| key_from("RUNYARD_API_KEY")).or_else(|| key_from("RUNYARD_TOKEN"))
    }

    /// No server was named. Here a stored key wins over `RUNPOD_API_KEY`, which many have for RunPod itself.
    async fn remembered(&self, offline: Option<Ui>) -> anyhow::Result<Client> {
        let credentials = Credentials::load()?;
        let url = credentials.current.clone().unwrap_or_else(|| DEFAULT_URL.to_owned());
        // Its certificate names what others call it.
        if url.starts_with("https:")
            && is_this_machine(&url)
            && self.trust().authorities.is_none()
            && let Some(last) = LastUsed::load().filter(|last| last.url.as_deref() == Some(&url))
            && let Ok(client) = open_data(&last.data, None).await
        {
            return Ok(client);
        }
        let key = self
            .own_key()
            .or_else(|| stored_key(&credentials, &url))
            .or_else(|| owner_key(&url))
            .or_else(|| key_from("RUNPOD_API_KEY"));
        let client = Client::http(&url, key, &self.trust())?;
        if !is_this_machine(&url) || client.answers(PROBE).await {
            return Ok(client);
        }
        match LastUsed::load() {
            Some(last) if last.data.is_dir() => open_data(&last.data, offline).await,
            _ => Ok(client),
        }
    }
}

enum Named {
    Url(String),
    Data(PathBuf),
}

async fn open_data(dir: &Path, offline: Option<Ui>) -> anyhow::Result<Client> {
    if !dir.is_dir() {
        let text = format!("there is no data directory at {}", dir.display());
        return Err(Failure::new(Code::NotFound, text).into());
    }
    let socket = Transport::Unix(server_socket(dir));
    if socket.answers(PROBE).await {
        let key = files::read_optional(&runyard_runtime::Paths::new(dir).owner_key()).ok().flatten();
        let key = key.map(|value| Key { value, source: "the data directory".to_owned() });
        return Ok(Client::local(socket, format!("the server of {}", dir.display())).with_key(key));
    }
    let Some(ui) = offline else {
        return Err(Failure::new(Code::NotFound, format!("no server of {} is running", dir.display())).into());
    };
    let router = offline::open_offline(dir).await?;
    ui.note(&format!("no server is running; reading {} directly", dir.display()));
    Ok(Client::local(Transport::InProcess(router), dir.display().to_string()))
}

/// Where the server of the data directory `dir` listens for the same user's commands.
fn server_socket(dir: &Path) -> PathBuf {
    runyard_runtime::Paths::new(dir).server_socket()
}

fn stored_key(credentials: &Credentials, url: &str) -> Option<Key> {
    let value = credentials.key(url)?.to_owned();
    Some(Key { value, source: "the credentials file".to_owned() })
}

/// The key of a server that this user started here last: it lies in its data directory while it runs.
fn owner_key(url: &str) -> Option<Key> {
    let last = LastUsed::load().filter(|last| last.url.as_deref() == Some(url.trim_end_matches('/')))?;
    let value = files::read_optional(&runyard_runtime::Paths::new(last.data).owner_key()).ok()??;
    Some(Key { value, source: "the data directory".to_owned() })
}

fn key_from(name: &str) -> Option<Key> {
    Some(Key { value: variable(name)?, source: name.to_owned() })
}

/// An environment variable; an empty one counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

fn absolute(dir: &Path) -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    std::path::absolute(dir).with_context(|| format!("cannot tell where {} is", dir.display()))
}

fn is_this_machine(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for here in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://127.9.9.9"] {
            assert!(is_this_machine(here), "{here}");
        }
        for there in ["http://gpu.lan:8080", "http://10.0.0.1", "http://127.0.0.1.example.com"] {
            assert!(!is_this_machine(there), "{there}");
        }
    }
}
