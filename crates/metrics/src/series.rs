//! Every series, named once: how the API and Prometheus call it, whose it is, its kind, its unit, its labels, and what it
//! says. `docs/metrics.md` is held against this table.

use serde::{Deserialize, Serialize};

/// Whose a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// An endpoint's.
    Endpoint,
    /// A worker's.
    Worker,
    /// A GPU's.
    Gpu,
    /// The server's.
    Server,
}

/// What a series is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that only rises.
    Counter,
    /// A level that rises and falls.
    Gauge,
    /// Durations by size.
    Histogram,
}

/// What a series is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share of all, from 0 to 1.
    Ratio,
    /// Processors.
    Cores,
    /// Watts.
    Watts,
    /// Degrees Celsius.
    Celsius,
}

impl Of {
    /// `endpoint`, `worker`, `gpu`, `server`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Worker => "worker",
            Self::Gpu => "gpu",
            Self::Server => "server",
        }
    }
}

impl Kind {
    /// `counter`, `gauge`, `histogram`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Unit {
    /// The word that the name of a family ends with, empty for things.
    pub fn word(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Cores => "cores",
            Self::Watts => "watts",
            Self::Celsius => "celsius",
        }
    }
}

/// One series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Which.
    pub key: Key,
    /// How the API calls it.
    pub name: &'static str,
    /// Whose it is.
    pub of: Of,
    /// What it is made of.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// How Prometheus calls the family that it is of; empty where it is the sum of others there.
    pub family: &'static str,
    /// The labels that tell it from others of its family.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it says.
    pub help: &'static str,
}

macro_rules! series {
    ($($key:ident $name:literal: $of:ident $kind:ident $unit:ident $family:literal $labels:expr, $help:literal;)*) => {
        /// The name of a series in code, and in what the store keeps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Key {
            $(#[doc = $help] #[serde(rename = $name)] $key,)*
            /// Of another version.
            #[serde(other)]
            Unknown,
        }

        /// All of them; those of one family stand together.
        pub const ALL: &[Series] = &[$(Series {
            key: Key::$key,
            name: $name,
            of: Of::$of,
            kind: Kind::$kind,
            unit: Unit::$unit,
            family: $family,
            labels: &$labels,
            help: $help,
        },)*];
    };
}

