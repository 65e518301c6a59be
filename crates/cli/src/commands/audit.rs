//! `runyard audit`: who changed what, from where, and what it was before.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::client::path;
use crate::commands::jobs::since;
use crate::context::Context;
use crate::output::{Table, text, time};
use crate::views::{Audit, AuditPage, FieldChange};

/// How many records one call brings.
const PAGE: u32 = 500;

/// Show who changed what, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard audit --since 7d
  runyard audit --endpoint t2i -n 500
  runyard audit --who ann@example.com --action key
  runyard audit --jsonl > audit.jsonl              everything that is kept, one record a line")]
pub struct AuditLog {
    /// Only what was done to this endpoint; its id where it is gone
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only what was done in the last 2h, 7d
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    since: Option<Duration>,
    /// Only what this one did: a key's id or name, a member's e-mail address, local, git, runyard
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    /// Only this, as key.create, or all of a kind, as key
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this key, secret, job, …
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: u32,
    /// Export: everything that fits, one JSON record a line
    #[arg(long, conflicts_with = "limit")]
    jsonl: bool,
}

impl AuditLog {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let now = time::now_ms();
        let mut table = Table::new(&["WHEN", "WHO", "FROM", "WHAT", "ON", "CHANGES"]);
        let as_lines = context.ui.json || self.jsonl;
        let most = if self.jsonl { u32::MAX } else { self.limit };
        let (mut left, mut cursor, mut any) = (most, None, false);
        while left > 0 {
            let query = [
                ("endpoint", self.endpoint.clone()),
                ("who", self.who.clone()),
                ("action", self.action.clone()),
                ("subject", self.subject.clone()),
                ("since", since(self.since, now)),
                ("cursor", cursor),
                ("limit", Some(left.min(PAGE).to_string())),
            ];
            let reply = client.get(path::query(&path::api(&["audit"]), &query)).await?;
            let page: AuditPage = reply.parse()?;
            any |= !page.records.is_empty();
            left -= left.min(page.records.len() as u32);
            for record in &page.records {
                if as_lines {
                    context.ui.json_line(record.get())?;
                } else {
                    row(&mut table, &serde_json::from_str(record.get())?, now);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        match (as_lines, any) {
            (true, _) => Ok(()),
            (false, true) => context.ui.table(&table),
            (false, false) => {
                context.ui.note("nothing was changed");
                Ok(())
            }
        }
    }
}

fn row(table: &mut Table, record: &Audit, now: i64) {
    let named = record.who_name.as_ref().filter(|name| !name.is_empty()).unwrap_or(&record.who);
    let who = record.member.as_ref().unwrap_or(named);
    let on: Vec<&str> =
        [&record.endpoint_name, &record.subject].into_iter().flatten().map(String::as_str).collect();
    let changes: Vec<String> = record.changes.iter().map(change).collect();
    table.row(vec![
        format!("{} ago", time::age(record.at, now)).into(),
        who.as_str().into(),
        record.from.as_deref().unwrap_or("local").into(),
        record.action.as_str().into(),
        on.join(" ").into(),
        changes.join(", ").into(),
    ]);
}

/// `settings.workers_max 3 → 5`.
fn change(change: &FieldChange) -> String {
    let shown = |value: &Value| match value {
        Value::Null => "–".to_owned(),
        Value::String(said) => text::shorten(&text::line(said, 400), 40),
        other => text::shorten(&text::line(&other.to_string(), 400), 40),
    };
    format!("{} {} → {}", change.field, shown(&change.old), shown(&change.new))
}
