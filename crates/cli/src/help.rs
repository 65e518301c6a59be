//! The first page of help: the commands in groups, daily ones first. clap knows no groups of commands, so the
//! list is made here from clap's own descriptions and put into its template.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use crate::Cli;

/// The groups. A command that is in none is listed last.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Start", &["dev", "up", "doctor"]),
    ("Ship", &["deploy", "quick", "releases", "rollback", "promote", "diff", "git"]),
    ("Declare", &["plan", "apply", "validate", "export", "destroy"]),
    ("Call", &["run", "status", "cancel", "retry", "jobs", "token", "purge", "batch", "examples"]),
    (
        "See",
        &[
            "logs", "metrics", "why", "failures", "top", "workers", "gpus", "exec", "webhooks", "audit",
            "events", "catalog", "billing",
        ],
    ),
    (
        "Things",
        &[
            "endpoints",
            "secret",
            "keys",
            "members",
            "registries",
            "templates",
            "volumes",
            "ssh-keys",
            "login",
            "logout",
            "whoami",
            "config",
            "disk",
            "completion",
        ],
    ),
    ("House", &["backup", "upgrade", "service", "env", "openapi"]),
];

const EXAMPLES: &str = "\
Examples:
  runyard deploy                            ship this folder as an endpoint of the same name
  runyard run t2i -i prompt=\"a red boat\" -o boat.png
  runyard logs t2i -f                       what its workers print
  runyard why t2i                           why it is slow, failing or asleep

'runyard help COMMAND' tells more about a command.";

/// The whole command line, with the grouped list.
pub fn command() -> Command {
    let command = Cli::command();
    let list = grouped(&command);
    let template =
        format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{list}{EXAMPLES}\n\nOptions:\n{{options}}\n");
    command.help_template(template)
}

fn grouped(command: &Command) -> String {
    let all: Vec<&Command> = command.get_subcommands().filter(|c| !c.is_hide_set()).collect();
    let named = |name: &str| all.iter().copied().find(|c| c.get_name() == name);
    let mut out = String::new();
    for (title, names) in GROUPS {
        push_group(&mut out, title, names.iter().filter_map(|name| named(name)));
    }
    let listed = |c: &Command| GROUPS.iter().any(|(_, names)| names.contains(&c.get_name()));
    push_group(&mut out, "Other", all.iter().copied().filter(|c| !listed(c)));
    out
}

fn push_group<'a>(out: &mut String, title: &str, commands: impl Iterator<Item = &'a Command>) {
    let lines: Vec<String> = commands
        .map(|c| {
            let about = c.get_about().map(ToString::to_string).unwrap_or_default();
            format!("  {:<12}{about}\n", c.get_name())
        })
        .collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "{title}:\n{}", lines.concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_a_group_and_says_what_it_does() {
        let command = command();
        assert!(!grouped(&command).contains("Other:"), "add the new command to a group");
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            assert!(sub.get_about().is_some(), "{} has no description", sub.get_name());
        }
    }
}
