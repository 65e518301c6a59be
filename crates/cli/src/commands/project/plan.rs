//! `runyard plan [PATH]`: what `apply` would do, and nothing done.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Call, Client, path};
use crate::commands::project::{Project, ProjectArgs};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::text;

/// Show what the server would change so that it has what runyard.toml says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard plan                         this folder
  runyard plan examples/hello -e staging
  runyard plan --exit-code             end with 8 where something differs

Nothing is uploaded or changed. A setting that the file leaves out shall be the usual one.")]
pub struct Plan {
    #[command(flatten)]
    project: ProjectArgs,
    /// End with 8 where something differs
    #[arg(long)]
    exit_code: bool,
}

/// A plan as the server made it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Planned {
    /// What `apply` names.
    pub plan: String,
    /// The endpoint's name.
    pub name: String,
    /// `create`, `update` or `none`.
    pub action: String,
    /// A release is made, and tested before it gets traffic.
    pub makes_release: bool,
    /// The workers that run are replaced, one after the other.
    pub replaces_workers: bool,
    /// What differs.
    pub changes: Vec<Change>,
    /// What to know before it is done.
    pub warnings: Vec<String>,
}

/// One value that differs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Change {
    path: String,
    old: Value,
    new: Value,
    drift: bool,
}

impl Plan {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        show(&self.project, self.exit_code, context).await
    }
}

/// Makes a plan and prints it.
pub async fn show(project: &ProjectArgs, exit_code: bool, context: &Context) -> anyhow::Result<()> {
    let project = project.load()?;
    let client = context.client().await?;
    let (text, planned) = make(&client, &project, digest(&project)?.as_deref()).await?;
    if context.ui.json {
        context.ui.document(&text)?;
    } else {
        context.ui.write(&render(&planned))?;
    }
    if exit_code && planned.action != "none" {
        return Err(Failure::new(Code::Differs, format!("{} is not as its file says", planned.name)).into());
    }
    Ok(())
}

/// The name of what would be uploaded.
fn digest(project: &Project) -> anyhow::Result<Option<String>> {
    Ok(project.pack()?.map(|packed| packed.sha256))
}

/// Asks the server for a plan; its text and what it says.
pub async fn make(
    client: &Client,
    project: &Project,
    bundle: Option<&str>,
) -> anyhow::Result<(String, Planned)> {
    let path = path::api(&["endpoints", &project.name, "plan"]);
    let call = Call::new(Method::POST, path).json(&project.desired(bundle));
    let reply = client.send(call).await?;
    let planned = reply.parse()?;
    Ok((reply.text, planned))
}

/// The plan for people.
pub fn render(planned: &Planned) -> String {
    let name = text::line(&planned.name, 80);
    let mark = match planned.action.as_str() {
        "create" => "+",
        "update" => "~",
        _ => "=",
    };
    let mut lines = vec![format!("{mark} endpoint {name}")];
    let widest = planned.changes.iter().map(|change| change.path.len()).max().unwrap_or_default().min(40);
    for change in &planned.changes {
        let Change { path, old, new, drift } = change;
        let drift = if *drift { "   (changed since it was applied)" } else { "" };
        let path = text::line(path, 120);
        lines.push(format!("    {path:widest$}  {} → {}{drift}", shown(old), shown(new)));
    }
    for warning in &planned.warnings {
        lines.push(format!("  ! {}", text::line(warning, 400)));
    }
    lines.push(match planned.action.as_str() {
        "create" => "a new endpoint, and its first release".to_owned(),
        "none" => "nothing differs".to_owned(),
        _ if planned.replaces_workers => {
            format!(
                "{}; a new release: workers are replaced one after the other",
                counted(planned.changes.len())
            )
        }
        _ => format!("{}; no worker restarts", counted(planned.changes.len())),
    });
    lines.join("\n") + "\n"
}

fn counted(changes: usize) -> String {
    if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") }
}

/// A value in a line.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(said) if said.is_empty() => "\"\"".to_owned(),
        Value::String(said) => text::shorten(&text::line(said, 400), 60),
        other => text::shorten(&text::line(&other.to_string(), 400), 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_at_a_glance() {
        let planned: Planned = serde_json::from_str(
            r#"{"name":"x","action":"update","makesRelease":true,"replacesWorkers":true,"warnings":["look"],
                "changes":[{"path":"scale.max","old":3,"new":5,"drift":true},{"path":"run.env.A","old":null,"new":"b"}]}"#,
        )
        .expect("a plan");
        assert_eq!(
            render(&planned),
            "~ endpoint x\n    scale.max  3 → 5   (changed since it was applied)\n    run.env.A  – → b\n  ! look\n2 changes; a new release: workers are replaced one after the other\n"
        );
        let none = Planned { name: "x".to_owned(), action: "none".to_owned(), ..Planned::default() };
        assert_eq!(render(&none), "= endpoint x\nnothing differs\n");
    }
}
