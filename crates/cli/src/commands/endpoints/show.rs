//! `runyard endpoints show NAME`.

use clap::Args;
use runyard_domain::image::Container;
use runyard_project::Bytes;

use crate::client::{Reply, path};
use crate::commands::endpoints::{list, tone};
use crate::commands::releases::under_way;
use crate::context::Context;
use crate::output::{Facts, text, time};
use crate::views::{Endpoint, Settings};

/// Show one endpoint: its state, counts and settings
#[derive(Debug, Args)]
pub struct Show {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
}

impl Show {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reply = context.client().await?.get(path::api(&["endpoints", &self.endpoint])).await?;
        print(&reply, context)
    }
}

/// Prints an endpoint that the server answered with.
pub fn print(reply: &Reply, context: &Context) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.json {
        return ui.document(&reply.text);
    }
    let endpoint: Endpoint = reply.parse()?;
    let state = ui.out.tone(&text::line(&endpoint.state, 40), tone(&endpoint.state));
    let head = format!("endpoint {} · {state}\n", text::line(&endpoint.name, 80));
    ui.write(&format!("{head}{}", facts(&endpoint, time::now_ms()).render(ui.out)))
}

fn facts(endpoint: &Endpoint, now: i64) -> Facts {
    let mut facts = Facts::default();
    let jobs = &endpoint.jobs;
    facts.add("remark", endpoint.state_message.as_deref().unwrap_or_default());
    facts.add("id", &endpoint.id);
    facts.add("url", endpoint.url.as_deref().unwrap_or_default());
    facts.add("created", format!("{} ago", time::age(endpoint.created_at, now)));
    facts.add("release", endpoint.serving.map_or("none yet".to_owned(), |n| format!("#{n}")));
    facts.add("rollout", under_way(&endpoint.rollout, now).unwrap_or_default());
    facts.add("workers", list::workers(endpoint));
    facts.add(
        "jobs",
        format!(
            "{} waiting, {} running, {} completed, {} failed, {} cancelled, {} retried",
            jobs.waiting, jobs.running, jobs.completed, jobs.failed, jobs.cancelled, jobs.retried
        ),
    );
    settings(&mut facts, &endpoint.settings);
    facts
}

/// What its containers get, as far as anything was said.
fn container(facts: &mut Facts, container: &Container) {
    let said = |n: u32, shown: String| if n == 0 { String::new() } else { shown };
    let mib = |n: u32| said(n, Bytes::typed(u64::from(n) << 20));
    facts.add("--cpus", said(container.cpu_millis, (f64::from(container.cpu_millis) / 1_000.0).to_string()));
    facts.add("--memory", mib(container.memory_mib));
    facts.add("--pids", said(container.pids, container.pids.to_string()));
    facts.add("--shm", mib(container.shm_mib));
    let volumes: Vec<String> = container.volumes.iter().map(ToString::to_string).collect();
    facts.add("--volume", volumes.join(", "));
    facts.add("--registry", &container.registry);
}

/// The settings, each named as the flag that sets it.
fn settings(facts: &mut Facts, settings: &Settings) {
    let seconds = |s: u32| time::exact(i64::from(s) * 1_000);
    let limit = |ms: i64| if ms == 0 { "none".to_owned() } else { time::exact(ms) };
    facts.add("--min", settings.workers_min.to_string());
    facts.add("--max", settings.workers_max.to_string());
    facts.add("--idle", seconds(settings.idle_timeout_s));
    facts.add("--scaler", settings.scaler.kind.to_lowercase().replace('_', "-"));
    facts.add("--scaler-value", settings.scaler.value.to_string());
    facts.add("--execution-timeout", limit(settings.execution_timeout_ms));
    facts.add("--ttl", limit(settings.ttl_ms));
    facts.add("--start-timeout", seconds(settings.start_timeout_s));
    facts.add("--requeues", settings.requeues.to_string());
    facts.add("--retention", limit(settings.retention_ms));
    facts.add(
        "--queue-limit",
        if settings.queue_limit == 0 { "none".to_owned() } else { settings.queue_limit.to_string() },
    );
    facts.add("--rate", settings.rates.to_string());
    facts.add("--concurrency", settings.concurrency.to_string());
    facts.add("--prefetch", &settings.prefetch);
    facts.add("--gpus", settings.gpus.to_string());
    facts.add("--flashboot", &settings.flash_boot);
    let size = |bytes: u64| if bytes == 0 { "the server's".to_owned() } else { Bytes::typed(bytes) };
    facts.add("--max-input", size(settings.input_limit_bytes));
    facts.add("--max-output", size(settings.output_limit_bytes));
    facts.add("--cors", if settings.cors.is_empty() { "none".to_owned() } else { settings.cors.join(", ") });
    facts.add("--stop-grace", time::exact(settings.stop_grace_ms));
    facts.add("--replace-grace", time::exact(settings.replace_grace_ms));
    facts.add("--network-volume", settings.network_volume.as_deref().unwrap_or_default());
    container(facts, &settings.container);
    let rollout = &settings.rollout;
    facts.add("--surge", rollout.surge.to_string());
    facts.add("--max-unavailable", rollout.max_unavailable.to_string());
    facts.add("--watch", limit(rollout.watch_ms));
    facts.add("--failed-starts", rollout.failed_starts.to_string());
    facts.add("--error-margin", rollout.error_margin.to_string());
    facts.add("--error-jobs", rollout.error_jobs.to_string());
    facts.add("--canary-for", limit(rollout.canary_ms));
    facts.add("--canary-jobs", rollout.canary_jobs.to_string());
}
