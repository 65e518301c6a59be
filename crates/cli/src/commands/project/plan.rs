//! `runyard plan [PATH…]`: what `apply` would do, and nothing done.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Call, Client, path};
use crate::commands::project::Project;
use crate::commands::project::many::ProjectsArgs;
use crate::commands::project::prune::{self, Gone};
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
  runyard plan -r services --prune     every runyard.toml below, and the endpoints whose file is gone

Nothing is uploaded or changed. A setting that the file leaves out shall be the usual one.")]
pub struct Plan {
    #[command(flatten)]
    projects: ProjectsArgs,
    /// End with 8 where something differs
    #[arg(long)]
    exit_code: bool,
    /// Also show endpoints that were applied from a file below PATH of this repository which is gone
    #[arg(long)]
    prune: bool,
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
    /// What the file says and nothing obeys.
    pub not_applied: Vec<NotApplied>,
    /// What it costs for an hour.
    pub cost_per_hour: Costs,
}

/// A key that nothing obeys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NotApplied {
    path: String,
    value: Value,
    why: String,
}

/// What it costs now, and what it would.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Costs {
    old: Option<Cost>,
    new: Option<Cost>,
}

/// What it costs for an hour.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    workers_min: u32,
    workers_max: u32,
    min: Option<f64>,
    max: Option<f64>,
    unknown: Option<String>,
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
        show(&self.projects, self.prune, self.exit_code, context).await
    }
}

/// Makes the plans and prints them.
pub async fn show(
    args: &ProjectsArgs,
    prunes: bool,
    exit_code: bool,
    context: &Context,
) -> anyhow::Result<()> {
    let projects = args.load()?;
    let client = context.client().await?;
    let mut plans = Vec::new();
    for project in &projects {
        plans.push(make(&client, project, digest(project)?.as_deref()).await?);
    }
    let gone = if prunes { prune::find(&client, args, &projects).await? } else { Vec::new() };
    if !context.ui.json {
        let shown: Vec<String> = plans.iter().map(|(_, planned)| render(planned)).collect();
        context.ui.write(&(shown.join("\n") + &render_gone(&gone)))?;
    } else if let ([(text, _)], false) = (plans.as_slice(), prunes) {
        context.ui.document(text)?;
    } else {
        let all: Vec<Value> = plans.iter().filter_map(|(text, _)| serde_json::from_str(text).ok()).collect();
        context.ui.document(&json!({"plans": all, "removes": gone}).to_string())?;
    }
    let differing = plans.iter().filter(|(_, planned)| planned.action != "none");
    let mut names: Vec<&str> = differing.map(|(_, planned)| planned.name.as_str()).collect();
    names.extend(gone.iter().map(|gone| gone.name.as_str()));
    match names.as_slice() {
        [] => Ok(()),
        _ if !exit_code => Ok(()),
        [one] => Err(Failure::new(Code::Differs, format!("{one} is not as its file says")).into()),
        more => {
            let more = text::line(&more.join(", "), 400);
            Err(Failure::new(Code::Differs, format!("{more} are not as their files say")).into())
        }
    }
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
    for NotApplied { path, value, why } in &planned.not_applied {
        let (path, why) = (text::line(path, 120), text::line(why, 200));
        lines.push(format!("  ! not applied: {path} = {}: {why}", shown(value)));
    }
    for warning in &planned.warnings {
        lines.push(format!("  ! {}", text::line(warning, 400)));
    }
    if planned.action != "none" {
        lines.extend(cost(&planned.cost_per_hour));
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

/// Endpoints whose file is gone.
pub fn render_gone(gone: &[Gone]) -> String {
    let line = |Gone { name, by }: &Gone| {
        let (name, by) = (text::line(name, 80), text::line(by, 400));
        format!(
            "- endpoint {name}\n    its file is gone, or names another endpoint: {by}\n    removed with its jobs, logs and releases\n"
        )
    };
    gone.iter().map(line).collect()
}

/// What it costs for an hour, before and after; or why nobody can say.
fn cost(costs: &Costs) -> Option<String> {
    let new = costs.new.as_ref()?;
    let of = |cost: &Cost| Some((cost.min?, cost.max?));
    let Some((min, max)) = of(new) else {
        let why = new.unknown.as_deref().unwrap_or("the server does not say");
        return Some(format!("  cost per hour: {}", text::line(why, 200)));
    };
    let at = |workers: u32| if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
    let (few, many) = (at(new.workers_min), at(new.workers_max));
    let old = costs.old.as_ref();
    Some(match old.map(|old| (old, of(old))) {
        Some((old, _)) if old == new => {
            format!("  cost per hour: {} at {few}, {} at {many}; as before", sum(min), sum(max))
        }
        Some((_, Some((least, most)))) => {
            let (least, most) = (sum(least), sum(most));
            format!("  cost per hour: {least} → {} at {few}, {most} → {} at {many}", sum(min), sum(max))
        }
        _ => format!("  cost per hour: {} at {few}, {} at {many}", sum(min), sum(max)),
    })
}

/// A sum of money, with two digits and as many more as say something.
fn sum(amount: f64) -> String {
    let text = format!("{amount:.6}");
    let short = text.trim_end_matches('0');
    let digits = short.rsplit('.').next().map_or(0, str::len).max(2);
    format!("{amount:.digits$}")
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
        let costs: Costs = serde_json::from_str(
            r#"{"old":{"workersMin":0,"workersMax":1,"min":0,"max":0.42},"new":{"workersMin":0,"workersMax":2,"min":0,"max":0.84}}"#,
        )
        .expect("costs");
        let shown = "  cost per hour: 0.00 → 0.00 at 0 workers, 0.42 → 0.84 at 2 workers";
        assert_eq!(cost(&costs).as_deref(), Some(shown));
        let unknown = Some("no price is configured for L4".to_owned());
        let costs = Costs { old: costs.old, new: Some(Cost { unknown, ..Cost::default() }) };
        assert_eq!(cost(&costs).as_deref(), Some("  cost per hour: no price is configured for L4"));
        assert_eq!((sum(0.4), sum(12.0), sum(0.0125)), ("0.40".into(), "12.00".into(), "0.0125".into()));
        let none = Planned { name: "x".to_owned(), action: "none".to_owned(), ..Planned::default() };
        assert_eq!(render(&none), "= endpoint x\nnothing differs\n");
    }
}
