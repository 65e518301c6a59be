//! `runyard batch …`: requests from a file that are gathered as a draft, finalized, and run together.

mod requests;
mod results;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Call, Client, path};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Cell, Facts, Table, Tone, text, time};
use crate::views::Batch as View;

/// Run many requests together: create, add, finalize, follow, read results
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard batch create t2i prompts.jsonl --finalize    one request a line; prints the batch's id
  runyard batch status t2i batch_k3j9
  runyard batch results t2i batch_k3j9 -o results.jsonl
  runyard batch cancel t2i batch_k3j9

A line is the input, or a whole request where it is an object with the key 'input'.")]
pub struct Batch {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a draft from a file of JSON lines; prints its id
    Create {
        /// The endpoint's name or id
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
        /// One request a line; '-' reads stdin, and without it the draft is empty
        #[arg(value_name = "FILE")]
        file: Option<String>,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        /// Let it run at once
        #[arg(long)]
        finalize: bool,
    },
    /// Add the requests of a file to a draft
    Add {
        #[command(flatten)]
        which: Which,
        /// One request a line; '-' reads stdin
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Let a draft run; nothing can be added from then on
    Finalize(Which),
    /// List an endpoint's batches, newest first
    #[command(visible_alias = "ls")]
    List {
        /// The endpoint's name or id
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
        /// How many at most
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
    /// How far a batch is
    Status(Which),
    /// What came of each request, as JSON lines in the order in which they were added
    Results(results::Results),
    /// End a batch with all of its requests
    Cancel(Which),
}

/// A batch of an endpoint.
#[derive(Debug, Args)]
struct Which {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The batch's id
    #[arg(value_name = "BATCH")]
    batch: String,
}

impl Which {
    fn path(&self, rest: &[&str]) -> String {
        path::jobs_of(&self.endpoint, &[&["batch", self.batch.as_str()], rest].concat())
    }
}

#[derive(Deserialize)]
struct Listed {
    batches: Vec<View>,
}

impl Batch {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Create { endpoint, file, name, finalize } => {
                create(context, endpoint, file, name, finalize).await
            }
            What::Add { which, file } => {
                let requests = requests::read(&file)?;
                add(&context.client().await?, &which, &requests::bodies(&requests), 0).await?;
                context.ui.note(&added(requests.len()));
                show(context, &which, None).await
            }
            What::Finalize(which) => show(context, &which, Some("finalize")).await,
            What::List { endpoint, limit } => list(context, &endpoint, limit).await,
            What::Status(which) => show(context, &which, None).await,
            What::Results(results) => results.run(context).await,
            What::Cancel(which) => show(context, &which, Some("cancel")).await,
        }
    }
}

fn added(requests: usize) -> String {
    format!("added {requests} {}", if requests == 1 { "request" } else { "requests" })
}

/// The id alone goes to stdout, so that a script can catch it.
async fn create(
    context: &Context,
    endpoint: String,
    file: Option<String>,
    name: Option<String>,
    finalize: bool,
) -> anyhow::Result<()> {
    let requests = file.as_deref().map_or(Ok(Vec::new()), requests::read)?;
    let bodies = requests::bodies(&requests);
    let client = context.client().await?;
    let name = name.map_or(Value::Null, Value::from);
    let first = serde_json::value::to_raw_value(&name)?;
    let body = format!("{{\"name\":{},\"requests\":[{}]}}", first.get(), bodies[0]);
    let made: View = client.send(call(path::jobs_of(&endpoint, &["batch"]), body)).await?.parse()?;
    let which = Which { endpoint, batch: made.id };
    add(&client, &which, &bodies[1..], made.request_total).await?;
    let reply = if finalize {
        client.post(which.path(&["finalize"]), &json!({})).await?
    } else {
        client.get(which.path(&[])).await?
    };
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let (endpoint, batch) = (text::line(&which.endpoint, 80), text::line(&which.batch, 80));
    let next = if finalize {
        format!("runyard batch status {endpoint} {batch}")
    } else {
        format!("a draft; runyard batch finalize {endpoint} {batch} lets it run")
    };
    context.ui.note(&format!("{}: {next}", added(requests.len())));
    context.ui.line(&batch)
}

