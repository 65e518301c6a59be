//! `runyard git …`: connect, list, show, sync, disconnect.

mod connect;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;

use crate::client::{Call, path};
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::{Build, Connection};

/// Deploy from a Git repository: each commit, tag or release as a release
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard git connect github.com/me/t2i --branch main --endpoint t2i
  runyard git connect git@github.com:me/t2i.git --deploy-key ~/.ssh/t2i --on tag
  runyard git show t2i                     its webhook, and what became of each commit
  runyard git sync t2i                     look now; try a failed commit again

An endpoint without a repository takes 'git push' itself, with an API key as the password:
  git remote add gpu http://127.0.0.1:8080/git/t2i.git && git push gpu main")]
pub struct Git {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    Connect(Box<connect::Connect>),
    /// List the repositories that endpoints follow
    #[command(visible_alias = "ls")]
    List,
    Show(show::Show),
    /// Look at the repository now, and try its last commit again where it failed
    Sync {
        /// The endpoint's name or id
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
    },
    /// Stop following; the endpoint stays, those of pull requests go
    Disconnect {
        /// The endpoint's name or id
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
    },
}

#[derive(Deserialize)]
struct Listed {
    connections: Vec<Connection>,
}

impl Git {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::Connect(connect) => connect.run(context).await,
            What::List => list(context).await,
            What::Show(show) => show.run(context).await,
            What::Sync { endpoint } => sync(&endpoint, context).await,
            What::Disconnect { endpoint } => disconnect(&endpoint, context).await,
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["git"]), "connections").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let connections = reply.parse::<Listed>()?.connections;
    if connections.is_empty() {
        context.ui.note("no endpoint follows a repository; 'runyard git connect URL' makes one do so");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table = Table::new(&["ENDPOINT", "REPOSITORY", "FOLLOWS", "COMMIT", "STATE", "AGE", "REMARK"]);
    for connection in &connections {
        let last = connection.builds.first();
        let (state, tone) = last.map_or(("–", Tone::Dim), |build| (build.word(), tone(build.word())));
        let remark = connection.trouble.as_deref().or_else(|| last.and_then(Build::remark));
        table.row(vec![
            connection.name().into(),
            connection.url.as_str().into(),
            connection.follows().into(),
            last.map_or("–", |build| build.short()).into(),
            Cell::toned(state, tone),
            last.map_or_else(|| "–".to_owned(), |build| time::age(build.queued_at, now)).into(),
            remark.unwrap_or_default().into(),
        ]);
    }
    context.ui.table(&table)
}

/// A build's state as a tone.
fn tone(state: &str) -> Tone {
    match state {
        "serving" => Tone::Good,
        "failed" => Tone::Bad,
        "building" => Tone::Warn,
        "superseded" | "deployed" => Tone::Dim,
        _ => Tone::Plain,
    }
}

async fn sync(endpoint: &str, context: &Context) -> anyhow::Result<()> {
    let call = Call::new(Method::POST, path::api(&["endpoints", endpoint, "git", "sync"]));
    let reply = context.client().await?.send(call).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let connection: Connection = reply.parse()?;
    let name = text::line(connection.name(), 80);
    context
        .ui
        .line(&format!("looking at {}; 'runyard git show {name}' shows it", text::line(&connection.url, 200)))
}

async fn disconnect(endpoint: &str, context: &Context) -> anyhow::Result<()> {
    let call = Call::new(Method::DELETE, path::api(&["endpoints", endpoint, "git"]));
    // Endpoints of pull requests go with it, and draining their workers may take as long as their jobs do.
    let reply = context.client().await?.send(call.timeout(Duration::from_mins(10))).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    context.ui.line(&format!("{} follows no repository any more", text::line(endpoint, 80)))
}
