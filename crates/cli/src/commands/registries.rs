//! `runyard registries add|list|remove`: logins for the registries that images come from.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::{Call, path};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Table, text, time};
use crate::secret;
use crate::views::Registry;

/// Add, list and remove logins for image registries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard registries add gh --server ghcr.io --username me          asks for the password
  runyard registries add hub --server docker.io --username me < token.txt
  runyard deploy --image ghcr.io/me/worker:v1 --name worker         pulled with 'gh', the only login for ghcr.io
  runyard registries remove gh

A login is kept sealed and is never shown again. Images are pulled and built with the login for their registry; where
there are several for one, 'runyard deploy --registry NAME' says which.")]
pub struct Registries {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a login; its password is asked for, or read from standard input
    Add(Add),
    /// List logins and the endpoints that use them
    #[command(visible_alias = "ls")]
    List,
    /// Remove a login
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Also where endpoints use it: their images come without it from then on
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// What to call it
    #[arg(value_name = "NAME")]
    name: String,
    /// The registry's host: ghcr.io, docker.io, registry.lan:5000
    #[arg(long, value_name = "HOST", required_unless_present = "replace")]
    server: Option<String>,
    /// Who logs in
    #[arg(long, value_name = "USER", required_unless_present = "replace")]
    username: Option<String>,
    /// Replace a login of this name; what is not named stays
    #[arg(long)]
    replace: bool,
}

#[derive(Deserialize)]
struct Listed {
    registries: Vec<Registry>,
}

/// A login that is kept, and what the registry says to it.
#[derive(Deserialize)]
struct Kept {
    #[serde(flatten)]
    registry: Registry,
    login: Option<Tried>,
}

#[derive(Deserialize)]
struct Tried {
    state: String,
    message: String,
}

impl Registries {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::Add(add) => add.run(context).await,
            What::List => list(context).await,
            What::Remove { name, force } => remove(&name, force, context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let whose = self.server.as_deref().unwrap_or(&self.name);
        let password = secret::read(&format!("password for {whose}"), context)?;
        if password.is_empty() {
            return Err(Failure::usage("the password is empty: nothing was changed").into());
        }
        let reply = client.post(path::api(&["registries"]), &self.body(password)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let Kept { registry, login } = reply.parse()?;
        context.ui.line(&format!(
            "images from {} are pulled as {} ({})",
            text::line(&registry.server, 300),
            text::line(&registry.username, 200),
            text::line(&registry.name, 80)
        ))?;
        if let Some(login) = login {
            let said = text::line(&login.message, 300);
            context.ui.note(&match login.state.as_str() {
                "accepted" => format!("tried: {said}"),
                "refused" => format!("tried: {said}; 'registries add NAME --replace' takes another password"),
                _ => format!("it was not tried: {said}"),
            });
        }
        Ok(())
    }

    fn body(&self, password: String) -> Value {
        let mut body = Map::new();
        body.insert("name".to_owned(), self.name.clone().into());
        body.insert("password".to_owned(), password.into());
        for (name, value) in [("server", &self.server), ("username", &self.username)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.clone().into());
            }
        }
        if self.replace {
            body.insert("replace".to_owned(), true.into());
        }
        Value::Object(body)
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["registries"]), "registries").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let registries = reply.parse::<Listed>()?.registries;
    if registries.is_empty() {
        context.ui.note("no registry logins; 'runyard registries add' keeps one");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table = Table::new(&["NAME", "SERVER", "USER", "AGE", "USED BY"]);
    for registry in &registries {
        table.row(vec![
            registry.name.as_str().into(),
            registry.server.as_str().into(),
            registry.username.as_str().into(),
            time::age(registry.created_at, now).into(),
            if registry.used_by.is_empty() { "–".to_owned() } else { registry.used_by.join(", ") }.into(),
        ]);
    }
    context.ui.table(&table)
}

async fn remove(name: &str, force: bool, context: &Context) -> anyhow::Result<()> {
    let path = path::query(&path::api(&["registries", name]), &[("force", force.then(|| "true".to_owned()))]);
    let reply = context.client().await?.send(Call::new(Method::DELETE, path)).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let registry: Registry = reply.parse()?;
    context.ui.line(&format!("removed the login {}", text::line(&registry.name, 80)))
}