/// Adds what further calls bring; `had` are in it already.
async fn add(client: &Client, which: &Which, bodies: &[String], had: u64) -> anyhow::Result<()> {
    let mut has = had;
    for body in bodies {
        let sent = client.send(call(which.path(&["requests"]), format!("[{body}]"))).await;
        match sent {
            Ok(reply) => has = reply.parse::<View>()?.request_total,
            Err(error) if has == 0 => return Err(error.into()),
            Err(error) => {
                let failure = Failure::of(&error.into());
                let left = format!("the draft {} has {has} requests so far", which.batch);
                return Err(failure.cause(left).hint("add the rest, or cancel it").into());
            }
        }
    }
    Ok(())
}

fn call(path: String, body: String) -> Call {
    Call::new(Method::POST, path).body("application/json", body.into())
}

/// Does something with a batch, or nothing, and shows how it stands.
async fn show(context: &Context, which: &Which, verb: Option<&str>) -> anyhow::Result<()> {
    let client = context.client().await?;
    let reply = match verb {
        Some(verb) => client.post(which.path(&[verb]), &json!({})).await?,
        None => client.get(which.path(&[])).await?,
    };
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let batch: View = reply.parse()?;
    let now = time::now_ms();
    context.ui.line(&format!(
        "{}  {}",
        text::line(&batch.id, 80),
        context.ui.out.tone(&text::line(&batch.status, 40), tone(&batch.status))
    ))?;
    let mut facts = Facts::default();
    facts.add("name", batch.name.as_deref().unwrap_or_default());
    facts.add("requests", batch.request_total.to_string());
    facts.add("queued", batch.request_queued.to_string());
    facts.add("running", batch.request_in_progress.to_string());
    facts.add("completed", batch.request_completed.to_string());
    facts.add("failed", failed(&batch));
    facts.add("created", format!("{} ago", time::age(batch.created_at, now)));
    facts.add("ended", batch.ended_at.map_or(String::new(), |at| format!("{} ago", time::age(at, now))));
    context.ui.write(&facts.render(context.ui.out))
}

/// Cancelled requests count as failed.
fn failed(batch: &View) -> String {
    match batch.request_cancelled {
        0 => batch.request_failed.to_string(),
        cancelled => format!("{} ({cancelled} of them cancelled)", batch.request_failed),
    }
}

fn tone(status: &str) -> Tone {
    match status {
        "COMPLETED" => Tone::Good,
        "FAILED" => Tone::Bad,
        "FINALIZED" => Tone::Warn,
        _ => Tone::Dim,
    }
}

async fn list(context: &Context, endpoint: &str, limit: u32) -> anyhow::Result<()> {
    let path = path::query(&path::jobs_of(endpoint, &["batch"]), &[("limit", Some(limit.to_string()))]);
    let reply = context.client().await?.get(path).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let batches = reply.parse::<Listed>()?.batches;
    if batches.is_empty() {
        context.ui.note("no batches");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table =
        Table::new(&["ID", "STATUS", "AGE", "REQUESTS", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "NAME"]);
    for batch in &batches {
        table.row(vec![
            batch.id.as_str().into(),
            Cell::toned(&batch.status, tone(&batch.status)),
            time::age(batch.created_at, now).into(),
            batch.request_total.to_string().into(),
            batch.request_queued.to_string().into(),
            batch.request_in_progress.to_string().into(),
            batch.request_completed.to_string().into(),
            batch.request_failed.to_string().into(),
            batch.name.as_deref().unwrap_or_default().into(),
        ]);
    }
    context.ui.table(&table)
}
