//! `runyard cancel JOB…`.

use clap::Args;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::job_ids;
use crate::output::text;
use crate::views::Job;

/// Cancel jobs, waiting or running
#[derive(Debug, Args)]
pub struct Cancel {
    /// The jobs' ids, or their beginnings
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

impl Cancel {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        change(context, &self.jobs, "cancel").await
    }
}

/// Cancels or retries jobs one after the other and prints what each became.
pub async fn change(context: &Context, jobs: &[String], verb: &str) -> anyhow::Result<()> {
    let client = context.client().await?;
    for job in jobs {
        let id = job_ids::resolve(&client, job).await?;
        let reply = client.post(path::api(&["jobs", &id, verb]), &json!({})).await?;
        if context.ui.json && jobs.len() == 1 {
            context.ui.document(&reply.text)?;
        } else if context.ui.json {
            context.ui.json_line(&reply.text)?;
        } else {
            let job: Job = reply.parse()?;
            context.ui.line(&format!("{}  {}", text::line(&job.id, 120), text::line(&job.status, 40)))?;
        }
    }
    Ok(())
}
