//! `runyard token JOB`: what a page in a browser needs to follow one job.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::job_ids;
use crate::output::text;

/// Make a token that opens one job and nothing else
///
/// A page in a browser that has it can look at the job, read its stream and cancel it, for as long as the job is kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard token 3f2c91
  curl -H \"Authorization: Bearer $(runyard token $JOB)\" http://127.0.0.1:8080/v2/t2i/status/$JOB")]
pub struct Token {
    /// The job's id, or its beginning
    #[arg(value_name = "JOB")]
    job: String,
}

#[derive(Deserialize)]
struct Made {
    token: String,
}

impl Token {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let id = job_ids::resolve(&client, &self.job).await?;
        let reply = client.post(path::api(&["jobs", &id, "token"]), &json!({})).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        context.ui.line(&text::line(&reply.parse::<Made>()?.token, 400))
    }
}
