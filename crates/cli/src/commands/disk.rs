//! `runyard disk`: what takes space, what would go. `runyard disk prune`: have it go now.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Call, path};
use crate::context::Context;
use crate::output::{Cell, Table, Tone, json as layout, text};

/// Show what takes space in the data directory, and remove what nobody needs
///
/// Images that were built or pulled for it, and the build cache of its container engine, are shown too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard disk                     what takes space, by kind
  runyard disk --all               each thing, with why it stays or goes
  runyard disk prune --dry-run     what would go
  runyard disk prune               have it go now, not within the hour")]
pub struct Disk {
    #[command(subcommand)]
    command: Option<What>,
    /// List each thing, the largest first
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Remove what nobody needs: nothing that serves, runs, or is kept for a rollback
    Prune {
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    bytes: u64,
    goes_bytes: u64,
    free_bytes: Option<u64>,
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    kind: String,
    #[serde(default)]
    unknown: Option<String>,
    bytes: u64,
    things: usize,
    goes_bytes: u64,
    goes_things: usize,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    bytes: u64,
    goes: bool,
    why: String,
}

impl Disk {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Some(What::Prune { dry_run }) => prune(context, dry_run).await,
            None => show(context, self.all).await,
        }
    }
}

async fn show(context: &Context, all: bool) -> anyhow::Result<()> {
    let reply = context.client().await?.get(path::api(&["disk"])).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let usage: Usage = reply.parse()?;
    context.ui.table(&if all { items(&usage.accounts) } else { kinds(&usage.accounts) })?;
    say_unknown(context, &usage.accounts)?;
    let free = usage.free_bytes.map_or(String::new(), |free| format!(", {} free", size(free)));
    let total = format!("{} in all{free}", size(usage.bytes));
    match usage.goes_bytes {
        0 => context.ui.line(&total),
        goes => context.ui.line(&format!("{total}; 'runyard disk prune' removes {}", size(goes))),
    }
}

async fn prune(context: &Context, dry_run: bool) -> anyhow::Result<()> {
    let call = Call::new(Method::POST, path::api(&["disk", "prune"])).json(&json!({"dryRun": dry_run}));
    let reply = context.client().await?.send(call.timeout(std::time::Duration::from_mins(10))).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let usage: Usage = reply.parse()?;
    let things: usize = usage.accounts.iter().map(|account| account.things).sum();
    if things > 0 {
        context.ui.table(&items(&usage.accounts))?;
    }
    say_unknown(context, &usage.accounts)?;
    let would = if dry_run { "would go" } else { "removed" };
    let noun = if things == 1 { "thing" } else { "things" };
    context.ui.line(&format!("{things} {noun}, {} {would}", size(usage.bytes)))
}

impl Account {
    /// Nothing of it is known.
    fn is_unknown(&self) -> bool {
        self.unknown.is_some() && self.things == 0
    }
}

/// Why not all is known, once where it is the same of several kinds.
fn say_unknown(context: &Context, accounts: &[Account]) -> anyhow::Result<()> {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for account in accounts {
        let Some(why) = account.unknown.as_deref() else { continue };
        match said.iter_mut().find(|(known, _)| *known == why) {
            Some((_, kinds)) => kinds.push(&account.kind),
            None => said.push((why, vec![&account.kind])),
        }
    }
    for (why, kinds) in said {
        let why = text::line(why, 300);
        context.ui.line(&format!("{} unknown: {why}", kinds.join(" and ")))?;
    }
    Ok(())
}

fn kinds(accounts: &[Account]) -> Table {
    let mut table = Table::new(&["KIND", "SIZE", "THINGS", "GOES", "OF THEM"]);
    for account in accounts {
        let none = account.goes_things == 0;
        table.row(vec![
            account.kind.as_str().into(),
            if account.is_unknown() { "?".to_owned() } else { size(account.bytes) }.into(),
            if account.is_unknown() { "?".to_owned() } else { account.things.to_string() }.into(),
            if none { "–".to_owned() } else { size(account.goes_bytes) }.into(),
            if none { "–".to_owned() } else { account.goes_things.to_string() }.into(),
        ]);
    }
    table
}

fn items(accounts: &[Account]) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "SIZE", "", "WHY"]);
    for account in accounts {
        for item in &account.items {
            let (word, tone) = if item.goes { ("goes", Tone::Warn) } else { ("stays", Tone::Plain) };
            table.row(vec![
                account.kind.as_str().into(),
                name(&item.name).as_str().into(),
                size(item.bytes).into(),
                Cell::toned(word, tone),
                item.why.as_str().into(),
            ]);
        }
    }
    table
}

/// What a thing is called, short enough to leave room for the reason: of a digest its beginning is enough.
fn name(full: &str) -> String {
    let is_digest = full.len() == 64 && full.bytes().all(|byte| byte.is_ascii_hexdigit());
    text::shorten(&text::line(full, 200), if is_digest { 13 } else { 40 })
}

fn size(bytes: u64) -> String {
    layout::bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
}
