//! The settings and variables of an endpoint, and its end.

use std::fmt::Write as _;

use askama::Template;
use runyard_domain::Gpus;
use serde_json::{Map, Value, json};

use crate::call::Trouble;
use crate::forms::Form;
use crate::frame::Frame;
use crate::gpus::{self, Editor};
use crate::pages::endpoint::{self, Head};
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::Release;

/// A setting as people read it. Times are shown in `unit` and kept in milliseconds where `scale` says so.
struct Known {
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    scale: i64,
    help: &'static str,
}

const fn known(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    scale: i64,
    help: &'static str,
) -> Known {
    Known { name, label, unit, scale, help }
}

/// By group; what a form may change.
const GROUPS: [(&str, &[Known]); 4] = [
    (
        "Workers",
        &[
            known(
                "workers_min",
                "Always kept",
                "workers",
                1,
                "Kept also without jobs; 0 lets the endpoint sleep.",
            ),
            known("workers_max", "At most", "workers", 1, "0 stops the endpoint: jobs wait."),
            known(
                "concurrency",
                "Jobs at once",
                "a worker",
                1,
                "How many jobs one worker is expected to run at once.",
            ),
            known("idle_timeout_s", "Idle before it stops", "s", 1, "1 to 3600 seconds."),
            known(
                "start_timeout_s",
                "Longest start",
                "s",
                1,
                "A worker that has not asked for a job by then has failed to start.",
            ),
        ],
    ),
    (
        "Jobs",
        &[
            known(
                "execution_timeout_ms",
                "Longest run",
                "s",
                1000,
                "Of the handler, for one job; 0 is no limit.",
            ),
            known("ttl_ms", "Longest life", "s", 1000, "Queue and run together, from submission."),
            known(
                "requeues",
                "Requeued",
                "times",
                1,
                "How often a job goes back to the queue after its worker was lost.",
            ),
            known("retention_ms", "Results are kept", "s", 1000, "From the end of the job."),
            known("queue_limit", "Most in the queue", "jobs", 1, "More are refused; 0 is no limit."),
        ],
    ),
    (
        "Scaling",
        &[known(
            "scaler",
            "Value of the scaler",
            "",
            1,
            "Seconds that a job may wait, or jobs for each worker.",
        )],
    ),
    (
        "Ending jobs",
        &[
            known("stop_grace_ms", "Grace of a stopped job", "ms", 1, "Then its worker is replaced."),
            known("replace_grace_ms", "Grace of the other jobs", "ms", 1, "Of a worker that is replaced."),
        ],
    ),
];

/// A field of the form.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: String,
}

pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// The fields by group, as they were typed, else as they are.
pub(crate) fn groups(typed: impl Fn(&str) -> Option<String>, settings: &Map<String, Value>) -> Vec<Group> {
    let field = |field: &Known| Field {
        name: field.name,
        label: field.label,
        unit: field.unit,
        help: field.help,
        value: typed(field.name).unwrap_or_else(|| shown(field, settings)),
    };
    let group = |(name, fields): &(&'static str, &[Known])| Group {
        name,
        fields: fields.iter().map(field).collect(),
    };
    GROUPS.iter().map(group).collect()
}

/// Settings as flags of the command line, in the order of the form.
pub(crate) fn flags(settings: &Map<String, Value>) -> String {
    let mut out = String::new();
    if let Some(gpus) =
        settings.get("gpus").and_then(|gpus| serde_json::from_value::<Gpus>(gpus.clone()).ok())
    {
        out.extend([" --gpus ", &crate::code::quoted(&gpus.to_string())]);
    }
    for (setting, flag, unit) in FLAGS {
        if let Some(value) = settings.get(setting) {
            let _ = write!(out, " --{flag} {value}{unit}");
        }
    }
    if let Some(scaler) = settings.get("scaler") {
        let kind = if scaler["type"] == "REQUEST_COUNT" { "request-count" } else { "queue-delay" };
        let _ = write!(out, " --scaler {kind} --scaler-value {}", scaler["value"]);
    }
    if let Some(login) = settings.get("container").and_then(|container| container["registry"].as_str()) {
        out.extend([" --registry ", &crate::code::quoted(login)]);
    }
    out
}

