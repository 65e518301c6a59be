//! The place to send a request from: a form, what came of it, its life, logs and code. The job is in the address, so
//! going back, reloading and sharing work as everywhere.

use askama::Template;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::call::{Trouble, encoded};
use crate::code::{self, Mode, Snippet};
use crate::forms::Form;
use crate::frame::Frame;
use crate::json;
use crate::pages::endpoint::Head;
use crate::pages::job::{MOST_INPUT, Sheet};
use crate::pages::page;
use crate::pages::pulse::Jobs;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::Job;

/// What the form holds where nothing was sent yet.
const FIRST: &str = "{\n  \"prompt\": \"Hello\"\n}";

/// An input that is kept.
#[derive(Deserialize)]
struct Example {
    name: String,
    source: String,
    input: Box<RawValue>,
}

#[derive(Deserialize)]
struct List {
    examples: Vec<Example>,
}

impl Example {
    fn link(&self) -> String {
        encoded(&self.name)
    }

    fn is_saved(&self) -> bool {
        self.source == "saved"
    }
}

/// A field of the form that was made of the newest input.
struct Field {
    name: String,
    value: String,
    /// `text`, `number` or `bool`.
    kind: &'static str,
    long: bool,
}

#[derive(Template)]
#[template(path = "requests.html", blocks = ["head", "live", "recent"])]
pub(crate) struct Requests {
    head: Head,
    frame: Frame,
    input: String,
    fields: Vec<Field>,
    as_form: bool,
    modes: [Mode; 3],
    mode: Mode,
    sheet: Option<Sheet>,
    chosen: String,
    recent: Vec<Job>,
    snippets: Vec<Snippet>,
    group: &'static str,
    examples: Vec<Example>,
    /// The one that is in the form.
    example: String,
    /// Parts of a stream: their number, and what they are.
    streamed: Vec<(u64, String)>,
    typed: Form,
    wrong: Option<String>,
}

impl Requests {
    fn value(&self, name: &str) -> &str {
        self.typed.get(name).unwrap_or_default()
    }

    fn has_headers(&self) -> bool {
        ["webhook", "execution_timeout", "ttl", "idempotency", "low_priority"]
            .iter()
            .any(|name| !self.value(name).is_empty())
    }

    /// The same request, edited in another way.
    fn way(&self, way: &str) -> String {
        let query = Query::parse("");
        let query = Query::parse(&query.with("job", &self.chosen));
        let query = Query::parse(&query.with("mode", self.mode.word()));
        format!("?{}", query.with("as", way))
    }
}

page!(Requests: "head" = as_head, "live" = as_live, "recent" = as_recent);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Requests, Trouble> {
    build(visit, ep, query, None).await
}

/// The page with a form that was refused, and why.
pub(crate) async fn refused(visit: &Visit, ep: &str, form: &Form, why: String) -> Result<Requests, Trouble> {
    build(visit, ep, &Query::default(), Some((form, why))).await
}

async fn build(
    visit: &Visit,
    ep: &str,
    query: &Query,
    refused: Option<(&Form, String)>,
) -> Result<Requests, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Requests, query).await?;
    let name = &head.endpoint.name;
    let mode = refused.as_ref().and_then(|(form, _)| form.get("mode")).or(query.get("mode"));
    let mode = Mode::of(mode.unwrap_or("runsync"));
    let sheet = match query.get("job") {
        Some(id) => Some(Sheet::load(visit, id).await?).filter(|sheet| sheet.job.endpoint() == name),
        None => None,
    };
    let Jobs { jobs: recent, .. } = visit.get(&format!("/api/v1/jobs?endpoint={name}&limit=8")).await?;
    let List { examples } = visit.get(&format!("/api/v1/endpoints/{name}/examples?limit=1000")).await?;
    let example = query.get("example").unwrap_or_default().to_owned();
    let chosen = examples.iter().find(|one| one.name == example).map(|one| one.input.get().to_owned());
    let typed = refused.as_ref().and_then(|(form, _)| form.get("input")).map(str::to_owned);
    let sent = sheet.as_ref().map(|sheet| sheet.raw_input.clone()).filter(|raw| raw.len() < MOST_INPUT);
    let first = examples.first().map(|one| one.input.get().to_owned());
    let sent = chosen.or(sent);
    let newest = match (&typed, &sent, recent.first()) {
        (None, None, Some(job)) => {
            Some(Sheet::load(visit, &job.id).await?.raw_input).filter(|raw| raw.len() < MOST_INPUT)
        }
        _ => None,
    };
    let input = typed
        .or_else(|| sent.or(newest).or(first).map(|raw| json::indented(&raw)))
        .unwrap_or_else(|| FIRST.to_owned());
    let streamed = match &sheet {
        Some(sheet) => streamed(visit, &sheet.job.id).await?,
        None => Vec::new(),
    };
    let inner = &visit.console.inner;
    let snippets = code::snippets(&inner.url, name, mode, &input, inner.open);
    frame.same.cli =
        snippets.iter().filter(|snippet| snippet.id == "cli").map(|snippet| snippet.code.clone()).collect();
    let word = if mode == Mode::RunSync { "runsync" } else { "run" };
    frame.same.api = vec![format!("POST /v2/{name}/{word} {{\"input\": …}}")];
    let fields = fields(&with_known(&input, &known(visit, name, &examples).await?));
    let as_form = query.get("as") == Some("form") && !fields.is_empty();
    Ok(Requests {
        chosen: sheet.as_ref().map(|sheet| sheet.job.id.clone()).unwrap_or_default(),
        typed: refused.as_ref().map(|(form, _)| (*form).clone()).unwrap_or_default(),
        wrong: refused.map(|(_, why)| why),
        examples,
        example,
        streamed,
        modes: Mode::ALL,
        group: "request",
        head,
        frame,
        input,
        fields,
        as_form,
        mode,
        sheet,
        recent,
        snippets,
    })
}

