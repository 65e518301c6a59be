//! `runyard releases EP`.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::Release;

/// List the releases of an endpoint, newest first
#[derive(Debug, Args)]
pub struct Releases {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
}

/// The answer.
#[derive(Deserialize)]
pub struct Listed {
    pub releases: Vec<Release>,
}

impl Releases {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::api(&["endpoints", &self.endpoint, "releases"]);
        let reply = context.client().await?.get(path).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let releases = reply.parse::<Listed>()?.releases;
        if releases.is_empty() {
            context.ui.note(&format!("{} has no release yet", text::line(&self.endpoint, 80)));
            return Ok(());
        }
        context.ui.table(&table(&releases, time::now_ms()))
    }
}

fn table(releases: &[Release], now: i64) -> Table {
    let mut table = Table::new(&["RELEASE", "STATE", "AGE", "BY", "HANDLER", "PYTHON", "REMARK"]);
    for release in releases {
        let (state, tone) = match release.state.as_str() {
            _ if release.serving => ("serving", Tone::Good),
            "failed" => ("failed", Tone::Bad),
            other => (other, Tone::Plain),
        };
        let commit = release.commit.as_ref().and_then(|commit| commit.id.get(..8));
        let failed = release.reason.as_ref().map(|r| match commit {
            Some(commit) => format!("{commit}: {}", r.message),
            None => r.message.clone(),
        });
        table.row(vec![
            format!("#{}", release.number).into(),
            Cell::toned(state, tone),
            time::age(release.created_at, now).into(),
            release.created_by.as_deref().unwrap_or("–").into(),
            release.handler.as_deref().unwrap_or("–").into(),
            release.python.as_deref().unwrap_or("–").into(),
            failed.as_deref().or(release.note.as_deref()).unwrap_or_default().into(),
        ]);
    }
    table
}
