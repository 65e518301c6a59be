//! `runyard quick [ENTRY]`: makes an endpoint of an entry of the catalogue, with the stream of a deploy; without an entry
//! it lists them.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Call, path};
use crate::commands::deploy::{plan, rollout};
use crate::commands::secret_env::SecretEnvArgs;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;
use crate::output::{Table, text};

/// Make an endpoint of an entry of the catalogue; without one, list them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard quick                                     what there is
  runyard quick hello
  runyard quick llm --name chat --env MAX_MODEL_LEN=4096
  runyard quick llm --preset 'long chats'
  runyard quick llm --show                          what it asks for

The server's own entries are folders with a .runpod/hub.json; 'catalogue' in its configuration names where they lie.")]
pub struct Quick {
    /// The entry
    #[arg(value_name = "ENTRY")]
    entry: Option<String>,
    /// The endpoint's name; else the entry's
    #[arg(long, value_name = "NAME", requires = "entry")]
    name: Option<String>,
    /// A variable that the entry asks for, or another one; K alone takes the value from here
    #[arg(long, value_name = "K=V", requires = "entry")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
    /// Values that go together
    #[arg(long, value_name = "NAME", requires = "entry")]
    preset: Option<String>,
    /// Only show what the entry is and asks for
    #[arg(long, requires = "entry")]
    show: bool,
    /// Where there is an endpoint of this name, make it its next release
    #[arg(long, requires = "entry")]
    replace: bool,
    /// What to remember about this release
    #[arg(long, value_name = "TEXT", requires = "entry")]
    note: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Deserialize)]
struct Listed {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    title: String,
    description: String,
    category: String,
    problem: Option<String>,
    why_not: Option<String>,
    env: Vec<Variable>,
    presets: Vec<Preset>,
    remarks: Vec<String>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
    input: Option<Input>,
}

#[derive(Deserialize)]
struct Input {
    help: String,
    default: Option<String>,
    required: bool,
    options: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    value: String,
}

#[derive(Deserialize)]
struct Preset {
    name: String,
}

impl Quick {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let Some(entry) = self.entry.clone() else { return list(context).await };
        let client = context.client().await?;
        let of_entry = ["catalog", "entries", entry.as_str()];
        if self.show {
            let reply = client.get(path::api(&of_entry)).await?;
            return if ui.json { ui.document(&reply.text) } else { ui.write(&shown(&reply.parse()?)) };
        }
        let name = plan::checked(self.name.clone().unwrap_or_else(|| entry.clone()))?;
        let mut body = json!({
            "name": name,
            "env": plan::variables(&self.env)?,
            "secretEnv": self.secret_env.read(ui)?,
            "replace": self.replace,
        });
        if !self.settings.is_empty() {
            body["settings"] = self.settings.resolve(&client, &name).await?;
        }
        for (field, value) in [("preset", &self.preset), ("note", &self.note)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        let mut rollout = rollout::Rollout::new(&client, &name, ui);
        rollout.steps.line(&format!("{name} → {}", text::line(client.target(), 200)));
        let call = Call::new(Method::POST, path::api(&[&of_entry[..], &["deploy"]].concat()));
        let done = rollout.follow(call.json(&body).timeout(Duration::from_mins(30))).await?;
        if ui.json {
            return Ok(());
        }
        let url = text::line(done.url.as_deref().unwrap_or_default(), 400);
        ui.write(&format!("live   {url}\n  runyard examples {name} ls\n  runyard logs {name} -f\n"))
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["catalog", "entries"]), "entries").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let mut table = Table::new(&["ENTRY", "KIND", "WHAT IT IS", "REMARK"]);
    for entry in &reply.parse::<Listed>()?.entries {
        let remark = entry.problem.as_ref().or(entry.why_not.as_ref()).map_or("", String::as_str);
        table.row(vec![
            entry.name.as_str().into(),
            entry.category.as_str().into(),
            text::line(&entry.description, 90).into(),
            text::line(remark, 120).into(),
        ]);
    }
    context.ui.table(&table)
}

fn shown(entry: &Entry) -> String {
    let mut out = format!("{}: {}\n", text::line(&entry.title, 200), text::line(&entry.description, 2_000));
    for remark in entry.problem.iter().chain(&entry.why_not).chain(&entry.remarks) {
        let _ = writeln!(out, "  note: {}", text::line(remark, 400));
    }
    for Variable { name, value, input } in &entry.env {
        let name = text::line(name, 80);
        let Some(input) = input else {
            let _ = writeln!(out, "  {name}={}", text::line(value.as_deref().unwrap_or_default(), 120));
            continue;
        };
        let default = match (&input.default, input.required) {
            (Some(default), _) => format!("={}", text::line(default, 120)),
            (None, true) => " has to be given".to_owned(),
            (None, false) => String::new(),
        };
        let _ = writeln!(out, "  {name}{default}  {}", text::line(&input.help, 300));
        if !input.options.is_empty() {
            let all: Vec<String> = input.options.iter().map(|one| text::line(&one.value, 80)).collect();
            let _ = writeln!(out, "      one of {}", all.join(", "));
        }
    }
    for preset in &entry.presets {
        let _ = writeln!(out, "  --preset '{}'", text::line(&preset.name, 80));
    }
    out
}
