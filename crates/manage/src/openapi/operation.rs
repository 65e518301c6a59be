//! One operation of the document: what is called, who may, with what, what it answers, and which command does the same.

use runyard_domain::Access;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::shape::{named, text, text_to, within};
use crate::fields;
use crate::page::MOST;

/// Where one does the same on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// By this command, as `endpoints list`.
    Command(&'static str),
    /// Nowhere, for this reason.
    Nowhere(&'static str),
}

/// A body that comes with a call.
#[derive(Debug, Clone)]
struct Body {
    kind: &'static str,
    schema: Value,
    /// The names that the handler reads.
    reads: &'static [&'static str],
    required: bool,
}

/// An operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// `GET`, `POST`.
    pub method: &'static str,
    /// As the router has it, with names in braces.
    pub path: &'static str,
    /// Stable, and another for each.
    pub id: &'static str,
    /// The least that a key must be allowed; `None`: no key is asked for.
    pub access: Option<Access>,
    /// The same on the command line.
    pub door: Door,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Body>,
    answers: Vec<(u16, &'static str, Option<Value>)>,
    headers: Map<String, Value>,
    problems: Vec<u16>,
}

impl Operation {
    /// An operation; `call` is its method and path, as `GET /api/v1/keys`.
    pub(super) fn new(
        call: &'static str,
        id: &'static str,
        access: impl Into<Option<Access>>,
        door: Door,
        summary: &'static str,
    ) -> Self {
        let (method, path) = call.split_once(' ').unwrap_or(("GET", call));
        let access = access.into();
        let mut problems = if access.is_some() { vec![400, 401, 403, 500, 503] } else { Vec::new() };
        let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameters: Vec<Value> = names.map(path_parameter).collect();
        if !parameters.is_empty() {
            problems.push(404);
        }
        Self {
            method,
            path,
            id,
            access,
            door,
            summary,
            parameters,
            body: None,
            answers: Vec::new(),
            headers: Map::new(),
            problems,
        }
    }

    /// A value of the query that may be there.
    pub(super) fn query(mut self, name: &str, schema: Value, words: &str) -> Self {
        let mut parameter = json!({"name": name, "in": "query", "description": words});
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// The list comes in pages.
    pub(super) fn paged(self) -> Self {
        let most = "the most items of this page";
        let cursor = "`nextCursor` of the page before; it is not to be read or made up";
        self.query("limit", within(1, MOST as i64), most).query("cursor", text_to(400), cursor)
    }

    /// With a JSON body that is read as `T`.
    pub(super) fn takes<T: DeserializeOwned>(self, schema: Value) -> Self {
        let required = schema["required"].is_array();
        let reads = fields::of::<T>();
        self.body_of("application/json", schema, reads, required)
    }

    /// With a JSON body that is read by hand.
    pub(super) fn takes_by_hand(self, schema: Value) -> Self {
        self.body_of("application/json", schema, &[], true).may_fail(&[422])
    }

    /// With bytes.
    pub(super) fn takes_bytes(self, kind: &'static str, schema: Value) -> Self {
        self.body_of(kind, schema, &[], true)
    }

    fn body_of(
        mut self,
        kind: &'static str,
        schema: Value,
        reads: &'static [&'static str],
        required: bool,
    ) -> Self {
        self.body = Some(Body { kind, schema, reads, required });
        self.may_fail(&[408, 413])
    }

    /// Answers 200 with this document.
    pub(super) fn answers(self, schema: Value) -> Self {
        self.answers_as(200, "application/json", schema)
    }

    /// Answers so.
    pub(super) fn answers_as(mut self, status: u16, kind: &'static str, schema: Value) -> Self {
        self.answers.push((status, kind, Some(schema)));
        self
    }

    /// Answers with lines that follow one another, each of this shape.
    pub(super) fn answers_lines(self, line: &Value) -> Self {
        let words = "one document on each line";
        self.answers_as(
            200,
            "application/x-ndjson",
            json!({"type": "string", "description": words, "x-line": line}),
        )
    }

    /// Answers 204.
    pub(super) fn answers_nothing(mut self) -> Self {
        self.answers.push((204, "", None));
        self
    }

