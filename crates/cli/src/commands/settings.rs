//! The flags that set an endpoint's settings, the same for `deploy`, `endpoints create` and `endpoints set`. Only
//! what was given is sent; the server checks the bounds.

mod payloads;
mod rollout;
#[cfg(test)]
mod table;

use clap::{Args, ValueEnum};
use runyard_domain::Gpus;
use runyard_domain::rates::{Group, Rate};
use serde_json::{Map, Value, json};

use crate::client::{Client, path};
use crate::commands::container::ContainerArgs;
use crate::commands::logs::Level;
use crate::errors::Failure;
use crate::output::time;
use crate::views::Endpoint;

use payloads::PayloadArgs;
use rollout::RolloutArgs;

/// When workers are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScalerKind {
    // Plain comments: they would become paragraphs in the help.
    // When a job has waited for some seconds.
    QueueDelay,
    // So that each worker has so many jobs.
    RequestCount,
}

/// Whether workers get lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrefetchKind {
    // Where jobs are short and many wait.
    Auto,
    // One by one, always.
    Off,
}

/// How readily idle workers give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlashBootKind {
    // First of all.
    Off,
    // By how long they have been idle.
    On,
    // Last of all.
    Priority,
}

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Workers that are always kept
    #[arg(long, value_name = "N")]
    min: Option<u32>,
    /// The most workers there may be; 0 stops the endpoint
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Stop a worker that had no job for so long: 5s, 1m
    #[arg(long, value_name = "DURATION", value_parser = time::whole_seconds)]
    idle: Option<u32>,
    /// When to add workers
    #[arg(long, value_enum)]
    scaler: Option<ScalerKind>,
    /// Seconds of waiting (queue-delay) or jobs per worker (request-count)
    #[arg(long, value_name = "N", value_parser = scaler_value)]
    scaler_value: Option<f64>,
    /// The longest a handler may run: 10m, 600s; a plain number is in milliseconds, 0 means no limit
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    execution_timeout: Option<i64>,
    /// The longest a job may wait and run together: 1h, 1d
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    ttl: Option<i64>,
    /// How long a worker may take until it asks for its first job: 7m
    #[arg(long, value_name = "DURATION", value_parser = time::whole_seconds)]
    start_timeout: Option<u32>,
    /// How often a job is queued again after its worker was lost
    #[arg(long, value_name = "N")]
    requeues: Option<u32>,
    /// How long finished jobs are kept: 24h, 7d
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    retention: Option<i64>,
    /// The most jobs that may wait; 0 means no limit
    #[arg(long, value_name = "N")]
    queue_limit: Option<u32>,
    /// How often one key may call: calls in 10 s / at once, as run=1000/200; 'off', or 'default'; may be repeated
    #[arg(long, value_name = "GROUP=RATE", value_parser = rate)]
    rate: Vec<(Group, Option<Rate>)>,
    /// Jobs that one worker is expected to run at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Hand short jobs to a worker in lists where many wait (auto), or always one by one (off)
    #[arg(long, value_enum)]
    prefetch: Option<PrefetchKind>,
    /// GPUs of each worker: 2, none, any, 24GB, rtx4090, 2x24GB, ADA_24; several, most wanted first: h100,a100,-l4
    #[arg(long, value_name = "GPUS")]
    gpus: Option<Gpus>,
    /// Whose idle workers give their GPUs to other endpoints first: 'off', then 'on', then 'priority'
    #[arg(long, value_enum)]
    flashboot: Option<FlashBootKind>,
    /// After a job was stopped, how long its worker may go on before it is replaced: 3s
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    stop_grace: Option<i64>,
    /// Where a worker is replaced to stop one job, how long its other jobs may still run: 10s
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    replace_grace: Option<i64>,
    /// The id of the network volume that workers see; 'none' takes it away
    #[arg(long, value_name = "ID")]
    network_volume: Option<String>,
    #[command(flatten)]
    payloads: PayloadArgs,
    /// Which lines of its logs are shown where no level is asked for; all are kept
    #[arg(long, value_enum)]
    log_level: Option<Level>,
    /// How long the log of a worker is kept after its end: 1h, 14d
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    log_retention: Option<i64>,
    #[command(flatten)]
    rollout: RolloutArgs,
    #[command(flatten)]
    container: ContainerArgs,
}

impl FlashBootKind {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Priority => "priority",
        }
    }
}

impl PrefetchKind {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}

