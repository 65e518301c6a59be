//! Configuration: defaults, then `server.toml` in the data directory, then the environment, then flags. Every
//! key is optional, and every value knows where it came from.

mod acme;
mod door;
mod gpu;
mod keep;
mod limits;
mod rest;
mod sign_in;

pub use acme::Acme;
pub use door::Door;
pub use keep::Keep;
pub use limits::Limits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runyard_domain::gpu::Inventory;
use runyard_domain::rates::Rate;
use runyard_manage::{ConfigValue, RestOptions, SignInOptions};
use serde::Deserialize;

use crate::ServerError;

/// What flags set; `None` leaves it to the layers below.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--public-url`.
    pub public_url: Option<String>,
    /// `--gpus`.
    pub gpus: Option<Inventory>,
    /// `--tls-cert`.
    pub tls_cert: Option<String>,
    /// `--tls-key`.
    pub tls_key: Option<String>,
    /// `--acme-domain`, with commas between them.
    pub acme_domains: Option<String>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: String,
    /// The base URL that users call; `None`: made from the address.
    pub public_url: Option<String>,
    /// How users come in.
    pub door: Door,
    /// GPUs of this machine; `None`: those that the kernel shows.
    pub gpus: Option<Inventory>,
    /// Their type, where only their number is known.
    pub gpu_name: Option<String>,
    /// The newest CUDA that the driver runs, as `12.4`; `None`: read from the driver.
    pub cuda_version: Option<String>,
    /// Where the container engine listens; `None`: at the usual places.
    pub docker_host: Option<String>,
    /// How long running jobs may take after SIGTERM, in seconds.
    pub drain_grace_s: u64,
    /// What is limited.
    pub limits: Limits,
    /// The key file, where it lies apart from the data directory.
    pub key_file: Option<PathBuf>,
    /// Disk space that is kept for results, in MiB.
    pub disk_reserve_mib: u64,
    /// What keeps its place on the disk.
    pub keep: Keep,
    /// How often a webhook is tried.
    pub webhook_tries: u32,
    /// No try begins later than this after the end of the job, in seconds.
    pub webhook_max_age_s: u64,
    /// Whether webhooks may go to private addresses.
    pub webhook_allow_private: bool,
    /// Whether Git repositories may be read from private addresses.
    pub git_allow_private: bool,
    /// Whether webhooks are signed.
    pub webhook_sign: bool,
    /// Whether programs of this machine read `/metrics` without a key.
    pub metrics_loopback: bool,
    /// Folders with entries of the catalogue.
    pub catalogue: Vec<PathBuf>,
    /// What REST v2 says of this machine, and what it allows.
    pub rest: RestOptions,
    /// How people sign in.
    pub sign_in: SignInOptions,
    /// Each value with its origin.
    pub values: Vec<ConfigValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the file's keys")]
struct File {
    listen: Option<String>,
    public_url: Option<String>,
    tls_cert: Option<String>,
    tls_key: Option<String>,
    acme_domains: Option<Vec<String>>,
    acme_email: Option<String>,
    acme_directory: Option<String>,
    trusted_proxies: Option<Vec<String>>,
    gpus: Option<Inventory>,
    gpu_name: Option<String>,
    cuda_version: Option<String>,
    docker_host: Option<String>,
    key_file: Option<String>,
    drain_grace_s: Option<u64>,
    in_flight_mib: Option<u64>,
    max_connections: Option<u64>,
    max_connections_per_address: Option<u64>,
    header_kib: Option<u64>,
    header_lines: Option<u64>,
    header_timeout_s: Option<u64>,
    keep_alive_s: Option<u64>,
    slow_timeout_s: Option<u64>,
    slow_rate: Option<u64>,
    rate_run: Option<Rate>,
    rate_runsync: Option<Rate>,
    rate_status: Option<Rate>,
    rate_cancel: Option<Rate>,
    rate_purge: Option<Rate>,
    rate_requests: Option<Rate>,
    rate_openai: Option<Rate>,
    rate_batch: Option<Rate>,
    disk_reserve_mib: Option<u64>,
    keep_releases: Option<u64>,
    keep_releases_days: Option<u64>,
    cache_mib: Option<u64>,
    logs_days: Option<u64>,
    logs_mib: Option<u64>,
    build_cache_mib: Option<u64>,
    webhook_tries: Option<u32>,
    webhook_max_age_s: Option<u64>,
    webhook_allow_private: Option<bool>,
    webhook_sign: Option<bool>,
    git_allow_private: Option<bool>,
    metrics_loopback: Option<bool>,
    catalogue: Option<Vec<String>>,
    data_center: Option<String>,
    price_gpu_hour: Option<f64>,
    price_vcpu_hour: Option<f64>,
    rest_per_minute: Option<u32>,
    rest_per_hour: Option<u32>,
    session_s: Option<u64>,
    oidc_issuer: Option<String>,
    oidc_client_id: Option<String>,
    oidc_client_secret_file: Option<String>,
    oidc_scopes: Option<String>,
    oidc_domains: Option<Vec<String>>,
    oidc_groups_claim: Option<String>,
    oidc_default_role: Option<String>,
    #[serde(default)]
    oidc_roles: BTreeMap<String, String>,
    #[serde(default)]
    images: BTreeMap<String, rest::Image>,
    #[serde(default)]
    gpu_prices: BTreeMap<String, f64>,
}