series! {
    JobsSubmitted "jobs_submitted": Endpoint Counter Count "runyard_jobs_submitted_total" [],
        "Jobs that were accepted";
    JobsCompleted "jobs_completed": Endpoint Counter Count "runyard_jobs_ended_total" [("outcome", "completed")],
        "Jobs that ended with a result";
    JobsFailed "jobs_failed": Endpoint Counter Count "runyard_jobs_ended_total" [("outcome", "failed")],
        "Jobs that ended with an error";
    JobsTimedOut "jobs_timed_out": Endpoint Counter Count "runyard_jobs_ended_total" [("outcome", "timed_out")],
        "Jobs that a time limit ended";
    JobsCancelled "jobs_cancelled": Endpoint Counter Count "runyard_jobs_ended_total" [("outcome", "cancelled")],
        "Jobs that somebody cancelled";
    JobsRetried "jobs_retried": Endpoint Counter Count "runyard_jobs_retried_total" [],
        "Jobs that went back to the queue after a lost worker, or by hand";
    Delay "delay": Endpoint Histogram Seconds "runyard_job_delay_seconds" [],
        "How long jobs that ended had waited in the queue";
    Execution "execution": Endpoint Histogram Seconds "runyard_job_execution_seconds" [],
        "How long the last attempt of jobs that ended took";
    InputBytes "input_bytes": Endpoint Counter Bytes "runyard_job_input_bytes_total" [],
        "Bytes of the inputs of jobs that were accepted";
    OutputBytes "output_bytes": Endpoint Counter Bytes "runyard_job_output_bytes_total" [],
        "Bytes of what workers answered, with the parts of streams";
    QueueWaiting "queue_waiting": Endpoint Gauge Count "runyard_queue_jobs" [],
        "Jobs that wait";
    QueueOldest "queue_oldest_wait": Endpoint Gauge Seconds "runyard_queue_oldest_wait_seconds" [],
        "How long the oldest of them has waited";
    JobsRunning "jobs_running": Endpoint Gauge Count "runyard_jobs_running" [],
        "Jobs that run";
    ConcurrencyUse "concurrency_use": Endpoint Gauge Ratio "runyard_concurrency_use_ratio" [],
        "Jobs that run, of those that may at once: workers_max times concurrency";
    StartsReady "starts_ready": Endpoint Counter Count "runyard_worker_starts_total" [("result", "ready")],
        "Workers that were started and asked for a job";
    StartsFailed "starts_failed": Endpoint Counter Count "runyard_worker_starts_total" [("result", "failed")],
        "Workers that ended before they asked for a job";
    Start "start": Endpoint Histogram Seconds "" [],
        "From the decision to start a worker to its first question for a job, at any level";
    StartCold "start_cold": Endpoint Histogram Seconds "runyard_worker_start_seconds" [("level", "cold")],
        "The same of workers whose image had to be pulled";
    StartPrepared "start_prepared": Endpoint Histogram Seconds "runyard_worker_start_seconds" [("level", "prepared")],
        "The same of workers whose image or environment was there";
    StartImage "start_image": Endpoint Histogram Seconds "runyard_worker_start_phase_seconds" [("phase", "image")],
        "The part of a container's start in which its image was looked for, and pulled where it was not there";
    StartLaunch "start_launch": Endpoint Histogram Seconds "runyard_worker_start_phase_seconds" [("phase", "launch")],
        "The part of a start in which the container or the process was made";
    StartLoad "start_load": Endpoint Histogram Seconds "runyard_worker_start_phase_seconds" [("phase", "load")],
        "The part of a start in which the process loaded its code and its models";
    WorkersStopped "workers_stopped": Endpoint Counter Count "runyard_worker_ends_total" [("how", "stopped")],
        "Workers that had asked for jobs and were stopped";
    WorkersCrashed "workers_crashed": Endpoint Counter Count "runyard_worker_ends_total" [("how", "crashed")],
        "Workers that had asked for jobs and ended by themselves";
    WorkersStarting "workers_starting": Endpoint Gauge Count "runyard_workers" [("state", "starting")],
        "Workers that have not asked for a job yet";
    WorkersIdle "workers_idle": Endpoint Gauge Count "runyard_workers" [("state", "idle")],
        "Workers without a job";
    WorkersRunning "workers_running": Endpoint Gauge Count "runyard_workers" [("state", "running")],
        "Workers with a job";
    WorkersDraining "workers_draining": Endpoint Gauge Count "runyard_workers" [("state", "draining")],
        "Workers on their way out";
    WorkersThrottled "workers_throttled": Endpoint Gauge Count "runyard_workers" [("state", "throttled")],
        "1 where a worker is wanted and no GPU is free";
    WorkersUnhealthy "workers_unhealthy": Endpoint Gauge Count "runyard_workers" [("state", "unhealthy")],
        "1 where workers fail to start";
    EndpointCpu "cpu": Endpoint Gauge Cores "runyard_endpoint_cpu_cores" [],
        "Processors that the endpoint's workers use together";
    EndpointMemory "memory": Endpoint Gauge Bytes "runyard_endpoint_memory_bytes" [],
        "Memory that they hold together, less what is only cached of files";
    EndpointGpuUse "gpu_use": Endpoint Gauge Ratio "runyard_endpoint_gpu_use_ratio" [],
        "How busy the GPUs are that they hold, on average";
    EndpointGpuMemory "gpu_memory": Endpoint Gauge Bytes "runyard_endpoint_gpu_memory_bytes" [],
        "Memory in use on the GPUs that they hold";
    EndpointGpuPower "gpu_power": Endpoint Gauge Watts "runyard_endpoint_gpu_power_watts" [],
        "Power that the GPUs draw that they hold";
    WebhooksDelivered "webhooks_delivered": Endpoint Counter Count "runyard_webhook_tries_total"
        [("outcome", "delivered")],
        "Tries to deliver a webhook that the receiver took";
    WebhooksFailed "webhooks_failed": Endpoint Counter Count "runyard_webhook_tries_total" [("outcome", "failed")],
        "Tries that failed and are repeated";
    WebhooksGivenUp "webhooks_given_up": Endpoint Counter Count "runyard_webhook_tries_total"
        [("outcome", "given_up")],
        "Tries that failed and were the last";
    LogBytes "log_bytes": Endpoint Gauge Bytes "runyard_log_bytes" [],
        "What the endpoint's logs take on the disk";
    WorkerCpu "worker_cpu": Worker Gauge Cores "runyard_worker_cpu_cores" [],
        "Processors that a worker uses, its processes or its container";
    WorkerMemory "worker_memory": Worker Gauge Bytes "runyard_worker_memory_bytes" [],
        "Memory that it holds, less what is only cached of files";
    WorkerMemoryLimit "worker_memory_limit": Worker Gauge Bytes "runyard_worker_memory_limit_bytes" [],
        "Memory that it may hold, where that is bounded";
    GpuUse "device_use": Gpu Gauge Ratio "runyard_gpu_use_ratio" [],
        "The share of time in which a GPU computed";
    GpuMemoryUsed "device_memory_used": Gpu Gauge Bytes "runyard_gpu_memory_used_bytes" [],
        "Its memory in use";
    GpuMemoryTotal "device_memory_total": Gpu Gauge Bytes "runyard_gpu_memory_total_bytes" [],
        "Its memory";
    GpuPower "device_power": Gpu Gauge Watts "runyard_gpu_power_watts" [],
        "The power that it draws";
    GpuTemperature "device_temperature": Gpu Gauge Celsius "runyard_gpu_temperature_celsius" [],
        "Its temperature";
    WriterCommit "writer_commit": Server Histogram Seconds "runyard_writer_commit_seconds" [],
        "How long the store took to make a batch of changes durable";
    WriterCommands "writer_commands": Server Counter Count "runyard_writer_commands_total" [],
        "Changes that were written, many to a batch";
    ServerCpu "server_cpu": Server Gauge Cores "runyard_server_cpu_cores" [],
        "Processors that the server itself uses";
    ServerMemory "server_memory": Server Gauge Bytes "runyard_server_memory_bytes" [],
        "Memory that it holds";
    ServerFiles "server_open_files": Server Gauge Count "runyard_server_open_files" [],
        "Files and sockets that it has open";
    ServerConnections "server_connections": Server Gauge Count "runyard_server_connections" [],
        "Connections of users that are open";
    DatabaseBytes "database_bytes": Server Gauge Bytes "runyard_database_bytes" [],
        "What the database takes on the disk";
    DiskFree "disk_free": Server Gauge Bytes "runyard_disk_free_bytes" [],
        "What is free on the disk of the data directory";
    DiskFull "disk_full": Server Gauge Count "runyard_disk_full" [],
        "1 while new jobs are refused for want of room";
    LeftOut "left_out": Server Gauge Count "runyard_metrics_left_out" [],
        "Endpoints and workers that were not measured because there are too many";
}