/// A part of a stream, as text.
#[derive(Deserialize)]
struct Chunk {
    index: u64,
    output: Box<RawValue>,
}

#[derive(Deserialize)]
struct Chunks {
    parts: Vec<Chunk>,
}

/// As many parts are listed, and characters of one.
const MOST_PARTS: usize = 200;
const LONGEST_PART: usize = 400;

async fn streamed(visit: &Visit, job: &str) -> Result<Vec<(u64, String)>, Trouble> {
    let Chunks { parts } = visit.get(&format!("/api/v1/jobs/{job}/stream")).await?;
    let one = |chunk: Chunk| (chunk.index, chunk.output.get().chars().take(LONGEST_PART).collect());
    Ok(parts.into_iter().take(MOST_PARTS).map(one).collect())
}

/// Inputs that are known to do: those of the examples, and the newest that succeeded.
async fn known(visit: &Visit, name: &str, examples: &[Example]) -> Result<Vec<Map<String, Value>>, Trouble> {
    let mut known: Vec<Map<String, Value>> =
        examples.iter().filter_map(|example| serde_json::from_str(example.input.get()).ok()).collect();
    let path = format!("/api/v1/jobs?endpoint={name}&status=COMPLETED&limit={LOOKED_AT}");
    let Jobs { jobs, .. } = visit.get(&path).await?;
    for job in jobs {
        // One whose output is large is left alone: a form is not worth reading it.
        let bytes = visit.bytes(&format!("/api/v1/jobs/{}", job.id)).await?;
        let sent: Option<Sent> =
            Some(&bytes).filter(|b| b.len() <= MOST_INPUT).and_then(|b| serde_json::from_slice(b).ok());
        known.extend(sent.map(|sent| sent.input));
    }
    Ok(known)
}

/// As many jobs that succeeded are looked at.
const LOOKED_AT: usize = 5;

#[derive(Deserialize)]
struct Sent {
    input: Map<String, Value>,
}

/// The input with the fields that others have, as they have them: what may be sent is learned from what was.
fn with_known(input: &str, known: &[Map<String, Value>]) -> String {
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(input) else { return input.to_owned() };
    for (name, value) in known.iter().flatten() {
        let plain = !value.is_object() && !value.is_array() && !value.is_null();
        if plain && object.len() < 20 && !object.contains_key(name) {
            object.insert(name.clone(), value.clone());
        }
    }
    Value::Object(object).to_string()
}

/// The body of a request: the input, and what stands beside it.
pub(crate) fn body_of(form: &Form, input: &str) -> Result<String, String> {
    let mut policy = Map::new();
    for (field, key, words) in
        [("execution_timeout", "executionTimeout", "The longest run"), ("ttl", "ttl", "The longest life")]
    {
        if let Some(text) = form.some(field) {
            let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds > 0.0);
            let seconds = seconds.ok_or_else(|| format!("{words} must be a number of seconds."))?;
            policy.insert(key.to_owned(), json!((seconds * 1_000.0).round() as i64));
        }
    }
    if form.get("low_priority").is_some() {
        policy.insert("lowPriority".to_owned(), json!(true));
    }
    // The input stays as it was typed: no number is rounded.
    let mut body = format!("{{\"input\":{input}");
    if let Some(webhook) = form.some("webhook") {
        body.extend([",\"webhook\":", &json!(webhook).to_string()]);
    }
    if !policy.is_empty() {
        body.extend([",\"policy\":", &Value::Object(policy).to_string()]);
    }
    body.push('}');
    Ok(body)
}

