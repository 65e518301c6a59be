//! An endpoint: a scalable home for one handler, and its settings with their bounds.

use serde::{Deserialize, Serialize};

use crate::image::Container;
use crate::rollout::Withdrawn;
use crate::{
    Blueprint, EndpointId, FlashBoot, Gpus, Origin, Prefetch, Rates, Rollout, RolloutSettings, Timestamp, gpu,
};

/// When to add a worker. Sources: RunPod's endpoint settings, `scalerType` and `scalerValue`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Scaler {
    /// Add a worker for each job that has waited longer than this many seconds.
    QueueDelay(f64),
    /// `ceil((waiting + running) / value)` workers.
    RequestCount(u32),
}

/// How bad a line of a log is, the least bad first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every line.
    #[default]
    Debug,
    /// What is told in passing.
    Info,
    /// What should be looked at.
    Warn,
    /// What went wrong.
    Error,
}

/// What a user may set on an endpoint. Durations carry their unit in the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Workers that are always kept, also without jobs.
    pub workers_min: u32,
    /// The most workers there may be; 0 stops the endpoint.
    pub workers_max: u32,
    /// A worker without a job for this long is stopped. 1 to 3600 seconds.
    pub idle_timeout_s: u32,
    /// When to add a worker.
    pub scaler: Scaler,
    /// The longest a handler may run. 5 s to 7 days; 0 means no limit.
    pub execution_timeout_ms: i64,
    /// Bounds queue and run together, from submission. 10 s to 7 days.
    pub ttl_ms: i64,
    /// A worker that has not asked for a job by then has failed to start. RunPod: 7 minutes.
    pub start_timeout_s: u32,
    /// How often a job goes back to the queue after its worker was lost.
    pub requeues: u32,
    /// How long a finished job and its result are kept, from completion.
    pub retention_ms: i64,
    /// The most jobs that may wait; more are refused. 0 means no limit.
    pub queue_limit: u32,
    /// How often one key may call, where it is not what holds for all endpoints.
    pub rates: Rates,
    /// GPUs of each worker.
    pub gpus: Gpus,
    /// Which workers may be kept warm for it, and how readily they give way to others.
    pub flash_boot: FlashBoot,
    /// The largest input of a job, in bytes; 0 leaves it to the server, whose own limit holds in any case.
    pub input_limit_bytes: u64,
    /// The largest output of a job and the largest streamed value, likewise.
    pub output_limit_bytes: u64,
    /// Origins whose pages may read what its job API answers.
    pub cors: Vec<Origin>,
    /// How many jobs a worker is expected to run at once; the worker itself asks for what it wants.
    pub concurrency: u32,
    /// Whether its workers may get short jobs in lists longer than they asked for.
    pub prefetch: Prefetch,
    /// After a job was stopped, how long its worker may go on before it is replaced. Up to 10 minutes.
    pub stop_grace_ms: i64,
    /// Where a worker is replaced to stop one job: how long its other jobs may still run. Up to an hour.
    pub replace_grace_ms: i64,
    /// How releases follow each other.
    pub rollout: RolloutSettings,
    /// What its containers get, where its workers are containers.
    pub container: Container,
    /// The id of the network volume that its workers see.
    pub network_volume: Option<String>,
    /// Which lines of its logs are shown where no level is asked for. All are kept.
    pub log_level: LogLevel,
    /// How long the log of a worker is kept after its end. An hour to a year.
    pub log_retention_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers_min: 0,
            workers_max: 3,
            idle_timeout_s: 5,
            scaler: Scaler::QueueDelay(4.0),
            execution_timeout_ms: 600_000,
            ttl_ms: 86_400_000,
            start_timeout_s: 420,
            requeues: 1,
            retention_ms: 86_400_000,
            queue_limit: USUAL_QUEUE_LIMIT,
            rates: Rates::default(),
            gpus: Gpus::default(),
            flash_boot: FlashBoot::On,
            input_limit_bytes: 0,
            output_limit_bytes: 0,
            cors: vec![Origin::Any],
            concurrency: 1,
            prefetch: Prefetch::Auto,
            stop_grace_ms: 3_000,
            replace_grace_ms: 10_000,
            rollout: RolloutSettings::default(),
            container: Container::default(),
            network_volume: None,
            log_level: LogLevel::default(),
            log_retention_ms: 14 * DAY_MS,
        }
    }
}

const DAY_MS: i64 = 86_400_000;

/// The shortest time that logs are kept: who looks for why a worker ended finds it.
const LOGS_LEAST_MS: i64 = 3_600_000;

/// As deep as RunPod lets the queue of its largest endpoint become: 500 jobs for each of 1000 workers.
pub const USUAL_QUEUE_LIMIT: u32 = 500_000;

