//! `.runpod/hub.json`, RunPod's description of a repository for its Hub: the environment variables that its code
//! wants, with their defaults, and the GPUs of a worker. Titles, pictures and presets are for RunPod's own pages.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::read;

/// Where it lies.
const HUB: &str = ".runpod/hub.json";

/// Why it could not be read.
#[derive(Debug, Error)]
pub enum HubError {
    /// It is not what it should be.
    #[error("{HUB}: line {line}, column {column}: {problem}.")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1; 0 where only the line is known.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// It describes an endpoint that takes HTTP requests instead of jobs.
    #[error("{HUB}: its endpoint type is LB, a load balancer; endpoints here are queues")]
    LoadBalancer,
    /// It could not be read.
    #[error("cannot read {HUB}: {0}")]
    Read(#[source] io::Error),
}

/// A variable that the code wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is where nothing else is said.
    pub default: Option<String>,
    /// Whether it has to be something.
    pub required: bool,
}

/// What a repository says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hub {
    /// Variables in their order.
    pub env: Vec<Variable>,
    /// GPUs of a worker, where it says so.
    pub gpus: Option<u32>,
    /// Which ones, as RunPod writes it: pools with commas between, `-` before a type that is not wanted.
    pub gpu_ids: Option<String>,
}

impl Hub {
    /// The variables that have a default.
    pub fn defaults(&self) -> impl Iterator<Item = (String, String)> {
        self.env.iter().filter_map(|variable| Some((variable.name.clone(), variable.default.clone()?)))
    }

    /// The first variable that has to be something and is not.
    pub fn missing(&self, env: &BTreeMap<String, String>) -> Option<&str> {
        let missing = |variable: &&Variable| variable.required && !env.contains_key(&variable.name);
        self.env.iter().find(missing).map(|variable| variable.name.as_str())
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    runs_on: Option<String>,
    endpoint_type: Option<String>,
    gpu_count: Option<u32>,
    gpu_ids: Option<String>,
    env: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    input: Option<Input>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    #[serde(rename = "type")]
    kind: String,
    default: Option<Value>,
    required: bool,
    true_value: Option<String>,
    false_value: Option<String>,
}

/// What the folder's file says, if there is one.
pub fn hub_of(code_dir: &Path) -> Result<Option<Hub>, HubError> {
    let text = match read::text(&code_dir.join(HUB)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HubError::Read(error)),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let File { config } = serde_json::from_str(text).map_err(|error| {
        let words = error.to_string();
        let problem = words.split(" at line ").next().unwrap_or(&words).to_owned();
        HubError::Malformed { line: error.line(), column: error.column(), problem }
    })?;
    if config.endpoint_type.is_some_and(|kind| kind.eq_ignore_ascii_case("lb")) {
        return Err(HubError::LoadBalancer);
    }
    let gpus = match config.runs_on.as_deref() {
        Some(on) if on.eq_ignore_ascii_case("cpu") => Some(0),
        Some(_) => Some(config.gpu_count.unwrap_or(1)),
        None => config.gpu_count,
    };
    let gpu_ids = config.gpu_ids.filter(|ids| !ids.trim().is_empty());
    Ok(Some(Hub { env: config.env.into_iter().map(variable).collect(), gpus, gpu_ids }))
}

fn variable(entry: Entry) -> Variable {
    let Entry { key: name, value, input } = entry;
    let input = input.unwrap_or_default();
    let default = match (value, &input.default) {
        (Some(value), _) => text_of(&value),
        // The page that RunPod shows has a switch there, and its two positions have their own texts.
        (None, Some(Value::Bool(on))) if input.kind == "boolean" => {
            let text = if *on { &input.true_value } else { &input.false_value };
            text.clone().or_else(|| Some(on.to_string()))
        }
        (None, default) => default.as_ref().and_then(text_of),
    };
    Variable { name, default, required: input.required }
}

/// A value as a variable has it; null is none.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn hub(text: &str) -> Result<Option<Hub>, HubError> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".runpod")).unwrap();
        fs::write(dir.path().join(HUB), text).unwrap();
        hub_of(dir.path())
    }

    #[test]
    fn variables_have_their_defaults() {
        let text = r#"{"title": "x", "type": "serverless", "config": {"runsOn": "GPU", "gpuCount": 2, "env": [
            {"key": "A", "value": "1"},
            {"key": "B", "input": {"type": "number", "default": 3}},
            {"key": "C", "input": {"type": "boolean", "default": true, "trueValue": "yes", "falseValue": "no"}},
            {"key": "D", "input": {"type": "string", "required": true}},
            {"key": "E", "input": {"type": "string"}}
        ]}}"#;
        let hub = hub(text).unwrap().unwrap();
        let defaults: BTreeMap<String, String> = hub.defaults().collect();
        let expected = [("A", "1"), ("B", "3"), ("C", "yes")];
        assert_eq!(defaults, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(hub.missing(&defaults), Some("D"));
        assert_eq!(hub.missing(&[("D".to_owned(), "x".to_owned())].into()), None);
        assert_eq!((hub.gpus, hub.gpu_ids.as_deref()), (Some(2), None));
    }

    #[test]
    fn where_it_runs_says_how_many_gpus() {
        let gpus = |config: &str| hub(&format!("{{\"config\": {config}}}")).unwrap().unwrap().gpus;
        assert_eq!(gpus(r#"{"runsOn": "CPU", "gpuCount": 3}"#), Some(0));
        assert_eq!(gpus(r#"{"runsOn": "GPU"}"#), Some(1));
        assert_eq!(gpus("{}"), None);
        assert_eq!(hub("{}").unwrap().unwrap(), Hub::default());
    }

    #[test]
    fn mistakes_say_where() {
        let error = hub("{\n  \"config\": [}").unwrap_err().to_string();
        assert!(error.starts_with(".runpod/hub.json: line 2"), "{error}");
        assert!(
            hub(r#"{"config": {"endpointType": "LB"}}"#).unwrap_err().to_string().contains("load balancer")
        );
        assert_eq!(hub_of(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