/// Settings and their flags, with the unit of what is kept.
const FLAGS: [(&str, &str, &str); 12] = [
    ("workers_min", "min", ""),
    ("workers_max", "max", ""),
    ("concurrency", "concurrency", ""),
    ("idle_timeout_s", "idle", "s"),
    ("start_timeout_s", "start-timeout", "s"),
    ("execution_timeout_ms", "execution-timeout", "ms"),
    ("ttl_ms", "ttl", "ms"),
    ("requeues", "requeues", ""),
    ("retention_ms", "retention", "ms"),
    ("queue_limit", "queue-limit", ""),
    ("stop_grace_ms", "stop-grace", "ms"),
    ("replace_grace_ms", "replace-grace", "ms"),
];

/// A variable of the release that serves.
struct Variable {
    name: String,
    value: String,
    secure: bool,
}

#[derive(Template)]
#[template(path = "settings.html", blocks = ["head"])]
pub(crate) struct Settings {
    head: Head,
    frame: Frame,
    groups: Vec<Group>,
    gpus: Editor,
    told: Vec<(bool, String)>,
    /// The version that the form was made of.
    version: String,
    /// What differs between what was typed and what is there by now, where somebody else was faster.
    overtaken: Vec<Differs>,
    scaler: String,
    variables: Vec<Variable>,
    serving: Option<u32>,
    wrong: Option<String>,
}

page!(Settings: "head" = as_head);

/// Loads it; with a form that was refused, and why, what was typed is still there.
pub(crate) async fn load(
    visit: &Visit,
    ep: &str,
    query: &Query,
    refused: Option<(&Form, String)>,
) -> Result<Settings, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Settings, query).await?;
    let name = &head.endpoint.name;
    frame.same.cli = vec![format!("runyard endpoints set {name} --max 5"), format!("runyard export {name}")];
    frame.same.api = vec![format!("PATCH /api/v1/endpoints/{name} {{\"settings\": {{\"workers_max\": 5}}}}")];
    frame.same.toml = Some(toml(name, &head.endpoint.settings));
    let endpoint::Releases { releases } = visit.get(&format!("/api/v1/endpoints/{name}/releases")).await?;
    let serving = releases.into_iter().find(|release| release.serving);
    let typed = |field: &str| refused.as_ref().and_then(|(form, _)| form.get(field)).map(str::to_owned);
    let groups = groups(typed, &head.endpoint.settings);
    let wish = head.endpoint.settings.get("gpus").cloned().unwrap_or_default();
    let gpus = Editor::load(visit, &wish, refused.as_ref().map(|(form, _)| *form)).await?;
    let number = |key: &str| head.endpoint.settings.get(key).and_then(Value::as_u64).unwrap_or_default();
    let told = gpus::told(visit, &wish, number("workers_min"), number("workers_max")).await;
    let (_, version) = visit.versioned::<Value>(&format!("/api/v1/endpoints/{name}")).await?;
    let stale =
        refused.as_ref().and_then(|(form, _)| form.get("version")).is_some_and(|known| known != version);
    let overtaken = match &refused {
        Some((form, _)) if stale => differing(form, &head.endpoint.settings),
        _ => Vec::new(),
    };
    let kind = head.endpoint.settings["scaler"]["type"].as_str().unwrap_or("QUEUE_DELAY").to_owned();
    Ok(Settings {
        groups,
        gpus,
        told,
        version,
        overtaken,
        scaler: typed("scaler_type").unwrap_or(kind),
        serving: serving.as_ref().map(|release| release.number),
        variables: serving.as_ref().map(of_release).unwrap_or_default(),
        wrong: refused.map(|(_, why)| why),
        head,
        frame,
    })
}

/// A field whose value somebody else changed.
struct Differs {
    label: &'static str,
    typed: String,
    now: String,
}

/// What was typed and is another than what is there.
fn differing(form: &Form, now: &Map<String, Value>) -> Vec<Differs> {
    let one = |field: &Known| {
        let (typed, now) = (form.get(field.name)?.trim().to_owned(), shown(field, now));
        (typed != now).then_some(Differs { label: field.label, typed, now })
    };
    GROUPS.iter().flat_map(|(_, fields)| fields.iter()).filter_map(one).collect()
}

fn of_release(release: &Release) -> Vec<Variable> {
    let one = |(name, value): (&String, &String)| Variable {
        secure: release.secure_env.contains(name),
        name: name.clone(),
        value: value.clone(),
    };
    release.env.iter().map(one).collect()
}

