//! One test request: submitted like any other, waited for, its output printed. A worker that cannot start ends
//! the waiting with what it said last.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ENDPOINT;
use super::project::Project;
use crate::client::{Call, Client, path};
use crate::errors::{Code, Failure};
use crate::output::Ui;
use crate::views::text_of;

/// Reasons to wait that waiting does not cure.
const HOPELESS: [&str; 5] =
    ["start_failing", "exited_before_asking", "no_gpu_matches", "no_worker_allowed", "secret_missing"];

#[derive(Deserialize)]
struct Answer {
    id: String,
    status: String,
    output: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// Sends the project's first test request.
pub async fn run(project: &Project, client: &Client, ui: Ui) -> anyhow::Result<()> {
    let input = project.test_input()?.unwrap_or_else(|| "{}".to_owned());
    let call = Call::new(Method::POST, path::jobs_of(ENDPOINT, &["run"]));
    let body = format!("{{\"input\":{input}}}");
    let reply = client.send(call.body("application/json", body.into())).await?;
    let id = reply.parse::<Answer>()?.id;
    let answer = until_done(client, &id).await?;
    if ui.json {
        ui.document(&document(client, &answer).await?)?;
    }
    if answer.status != "COMPLETED" {
        return Err(failure(client, &answer).await);
    }
    match &answer.output {
        Some(output) if !ui.json && ui.out_terminal => {
            ui.line(&crate::output::json::pretty_for_people(output.get()))
        }
        Some(output) if !ui.json => ui.line(output.get()),
        _ => Ok(()),
    }
}

async fn until_done(client: &Client, id: &str) -> anyhow::Result<Answer> {
    let hold = ("wait", Some("1000".to_owned()));
    let poll = path::query(&path::jobs_of(ENDPOINT, &["status-sync", id]), &[hold]);
    loop {
        let call = Call::new(Method::GET, poll.clone()).timeout(Duration::from_secs(30));
        let answer: Answer = client.send(call).await?.parse()?;
        let ended = !matches!(answer.status.as_str(), "IN_QUEUE" | "IN_PROGRESS");
        let hopeless = answer.reason.as_ref().is_some_and(|r| HOPELESS.contains(&r.code.as_str()));
        if ended || hopeless {
            return Ok(answer);
        }
    }
}

/// The answer with the worker and its SDK, as programs want it.
async fn document(client: &Client, answer: &Answer) -> anyhow::Result<String> {
    let job: Value = client.get(path::api(&["jobs", &answer.id])).await?.parse()?;
    let output: Value = answer.output.as_ref().map_or(Ok(Value::Null), |o| serde_json::from_str(o.get()))?;
    Ok(json!({
        "id": answer.id,
        "status": answer.status,
        "output": output,
        "error": answer.error.as_deref().map(text_of),
        "reason": answer.reason.as_ref().map(|r| json!({"code": r.code, "message": r.message})),
        "worker": job["worker"],
        "sdk": job["sdk"],
        "delayMs": job["delayMs"],
        "executionMs": job["executionMs"],
    })
    .to_string())
}

async fn failure(client: &Client, answer: &Answer) -> anyhow::Error {
    let what = match answer.status.as_str() {
        "FAILED" => "failed",
        "TIMED_OUT" => "timed out",
        "CANCELLED" => "was cancelled",
        _ => "cannot run",
    };
    let mut failure = Failure::new(Code::Unsuccessful, format!("the test request {what}"));
    if let Some(reason) = &answer.reason {
        failure = failure.cause(&reason.message);
    }
    if let Ok(reply) = client.get(path::api(&["jobs", &answer.id, "why"])).await
        && let Ok(why) = reply.parse::<Value>()
    {
        let lines = why["causes"][0]["lastLines"].as_array().cloned().unwrap_or_default();
        let lines: Vec<String> = lines.iter().filter_map(|l| l.as_str().map(str::to_owned)).collect();
        failure = failure.lines(&lines);
    }
    failure.hint("runyard logs --job JOB shows everything the worker printed").into()
}
