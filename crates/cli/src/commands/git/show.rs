//! `runyard git show ENDPOINT`.

use clap::Args;

use crate::client::path;
use crate::commands::git::tone;
use crate::context::Context;
use crate::output::{Cell, Facts, Table, text, time};
use crate::views::{Build, Connection};

/// Show what an endpoint follows, and what became of its commits
#[derive(Debug, Args)]
pub struct Show {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
}

impl Show {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reply = context.client().await?.get(path::api(&["endpoints", &self.endpoint, "git"])).await?;
        let ui = context.ui;
        if ui.json {
            return ui.document(&reply.text);
        }
        let connection: Connection = reply.parse()?;
        let head = format!("repository of {}\n", text::line(connection.name(), 80));
        ui.write(&format!("{head}{}", facts(&connection).render(ui.out)))?;
        if connection.builds.is_empty() {
            ui.note("no commit yet");
            return Ok(());
        }
        ui.line("")?;
        ui.table(&table(&connection.builds, time::now_ms()))
    }
}

fn facts(connection: &Connection) -> Facts {
    let mut facts = Facts::default();
    facts.add("trouble", connection.trouble.as_deref().unwrap_or_default());
    facts.add("url", &connection.url);
    facts.add("follows", connection.follows());
    facts.add("--path", connection.path.as_deref().unwrap_or_default());
    facts.add("--dockerfile", connection.dockerfile.as_deref().unwrap_or_default());
    facts.add("--handler", connection.handler.as_deref().unwrap_or_default());
    facts.add("access", connection.access.as_deref().unwrap_or_default());
    facts.add("webhook", connection.webhook.url.as_deref().unwrap_or_default());
    if let Some(seconds) = connection.poll_s {
        let every = format!("every {}", time::exact(i64::from(seconds) * 1_000));
        facts.add("looks", if seconds == 0 { "when told".to_owned() } else { every });
    }
    facts.add("pull requests", pull_requests(connection));
    facts
}

/// Those that have an endpoint, and what to do where few are heard of.
fn pull_requests(connection: &Connection) -> String {
    let one = |number: u64, name: Option<&str>| format!("#{number} {}", name.unwrap_or("(no endpoint yet)"));
    let open = connection.previews.iter().map(|p| one(p.number, p.endpoint_name.as_deref()));
    let mut parts: Vec<String> = open.collect();
    if connection.pull_requests && parts.is_empty() {
        parts.push("none open".to_owned());
    }
    if connection.pull_requests && connection.api.is_none() {
        parts.push(
            "heard of by webhook alone, since the forge's API is not known (connect with --api)".to_owned(),
        );
    }
    parts.join(", ")
}

fn table(builds: &[Build], now: i64) -> Table {
    let mut table = Table::new(&["COMMIT", "STATE", "RELEASE", "AGE", "TOOK", "OF", "BY", "REMARK"]);
    for build in builds {
        table.row(vec![
            build.short().into(),
            Cell::toned(build.word(), tone(build.word())),
            build.release.map_or_else(|| "–".to_owned(), |n| format!("#{n}")).into(),
            time::age(build.queued_at, now).into(),
            time::span(build.ms).into(),
            build.reference.as_str().into(),
            build.author.as_deref().unwrap_or("–").into(),
            build.remark().unwrap_or_default().into(),
        ]);
    }
    table
}