fn shown(field: &Known, settings: &Map<String, Value>) -> String {
    let value = settings.get(field.name).unwrap_or(&Value::Null);
    match (field.name, value) {
        ("scaler", value) => value["value"].to_string().trim_end_matches(".0").to_owned(),
        (_, Value::Number(number)) if field.scale > 1 => {
            let ms = number.as_f64().unwrap_or_default();
            (ms / field.scale as f64).to_string()
        }
        (_, value) => value.to_string(),
    }
}

/// The most important settings as the file says them.
fn toml(name: &str, settings: &Map<String, Value>) -> String {
    let number = |key: &str| settings.get(key).and_then(Value::as_i64).unwrap_or_default();
    format!(
        "name = \"{name}\"\n\n[workers]\nmin = {}\nmax = {}\nidle_timeout = \"{}s\"\n",
        number("workers_min"),
        number("workers_max"),
        number("idle_timeout_s"),
    )
}

/// The settings that a form changes, as the API takes them: those that are others than now.
pub(crate) fn changes(form: &Form, now: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut changed = Map::new();
    for field in GROUPS.iter().flat_map(|(_, fields)| fields.iter()) {
        let Some(text) = form.get(field.name).map(str::trim) else { continue };
        let wrong = || {
            format!("{} is '{}': it must be a number", field.label, text.chars().take(40).collect::<String>())
        };
        let number: f64 = text.parse().map_err(|_| wrong())?;
        if !number.is_finite() {
            return Err(wrong());
        }
        let value = match field.name {
            "scaler" => {
                let kind = form.get("scaler_type").unwrap_or("QUEUE_DELAY");
                let value = if kind == "REQUEST_COUNT" { json!(number as i64) } else { json!(number) };
                json!({"type": kind, "value": value})
            }
            _ => json!((number * field.scale as f64).round() as i64),
        };
        if now.get(field.name) != Some(&value) {
            changed.insert(field.name.to_owned(), value);
        }
    }
    if let Some(wish) = gpus::wish(form).transpose()?.filter(|wish| now.get("gpus") != Some(wish)) {
        changed.insert("gpus".to_owned(), wish);
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_another_is_sent() {
        let Value::Object(now) = json!({
            "workers_max": 3, "execution_timeout_ms": 600_000, "scaler": {"type": "QUEUE_DELAY", "value": 4.0},
        }) else {
            return;
        };
        let form = Form::parse(b"workers_max=5&execution_timeout_ms=600&scaler=4&scaler_type=QUEUE_DELAY");
        assert_eq!(Value::Object(changes(&form, &now).expect("numbers")), json!({"workers_max": 5}));
        let form = Form::parse(b"execution_timeout_ms=1.5&scaler=2&scaler_type=REQUEST_COUNT");
        let expected = json!({"execution_timeout_ms": 1500, "scaler": {"type": "REQUEST_COUNT", "value": 2}});
        assert_eq!(Value::Object(changes(&form, &now).expect("numbers")), expected);
        let gpus = |text: &str| Value::Object(changes(&Form::parse(text.as_bytes()), &now).expect("a wish"));
        assert_eq!(gpus("gpu_count=2"), json!({"gpus": 2}));
        assert_eq!(gpus("gpu_count=1&gpu_kind=24GB&gpu_kind=A100"), json!({"gpus": ["24GB", "A100"]}));
        let told = flags(
            changes(&Form::parse(b"gpu_count=2&execution_timeout_ms=1.5"), &now).as_ref().expect("two"),
        );
        assert_eq!(told, " --gpus '2' --execution-timeout 1500ms");
        for bad in ["workers_max=many", "workers_max=", "workers_max=inf"] {
            let why = changes(&Form::parse(bad.as_bytes()), &now).expect_err("not a number");
            assert!(why.starts_with("At most is"), "{why}");
        }
    }

    #[test]
    fn times_are_shown_in_their_unit() {
        let Value::Object(now) =
            json!({"execution_timeout_ms": 1500, "scaler": {"type": "QUEUE_DELAY", "value": 4.0}})
        else {
            return;
        };
        let find =
            |name: &str| GROUPS.iter().flat_map(|(_, fields)| fields.iter()).find(|field| field.name == name);
        assert_eq!(find("execution_timeout_ms").map(|field| shown(field, &now)).as_deref(), Some("1.5"));
        assert_eq!(find("scaler").map(|field| shown(field, &now)).as_deref(), Some("4"));
    }
}
