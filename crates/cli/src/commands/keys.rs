//! `runyard keys create|list|revoke`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use runyard_domain::rates::{Group, Rate};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::{Call, path};
use crate::commands::settings;
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::Key;

/// Create, list and revoke API keys
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard keys create --name web --access run --endpoint t2i --expires 30d
  runyard keys create --name page --access run --endpoint t2i --rate run=10/2
  runyard keys revoke k3j9x0a1b2")]
pub struct Keys {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key; it is shown this once
    Create(Create),
    /// List keys
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a key
    Revoke {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// What a key may do; each includes the ones before it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Access {
    /// Look at jobs, logs and settings
    Read,
    /// And submit, cancel, retry and purge jobs
    Run,
    /// And deploy, change settings and roll back
    Deploy,
    /// And make and revoke keys
    Admin,
}

#[derive(Debug, Args)]
struct Create {
    /// What people call it
    #[arg(long)]
    name: String,
    /// What it may do
    #[arg(long, value_enum, default_value = "run")]
    access: Access,
    /// Restrict it to an endpoint; may be repeated
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<String>,
    /// How often it may call each endpoint: calls in 10 s / at once, as run=10/2; may be repeated
    #[arg(long, value_name = "GROUP=RATE", value_parser = settings::rate)]
    rate: Vec<(Group, Option<Rate>)>,
    /// How long it is valid: 30d, 12h; for ever where nothing is said
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    expires: Option<Duration>,
}

#[derive(Deserialize)]
struct Listed {
    keys: Vec<Key>,
}

impl Keys {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::Create(create) => create.run(context).await,
            What::List => list(context).await,
            What::Revoke { id } => revoke(&id, context).await,
        }
    }
}

impl Create {
    /// The key alone goes to stdout, so that a script can catch it.
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reply = context.client().await?.post(path::api(&["keys"]), &self.body()).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let key: Key = reply.parse()?;
        let until = key.expires_at.map_or(String::new(), |at| format!(", until {}", time::date(at)));
        context.ui.note(&format!(
            "key {} ({}{until}); it is not shown again:",
            text::line(&key.id, 80),
            key.access
        ));
        context.ui.line(&text::line(key.secret.as_deref().unwrap_or_default(), 400))
    }

    fn body(&self) -> Value {
        let access = self.access.to_possible_value().expect("no access is skipped").get_name().to_owned();
        let mut body = Map::new();
        body.insert("name".to_owned(), self.name.clone().into());
        body.insert("access".to_owned(), access.into());
        if !self.endpoint.is_empty() {
            body.insert("endpoints".to_owned(), self.endpoint.clone().into());
        }
        let set: Vec<_> = self.rate.iter().filter(|(_, rate)| rate.is_some()).copied().collect();
        if !set.is_empty() {
            body.insert("rates".to_owned(), settings::rates(&set));
        }
        if let Some(expires) = self.expires {
            body.insert("expiresInS".to_owned(), expires.as_secs().into());
        }
        Value::Object(body)
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.get(path::api(&["keys"])).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let keys = reply.parse::<Listed>()?.keys;
    if keys.is_empty() {
        context.ui.note("no keys");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table = Table::new(&["ID", "NAME", "ACCESS", "AGE", "STATE", "ENDPOINTS"]);
    for key in &keys {
        let (state, tone) = state(key, now);
        table.row(vec![
            key.id.as_str().into(),
            key.name.as_str().into(),
            access(key).into(),
            time::age(key.created_at, now).into(),
            Cell::toned(state, tone),
            if key.endpoint_names.is_empty() { "all".to_owned() } else { key.endpoint_names.join(", ") }
                .into(),
        ]);
    }
    context.ui.table(&table)
}

/// What it may do, and how often where that was set.
fn access(key: &Key) -> String {
    if key.rates.0.is_empty() { key.access.clone() } else { format!("{} ({})", key.access, key.rates) }
}

fn state(key: &Key, now: i64) -> (String, Tone) {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {} ago", time::age(at, now)), Tone::Dim),
        (None, Some(at)) if at <= now => (format!("expired {} ago", time::age(at, now)), Tone::Dim),
        (None, Some(at)) => (format!("valid for {}", time::age(now, at)), Tone::Good),
        (None, None) => ("valid".to_owned(), Tone::Good),
    }
}

async fn revoke(id: &str, context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.send(Call::new(Method::DELETE, path::api(&["keys", id]))).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let key: Key = reply.parse()?;
    context.ui.line(&format!("revoked {} ({})", text::line(&key.id, 80), text::line(&key.name, 80)))
}