    /// What it answers carries its version, and is not sent again to who has it.
    pub(super) fn tagged(mut self) -> Self {
        let words = "the version of what is kept of it";
        self.headers.insert("etag".to_owned(), json!({"schema": text(), "description": words}));
        if self.method == "GET" {
            let words = "versions that the caller has: one of them is answered by 304";
            self.parameters.push(header("if-none-match", words));
            self.answers.push((304, "", None));
        }
        self
    }

    /// It is only done to this version.
    pub(super) fn guarded(mut self) -> Self {
        let words = "the versions that it may be done to: another is answered by 412, and nothing is changed";
        self.parameters.push(header("if-match", words));
        self.may_fail(&[412])
    }

    /// It cannot always be done.
    pub(super) fn conflicts(self) -> Self {
        self.may_fail(&[409])
    }

    /// Problems of these statuses may be answered.
    pub(super) fn may_fail(mut self, statuses: &[u16]) -> Self {
        self.problems.extend(statuses);
        self
    }

    /// The names of the body's fields: those of its schema, and those that the handler reads (`None`: by hand).
    pub fn body_fields(&self) -> Option<(Vec<String>, Option<&'static [&'static str]>)> {
        let body = self.body.as_ref().filter(|body| body.kind == "application/json")?;
        let names = body.schema["properties"].as_object().map(|all| all.keys().cloned().collect());
        Some((names.unwrap_or_default(), Some(body.reads).filter(|reads| !reads.is_empty())))
    }

    /// As the document has it.
    pub(super) fn document(&self, tag: &str) -> Value {
        let mut all = json!({
            "operationId": self.id,
            "tags": [tag],
            "summary": self.summary,
            "responses": self.responses(),
        });
        if !self.parameters.is_empty() {
            all["parameters"] = json!(self.parameters);
        }
        if let Some(body) = &self.body {
            let content = json!({body.kind: {"schema": body.schema}});
            all["requestBody"] = json!({"required": body.required, "content": content});
        }
        match self.access {
            None => all["security"] = json!([]),
            Some(access) => all["x-access"] = json!(access),
        }
        match self.door {
            Door::Command(command) => all["x-command"] = json!(command),
            Door::Nowhere(why) => all["x-no-command"] = json!(why),
        }
        all
    }

    fn responses(&self) -> Value {
        let mut all = Map::new();
        for (status, kind, schema) in &self.answers {
            let entry =
                all.entry(status.to_string()).or_insert_with(|| json!({"description": told(*status)}));
            if let Some(schema) = schema {
                entry["content"][*kind] = json!({"schema": schema});
            }
            if *status < 400 && !self.headers.is_empty() {
                entry["headers"] = Value::Object(self.headers.clone());
            }
        }
        for status in &self.problems {
            let content = json!({"application/problem+json": {"schema": named("Problem")}});
            let problem = json!({"description": told(*status), "content": content});
            all.entry(status.to_string()).or_insert(problem);
        }
        Value::Object(all)
    }
}

fn header(name: &str, words: &str) -> Value {
    json!({"name": name, "in": "header", "schema": {"type": "string"}, "description": words})
}

fn path_parameter(name: &str) -> Value {
    let (schema, words) = match name {
        "ep" => (text_to(64), "an endpoint's name or id"),
        "sha" => (super::shape::form("^[0-9a-f]{64}$"), "the SHA-256 of the bundle's bytes"),
        "name" => (text_to(64), "its name"),
        "worker" => (text_to(80), "a worker's id"),
        _ => (text_to(200), "its id"),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema, "description": words})
}

/// What a status says.
fn told(status: u16) -> &'static str {
    match status {
        200 => "done",
        201 => "made",
        204 => "done, and nothing to say",
        304 => "the caller has this version",
        400 => "the request is wrong",
        401 => "no key, or not one of this server",
        403 => "the key may not do this",
        404 => "there is no such thing, or the key may not see it",
        408 => "the body came too slowly",
        409 => "it cannot be done now",
        412 => "it is another version by now: nothing was changed",
        413 => "too large",
        422 => "the body is JSON, and not what the call takes",
        500 => "the server failed",
        503 => "the server is ending, full, or busy beyond its limits",
        _ => "see the document",
    }
}