impl SettingsArgs {
    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.plain().is_empty() && self.scaler.is_none() && self.scaler_value.is_none()
    }

    /// The settings as the API takes them. Where only half of the scaler was given, the other half is what the
    /// endpoint has, if it is there yet.
    pub async fn resolve(&self, client: &Client, endpoint: &str) -> anyhow::Result<Value> {
        let mut settings = self.plain();
        if self.scaler.is_some() || self.scaler_value.is_some() {
            let kind = match self.scaler {
                Some(kind) => kind,
                None => current_kind(client, endpoint).await?,
            };
            settings.insert("scaler".to_owned(), scaler(kind, self.scaler_value)?);
        }
        Ok(Value::Object(settings))
    }

    fn plain(&self) -> Map<String, Value> {
        let given = [
            ("workers_min", self.min.map(Value::from)),
            ("workers_max", self.max.map(Value::from)),
            ("idle_timeout_s", self.idle.map(Value::from)),
            ("execution_timeout_ms", self.execution_timeout.map(Value::from)),
            ("ttl_ms", self.ttl.map(Value::from)),
            ("start_timeout_s", self.start_timeout.map(Value::from)),
            ("requeues", self.requeues.map(Value::from)),
            ("retention_ms", self.retention.map(Value::from)),
            ("queue_limit", self.queue_limit.map(Value::from)),
            ("rates", (!self.rate.is_empty()).then(|| rates(&self.rate))),
            ("concurrency", self.concurrency.map(Value::from)),
            ("prefetch", self.prefetch.map(|kind| Value::from(kind.word()))),
            ("gpus", self.gpus.as_ref().map(|gpus| json!(gpus))),
            ("flash_boot", self.flashboot.map(|kind| Value::from(kind.word()))),
            ("stop_grace_ms", self.stop_grace.map(Value::from)),
            ("replace_grace_ms", self.replace_grace.map(Value::from)),
            ("network_volume", self.network_volume.as_ref().map(|id| volume(id))),
            ("log_level", self.log_level.map(|level| Value::from(level.word()))),
            ("log_retention_ms", self.log_retention.map(Value::from)),
            ("rollout", self.rollout.value()),
            ("container", self.container.given()),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.chain(self.payloads.given()).collect()
    }
}

/// A network volume's id, or none.
fn volume(id: &str) -> Value {
    if id == "none" { Value::Null } else { id.into() }
}

async fn current_kind(client: &Client, endpoint: &str) -> anyhow::Result<ScalerKind> {
    match client.get(path::api(&["endpoints", endpoint])).await {
        Ok(reply) if reply.parse::<Endpoint>()?.settings.scaler.kind == "REQUEST_COUNT" => {
            Ok(ScalerKind::RequestCount)
        }
        Ok(_) => Ok(ScalerKind::QueueDelay),
        Err(e) if e.is_not_found() => Ok(ScalerKind::QueueDelay),
        Err(e) => Err(e.into()),
    }
}

/// RunPod's default is 4 for both kinds.
fn scaler(kind: ScalerKind, value: Option<f64>) -> Result<Value, Failure> {
    let value = value.unwrap_or(4.0);
    match kind {
        ScalerKind::QueueDelay => Ok(json!({"type": "QUEUE_DELAY", "value": value})),
        ScalerKind::RequestCount if value.fract() == 0.0 => {
            Ok(json!({"type": "REQUEST_COUNT", "value": value as u32}))
        }
        ScalerKind::RequestCount => {
            Err(Failure::usage(format!("--scaler-value is {value}: request-count takes a whole number")))
        }
    }
}

/// `run=1000/200`; `None` is what holds for all endpoints.
pub fn rate(text: &str) -> Result<(Group, Option<Rate>), String> {
    let (group, rate) = text.split_once('=').ok_or("write GROUP=RATE, as in run=1000/200")?;
    let rate = if rate == "default" { None } else { Some(rate.parse()?) };
    Ok((group.parse()?, rate))
}

/// Rates as the API takes them.
pub fn rates(given: &[(Group, Option<Rate>)]) -> Value {
    let text = |rate: &Option<Rate>| rate.map_or(Value::Null, |rate| rate.to_string().into());
    Value::Object(given.iter().map(|(group, rate)| (group.to_string(), text(rate))).collect())
}

/// A number, or a duration for `queue-delay`.
fn scaler_value(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(_) => Err("it must be a number above 0".to_owned()),
        Err(_) => Ok(time::parse_ms(text, 1_000)? as f64 / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        let args = SettingsArgs { min: Some(1), execution_timeout: Some(600_000), ..SettingsArgs::default() };
        assert_eq!(Value::Object(args.plain()), json!({"workers_min": 1, "execution_timeout_ms": 600_000}));
        assert!(SettingsArgs::default().is_empty());
    }

    #[test]
    fn rates_are_groups_with_numbers() {
        let args = SettingsArgs {
            rate: vec![rate("run=1000/200").expect("valid"), rate("purge=default").expect("valid")],
            ..SettingsArgs::default()
        };
        assert_eq!(Value::Object(args.plain()), json!({"rates": {"run": "1000/200", "purge": null}}));
        for wrong in ["run", "fly=1", "run=x", "=1"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scalers_have_the_numbers_of_their_kind() {
        assert_eq!(
            scaler(ScalerKind::RequestCount, Some(8.0)),
            Ok(json!({"type": "REQUEST_COUNT", "value": 8}))
        );
        assert_eq!(scaler(ScalerKind::QueueDelay, None), Ok(json!({"type": "QUEUE_DELAY", "value": 4.0})));
        assert!(scaler(ScalerKind::RequestCount, Some(1.5)).is_err());
        assert_eq!(scaler_value("500ms"), Ok(0.5));
        assert_eq!(scaler_value("4"), Ok(4.0));
        assert!(scaler_value("-1").is_err() && scaler_value("x").is_err());
    }
}