/// Seven days, the longest execution timeout and TTL.
pub const WEEK_MS: i64 = 7 * 86_400_000;

/// The longest that a stopped job may hold its worker: nobody waits for it any more.
const STOP_GRACE_MOST_MS: i64 = 600_000;

/// The longest that a worker which is to be replaced may stay for its other jobs.
const REPLACE_GRACE_MOST_MS: i64 = 3_600_000;

/// The least that inputs and outputs can be limited to, in bytes.
const LEAST_PAYLOAD: u64 = 1 << 10;

/// The most, in bytes: a GiB, above what any server takes.
const MOST_PAYLOAD: u64 = 1 << 30;

/// The most origins of an endpoint.
const MOST_ORIGINS: usize = 64;

/// A setting is out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}: it must be {allowed}")]
pub struct InvalidSetting {
    /// The field as users write it.
    pub field: &'static str,
    /// What was given.
    pub found: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Settings {
    /// Whether workers have to be replaced for another value of this setting: they are started with it. Parts of groups
    /// are `group.name`.
    pub fn replaces_workers(setting: &str) -> bool {
        setting == "gpus" || setting == "network_volume" || setting.starts_with("container.")
    }

    /// Whether pages of this origin, as browsers send it, may read answers.
    pub fn admits_origin(&self, origin: &str) -> bool {
        self.cors.iter().any(|allowed| allowed.admits(origin))
    }

    /// The smaller of a server's limit and the endpoint's own, in bytes.
    pub fn bounded(own: u64, server: usize) -> usize {
        if own == 0 { server } else { usize::try_from(own).unwrap_or(usize::MAX).min(server) }
    }

    /// Checks every bound; the first one broken is named.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let bad = |field, found: String, allowed| Err(InvalidSetting { field, found, allowed });
        if self.workers_min > self.workers_max {
            return bad("workers_min", self.workers_min.to_string(), "at most workers_max");
        }
        if self.workers_max > 1000 {
            return bad("workers_max", self.workers_max.to_string(), "0 to 1000");
        }
        if !(1..=3600).contains(&self.idle_timeout_s) {
            return bad("idle_timeout_s", self.idle_timeout_s.to_string(), "1 to 3600 seconds");
        }
        match self.scaler {
            Scaler::QueueDelay(s) if !(0.5..=3600.0).contains(&s) => {
                return bad("scaler_value", s.to_string(), "0.5 to 3600 seconds for QUEUE_DELAY");
            }
            Scaler::RequestCount(n) if !(1..=10_000).contains(&n) => {
                return bad("scaler_value", n.to_string(), "1 to 10000 requests for REQUEST_COUNT");
            }
            _ => {}
        }
        if self.execution_timeout_ms != 0 && !(5_000..=WEEK_MS).contains(&self.execution_timeout_ms) {
            return bad(
                "execution_timeout_ms",
                self.execution_timeout_ms.to_string(),
                "5000 (5 s) to 604800000 (7 days), or 0 for none",
            );
        }
        if !(10_000..=WEEK_MS).contains(&self.ttl_ms) {
            return bad("ttl_ms", self.ttl_ms.to_string(), "10000 (10 s) to 604800000 (7 days)");
        }
        if !(1..=7200).contains(&self.start_timeout_s) {
            return bad("start_timeout_s", self.start_timeout_s.to_string(), "1 to 7200 seconds");
        }
        if self.requeues > 20 {
            return bad("requeues", self.requeues.to_string(), "0 to 20");
        }
        if !(1_000..=30 * 86_400_000).contains(&self.retention_ms) {
            return bad("retention_ms", self.retention_ms.to_string(), "1000 (1 s) to 2592000000 (30 days)");
        }
        if self.gpus.count() > gpu::MOST {
            return bad("gpus", self.gpus.to_string(), "0 to 64");
        }
        let payload = |bytes: u64| bytes == 0 || (LEAST_PAYLOAD..=MOST_PAYLOAD).contains(&bytes);
        let sizes =
            [("input_limit_bytes", self.input_limit_bytes), ("output_limit_bytes", self.output_limit_bytes)];
        if let Some((field, bytes)) = sizes.into_iter().find(|(_, bytes)| !payload(*bytes)) {
            let allowed = "1024 (1 KiB) to 1073741824 (1 GiB), or 0 for the server's own";
            return bad(field, bytes.to_string(), allowed);
        }
        if self.cors.len() > MOST_ORIGINS {
            return bad("cors", format!("{} origins", self.cors.len()), "64 at most");
        }
        if !(1..=1000).contains(&self.concurrency) {
            return bad("concurrency", self.concurrency.to_string(), "1 to 1000");
        }
        if let Some(id) = self.network_volume.as_ref().filter(|id| !crate::id::is_well_formed(id)) {
            return bad("network_volume", id.clone(), "the id of a network volume");
        }
        let taken = |volume: &crate::image::Volume| volume.path == crate::image::VOLUME_PATH;
        if self.network_volume.is_some() && self.container.volumes.iter().any(taken) {
            let found = crate::image::VOLUME_PATH.to_owned();
            return bad("container.volumes", found, "another path: the network volume is there");
        }
        if let Some((field, found, allowed)) = self.container.wrong() {
            return bad(field, found, allowed);
        }
        if !(0..=STOP_GRACE_MOST_MS).contains(&self.stop_grace_ms) {
            return bad("stop_grace_ms", self.stop_grace_ms.to_string(), "0 to 600000 (10 minutes)");
        }
        if !(0..=REPLACE_GRACE_MOST_MS).contains(&self.replace_grace_ms) {
            return bad("replace_grace_ms", self.replace_grace_ms.to_string(), "0 to 3600000 (an hour)");
        }
        if !(LOGS_LEAST_MS..=365 * DAY_MS).contains(&self.log_retention_ms) {
            let allowed = "3600000 (an hour) to 31536000000 (365 days)";
            return bad("log_retention_ms", self.log_retention_ms.to_string(), allowed);
        }
        self.rollout.check()
    }
}

