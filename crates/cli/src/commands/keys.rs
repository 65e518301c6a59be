//! `runyard keys create|list|show|disable|enable|revoke`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use runyard_domain::rates::{Group, Rate};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Call, path};
use crate::commands::settings;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Cell, Facts, Table, Tone, text, time};
use crate::views::Key;

/// Create, list, disable and revoke API keys
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard keys create --endpoint t2i --expires 30d                   submit jobs to t2i
  runyard keys create --endpoint t2i --read-only                     look at them
  runyard keys create --name ci --access deploy --endpoint t2i --endpoint llm=run
  runyard keys create --page --endpoint t2i --operation run --origin https://example.com --rate run=10/2
  runyard keys disable k3j9x0a1b2")]
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
    /// Show one key
    Show {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Have a key open nothing until it is enabled again
    Disable {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Have a disabled key open again what it did
    Enable {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Revoke a key for good
    Revoke {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// What a key may do; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
    /// What people call it; else the names of its endpoints
    #[arg(long)]
    name: Option<String>,
    /// What it may do
    #[arg(long, value_enum, default_value = "run")]
    access: Access,
    /// It may look and nothing else: --access read
    #[arg(long, conflicts_with = "access")]
    read_only: bool,
    /// Restrict it to an endpoint; ENDPOINT=ACCESS: with another access there; may be repeated
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<String>,
    /// How often it may call each endpoint: calls in 10 s / at once, as run=10/2; may be repeated
    #[arg(long, value_name = "GROUP=RATE", value_parser = settings::rate)]
    rate: Vec<(Group, Option<Rate>)>,
    /// How long it is valid: 30d, 12h; for ever where nothing is said
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    expires: Option<Duration>,
    /// Make it for pages in browsers, where anybody can read it: for some operations of named endpoints
    #[arg(long)]
    page: bool,
    /// What pages may do: run, runsync, status, stream, cancel; all of these where nothing is said; may be repeated
    #[arg(long, value_name = "OPERATION", requires = "page")]
    operation: Vec<String>,
    /// The origin of the pages, as https://example.com; any where nothing is said; may be repeated
    #[arg(long, value_name = "ORIGIN", requires = "page")]
    origin: Vec<String>,
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
            What::Show { id } => show(&id, context).await,
            What::Disable { id } => disable(&id, true, context).await,
            What::Enable { id } => disable(&id, false, context).await,
            What::Revoke { id } => revoke(&id, context).await,
        }
    }
}

impl Create {
    /// The key alone goes to stdout, so that a script can catch it.
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let body = self.body()?;
        let reply = context.client().await?.post(path::api(&["keys"]), &body).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let key: Key = reply.parse()?;
        let until = key.expires_at.map_or(String::new(), |at| format!(", until {}", time::date(at)));
        context.ui.note(&format!(
            "key {} ({}{until}); it is not shown again:",
            text::line(&key.id, 80),
            access(&key)
        ));
        context.ui.line(&text::line(key.secret.as_deref().unwrap_or_default(), 400))
    }

    fn body(&self) -> Result<Value, Failure> {
        let word =
            |access: Access| access.to_possible_value().expect("no access is skipped").get_name().to_owned();
        let (mut endpoints, mut grants) = (Vec::new(), Map::new());
        for given in &self.endpoint {
            match given.split_once('=') {
                None => endpoints.push(given.clone()),
                Some((endpoint, access)) => {
                    let access = Access::from_str(access, false).map_err(|_| {
                        Failure::usage(format!("--endpoint {given}: there is no access '{access}'"))
                            .hint("read, run or deploy")
                    })?;
                    grants.insert(endpoint.to_owned(), word(access).into());
                }
            }
        }
        let names: Vec<&str> = endpoints.iter().chain(grants.keys()).map(String::as_str).collect();
        let name = match &self.name {
            Some(name) => name.clone(),
            None if names.is_empty() => {
                return Err(Failure::usage("a key for all endpoints needs a name").hint("--name NAME"));
            }
            None => names.join(", "),
        };
        let access = if self.read_only { Access::Read } else { self.access };
        let mut body = Map::new();
        body.insert("name".to_owned(), name.into());
        body.insert("access".to_owned(), word(access).into());
        if !endpoints.is_empty() {
            body.insert("endpoints".to_owned(), endpoints.into());
        }
        if !grants.is_empty() {
            body.insert("grants".to_owned(), grants.into());
        }
        let set: Vec<_> = self.rate.iter().filter(|(_, rate)| rate.is_some()).copied().collect();
        if !set.is_empty() {
            body.insert("rates".to_owned(), settings::rates(&set));
        }
        if let Some(expires) = self.expires {
            body.insert("expiresInS".to_owned(), expires.as_secs().into());
        }
        if self.page {
            body.insert("page".to_owned(), json!({"operations": self.operation, "origins": self.origin}));
        }
        Ok(Value::Object(body))
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["keys"]), "keys").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let keys = reply.parse::<Listed>()?.keys;
    if keys.is_empty() {
        context.ui.note("no keys");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table = Table::new(&["ID", "NAME", "ACCESS", "AGE", "USED", "STATE", "ENDPOINTS"]);
    for key in &keys {
        let (state, tone) = state(key, now);
        table.row(vec![
            key.id.as_str().into(),
            key.name.as_str().into(),
            access(key).into(),
            time::age(key.created_at, now).into(),
            used(key, now).into(),
            Cell::toned(state, tone),
            endpoints(key).into(),
        ]);
    }
    context.ui.table(&table)
}