/// What a first start writes: every key, commented out, with its default.
pub const TEMPLATE: &str = include_str!("config/server.toml");

struct Layers {
    values: Vec<ConfigValue>,
}

impl Layers {
    /// The topmost layer that has a value.
    fn pick<T: std::str::FromStr + ToString + Clone>(
        &mut self,
        key: &str,
        flag: Option<T>,
        file: Option<T>,
        default: Option<T>,
    ) -> Result<Option<T>, ServerError> {
        let variable = format!("RUNYARD_{}", key.to_ascii_uppercase());
        let from_env = match std::env::var(&variable) {
            Ok(text) if !text.is_empty() => Some(text.parse().map_err(|_| ServerError::Config {
                origin: variable,
                message: format!("'{text}' is not a valid value for {key}"),
            })?),
            _ => None,
        };
        let (value, source) = match (flag, from_env, file) {
            (Some(v), _, _) => (Some(v), "flag"),
            (None, Some(v), _) => (Some(v), "environment"),
            (None, None, Some(v)) => (Some(v), "file"),
            (None, None, None) => (default, "default"),
        };
        let shown = value.as_ref().map_or_else(|| "automatic".to_owned(), ToString::to_string);
        self.values.push(ConfigValue { key: key.to_owned(), value: shown, source });
        Ok(value)
    }
}

impl Config {
    /// Reads every layer.
    pub fn load(file: &Path, flags: &Flags) -> Result<Self, ServerError> {
        let parsed = match std::fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text).map_err(|error| ServerError::Config {
                origin: file.display().to_string(),
                message: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => File::default(),
            Err(source) => {
                return Err(ServerError::File { operation: "read", path: file.to_owned(), source });
            }
        };
        let mut layers = Layers { values: Vec::new() };
        let listen =
            layers.pick("listen", flags.listen.clone(), parsed.listen.clone(), Some(default_listen()))?;
        let public_url =
            layers.pick("public_url", flags.public_url.clone(), parsed.public_url.clone(), None)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let door = Door::pick(&mut layers, &parsed, flags, folder)?;
        let gpus = layers.pick("gpus", flags.gpus.clone(), parsed.gpus.clone(), None)?;
        let gpu_name = layers.pick("gpu_name", None, parsed.gpu_name.clone(), None)?;
        let cuda_version = layers.pick("cuda_version", None, parsed.cuda_version.clone(), None)?;
        let docker_host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let docker_host = layers.pick("docker_host", None, parsed.docker_host.clone(), docker_host)?;
        let drain_grace_s = layers.pick("drain_grace_s", None, parsed.drain_grace_s, Some(30))?;
        let key_file = layers.pick("key_file", None, parsed.key_file.clone(), None)?;
        let limits = Limits::pick(&mut layers, &parsed)?;
        let reserve = layers.pick("disk_reserve_mib", None, parsed.disk_reserve_mib, Some(64))?;
        let keep = Keep::pick(&mut layers, &parsed)?;
        let tries = layers.pick("webhook_tries", None, parsed.webhook_tries, Some(3))?.unwrap_or(3);
        let max_age_s = layers.pick("webhook_max_age_s", None, parsed.webhook_max_age_s, Some(DAY_S))?;
        let allow_private =
            layers.pick("webhook_allow_private", None, parsed.webhook_allow_private, Some(false))?;
        let sign = layers.pick("webhook_sign", None, parsed.webhook_sign, Some(true))?;
        let git_private = layers.pick("git_allow_private", None, parsed.git_allow_private, Some(false))?;
        let near = layers.pick("metrics_loopback", None, parsed.metrics_loopback, Some(true))?;
        let folders = parsed.catalogue.as_ref().map(|folders| folders.join(":"));
        let catalogue = layers.pick("catalogue", None, folders, Some(String::new()))?.unwrap_or_default();
        let rest = rest::pick(&mut layers, &parsed)?;
        let sign_in = sign_in::pick(&mut layers, &parsed, folder)?;
        let max_age_s = max_age_s.unwrap_or(DAY_S);
        between("drain_grace_s", drain_grace_s.unwrap_or(30), 0, DAY_S)?;
        within("webhook_tries", u64::from(tries), 100)?;
        within("webhook_max_age_s", max_age_s, DAY_S)?;
        Ok(Self {
            webhook_tries: tries,
            webhook_max_age_s: max_age_s,
            webhook_allow_private: allow_private.unwrap_or(false),
            git_allow_private: git_private.unwrap_or(false),
            metrics_loopback: near.unwrap_or(true),
            webhook_sign: sign.unwrap_or(true),
            listen: listen.unwrap_or_else(default_listen),
            public_url,
            door,
            gpus,
            gpu_name,
            cuda_version,
            docker_host,
            key_file: key_file.map(PathBuf::from),
            drain_grace_s: drain_grace_s.unwrap_or(30),
            limits,
            disk_reserve_mib: reserve.unwrap_or(64).min(1 << 20),
            keep,
            // A relative path counts from where the file lies.
            catalogue: catalogue
                .split(':')
                .filter(|path| !path.is_empty())
                .map(|path| folder.join(path))
                .collect(),
            rest,
            sign_in,
            values: layers.values,
        })
    }
}