/// One field for each part of an input that is a flat object.
fn fields(input: &str) -> Vec<Field> {
    let Ok(Value::Object(object)) = serde_json::from_str(input) else { return Vec::new() };
    let flat = object.values().all(|value| !value.is_object() && !value.is_array() && !value.is_null());
    if !flat || object.len() > 20 {
        return Vec::new();
    }
    let one = |(name, value): (String, Value)| {
        let (kind, text) = match &value {
            Value::Bool(yes) => ("bool", yes.to_string()),
            Value::Number(number) => ("number", number.to_string()),
            Value::String(text) => ("text", text.clone()),
            other => ("text", other.to_string()),
        };
        let long = name == "prompt" || text.len() > 60 || text.contains('\n');
        Field { name, value: text, kind, long }
    };
    object.into_iter().map(one).collect()
}

/// The input that the fields of a form make, as JSON.
pub(crate) fn input_of(form: &Form) -> Result<String, String> {
    if form.get("as") != Some("form") {
        let text = form.get("input").unwrap_or_default().trim();
        let text = if text.is_empty() { "{}" } else { text };
        return match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("The input is not JSON: {error}.")),
        };
    }
    let mut object = Map::new();
    for (name, value) in form.pairs().filter_map(|(name, value)| Some((name.strip_prefix("field.")?, value)))
    {
        let (kind, name) = name.split_once('.').unwrap_or(("text", name));
        let value = match kind {
            "number" => serde_json::from_str::<serde_json::Number>(value.trim())
                .map(Value::Number)
                .map_err(|_| format!("'{name}' must be a number."))?,
            "bool" => Value::Bool(value == "true"),
            _ => value.into(),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_makes_the_input_that_made_it() {
        let input = r#"{"prompt":"a & b","steps":12,"fast":true}"#;
        let kinds: Vec<&str> = fields(input).iter().map(|field| field.kind).collect();
        assert_eq!(kinds, ["bool", "text", "number"]);
        let form =
            Form::parse(b"as=form&field.text.prompt=a+%26+b&field.number.steps=12&field.bool.fast=true");
        let made: Value = serde_json::from_str(&input_of(&form).expect("a form")).expect("JSON");
        assert_eq!(made, serde_json::from_str::<Value>(input).expect("JSON"));
        let why = input_of(&Form::parse(b"as=form&field.number.steps=x")).expect_err("no number");
        assert_eq!(why, "'steps' must be a number.");
        assert!(fields(r#"{"a":{"b":1}}"#).is_empty());
    }

    #[test]
    fn json_is_checked_before_it_is_sent() {
        assert_eq!(input_of(&Form::parse(b"input=%7B%22a%22%3A1%7D")).as_deref(), Ok("{\"a\":1}"));
        assert_eq!(input_of(&Form::parse(b"input=")).as_deref(), Ok("{}"));
        assert!(input_of(&Form::parse(b"input=%7B")).is_err_and(|why| why.contains("line 1")));
    }

    #[test]
    fn headers_stand_beside_an_input_that_stays_as_it_is() {
        let form = Form::parse(b"webhook=https%3A%2F%2Fx%2Fy&ttl=60&execution_timeout=1.5&low_priority=1");
        let body = body_of(&form, "{\"n\":1.50}").expect("a body");
        let beside =
            r#","webhook":"https://x/y","policy":{"executionTimeout":1500,"lowPriority":true,"ttl":60000}}"#;
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert!(body.starts_with("{\"input\":{\"n\":1.50}"), "{body}");
        assert_eq!(value(&body), value(&format!("{{\"input\":{{\"n\":1.5}}{beside}")));
        assert_eq!(body_of(&Form::default(), "1").as_deref(), Ok("{\"input\":1}"));
        assert!(body_of(&Form::parse(b"ttl=x"), "1").is_err());
    }

    #[test]
    fn fields_are_learned_from_what_was_sent() {
        let Value::Object(other) = json!({"seed": 7, "prompt": "x", "list": [1]}) else { return };
        let learned = with_known(r#"{"prompt": "mine"}"#, &[other]);
        assert_eq!(
            serde_json::from_str::<Value>(&learned).expect("JSON"),
            json!({"prompt": "mine", "seed": 7})
        );
    }
}