impl Key {
    /// What is said of it; `None` of one of another version.
    pub fn series(self) -> Option<&'static Series> {
        ALL.get(self as usize)
    }
}

/// The series that the API calls so.
pub fn named(name: &str) -> Option<&'static Series> {
    ALL.iter().find(|series| series.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let names: BTreeSet<&str> = ALL.iter().map(|series| series.name).collect();
        assert_eq!(names.len(), ALL.len());
        for series in ALL {
            assert_eq!(series.key.series(), Some(series));
            let end = match series.kind {
                Kind::Counter => "_total",
                Kind::Gauge | Kind::Histogram => series.unit.word(),
            };
            let fits = series.family.starts_with("runyard_") && series.family.ends_with(end);
            assert!(fits || series.family.is_empty(), "{series:?}");
            assert!(!series.help.ends_with('.') && !series.help.contains(['\\', '\n']), "{series:?}");
        }
        assert_eq!(Key::Unknown.series(), None);
    }

    #[test]
    fn a_family_stands_together_and_is_of_one_kind() {
        let mut seen: Vec<&Series> = Vec::new();
        for series in ALL {
            let of_family = |other: &&&Series| other.family == series.family;
            if let Some(first) = seen.iter().find(of_family) {
                assert_eq!(seen.last().map(|last| last.family), Some(series.family), "{series:?}");
                assert_eq!((first.kind, first.unit, first.of), (series.kind, series.unit, series.of));
                let labels = |s: &Series| s.labels.iter().map(|(name, _)| *name).collect::<Vec<_>>();
                assert_eq!(labels(first), labels(series), "{series:?}");
            }
            seen.push(series);
        }
    }

    #[test]
    fn the_page_says_what_the_table_says() {
        let page = include_str!("../../../docs/metrics.md");
        let mut rows: BTreeSet<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        for series in ALL {
            let labels: Vec<String> =
                series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let family = match labels.as_slice() {
                [] if series.family.is_empty() => "–".to_owned(),
                [] => series.family.to_owned(),
                labels => format!("{}{{{}}}", series.family, labels.join(",")),
            };
            let family = if family == "–" { family } else { format!("`{family}`") };
            let unit = if series.unit == Unit::Count { "–" } else { series.unit.word() };
            let row = format!(
                "| `{}` | {family} | {} | {unit} | {} |",
                series.name,
                series.kind.word(),
                series.help
            );
            assert!(
                rows.remove(row.as_str()),
                "docs/metrics.md lacks this row, or says it otherwise:\n{row}"
            );
        }
        assert!(rows.is_empty(), "docs/metrics.md has rows of series that do not exist: {rows:?}");
    }
}
