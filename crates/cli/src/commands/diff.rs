//! `runyard diff EP [FROM] [TO]`: what distinguishes two releases. `runyard diff [PATH]`: what distinguishes an endpoint
//! from its file.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::client::path;
use crate::commands::deploy::rollout::release_number;
use crate::commands::project::many::ProjectsArgs;
use crate::commands::project::plan;
use crate::context::Context;
use crate::output::text;

/// Show what distinguishes two releases, or an endpoint from its runyard.toml
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard diff t2i               the newest release and the one before
  runyard diff t2i 3 7
  runyard diff                   this folder's runyard.toml and what the server has
  runyard diff ./t2i --exit-code end with 8 where they differ")]
pub struct Diff {
    /// The endpoint's name or id; or a folder, with a '/' in it [default: .]
    #[arg(value_name = "ENDPOINT|PATH")]
    what: Option<String>,
    /// The older release; else the one before
    #[arg(value_name = "FROM", value_parser = release_number)]
    from: Option<u32>,
    /// The newer one; else the newest
    #[arg(value_name = "TO", value_parser = release_number)]
    to: Option<u32>,
    /// Of a folder: the file's environment, [env.NAME]
    #[arg(short, long, value_name = "NAME")]
    environment: Option<String>,
    /// Of a folder: end with 8 where something differs
    #[arg(long)]
    exit_code: bool,
}

#[derive(Deserialize)]
struct Answer {
    from: Option<u32>,
    to: u32,
    diff: Vec<Change>,
    files: Option<Files>,
}

#[derive(Deserialize)]
struct Change {
    field: String,
    old: Value,
    new: Value,
}

#[derive(Deserialize)]
struct Files {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Diff {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let endpoint = match self.what {
            Some(what) if !is_path(&what) => what,
            what => {
                let paths = vec![what.unwrap_or_else(|| ".".to_owned()).into()];
                let projects = ProjectsArgs { paths, environment: self.environment, recursive: false };
                return plan::show(&projects, false, self.exit_code, context).await;
            }
        };
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let path = path::api(&["endpoints", &endpoint, "diff"]);
        let path = path::query(&path, &[("from", number(self.from)), ("to", number(self.to))]);
        let reply = context.client().await?.get(path).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        context.ui.write(&render(&reply.parse()?))
    }
}

/// Names of endpoints have no '/', and `.` is none.
fn is_path(what: &str) -> bool {
    what.contains('/') || what == "." || what == ".." || what.ends_with(runyard_project::FILE)
}

fn render(answer: &Answer) -> String {
    let from = answer.from.map_or("nothing".to_owned(), |n| format!("#{n}"));
    let mut lines = vec![format!("{from} → #{}", answer.to)];
    for Change { field, old, new } in &answer.diff {
        lines.push(format!("  {}  {} → {}", text::line(field, 80), shown(old), shown(new)));
    }
    if let Some(files) = &answer.files {
        for (mark, names) in [("+", &files.added), ("-", &files.removed), ("~", &files.changed)] {
            lines.extend(names.iter().map(|name| format!("  {mark} {}", text::line(name, 200))));
        }
    }
    if lines.len() == 1 {
        lines.push("  nothing differs".to_owned());
    }
    lines.join("\n") + "\n"
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(said) if said.is_empty() => "–".to_owned(),
        Value::String(said) => text::shorten(&text::line(said, 400), 60),
        other => text::line(&other.to_string(), 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files_are_listed() {
        let answer: Answer = serde_json::from_str(
            r#"{"from":1,"to":2,"diff":[{"field":"env.MODE","old":null,"new":"b"}],
                "files":{"added":["a.py"],"removed":[],"changed":["handler.py"]}}"#,
        )
        .expect("an answer");
        assert_eq!(render(&answer), "#1 → #2\n  env.MODE  – → b\n  + a.py\n  ~ handler.py\n");
    }
}
