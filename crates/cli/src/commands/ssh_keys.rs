//! `runyard ssh-keys list|add|remove`: public keys of people. The server keeps one list, which is replaced as a whole:
//! a command reads it, changes it, and gives it back for the very version that it read.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Call, Client, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Table, text};

/// Keep public SSH keys, which pods will take
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard ssh-keys add ~/.ssh/id_ed25519.pub
  runyard ssh-keys remove me@laptop")]
pub struct SshKeys {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List them
    #[command(visible_alias = "ls")]
    List,
    /// Add the keys of a file, one a line
    Add {
        /// A public key, as ~/.ssh/id_ed25519.pub
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove the keys with this comment, or this text
    #[command(visible_alias = "rm")]
    Remove {
        /// A key's comment, as me@laptop, or the key itself
        #[arg(value_name = "KEY")]
        key: String,
    },
}

#[derive(Deserialize)]
struct Listed {
    keys: Vec<String>,
}

impl SshKeys {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::List => list(context).await,
            What::Add { file } => add(&file, context).await,
            What::Remove { key } => remove(&key, context).await,
        }
    }
}

/// The keys, and the version that they are.
async fn read(client: &Client) -> anyhow::Result<(Vec<String>, Option<String>)> {
    let reply = client.get(path::api(&["ssh-keys"])).await?;
    Ok((reply.parse::<Listed>()?.keys, reply.version))
}

async fn write(client: &Client, keys: &[String], version: Option<&str>) -> anyhow::Result<String> {
    let call = Call::new(Method::PUT, path::api(&["ssh-keys"])).json(&json!({"keys": keys}));
    Ok(client.send(call.only_if(version)).await?.text)
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.get(path::api(&["ssh-keys"])).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let keys = reply.parse::<Listed>()?.keys;
    if keys.is_empty() {
        context.ui.note("no SSH keys; 'runyard ssh-keys add FILE' keeps one");
        return Ok(());
    }
    let mut table = Table::new(&["KIND", "KEY", "COMMENT"]);
    for key in &keys {
        let mut words = key.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (kind, key, comment) = (word(), word(), word());
        table.row(vec![kind.into(), text::shorten(&key, 40).into(), comment.into()]);
    }
    context.ui.table(&table)
}

async fn add(file: &std::path::Path, context: &Context) -> anyhow::Result<()> {
    let said = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let client = context.client().await?;
    let (mut keys, version) = read(&client).await?;
    let before = keys.len();
    for line in lines {
        if !keys.iter().any(|key| key == line) {
            keys.push(line.to_owned());
        }
    }
    let added = keys.len() - before;
    let text = write(&client, &keys, version.as_deref()).await?;
    told(context, &text, &format!("{added} added, {} in all", keys.len()))
}

async fn remove(which: &str, context: &Context) -> anyhow::Result<()> {
    let client = context.client().await?;
    let (mut keys, version) = read(&client).await?;
    let before = keys.len();
    keys.retain(|key| key != which && key.splitn(3, ' ').nth(2) != Some(which));
    if keys.len() == before {
        let which = text::line(which, 80);
        let failure = Failure::new(Code::NotFound, format!("there is no SSH key '{which}'"));
        return Err(failure.hint("runyard ssh-keys list").into());
    }
    let text = write(&client, &keys, version.as_deref()).await?;
    told(context, &text, &format!("{} removed, {} left", before - keys.len(), keys.len()))
}

fn told(context: &Context, document: &str, words: &str) -> anyhow::Result<()> {
    if context.ui.json { context.ui.document(document) } else { context.ui.line(words) }
}
