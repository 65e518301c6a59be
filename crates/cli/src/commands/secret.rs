//! `runyard secret set|list|show|delete|rotate-key`. Values go in and never come out.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::{Call, path};
use crate::context::Context;
use crate::hidden;
use crate::output::{Facts, Table, text, time};
use crate::views::{Secret, SecretUse};

/// Keep values that workers get and nobody sees again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard secret set HF_TOKEN                      asks for the value, without showing it
  printf %s \"$TOKEN\" | runyard secret set HF_TOKEN --restart
  runyard deploy --env 'HF_TOKEN={{ RUNPOD_SECRET_HF_TOKEN }}'
  runyard secret list

A variable whose value holds {{ RUNPOD_SECRET_NAME }} gets the value as its worker starts, and at no other time.")]
pub struct Secrets {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set a secret's value, from stdin or asked for
    Set(Set),
    /// List secrets, and who uses them
    #[command(visible_alias = "ls")]
    List,
    /// Show one secret, and who uses it
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Delete a secret that nobody uses
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Also one that is used: workers that need it do not start any more
        #[arg(long)]
        force: bool,
    },
    /// Change the key that all secrets hang on; no secret and no worker is touched
    RotateKey,
}

#[derive(Debug, Args)]
struct Set {
    /// Its name: letters, digits and '_'
    #[arg(value_name = "NAME")]
    name: String,
    /// What people know it by
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Replace the workers that use it, one after the other
    #[arg(long)]
    restart: bool,
}

impl Secrets {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::Set(set) => set.run(context).await,
            What::List => list(context).await,
            What::Show { name } => show(&name, context).await,
            What::Delete { name, force } => delete(&name, force, context).await,
            What::RotateKey => rotate_key(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let value = hidden::ask_or_read(&format!("value of {}", self.name), context.ui)?;
        let mut body = Map::new();
        body.insert("value".to_owned(), value.into());
        body.insert("restart".to_owned(), self.restart.into());
        if let Some(description) = self.description {
            body.insert("description".to_owned(), description.into());
        }
        let call = Call::new(Method::PUT, path::api(&["secrets", &self.name])).json(&Value::Object(body));
        let reply = client.send(call).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let secret: Secret = reply.parse()?;
        let name = text::line(&secret.name, 80);
        context.ui.line(&format!("{name} has version {}", secret.version))?;
        for one in &secret.restarting {
            context.ui.note(&format!("restarting {} of {}", workers(one.workers), one.name()));
        }
        let old: Vec<&SecretUse> = secret.used_by.iter().filter(|one| one.workers > 0).collect();
        if !self.restart && !old.is_empty() {
            for one in old {
                context.ui.note(&format!(
                    "{} of {} still have the value before",
                    workers(one.workers),
                    one.name()
                ));
            }
            context.ui.note("--restart replaces them, one after the other");
        }
        if secret.used_by.is_empty() {
            context.ui.note(&format!("use it: runyard deploy --env 'K={{{{ RUNPOD_SECRET_{name} }}}}'"));
        }
        Ok(())
    }
}

fn workers(n: u32) -> String {
    if n == 1 { "1 worker".to_owned() } else { format!("{n} workers") }
}

#[derive(serde::Deserialize)]
struct Listed {
    secrets: Vec<Secret>,
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["secrets"]), "secrets").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let secrets = reply.parse::<Listed>()?.secrets;
    if secrets.is_empty() {
        context.ui.note("no secrets; 'runyard secret set NAME' makes one");
        return Ok(());
    }
    context.ui.table(&table(&secrets, time::now_ms()))
}

fn table(secrets: &[Secret], now: i64) -> Table {
    let mut table = Table::new(&["NAME", "VERSION", "SET", "USED", "BY", "DESCRIPTION"]);
    for secret in secrets {
        let used =
            secret.used_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", time::age(at, now)));
        let by: Vec<String> = secret.used_by.iter().map(SecretUse::name).collect();
        table.row(vec![
            secret.name.as_str().into(),
            secret.version.to_string().into(),
            format!("{} ago", time::age(secret.updated_at, now)).into(),
            used.into(),
            if by.is_empty() { "-".to_owned() } else { by.join(", ") }.into(),
            secret.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

async fn show(name: &str, context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.get(path::api(&["secrets", name])).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let secret: Secret = reply.parse()?;
    let now = time::now_ms();
    let mut facts = Facts::default();
    facts.add("description", secret.description.as_deref().unwrap_or_default());
    facts.add("version", secret.version.to_string());
    facts.add("created", format!("{} ago", time::age(secret.created_at, now)));
    facts.add("set", format!("{} ago", time::age(secret.updated_at, now)));
    facts.add(
        "used",
        secret.used_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", time::age(at, now))),
    );
    for one in &secret.used_by {
        let releases: Vec<String> = one.releases.iter().map(|n| format!("#{n}")).collect();
        let (variables, workers) = (one.variables.join(", "), workers(one.workers));
        let releases = if releases.is_empty() { "the next release".to_owned() } else { releases.join(", ") };
        facts.add("used by", format!("{} as {variables}, {releases}, {workers}", one.name()));
    }
    context.ui.write(&format!("secret {}\n{}", text::line(&secret.name, 80), facts.render(context.ui.out)))
}

async fn delete(name: &str, force: bool, context: &Context) -> anyhow::Result<()> {
    let path = path::api(&["secrets", name]);
    let path = path::query(&path, &[("force", force.then(|| "true".to_owned()))]);
    let reply = context.client().await?.send(Call::new(Method::DELETE, path)).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    context.ui.line(&format!("deleted {}", text::line(name, 80)))
}

async fn rotate_key(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.post(path::api(&["secrets", "rotate-key"]), &json!({})).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let key = reply.parse::<Value>()?;
    let key = text::line(key["key"].as_str().unwrap_or_default(), 80);
    context.ui.line(&format!("the key file has a new key, {key}"))?;
    context
        .ui
        .note("copies of the file from before open no data directory of after; keep a copy of the new one");
    Ok(())
}
