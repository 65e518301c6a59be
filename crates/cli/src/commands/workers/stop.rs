//! `runyard workers stop`: ends one worker.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::resolve;
use crate::client::path;
use crate::context::Context;
use crate::output::text;

/// Stop one worker once its jobs are done; another starts if it is needed
#[derive(Debug, Args)]
pub struct Stop {
    /// The worker's id, or its beginning
    #[arg(value_name = "WORKER")]
    worker: String,
    /// Kill it at once; its jobs return to the queue and have spent no attempt
    #[arg(long)]
    now: bool,
}

#[derive(Deserialize)]
struct Stopped {
    id: String,
    jobs: u64,
}

impl Stop {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let worker = resolve(&client, &self.worker).await?;
        let reply = client.post(path::api(&["workers", &worker, "stop"]), &json!({"now": self.now})).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let Stopped { id, jobs } = reply.parse()?;
        let what = match (self.now, jobs) {
            (_, 0) => "ends; it ran no job".to_owned(),
            (true, 1) => "is killed; its job returns to the queue".to_owned(),
            (true, jobs) => format!("is killed; its {jobs} jobs return to the queue"),
            (false, 1) => "ends when its job is done".to_owned(),
            (false, jobs) => format!("ends when its {jobs} jobs are done"),
        };
        context.ui.line(&format!("worker {} {what}", text::line(&id, 80)))
    }
}
