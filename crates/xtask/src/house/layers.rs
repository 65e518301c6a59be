//! Arrows point down only: a crate may use those below it, in tests too. Each takes part in the workspace's
//! lints, which forbid `unsafe`, and has its row in ARCHITECTURE.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// From the bottom to the top.
const ORDER: [&str; 27] = [
    "domain", "metrics", "project", "store", "vault", "logs", "ledger", "engine", "webhooks", "runtime",
    "listener", "boot", "agent", "fleet", "build", "git", "gateway", "backup", "manage", "lambda",
    "triggers", "console", "server", "cli", "bench", "fuzz", "xtask",
];

/// What every package's name starts with.
const PREFIX: &str = "runyard-";

/// A crate and the crates of this workspace that it uses.
struct Member {
    name: String,
    manifest: String,
    uses: Vec<String>,
}

/// Every broken rule, in a sentence each.
pub fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let members = members(root)?;
    let pairs: Vec<(&str, &[String])> =
        members.iter().map(|m| (m.name.as_str(), m.uses.as_slice())).collect();
    let mut breaches = upward(&pairs);
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    for member in &members {
        let manifest = fs::read_to_string(&member.manifest)
            .with_context(|| format!("cannot read {}", member.manifest))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            breaches.push(format!("the manifest of `{}` lacks `[lints] workspace = true`", member.name));
        }
        if !page.contains(&format!("| `{}` |", member.name)) {
            breaches.push(format!("the table of ARCHITECTURE.md lacks the crate `{}`", member.name));
        }
    }
    Ok(breaches)
}

fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> anyhow::Result<Member> {
    let name = package["name"].as_str().context("a package has a name")?;
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    let own = |d: &&Value| d["path"].is_string();
    let uses = dependencies.iter().filter(own).filter_map(|d| d["name"].as_str()).map(short);
    Ok(Member {
        name: short(name),
        manifest: package["manifest_path"].as_str().context("a package has a manifest")?.to_owned(),
        uses: uses.collect(),
    })
}

fn short(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

/// Dependencies that point up, and crates without a place.
fn upward(members: &[(&str, &[String])]) -> Vec<String> {
    let floor = |name: &str| ORDER.iter().position(|place| *place == name);
    let mut breaches = Vec::new();
    for (name, uses) in members {
        let Some(own) = floor(name) else {
            breaches.push(format!(
                "the crate `{name}` has no place: give it one in ORDER (crates/xtask/src/house/layers.rs)"
            ));
            continue;
        };
        // A crate may use itself in its tests, for a feature of its own.
        for used in uses.iter().filter(|used| used != name) {
            if floor(used).is_some_and(|used| used > own) {
                breaches.push(format!(
                    "`{name}` depends on `{used}`, which stands above it: move what both need down, or turn the \
                     arrow with a trait that `{name}` owns"
                ));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, uses: &[&str]) -> Vec<String> {
        let uses: Vec<String> = uses.iter().map(|u| (*u).to_owned()).collect();
        upward(&[(name, &uses)])
    }

    #[test]
    fn down_and_to_oneself_is_allowed() {
        assert_eq!(told("engine", &["domain", "store", "engine"]), [""; 0]);
    }

    #[test]
    fn up_names_both_crates() {
        let breaches = told("store", &["engine"]);
        assert!(breaches[0].contains("`store`") && breaches[0].contains("`engine`"), "{breaches:?}");
    }

    #[test]
    fn a_crate_without_a_place_is_told() {
        assert!(told("attic", &["domain"])[0].contains("`attic` has no place"));
    }
}
