//! The audit log: who changed what through the management API, from where, and what it was before. Values of secrets
//! never come into it: it is made of what views show.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EndpointId, Timestamp};

/// How many records are kept; the oldest go first.
pub const MOST: u64 = 10_000;

/// How long a record is kept, in milliseconds: 90 days.
pub const KEPT_MS: i64 = 90 * 86_400_000;

/// The most fields that one record tells of.
const MOST_CHANGES: usize = 60;

/// A value longer than this is cut, in characters.
const LONGEST: usize = 300;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place, rising from 1; the store sets it.
    #[serde(skip)]
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who: a key's id, `local`, `git` for commits, or `runyard` for what the server does by itself.
    pub who: String,
    /// What the key was called then.
    pub who_name: Option<String>,
    /// The e-mail address of the member that the key belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The address that it came from; `None` from this machine's own sockets.
    pub from: Option<String>,
    /// What was done, as `endpoint.change`.
    pub action: String,
    /// The endpoint that it was done to.
    pub endpoint: Option<EndpointId>,
    /// What it was called then.
    pub endpoint_name: Option<String>,
    /// What else it was done to: a key's id, a secret's name, a job's id.
    pub subject: Option<String>,
    /// The fields that differ.
    pub changes: Vec<FieldChange>,
}

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name, with a dot between names of objects: `settings.workers_max`.
    pub field: String,
    /// `null` where it was not there.
    pub old: Value,
    /// `null` where it is gone.
    pub new: Value,
}

/// Which records to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only at or after.
    pub since: Option<Timestamp>,
    /// Only before.
    pub until: Option<Timestamp>,
    /// Only by this one: a key's id or name, or a member's e-mail address.
    pub who: Option<String>,
    /// Only this action, as `key.create`, or all of a kind, as `key`.
    pub action: Option<String>,
    /// Only done to this.
    pub subject: Option<String>,
    /// Only before this one, for the next page.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

impl AuditFilter {
    /// Whether a record is one of those.
    pub fn fits(&self, record: &AuditRecord) -> bool {
        let is = |wanted: &Option<String>, found: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(found);
        self.endpoint.as_ref().is_none_or(|id| record.endpoint.as_ref() == Some(id))
            && self.since.is_none_or(|at| record.at >= at)
            && self.until.is_none_or(|at| record.at < at)
            && self.before.is_none_or(|n| record.seq < n)
            && is(&self.who, &|who| {
                let names = [Some(&record.who), record.who_name.as_ref(), record.member.as_ref()];
                names.into_iter().flatten().any(|name| name == who)
            })
            && is(&self.action, &|action| {
                let rest = record.action.strip_prefix(action);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            && is(&self.subject, &|subject| record.subject.as_deref() == Some(subject))
    }
}

/// The fields that differ between two pictures of a thing, in the order of their names.
pub fn changes(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(name: &str, before: &Value, after: &Value, found: &mut Vec<FieldChange>) {
    if before == after || found.len() >= MOST_CHANGES {
        return;
    }
    let none = serde_json::Map::new();
    let (old, new) = match (before, after) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Object(old), Value::Null) if name.is_empty() => (old, &none),
        (Value::Null, Value::Object(new)) if name.is_empty() => (&none, new),
        _ => {
            found.push(FieldChange { field: name.to_owned(), old: cut(before), new: cut(after) });
            return;
        }
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for field in names {
        let path = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
        compare(&path, old.get(field).unwrap_or(&Value::Null), new.get(field).unwrap_or(&Value::Null), found);
    }
}

/// A value within its bounds.
fn cut(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        short => return short.clone(),
    };
    if text.chars().count() <= LONGEST {
        return value.clone();
    }
    Value::String(text.chars().take(LONGEST).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_differ_are_told_with_their_whole_name() {
        let before = json!({"name": "a", "settings": {"max": 3, "rates": {"run": "1/1"}}, "gone": 1});
        let after = json!({"name": "a", "settings": {"max": 5, "rates": {"run": "1/1"}}, "new": [1]});
        let told: Vec<_> = changes(&before, &after).into_iter().map(|c| (c.field, c.old, c.new)).collect();
        let change = |field: &str, old: Value, new: Value| (field.to_owned(), old, new);
        assert_eq!(
            told,
            [
                change("gone", json!(1), Value::Null),
                change("new", Value::Null, json!([1])),
                change("settings.max", json!(3), json!(5)),
            ]
        );
        assert_eq!(changes(&Value::Null, &json!({"a": 1}))[0].field, "a");
        assert_eq!(changes(&json!({"a": 1}), &Value::Null)[0].new, Value::Null);
    }

    #[test]
    fn a_record_has_bounds() {
        let many: serde_json::Map<String, Value> =
            (0..100).map(|n| (format!("f{n}"), json!("é".repeat(1_000)))).collect();
        let told = changes(&Value::Null, &Value::Object(many));
        assert_eq!(told.len(), MOST_CHANGES);
        assert!(told.iter().all(|c| c.new.as_str().is_some_and(|text| text.chars().count() == LONGEST + 1)));
    }
}
