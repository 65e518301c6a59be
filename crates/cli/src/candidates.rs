//! What a shell offers for an argument that names something on the server: endpoints, jobs, workers, keys. The
//! arguments are known by their value names, so that a new command has completion without a word here. A server
//! that does not answer at once offers nothing; nothing is ever printed.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;

use crate::client::path;
use crate::help;
use crate::output::text;
use crate::target::TargetArgs;

/// The variable by which a completion script asks.
pub const VARIABLE: &str = "RUNYARD_COMPLETE";

/// Nobody waits longer than this after a tab.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How many jobs are offered, the newest first.
const JOBS: &str = "100";

/// A kind of thing on the server.
#[derive(Clone, Copy)]
struct Kind {
    /// Where the API lists it, and the field of the answer that holds the list.
    list: &'static str,
    /// The field that names one.
    name: &'static str,
    /// The field that tells more about it.
    about: &'static str,
}

const ENDPOINTS: Kind = Kind { list: "endpoints", name: "name", about: "state" };
const JOB: Kind = Kind { list: "jobs", name: "id", about: "status" };
const WORKERS: Kind = Kind { list: "workers", name: "id", about: "state" };

/// The whole command line, with candidates.
pub fn command() -> Command {
    with_candidates(help::command())
}

fn with_candidates(command: Command) -> Command {
    command.mut_args(arg).mut_subcommands(with_candidates)
}

fn arg(arg: Arg) -> Arg {
    let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let kinds: &[Kind] = match name.as_deref() {
        Some("ENDPOINT") => &[ENDPOINTS],
        Some("JOB") => &[JOB],
        Some("JOB|ENDPOINT") => &[ENDPOINTS, JOB],
        Some("WORKER") => &[WORKERS],
        Some("ENDPOINT|WORKER") => &[ENDPOINTS, WORKERS],
        Some("ENDPOINT|WORKER|JOB") => &[ENDPOINTS, WORKERS, JOB],
        _ => return arg,
    };
    arg.add(ArgValueCompleter::new(move |typed: &OsStr| offer(kinds, &typed.to_string_lossy())))
}

fn offer(kinds: &[Kind], typed: &str) -> Vec<CompletionCandidate> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(kinds)).await });
    let found = found.ok().flatten().unwrap_or_default();
    found
        .into_iter()
        .filter(|(name, _)| name.starts_with(typed))
        .map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into())))
        .collect()
}

/// Names, each with what it is.
async fn ask(kinds: &[Kind]) -> Option<Vec<(String, String)>> {
    let client = target(std::env::args()).running().await?;
    let mut found = Vec::new();
    for kind in kinds {
        let at = path::query(&path::api(&[kind.list]), &[("limit", Some(JOBS.to_owned()))]);
        let answer: Value = client.get(at).await.ok()?.parse().ok()?;
        let word = |one: &Value, field: &str| text::line(one[field].as_str().unwrap_or_default(), 200);
        let list = answer[kind.list].as_array()?;
        found.extend(list.iter().map(|one| (word(one, kind.name), word(one, kind.about))));
    }
    found.retain(|(name, _)| !name.is_empty());
    Some(found)
}

/// The server that the words typed so far name. They are not parsed as a whole: they are not whole yet.
fn target(mut words: impl Iterator<Item = String>) -> TargetArgs {
    let mut target = TargetArgs::default();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let field = match flag.as_str() {
            "--url" => &mut target.url,
            "--key" => &mut target.key,
            "--data" => {
                target.data = value.or_else(|| words.next()).map(Into::into);
                continue;
            }
            _ => continue,
        };
        *field = value.or_else(|| words.next());
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_one_that_was_typed() {
        let words = ["runyard", "--", "runyard", "--url=http://x", "run", "--key", "k", "--data"];
        let target = target(words.into_iter().map(str::to_owned));
        assert_eq!((target.url.as_deref(), target.key.as_deref()), (Some("http://x"), Some("k")));
        assert_eq!(target.data, None);
    }

    #[test]
    fn the_command_line_with_candidates_is_consistent() {
        command().debug_assert();
    }
}
