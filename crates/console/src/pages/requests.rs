//! The place to send a request from: a form, what came of it, its life, logs and code. The job is in the address, so
//! going back, reloading and sharing work as everywhere.

use askama::Template;

use crate::call::Trouble;
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
    wrong: Option<String>,
}

impl Requests {
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
    let typed = refused.as_ref().and_then(|(form, _)| form.get("input")).map(str::to_owned);
    let sent = sheet.as_ref().map(|sheet| sheet.raw_input.clone()).filter(|raw| raw.len() < MOST_INPUT);
    let newest = match (&typed, &sent, recent.first()) {
        (None, None, Some(job)) => {
            Some(Sheet::load(visit, &job.id).await?.raw_input).filter(|raw| raw.len() < MOST_INPUT)
        }
        _ => None,
    };
    let input =
        typed.or_else(|| sent.or(newest).map(|raw| json::indented(&raw))).unwrap_or_else(|| FIRST.to_owned());
    let inner = &visit.console.inner;
    let snippets = code::snippets(&inner.url, name, mode, &input, inner.open);
    frame.same.cli =
        snippets.iter().filter(|snippet| snippet.id == "cli").map(|snippet| snippet.code.clone()).collect();
    let word = if mode == Mode::RunSync { "runsync" } else { "run" };
    frame.same.api = vec![format!("POST /v2/{name}/{word} {{\"input\": …}}")];
    let fields = fields(&input);
    let as_form = query.get("as") == Some("form") && !fields.is_empty();
    Ok(Requests {
        chosen: sheet.as_ref().map(|sheet| sheet.job.id.clone()).unwrap_or_default(),
        wrong: refused.map(|(_, why)| why),
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

/// One field for each part of an input that is a flat object.
fn fields(input: &str) -> Vec<Field> {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(input) else { return Vec::new() };
    let flat = object.values().all(|value| !value.is_object() && !value.is_array() && !value.is_null());
    if !flat || object.len() > 20 {
        return Vec::new();
    }
    let one = |(name, value): (String, serde_json::Value)| {
        let (kind, text) = match &value {
            serde_json::Value::Bool(yes) => ("bool", yes.to_string()),
            serde_json::Value::Number(number) => ("number", number.to_string()),
            serde_json::Value::String(text) => ("text", text.clone()),
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
    let mut object = serde_json::Map::new();
    for (name, value) in form.pairs().filter_map(|(name, value)| Some((name.strip_prefix("field.")?, value)))
    {
        let (kind, name) = name.split_once('.').unwrap_or(("text", name));
        let value = match kind {
            "number" => serde_json::from_str::<serde_json::Number>(value.trim())
                .map(serde_json::Value::Number)
                .map_err(|_| format!("'{name}' must be a number."))?,
            "bool" => serde_json::Value::Bool(value == "true"),
            _ => value.into(),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(serde_json::Value::Object(object).to_string())
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
        let made: serde_json::Value = serde_json::from_str(&input_of(&form).expect("a form")).expect("JSON");
        assert_eq!(made, serde_json::from_str::<serde_json::Value>(input).expect("JSON"));
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
}
