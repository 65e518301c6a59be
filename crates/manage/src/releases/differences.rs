//! What distinguishes two releases: fields, variables one by one, and files of their code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use runyard_domain::Release;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::views;

/// Fields that are another in every release, or say nothing of what it does.
const OTHERS: [&str; 12] = [
    "number",
    "state",
    "serving",
    "createdAt",
    "createdBy",
    "note",
    "reason",
    "envRead",
    "env",
    "secureEnv",
    "tookMs",
    // It is the handler.
    "image.name",
];

/// What is shown of a secure variable that has another value.
const OTHER_VALUE: &str = "•••• (another value)";

/// Files beyond this are not looked at.
const MOST_FILES: usize = 20_000;

/// What differs, as `{field, old, new}`; against nothing, everything that is set does.
pub(crate) fn fields(old: Option<&Release>, new: &Release) -> Vec<Value> {
    let object = |release: &Release| match views::release(release, None) {
        Value::Object(fields) => part_by_part(fields),
        _ => Map::new(),
    };
    let (before, after) = (old.map(object).unwrap_or_default(), object(new));
    let mut found = Vec::new();
    // Of a release that is older than this part nobody knows what its containers got.
    let unknown = |field: &str| field.starts_with("container.") && old.is_some_and(|old| old.given.is_none());
    let named: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for field in named.into_iter().filter(|field| !OTHERS.contains(&field.as_str()) && !unknown(field)) {
        let [was, is] = [&before, &after].map(|fields| fields.get(field).unwrap_or(&Value::Null));
        if was != is {
            found.push(json!({"field": field, "old": was, "new": is}));
        }
    }
    let (before, after) = (old.map(views::env).unwrap_or_default(), views::env(new));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    for name in names {
        let (was, mut is) = (before.get(name), after.get(name));
        let sealed = (old.and_then(|old| old.secure_env.get(name)), new.secure_env.get(name));
        if let (Some(was), Some(now)) = sealed
            && was != now
        {
            is = Some(&OTHER_VALUE);
        }
        if was != is {
            found.push(json!({"field": format!("env.{name}"), "old": was, "new": is}));
        }
    }
    found
}

/// The image as fields of its own, `image.id` and so on: of a whole object nobody sees what differs. So is what
/// containers get, as far as anything was said.
fn part_by_part(mut fields: Map<String, Value>) -> Map<String, Value> {
    for part in ["image", "container"] {
        if let Some(Value::Object(of)) = fields.remove(part) {
            let said = of.into_iter().filter(|(_, value)| part == "image" || !is_nothing(value));
            fields.extend(said.map(|(name, value)| (format!("{part}.{name}"), value)));
        }
    }
    fields
}

/// What leaves it to the machine.
fn is_nothing(value: &Value) -> bool {
    *value == json!(0) || *value == json!("") || *value == json!([])
}

/// Files by what became of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Files {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

/// Compares two folders by the bytes of their files.
pub(super) fn files(old: &Path, new: &Path) -> Files {
    let (before, after) = (listed(old), listed(new));
    let mut files = Files::default();
    for (name, path) in &after {
        match before.get(name) {
            None => files.added.push(name.clone()),
            Some(was) if fs::read(was).ok() != fs::read(path).ok() => files.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    files.removed = before.into_keys().filter(|name| !after.contains_key(name)).collect();
    files
}

fn listed(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && found.len() < MOST_FILES => {
                    let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    found.insert(name, path);
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_image_differs_part_by_part() {
        let fields = json!({"handler": "x", "image": {"id": "sha256:1", "command": null},
            "container": {"pids": 0, "memory_mib": 9, "volumes": []}});
        let Value::Object(fields) = fields else { return };
        let parts = part_by_part(fields);
        assert_eq!(
            parts.keys().collect::<Vec<_>>(),
            ["container.memory_mib", "handler", "image.command", "image.id"]
        );
    }

    #[test]
    fn files_are_added_changed_and_removed() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, name, text) in
            [(&old, "same", "1"), (&new, "same", "1"), (&old, "a", "1"), (&new, "a", "2"), (&old, "gone", "")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::create_dir(new.path().join("sub")).unwrap();
        fs::write(new.path().join("sub/b"), "").unwrap();
        let found = files(old.path(), new.path());
        let expected = Files {
            added: vec!["sub/b".to_owned()],
            removed: vec!["gone".to_owned()],
            changed: vec!["a".to_owned()],
        };
        assert_eq!(found, expected);
    }
}