/// The longest time that a webhook is tried for, and that a server which ends waits for running jobs.
const DAY_S: u64 = 86_400;

fn within(key: &str, value: u64, most: u64) -> Result<(), ServerError> {
    between(key, value, 1, most)
}

fn between(key: &str, value: u64, least: u64, most: u64) -> Result<(), ServerError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let message = format!("{key} is {value}; it must be {least} to {most}");
    Err(wrong(message))
}

/// A value that cannot be, wherever it was set.
fn wrong(message: String) -> ServerError {
    ServerError::Config { origin: "configuration".to_owned(), message }
}

/// Where a server listens unless told otherwise.
pub fn default_listen() -> String {
    "127.0.0.1:8080".to_owned()
}

pub use gpu::count_gpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\ngpus = 2\n").expect("written");
        let flags = Flags { gpus: Some(Inventory::Count(3)), ..Flags::default() };
        let config = Config::load(&file, &flags).expect("valid");
        assert_eq!((config.listen.as_str(), config.gpus.clone()), ("127.0.0.1:1", Some(Inventory::Count(3))));
        let source = |key: &str| config.values.iter().find(|v| v.key == key).map(|v| v.source);
        assert_eq!(source("listen"), Some("file"));
        assert_eq!(source("gpus"), Some("flag"));
        assert_eq!(source("drain_grace_s"), Some("default"));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, "lissen = \"127.0.0.1:1\"\n").expect("written");
        let error = Config::load(&file, &Flags::default()).expect_err("a typo").to_string();
        assert!(error.contains("lissen"), "{error}");
    }

    #[test]
    fn durations_have_bounds() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        for (text, wrong) in [
            ("webhook_tries = 20\nwebhook_sign = false", ""),
            ("webhook_tries = 0", "webhook_tries is 0"),
            ("webhook_max_age_s = 86401", "webhook_max_age_s is 86401"),
            ("drain_grace_s = 86401", "drain_grace_s is 86401; it must be 0 to 86400"),
        ] {
            std::fs::write(&file, text).expect("written");
            match Config::load(&file, &Flags::default()) {
                Ok(config) => assert_eq!((wrong, config.webhook_tries, config.webhook_sign), ("", 20, false)),
                Err(error) => assert!(!wrong.is_empty() && error.to_string().contains(wrong), "{error}"),
            }
        }
    }

    #[test]
    fn the_template_is_all_comments_and_valid_without_them() {
        let parsed: File = toml::from_str(TEMPLATE).expect("comments only");
        assert!(parsed.listen.is_none());
        let bare = TEMPLATE.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains("RUNYARD") => rest,
            _ => "",
        });
        let parsed: File = toml::from_str(&bare.collect::<Vec<_>>().join("\n")).expect("every key is known");
        assert_eq!(parsed.drain_grace_s, Some(30));
        assert_eq!((parsed.webhook_tries, parsed.webhook_sign), (Some(3), Some(true)));
    }
}
