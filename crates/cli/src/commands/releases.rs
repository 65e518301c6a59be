//! `runyard releases EP`.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::{Release, RolloutView};

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
    #[serde(default)]
    pub rollout: RolloutView,
}

impl Releases {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::api(&["endpoints", &self.endpoint, "releases"]);
        let reply = context.client().await?.all(path, "releases").await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let Listed { releases, rollout } = reply.parse()?;
        if releases.is_empty() {
            context.ui.note(&format!("{} has no release yet", text::line(&self.endpoint, 80)));
            return Ok(());
        }
        let now = time::now_ms();
        context.ui.table(&table(&releases, now))?;
        match under_way(&rollout, now) {
            Some(line) => context.ui.line(&line),
            None => Ok(()),
        }
    }
}

/// What a rollout does at this moment, where there is one.
pub fn under_way(rollout: &RolloutView, now: i64) -> Option<String> {
    let to = rollout.to?;
    let workers = format!("{} of {} workers run it", rollout.workers_on_latest, rollout.workers_total);
    let until = rollout.ends_at.map(|at| format!(" for another {}", time::span(Some((at - now).max(0)))));
    let until = until.unwrap_or_default();
    Some(match (rollout.stage.as_deref(), rollout.canary_percent) {
        (Some("canary"), Some(percent)) => {
            format!("release #{to} is a canary with {percent} % of the jobs{until}; {workers}")
        }
        (Some("rolling"), _) => format!("release #{to} is rolling out; {workers}"),
        _ if rollout.from.is_empty() => return None,
        _ => format!("release #{to} is watched{until}: traffic goes back if more of its jobs fail"),
    })
}

fn table(releases: &[Release], now: i64) -> Table {
    // Where all of them are images nobody knows their Python.
    let has_python = releases.iter().any(|release| release.python.as_ref().is_some_and(|v| !v.is_empty()));
    let (python, remark) = (["PYTHON"], ["REMARK"]);
    let python = if has_python { &python[..] } else { &[] };
    let headings = [&["RELEASE", "STATE", "WORKERS", "AGE", "BY", "HANDLER"], python, &remark].concat();
    let mut table = Table::new(&headings);
    for release in releases {
        let (state, tone) = match release.state.as_str() {
            _ if release.serving => ("serving", Tone::Good),
            _ if release.canary => ("canary", Tone::Warn),
            _ if release.withdrawn.is_some() => ("returned", Tone::Bad),
            "failed" => ("failed", Tone::Bad),
            other => (other, Tone::Plain),
        };
        let commit = release.commit.as_ref().and_then(|commit| commit.id.get(..8));
        let withdrawn = release.withdrawn.as_ref().map(|gone| gone.why.as_str());
        let failed = release.reason.as_ref().map(|r| r.message.as_str()).or(withdrawn);
        let failed = failed.map(|why| match commit {
            Some(commit) => format!("{commit}: {why}"),
            None => why.to_owned(),
        });
        let mut row: Vec<Cell> = vec![
            format!("#{}", release.number).into(),
            Cell::toned(state, tone),
            release.worker_count.to_string().into(),
            time::age(release.created_at, now).into(),
            release.created_by.as_deref().unwrap_or("–").into(),
            release.handler.as_deref().unwrap_or("–").into(),
        ];
        if has_python {
            row.push(release.python.as_deref().filter(|v| !v.is_empty()).unwrap_or("–").into());
        }
        row.push(failed.as_deref().or(release.note.as_deref()).unwrap_or_default().into());
        table.row(row);
    }
    table
}
