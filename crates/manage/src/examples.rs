//! Examples of requests: inputs that people keep with an endpoint under a name, and beside them those that came with the
//! code that serves, its test requests.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use runyard_build::{TestCase, tests_of};
use runyard_domain::example::{self, LARGEST, MOST};
use runyard_domain::{Access, Endpoint, Example, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;

#[derive(Deserialize)]
pub(crate) struct Kept {
    input: Box<RawValue>,
}

/// `Example`. Its input is as it was written: no number is rounded.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    name: String,
    source: &'static str,
    by: Option<String>,
    updated_at: Option<Timestamp>,
    input: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    examples: Vec<View>,
    next_cursor: Option<String>,
}

/// As JSON, with inputs as they are.
fn answer(body: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_string(body).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_default()
}

impl From<Example> for View {
    fn from(example: Example) -> Self {
        let Example { name, input, updated_at, by, .. } = example;
        Self { name, source: "saved", by: Some(by), updated_at: Some(updated_at), input: raw(&input) }
    }
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    paging: Paging,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let all = manage.examples(&endpoint).await?;
    let (examples, next_cursor) = paging.cut(all, |example| example.name.clone())?;
    answer(&List { examples, next_cursor })
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path((ep, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let found = manage.examples(&endpoint).await?.into_iter().find(|example| example.name == name);
    answer(&found.ok_or_else(|| missing(&endpoint, &name))?)
}

pub(crate) async fn save(
    State(manage): State<Manage>,
    auth: Auth,
    Path((ep, name)): Path<(String, String)>,
    body: Body<Kept>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Run, &ep)?;
    let Kept { input } = body.read()?;
    if !example::is_valid_name(&name) {
        return Err(Problem::invalid(format!(
            "an example's name has 1 to {} characters, and neither '/' nor a space at its ends",
            example::LONGEST_NAME
        )));
    }
    if input.get() == "null" {
        return Err(Problem::invalid("'input' is null: a job needs an input"));
    }
    if input.get().len() > LARGEST {
        return Err(Problem::too_large(format!("an example has at most {} KiB", LARGEST >> 10)));
    }
    let engine = &manage.inner.engine;
    let _turn = manage.inner.record_turn.lock().await;
    let kept = engine.reader().examples(&endpoint.id)?;
    if kept.len() >= MOST && !kept.iter().any(|other| other.name == name) {
        return Err(Problem::conflict(format!(
            "'{}' has {MOST} examples, the most there may be",
            endpoint.name
        ))
        .hint(format!("runyard examples {} rm NAME", endpoint.name)));
    }
    let example = Example {
        endpoint: endpoint.id.clone(),
        name,
        input: input.get().to_owned(),
        updated_at: engine.now(),
        by: auth.0.name().to_owned(),
    };
    engine.put_example(example.clone()).await?;
    answer(&View::from(example))
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path((ep, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Run, &ep)?;
    let _turn = manage.inner.record_turn.lock().await;
    let kept = manage.inner.engine.reader().examples(&endpoint.id)?;
    if kept.iter().all(|example| example.name != name) {
        if manage.of_release(&endpoint).await?.iter().any(|test| test.name == name) {
            let detail = format!("the example '{name}' comes with the code that serves, and goes with it");
            return Err(Problem::conflict(detail).hint("save another one of this name to hide it"));
        }
        return Err(missing(&endpoint, &name));
    }
    manage.inner.engine.drop_example(&endpoint.id, &name).await?;
    Ok(Json(json!({"removed": true})))
}

fn missing(endpoint: &Endpoint, name: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    Problem::not_found(format!("'{}' has no example '{name}'", endpoint.name))
        .hint(format!("runyard examples {} ls", endpoint.name))
}

impl Manage {
    /// Those that were saved, and those of the release that serves where none of the same name was.
    async fn examples(&self, endpoint: &Arc<Endpoint>) -> Result<Vec<View>, Problem> {
        let saved = self.inner.engine.reader().examples(&endpoint.id)?;
        let mut all: Vec<View> = saved.into_iter().map(View::from).collect();
        for test in self.of_release(endpoint).await? {
            if test.input.len() <= LARGEST && all.iter().all(|other| other.name != test.name) {
                let input = raw(&test.input);
                all.push(View { name: test.name, source: "release", by: None, updated_at: None, input });
            }
        }
        Ok(all)
    }

    /// The test requests that came with the code that serves; a name that none can have is one by its place.
    async fn of_release(&self, endpoint: &Endpoint) -> Result<Vec<TestCase>, Problem> {
        let Some(release) = self.what_serves(endpoint)? else { return Ok(Vec::new()) };
        let code =
            release.launch.as_ref().map(|launch| launch.code_dir.clone()).filter(|dir| !dir.is_empty());
        let folder = match (code, release.bundle.as_str()) {
            (Some(dir), _) => PathBuf::from(dir),
            (None, "") => return Ok(Vec::new()),
            (None, bundle) => self.inner.bundles.join(bundle),
        };
        let work = tokio::task::spawn_blocking(move || tests_of(&folder).unwrap_or_default());
        let mut tests = work.await.map_err(|error| Problem::internal(&error))?;
        tests.truncate(MOST);
        for (at, test) in tests.iter_mut().enumerate() {
            if !example::is_valid_name(&test.name) {
                test.name = format!("test {}", at + 1);
            }
        }
        Ok(tests)
    }
}
