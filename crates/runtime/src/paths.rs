//! The layout of a data directory: one place that knows where everything lies.

use std::path::{Path, PathBuf};

/// The folders and files of one data directory.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The data directory itself, absolute.
    pub data: PathBuf,
    run: PathBuf,
}

/// The longest path a Unix socket can have on Linux, with its final zero.
const SOCKET_PATH_MAX: usize = 107;

impl Paths {
    /// The layout below `data`, which must be absolute. Sockets lie in `data/run`, or, where that path is too
    /// long for a socket, in a folder of the system's temporary directory named after the data directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        let usual = data.join("run");
        let run = if usual.join("server.sock").as_os_str().len() <= SOCKET_PATH_MAX {
            usual
        } else {
            let name = format!(
                "runyard-{}-{:016x}",
                rustix::process::getuid().as_raw(),
                fnv(data.as_os_str().as_encoded_bytes())
            );
            std::env::temp_dir().join(name)
        };
        Self { data, run }
    }

    /// Held by the one server of this directory.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }
    /// Held by the one agent of this directory.
    pub fn agent_lock(&self) -> PathBuf {
        self.run.join("agent.lock")
    }
    /// Sockets and notes about running processes; mode 0700.
    pub fn run(&self) -> &Path {
        &self.run
    }
    /// Where the server listens for the agent and for the same user's command line.
    pub fn server_socket(&self) -> PathBuf {
        self.run.join("server.sock")
    }
    /// Where the agent listens for the server.
    pub fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }
    /// What proves to agent and server that the other side is no worker; mode 0600, new with each agent.
    pub fn agent_key(&self) -> PathBuf {
        self.run.join("agent.key")
    }
    /// A key that opens everything while the server runs, for its owner's command line; mode 0600.
    pub fn owner_key(&self) -> PathBuf {
        self.run.join("owner.key")
    }
    /// What outgoing webhooks are signed with; mode 0600.
    pub fn webhook_secret(&self) -> PathBuf {
        self.data.join("webhook.secret")
    }
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.data.join("server.toml")
    }
    /// Where the last backup went, in a line; written when one was made.
    pub fn last_backup(&self) -> PathBuf {
        self.data.join("last-backup")
    }
    /// What a backup puts together, for as long as it is being made; mode 0700.
    pub fn backup(&self) -> PathBuf {
        self.data.join("backup")
    }
    /// The database's folder; mode 0700.
    pub fn db(&self) -> PathBuf {
        self.data.join("db")
    }
    /// Large payloads; mode 0700.
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }
    /// Logs of workers and builds; mode 0700.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }
    /// Room on the disk that is kept for results; mode 0600.
    pub fn reserve(&self) -> PathBuf {
        self.data.join("reserve")
    }
    /// Results that wait for the server; mode 0700.
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }
    /// Where the container engines listen that have, or may have, containers of this directory; one a line.
    pub fn engines(&self) -> PathBuf {
        self.data.join("engines")
    }
    /// Notes of images that were pulled for this directory; mode 0700.
    pub fn pulled(&self) -> PathBuf {
        self.data.join("pulled")
    }
    /// Unpacked bundles, one folder per content hash; readable by workers.
    pub fn bundles(&self) -> PathBuf {
        self.data.join("bundles")
    }
    /// Python environments, one folder per content hash; readable by workers.
    pub fn envs(&self) -> PathBuf {
        self.data.join("envs")
    }
    /// Tools the server installed for itself (uv).
    pub fn tools(&self) -> PathBuf {
        self.data.join("tools")
    }
    /// What installers keep and write while they build environments: their caches and temporary homes.
    pub fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }
    /// Working directories, one per worker, writable by that worker only.
    pub fn work(&self) -> PathBuf {
        self.data.join("work")
    }
    /// Repositories that are pushed here, and what is fetched of others for a while; mode 0700.
    pub fn git(&self) -> PathBuf {
        self.data.join("git")
    }
    /// Network volumes, one folder each, in which workers may write.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }
    /// Certificates that an authority gave this server by ACME, and the account there.
    pub fn acme(&self) -> PathBuf {
        self.data.join("acme")
    }

    /// The key that seals secrets; mode 0600.
    pub fn vault_key(&self) -> PathBuf {
        self.data.join("vault.key")
    }
    /// The note that this key is lost, in a directory that was restored without it.
    pub fn vault_lost(&self) -> PathBuf {
        self.data.join("vault.lost")
    }
}

/// A short name for a data directory, for marks and labels.
pub fn name_of(data: &Path) -> String {
    format!("{:016x}", fnv(data.as_os_str().as_encoded_bytes()))
}

/// FNV-1a: a stable name for a path, nothing more.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
