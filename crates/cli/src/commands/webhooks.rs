//! `runyard webhooks list|redeliver|secret`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::job_ids;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::{Try, Webhook};

/// See a job's webhooks, deliver one again, show the signing secret
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard webhooks list 3f2c9a1e
  runyard webhooks redeliver 3f2c9a1e
  runyard webhooks secret                  what receivers check signatures with
  runyard webhooks secret --rotate         a new one; the old one signs beside it for a day")]
pub struct Webhooks {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The deliveries of a job: one for each of its ends
    #[command(visible_alias = "ls")]
    List {
        /// The job's id, or its beginning
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Deliver a job's webhook once more, also one that was taken
    Redeliver {
        /// The job's id, or its beginning
        #[arg(value_name = "JOB")]
        job: String,
        /// A delivery's id; without, it is the last one
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Show the secret that webhooks are signed with
    Secret {
        /// Replace it; the one before it signs beside it for a day
        #[arg(long)]
        rotate: bool,
        /// Do not ask
        #[arg(short, long, requires = "rotate")]
        yes: bool,
    },
}

#[derive(Deserialize)]
struct Listed {
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
struct Secret {
    secret: Option<String>,
    replaced: Option<Replaced>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    ends_at: i64,
}

impl Webhooks {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what {
            What::List { job } => list(context, &job).await,
            What::Redeliver { job, id } => redeliver(context, &job, id).await,
            What::Secret { rotate, yes } => secret(context, rotate, yes).await,
        }
    }
}

async fn list(context: &Context, job: &str) -> anyhow::Result<()> {
    let client = context.client().await?;
    let job = job_ids::resolve(&client, job).await?;
    let reply = client.all(path::api(&["jobs", &job, "webhooks"]), "webhooks").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let webhooks = reply.parse::<Listed>()?.webhooks;
    if webhooks.is_empty() {
        context.ui.note("no webhooks: the job has none, or has not ended");
        return Ok(());
    }
    context.ui.table(&table(&webhooks, time::now_ms()))
}

fn table(webhooks: &[Webhook], now: i64) -> Table {
    let mut table = Table::new(&["ID", "STATE", "WHEN", "TRIES", "LAST ANSWER", "URL"]);
    for webhook in webhooks {
        let (state, tone) = match webhook.state.as_str() {
            "given_up" => ("given up", Tone::Bad),
            "delivered" => ("delivered", Tone::Good),
            other => (other, Tone::Warn),
        };
        let when = match (webhook.ended_at, webhook.next_at) {
            (Some(at), _) => format!("{} ago", time::age(at, now)),
            (None, Some(at)) if at > now => format!("in {}", time::age(now, at)),
            _ => "now".to_owned(),
        };
        table.row(vec![
            webhook.id.as_str().into(),
            Cell::toned(state, tone),
            when.into(),
            webhook.tries.len().to_string().into(),
            webhook.tries.last().map_or_else(|| "-".to_owned(), answer).into(),
            webhook.url.as_str().into(),
        ]);
    }
    table
}

fn answer(tried: &Try) -> String {
    match (tried.status, &tried.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => text::line(error, 60),
        (None, None) => "-".to_owned(),
    }
}

async fn redeliver(context: &Context, job: &str, id: Option<String>) -> anyhow::Result<()> {
    let client = context.client().await?;
    let job = job_ids::resolve(&client, job).await?;
    let body = id.map_or_else(|| json!({}), |id| json!({"id": id}));
    let reply = client.post(path::api(&["jobs", &job, "webhooks", "redeliver"]), &body).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let webhook: Webhook = reply.parse()?;
    let (id, url) = (text::line(&webhook.id, 120), text::line(&webhook.url, 200));
    context.ui.line(&format!("{id}  delivering again to {url}"))?;
    context.ui.note(&format!("runyard webhooks list {} shows what came of it", text::line(&job, 120)));
    Ok(())
}

/// The secret alone goes to stdout, so that a script can catch it.
async fn secret(context: &Context, rotate: bool, yes: bool) -> anyhow::Result<()> {
    let client = context.client().await?;
    if rotate && !yes {
        context.confirm("replacing the secret that webhooks are signed with", "rotate")?;
    }
    let reply = if rotate {
        client.post(path::api(&["webhooks", "secret", "rotate"]), &json!({})).await?
    } else {
        client.get(path::api(&["webhooks", "secret"])).await?
    };
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let Secret { secret, replaced } = reply.parse()?;
    if let Some(replaced) = replaced {
        context.ui.note(&format!("the one before it signs too, until {}", time::date(replaced.ends_at)));
    }
    let Some(secret) = secret else {
        context.ui.note("this server signs no webhooks");
        return Ok(());
    };
    context.ui.line(&text::line(&secret, 200))
}
