//! `runyard endpoints set NAME …`: changes an endpoint, in one write. What it comes to is said before it is done.

use std::io::IsTerminal as _;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Call, Client, path};
use crate::commands::deploy::plan;
use crate::commands::deploy::rollout::Rollout;
use crate::commands::endpoints::show;
use crate::commands::project::plan::shown;
use crate::commands::secret_env::SecretEnvArgs;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::text;

/// Change settings, variables or the image of an endpoint; what is not named stays
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard endpoints set t2i --min 1 --max 5
  runyard endpoints set t2i --scaler request-count --scaler-value 4
  runyard endpoints set t2i --max 0        stop it
  runyard endpoints set t2i --gpus rtx4090,24GB --dry-run
  runyard endpoints set t2i --env MODE=fast --secret-env HF_TOKEN --unset-env OLD

What changes is shown first, and which workers restart for it; on a terminal it is asked where some do.
Most settings hold at once. GPUs, what containers get, network volume, variables and image belong to releases: other
ones make a release of the same code, which is tested and takes over worker by worker. If it does not pass, nothing
is changed.")]
pub struct Set {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Give it another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set an environment variable; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
    /// Take a variable away, plain or secret
    #[arg(long, value_name = "K")]
    unset_env: Vec<String>,
    /// Run another image: ghcr.io/me/worker:v2
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// What to remember about the release, where one is made
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Only show what would change and which workers would restart
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// What a change comes to, as the server says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Planned {
    plan: Option<String>,
    changes: Vec<Change>,
    makes_release: bool,
    restarts: Vec<String>,
    says: String,
    warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Change {
    field: String,
    old: Value,
    new: Value,
    makes_release: bool,
}

impl Set {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let is_empty = self.name.is_none() && self.image.is_none() && self.settings.is_empty();
        if is_empty && self.env.is_empty() && self.secret_env.is_empty() && self.unset_env.is_empty() {
            return Err(Failure::usage("nothing to set").hint("runyard help endpoints set").into());
        }
        let variables = self.variables(context)?;
        let client = context.client().await?;
        let body = self.body(&client, variables).await?;
        let reply = client.send(self.call(("dry_run", Some("true".to_owned()))).json(&body)).await?;
        let planned: Planned = reply.parse()?;
        if self.dry_run {
            return if ui.json { ui.document(&reply.text) } else { ui.write(&render(&planned)) };
        }
        if !ui.json {
            ui.note(render(&planned).trim_end());
        }
        let can_be_asked = std::io::stdin().is_terminal() && ui.err_terminal;
        if !planned.restarts.is_empty() && !self.yes && can_be_asked {
            context.confirm("restarting these workers", "yes")?;
        }
        let call = self.call(("plan", planned.plan)).json(&body);
        if !planned.makes_release {
            return show::print(&client.send(call).await?, context);
        }
        let done = Rollout::new(&client, &self.endpoint, ui).follow(call).await?;
        if ui.json {
            return Ok(());
        }
        let number = done.release.map_or(String::new(), |n| format!(" release #{n} of"));
        let name = self.name.as_ref().unwrap_or(&self.endpoint);
        ui.line(&format!("serving{number} {}", text::line(name, 80)))
    }

    fn call(&self, query: (&str, Option<String>)) -> Call {
        let path = path::api(&["endpoints", &self.endpoint]);
        Call::new(Method::PATCH, path::query(&path, &[query]))
    }

    async fn body(&self, client: &Client, mut body: Map<String, Value>) -> anyhow::Result<Value> {
        for (field, value) in [("name", &self.name), ("image", &self.image), ("note", &self.note)] {
            if let Some(value) = value {
                body.insert(field.to_owned(), value.clone().into());
            }
        }
        if !self.settings.is_empty() {
            body.insert("settings".to_owned(), self.settings.resolve(client, &self.endpoint).await?);
        }
        Ok(Value::Object(body))
    }

    /// The part of the body about variables, where it has one.
    fn variables(&self, context: &Context) -> anyhow::Result<Map<String, Value>> {
        let mut env: Map<String, Value> =
            plan::variables(&self.env)?.into_iter().map(|(name, value)| (name, value.into())).collect();
        for name in &self.unset_env {
            plan::check_variable(name)?;
            env.entry(name.clone()).or_insert(Value::Null);
        }
        let mut body = Map::new();
        if !env.is_empty() {
            body.insert("env".to_owned(), env.into());
        }
        if !self.secret_env.is_empty() {
            body.insert("secretEnv".to_owned(), json!(self.secret_env.read(context.ui)?));
        }
        Ok(body)
    }
}

/// A change for people.
fn render(planned: &Planned) -> String {
    let widest = planned.changes.iter().map(|change| change.field.len()).max().unwrap_or_default().min(40);
    let mut lines = Vec::new();
    for Change { field, old, new, makes_release } in &planned.changes {
        let mark = if *makes_release { "   (a release)" } else { "" };
        let field = text::line(field, 120);
        lines.push(format!("  {field:widest$}  {} → {}{mark}", shown(old), shown(new)));
    }
    lines.extend(planned.warnings.iter().map(|warning| format!("  ! {}", text::line(warning, 400))));
    if !planned.restarts.is_empty() {
        let workers: Vec<String> = planned.restarts.iter().take(20).map(|id| text::line(id, 60)).collect();
        let more = if planned.restarts.len() > 20 { ", …" } else { "" };
        lines.push(format!("  restart: {}{more}", workers.join(", ")));
    }
    if !planned.says.is_empty() {
        lines.push(text::line(&planned.says, 400));
    }
    // A line feed behind each, also the last; nothing where there is nothing.
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_restarts() {
        let planned: Planned = serde_json::from_str(
            r#"{"plan": "x", "makesRelease": true, "restarts": ["w1", "w2"], "says": "it makes a release",
                "warnings": ["look"], "changes": [
                {"field": "gpus", "old": 1, "new": "24GB", "makesRelease": true},
                {"field": "workers_max", "old": 3, "new": 5, "makesRelease": false}]}"#,
        )
        .expect("a plan");
        let expected = "  gpus         1 → 24GB   (a release)\n  workers_max  3 → 5\n  ! look\n  restart: w1, w2\nit makes a release\n";
        assert_eq!(render(&planned), expected);
        assert_eq!(render(&Planned::default()), "");
    }
}
