//! A deep queue: jobs that wait and nobody takes. What they cost in memory, whether a submit takes longer the
//! more wait, and how long a restart takes among them. Beside it as many entries of a Redis stream, synced always.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Plan;
use crate::process::Usage;
use crate::redis::{Redis, Resp, Submit};
use crate::server::Server;
use crate::stats::{Run, Turn};
use crate::submit;

/// Connections that submit.
const CLIENTS: usize = 64;
/// The first and the last part of the queue are compared; so is what one client alone sees before and after.
const PARTS: usize = 10;
const ALONE: Duration = Duration::from_secs(2);

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say(&format!("queue: {} jobs that wait", plan.queued));
    let mut server = Server::start().await?;
    submit::park(&server).await?;
    let mut ours = Depth::new(server.usage());
    ours.alone(plan, "queue.alone.first", submit::clients(&server, 1).await?).await?;
    for part in 0..PARTS {
        ours.fill(plan, part, "queue.part", submit::clients(&server, CLIENTS).await?).await?;
    }
    ours.alone(plan, "queue.alone.last", submit::clients(&server, 1).await?).await?;
    let mut figures = ours.figures(server.usage());
    server.restart().await?;
    figures["restartReadyMs"] = json!(server.ready.as_secs_f64() * 1000.0);
    figures["restartResidentMib"] = json!(server.usage().resident_mib);
    server.stop().await;
    let peer = redis(plan).await.unwrap_or_else(|error| json!({"skipped": format!("{error:#}")}));
    Ok(json!({"row": "queue", "jobs": plan.queued, "clients": CLIENTS, "ours": figures, "redis": peer}))
}

async fn redis(plan: &Plan) -> anyhow::Result<Value> {
    let redis = Redis::start("always").await?;
    let submitters = async |count: usize| {
        let mut made = Vec::new();
        for _ in 0..count {
            made.push(Submit(Resp::connect(&redis.host).await?));
        }
        anyhow::Ok(made)
    };
    let mut peer = Depth::new(redis.usage());
    peer.alone(plan, "queue.redis.alone.first", submitters(1).await?).await?;
    for part in 0..PARTS {
        peer.fill(plan, part, "queue.redis.part", submitters(CLIENTS).await?).await?;
    }
    peer.alone(plan, "queue.redis.alone.last", submitters(1).await?).await?;
    Ok(peer.figures(redis.usage()))
}

/// What was seen while a queue grew.
struct Depth {
    before: Usage,
    parts: Vec<Value>,
    alone: Vec<Value>,
    jobs: usize,
}

impl Depth {
    fn new(before: Usage) -> Self {
        Self { before, parts: Vec::new(), alone: Vec::new(), jobs: 0 }
    }

    /// One part of the queue, as fast as the clients get it in.
    async fn fill<T: Turn>(
        &mut self,
        plan: &Plan,
        part: usize,
        name: &str,
        clients: Vec<T>,
    ) -> anyhow::Result<()> {
        let each = plan.queued / PARTS / clients.len();
        let began = Instant::now();
        let mut tasks = Vec::new();
        for mut client in clients {
            tasks.push(tokio::spawn(async move {
                let mut micros = Vec::with_capacity(each);
                for _ in 0..each {
                    let asked = Instant::now();
                    client.turn().await?;
                    micros.push(asked.elapsed().as_micros() as u64);
                }
                anyhow::Ok(micros)
            }));
        }
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await??);
        }
        self.jobs += micros.len();
        let run = Run::new(micros, began.elapsed());
        self.parts.push(plan.samples.median(&format!("{name}.{part}"), vec![run])?);
        Ok(())
    }

    /// One client alone.
    async fn alone<T: Turn>(&mut self, plan: &Plan, name: &str, clients: Vec<T>) -> anyhow::Result<()> {
        let run = crate::stats::drive(ALONE, clients).await?;
        self.jobs += run.micros.len();
        self.alone.push(plan.samples.median(name, vec![run])?);
        Ok(())
    }

    fn figures(&self, after: Usage) -> Value {
        let grown = (after.resident_mib - self.before.resident_mib) * 1024.0 * 1024.0;
        json!({
            "jobs": self.jobs,
            "first": self.parts.first(), "last": self.parts.last(), "parts": self.parts,
            "aloneFirst": self.alone.first(), "aloneLast": self.alone.last(),
            "residentMib": {"before": self.before.resident_mib, "after": after.resident_mib},
            "bytesPerJob": (grown / self.jobs.max(1) as f64).round(),
        })
    }
}