/// What it may do, and how often where that was set.
fn access(key: &Key) -> String {
    let page = if key.page.is_some() { "page, " } else { "" };
    if key.rates.0.is_empty() {
        format!("{page}{}", key.access)
    } else {
        format!("{page}{} ({})", key.access, key.rates)
    }
}

/// Its endpoints, with what it may do there where that is something else.
fn endpoints(key: &Key) -> String {
    if key.endpoint_names.is_empty() {
        return "all".to_owned();
    }
    let name = |(id, name): (&String, &String)| match key.grants.get(id) {
        Some(access) => format!("{name}={access}"),
        None => name.clone(),
    };
    key.endpoints.iter().zip(&key.endpoint_names).map(name).collect::<Vec<_>>().join(", ")
}

fn used(key: &Key, now: i64) -> String {
    key.used_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", time::age(at, now)))
}

fn state(key: &Key, now: i64) -> (String, Tone) {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {} ago", time::age(at, now)), Tone::Dim),
        (None, Some(at)) if at <= now => (format!("expired {} ago", time::age(at, now)), Tone::Dim),
        _ if key.disabled_at.is_some() => ("disabled".to_owned(), Tone::Warn),
        (None, Some(at)) => (format!("valid for {}", time::age(now, at)), Tone::Good),
        (None, None) => ("valid".to_owned(), Tone::Good),
    }
}

async fn show(id: &str, context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.get(path::api(&["keys", id])).await?;
    print(&reply, context)
}

fn print(reply: &crate::client::Reply, context: &Context) -> anyhow::Result<()> {
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let key: Key = reply.parse()?;
    let now = time::now_ms();
    let (state, tone) = state(&key, now);
    let mut facts = Facts::default();
    facts.add("name", &key.name);
    facts.add("access", access(&key));
    facts.add("endpoints", endpoints(&key));
    if let Some(page) = &key.page {
        facts.add("operations", page.operations.join(", "));
        facts
            .add("origins", if page.origins.is_empty() { "any".to_owned() } else { page.origins.join(", ") });
    }
    facts.add("created", format!("{} ago", time::age(key.created_at, now)));
    facts.add("used", used(&key, now));
    let head = format!("key {} · {}\n", text::line(&key.id, 80), context.ui.out.tone(&state, tone));
    context.ui.write(&format!("{head}{}", facts.render(context.ui.out)))
}

async fn disable(id: &str, disabled: bool, context: &Context) -> anyhow::Result<()> {
    let call = Call::new(Method::PATCH, path::api(&["keys", id])).json(&json!({"disabled": disabled}));
    let reply = context.client().await?.send(call).await?;
    print(&reply, context)
}

async fn revoke(id: &str, context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.send(Call::new(Method::DELETE, path::api(&["keys", id]))).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let key: Key = reply.parse()?;
    context.ui.line(&format!("revoked {} ({})", text::line(&key.id, 80), text::line(&key.name, 80)))
}
