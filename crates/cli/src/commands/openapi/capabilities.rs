//! `docs/capabilities.md`: what can be done, and by which doors. It is made of the OpenAPI document and of the commands
//! as clap knows them, so that it cannot say what is not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::pages::PAGES;

/// Commands that call nothing of the management API, and what they do instead.
const OTHERS: [(&str, &str); 28] = [
    ("run", "`POST /v2/{endpoint}/run`, `/runsync`, `GET /stream/{id}`"),
    ("batch create", "`POST /v2/{endpoint}/batch`"),
    ("batch add", "`POST /v2/{endpoint}/batch/{batch}/requests`"),
    ("batch finalize", "`POST /v2/{endpoint}/batch/{batch}/finalize`"),
    ("batch list", "`GET /v2/{endpoint}/batch`"),
    ("batch status", "`GET /v2/{endpoint}/batch/{batch}`"),
    ("batch results", "`GET /v2/{endpoint}/batch/{batch}/requests`"),
    ("batch cancel", "`POST /v2/{endpoint}/batch/{batch}/cancel`"),
    ("dev", "a server of its own, for one folder"),
    ("up", "the server itself"),
    ("validate", "reads a file"),
    ("export", "`getEndpoint` and `listReleases`, as a file"),
    ("destroy", "`removeEndpoint`, of the file's endpoint"),
    (
        "top",
        "`listGpus`, `listEndpoints`, `listWorkers`, `measureWorkers` and `readMetrics`, again and again",
    ),
    ("keys enable", "`changeKey`"),
    ("logout", "`POST /auth/logout`, and forgets the key here"),
    ("ssh-keys remove", "`replaceSshKeys`"),
    ("login", "keeps a key on this machine"),
    ("backup verify", "reads an archive"),
    ("backup restore", "makes a data directory"),
    ("backup rebuild", "makes environments of a data directory"),
    ("upgrade", "another program in the server's place, on its machine"),
    ("service print", "a unit of systemd"),
    ("service install", "a unit of systemd"),
    ("service remove", "a unit of systemd"),
    ("workers exec", "the same as `exec`"),
    ("completion", "a script for a shell"),
    ("env runpod", "`getInfo`, as variables of a shell"),
];

const HEAD: &str = "\
# What can be done, by which door

Made by `cargo xtask capabilities` of the OpenAPI document (`runyard openapi`) and the commands of the binary; a test
holds that it is current, and that each operation names a command and a page that there are, or why there is none.
";

/// The page.
pub(super) fn page(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    let operations = operations(document);
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let words = tag["description"].as_str().unwrap_or_default();
        let _ = write!(page, "\n## {words}\n\n| what | API | command line | console |\n|---|---|---|---|\n");
        for (call, operation) in operations.iter().filter(|(_, operation)| operation["tags"][0] == *name) {
            let _ = writeln!(page, "{}", row(call, operation));
        }
    }
    page.push_str(
        "\n## By the command line alone, or by another API\n\n| command | speaks, or does |\n|---|---|\n",
    );
    for (command, does) in OTHERS {
        let _ = writeln!(page, "| `{command}` | {does} |");
    }
    page
}

/// Calls and their operations, in the order of their paths.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (format!("{path} {}", method.to_uppercase()), operation))
    });
    all.collect()
}

fn row(call: &str, operation: &Value) -> String {
    let (path, method) = call.split_once(' ').unwrap_or((call, ""));
    let door = match (operation["x-command"].as_str(), operation["x-no-command"].as_str()) {
        (Some(command), _) => format!("`{command}`"),
        (None, Some(why)) => format!("– {why}"),
        (None, None) => String::new(),
    };
    let id = operation["operationId"].as_str().unwrap_or_default();
    let console = match PAGES.iter().find(|(named, _)| *named == id) {
        Some((_, page)) if page.starts_with('/') => format!("`{page}`"),
        Some((_, words)) => (*words).to_owned(),
        None => String::new(),
    };
    let summary = operation["summary"].as_str().unwrap_or_default();
    format!("| {summary} | `{method} {path}` | {door} | {console} |")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;
    use runyard_manage::openapi::{Door, document, operations};

    use super::*;

    /// The commands that do something, by their whole names; `true`: it also has commands of its own.
    fn commands(command: &Command, before: &str, found: &mut BTreeMap<String, bool>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let name = format!("{before}{}", sub.get_name());
            found.insert(name.clone(), sub.get_subcommands().next().is_some());
            commands(sub, &format!("{name} "), found);
        }
    }

    #[test]
    fn the_page_in_the_documents_is_current() {
        let there = include_str!("../../../../../docs/capabilities.md");
        let made = page(&document(None));
        assert!(there == made, "`cargo xtask capabilities` writes it anew");
    }

    /// Whether the console has it, with `{…}` for any part.
    fn is_page(address: &str) -> bool {
        let parts: Vec<&str> = address.split('/').collect();
        runyard_console::paths().iter().any(|path| {
            let of: Vec<&str> = path.split('/').collect();
            let fits = |(theirs, ours): (&&str, &&str)| theirs.starts_with('{') || theirs == ours;
            of.len() == parts.len() && of.iter().zip(&parts).all(fits)
        })
    }

    #[test]
    fn every_operation_has_a_page_or_a_reason() {
        let ids: BTreeSet<&str> = operations().iter().map(|(_, operation)| operation.id).collect();
        let rows: BTreeSet<&str> = PAGES.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.symmetric_difference(&rows).collect::<Vec<_>>(), Vec::<&&str>::new());
        for (id, page) in PAGES {
            assert!(!page.starts_with('/') || is_page(page), "{id}: the console has no {page}");
        }
        assert!(!is_page("/e/a/b/c/d"));
    }

    #[test]
    fn every_operation_has_a_command_or_a_reason_and_every_command_a_row() {
        let mut there = BTreeMap::new();
        commands(&crate::help::command(), "", &mut there);
        let mut named: BTreeSet<&str> = OTHERS.iter().map(|(command, _)| *command).collect();
        for (_, operation) in operations() {
            match operation.door {
                Door::Command(command) => drop(named.insert(command)),
                Door::Nowhere(why) => assert!(!why.is_empty(), "{}", operation.id),
            }
        }
        for command in &named {
            assert!(there.contains_key(*command), "there is no command '{command}'");
        }
        let is_group = |name: &str| there.get(name) == Some(&true);
        let lacking: Vec<&String> =
            there.keys().filter(|name| !is_group(name) && !named.contains(name.as_str())).collect();
        assert!(lacking.is_empty(), "{lacking:?} have no operation, and no row in {}", file!());
    }
}
