//! Holds the table of `docs/endpoint-settings.md` against the code: names, flags, keys, defaults, and what makes a release.

use std::collections::BTreeSet;

use clap::{Args as _, Command};
use runyard_domain::Settings;
use runyard_project::places;
use serde_json::Value;

use super::SettingsArgs;

const DOC: &str = include_str!("../../../../../docs/endpoint-settings.md");

/// The rows of the one table that has seven columns.
fn rows() -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let lines = DOC.lines().filter(|line| line.starts_with("| `"));
    lines.map(cells).filter(|cells| cells.len() == 7).collect()
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn the_table_of_settings_is_what_the_code_does() {
    let usual = places::flat(&serde_json::to_value(Settings::default()).expect("settings are JSON"));
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().map(|row| code(row[0])).collect();
    let known: BTreeSet<&str> = usual.keys().map(String::as_str).collect();
    assert_eq!(listed, known, "every setting has one row, and every row is of a setting");
    assert_eq!(rows.len(), known.len());
    let command = SettingsArgs::augment_args(Command::new("set"));
    let flags: BTreeSet<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    let mut unlisted = flags.clone();
    for row in &rows {
        let name = code(row[0]);
        for flag in row[1].split(", ").map(|flag| code(flag).trim_start_matches("--")) {
            assert!(flags.contains(flag), "{name}: there is no flag --{flag}");
            unlisted.remove(flag);
        }
        assert_eq!(code(row[2]), places::key_of(name), "{name}");
        let default: Value = serde_json::from_str(code(row[3])).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(default, usual[name], "{name}");
        let says = row[6].starts_with("release");
        assert_eq!(says, Settings::replaces_workers(name), "{name}");
    }
    assert!(unlisted.is_empty(), "flags without a setting: {unlisted:?}");
}
