//! The rows that scale with the number of clients: echo, store, submit, whole jobs, and whole jobs through Redis
//! streams. They take turns round by round, so that what else the machine does in the meantime meets all of them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tokio::task::block_in_place;

use crate::floors::EchoServer;
use crate::process::{Usage, find};
use crate::redis::Redis;
use crate::server::Server;
use crate::stats::{Run, drive};
use crate::{Plan, jobs, store, submit};

/// The rows, in the order of the table.
pub const ROWS: [&str; 5] = ["echo", "store", "submit", "jobs", "redis"];

/// Connections by which Redis' workers take jobs.
const REDIS_LANES: usize = 16;

/// What stands ready for the runs.
struct Stage {
    echo: EchoServer,
    server: Server,
    redis: Result<Redis, String>,
}

/// Every row that is wanted; the last two values are the server's start and its memory afterwards.
pub async fn run(plan: &Plan, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<Value>> {
    let server = Server::start().await.context("the server under test")?;
    let start = json!({"row": "scale-start", "residentMib": server.usage().resident_mib});
    submit::park(&server).await?;
    server.deploy_stub().await?;
    let redis = Redis::start("always").await.map_err(|error| format!("{error:#}"));
    let stage = Stage { echo: EchoServer::start().await?, server, redis };
    let mut found: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for &clients in &plan.clients {
        plan.say(&format!("{clients} clients: {}", ROWS.join(", ")));
        let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
        let mut cpu = Cpu::default();
        for round in 0..plan.rounds {
            for row in ROWS.into_iter().filter(|row| wanted(row)) {
                if let Some(run) = stage.once(plan, row, clients, round, &mut cpu).await? {
                    runs.entry(row).or_default().push(run);
                }
            }
        }
        for (row, runs) in runs {
            let jobs: usize = runs.iter().map(|run| run.micros.len()).sum();
            let mut figures = plan.samples.median(&format!("{row}.{clients}"), runs)?;
            if row == "jobs" {
                figures["cpuUsPerJob"] = cpu.per_job(jobs);
            }
            found.entry(row).or_default().insert(clients.to_string(), figures);
        }
    }
    let mut rows: Vec<Value> =
        found.into_iter().map(|(row, clients)| json!({"row": row, "clients": clients})).collect();
    if let Err(why) = &stage.redis {
        rows.push(json!({"row": "redis", "skipped": why}));
    }
    rows.push(start);
    rows.push(json!({"row": "scale-end", "residentMib": stage.server.usage().resident_mib}));
    stage.server.stop().await;
    Ok(rows)
}

impl Stage {
    async fn once(
        &self,
        plan: &Plan,
        row: &str,
        clients: usize,
        round: usize,
        cpu: &mut Cpu,
    ) -> anyhow::Result<Option<Run>> {
        let run = match row {
            "echo" => drive(plan.run / 2, self.echo.clients(clients).await?).await?,
            "store" => block_in_place(|| store::run(plan.run, clients))?,
            "submit" => {
                let run = drive(plan.run, submit::clients(&self.server, clients).await?).await?;
                submit::purge(&self.server).await?;
                run
            }
            "jobs" => {
                let before = Cpu::now(&self.server);
                let run = drive(plan.run, jobs::clients(&self.server, clients).await?).await?;
                cpu.add(&Cpu::now(&self.server), &before);
                run
            }
            _ => {
                let Ok(redis) = &self.redis else { return Ok(None) };
                let workers = redis.workers(clients.min(REDIS_LANES)).await?;
                let run = drive(plan.run, redis.clients(clients, round).await?).await?;
                drop(workers);
                run
            }
        };
        Ok(Some(run))
    }
}

/// Processor time by process: how a whole job's cost is shared.
#[derive(Debug, Default)]
struct Cpu {
    server: f64,
    agent: f64,
    workers: f64,
    load: f64,
}

impl Cpu {
    fn now(server: &Server) -> Self {
        let own = std::env::current_exe().unwrap_or_default().display().to_string();
        let workers = find(&[&format!("{own} worker")]);
        Self {
            server: server.usage().cpu_s,
            agent: server.agent().map_or(0.0, |pid| Usage::of(pid).cpu_s),
            workers: workers.into_iter().map(|pid| Usage::of(pid).cpu_s).sum(),
            load: Usage::own().cpu_s,
        }
    }

    fn add(&mut self, after: &Self, before: &Self) {
        self.server += after.server - before.server;
        self.agent += after.agent - before.agent;
        self.workers += after.workers - before.workers;
        self.load += after.load - before.load;
    }

    fn per_job(&self, jobs: usize) -> Value {
        let each = |seconds: f64| (seconds * 1e6 / jobs.max(1) as f64).round();
        json!({
            "server": each(self.server), "agent": each(self.agent),
            "workers": each(self.workers), "load": each(self.load),
        })
    }
}