/// An endpoint as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Unique and stable.
    pub id: EndpointId,
    /// Unique here, settable by the user, usable wherever the id is.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the user set.
    pub settings: Settings,
    /// The release that gets traffic; `None` until the first one passed its tests.
    pub serving: Option<u32>,
    /// The release that served before, for an automatic rollback.
    pub previous: Option<u32>,
    /// When traffic moved to `serving`.
    pub promoted_at: Option<Timestamp>,
    /// The number the next release gets; numbers start at 1 and are never reused.
    pub next_release: u32,
    /// How traffic moves to another release at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Releases from which traffic was taken back, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Withdrawn>,
    /// The file that says what it shall be, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Box<Managed>>,
    /// What it was asked to be, where it was described by an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<Box<Blueprint>>,
}

/// What a file made of an endpoint when it was applied last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Managed {
    /// Where the file lies, as its user named it.
    pub by: String,
    /// When it was applied.
    pub at: Timestamp,
    /// The release that it asked for.
    pub release: Option<u32>,
    /// The settings that it asked for.
    pub settings: Settings,
    /// How its image is made, in the words of the API: what no release shows.
    pub container: serde_json::Value,
}

impl Endpoint {
    /// A new endpoint without a release.
    pub fn new(id: EndpointId, name: String, now: Timestamp, settings: Settings) -> Self {
        Self {
            id,
            name,
            created_at: now,
            settings,
            serving: None,
            previous: None,
            promoted_at: None,
            next_release: 1,
            rollout: None,
            withdrawn: Vec::new(),
            managed: None,
            blueprint: None,
        }
    }
}

/// Whether `name` can name an endpoint: 1 to 64 of `a-z 0-9 - _ .`, starting with a letter or digit, and no
/// word of the management API.
pub fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_' || b == b'.')
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !crate::id::RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_bounds() {
        Settings::default().check().expect("the defaults are valid");
    }

    #[test]
    fn each_bound_names_its_field() {
        let broken = Settings { workers_min: 4, ..Settings::default() };
        assert_eq!(broken.check().expect_err("4 > 3").field, "workers_min");
        let broken = Settings { execution_timeout_ms: 10, ..Settings::default() };
        assert_eq!(broken.check().expect_err("10 ms").field, "execution_timeout_ms");
        for ms in [-1, i64::MAX] {
            let broken = Settings { stop_grace_ms: ms, ..Settings::default() };
            assert_eq!(broken.check().expect_err("no grace").field, "stop_grace_ms");
            let broken = Settings { replace_grace_ms: ms, ..Settings::default() };
            assert_eq!(broken.check().expect_err("no grace").field, "replace_grace_ms");
        }
        let broken = Settings { output_limit_bytes: 10, ..Settings::default() };
        assert_eq!(broken.check().expect_err("10 bytes").field, "output_limit_bytes");
        let broken = Settings { gpus: 65.into(), ..Settings::default() };
        assert_eq!(broken.check().expect_err("65 GPUs").field, "gpus");
    }

    #[test]
    fn an_endpoints_limit_is_bounded_by_the_servers() {
        assert_eq!(
            (Settings::bounded(0, 10), Settings::bounded(5, 10), Settings::bounded(50, 10)),
            (10, 5, 10)
        );
    }

    #[test]
    fn reserved_words_name_no_endpoint() {
        assert!(is_valid_name("t2i"));
        for bad in ["pods", "flash", "", "A", "-x", "a/b"] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
