//! `/healthz`: this process answers. `/readyz`: it can do its work, that is to take jobs and have them run. Both for
//! probes, as text or, where that is asked for, as JSON.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::Operator;

/// How long the agent may take to answer a probe.
const AGENT: Duration = Duration::from_secs(2);

pub(super) async fn alive(headers: HeaderMap) -> Response {
    answer(&headers, &[("server", None)])
}

pub(super) async fn ready(State(operator): State<Operator>, headers: HeaderMap) -> Response {
    let engine = &operator.inner.engine;
    let has_failed = timeout(Duration::ZERO, engine.failed()).await.is_ok();
    let agent = timeout(AGENT, operator.inner.runtime.boundary()).await;
    let away = "it does not answer";
    answer(
        &headers,
        &[
            ("store", has_failed.then_some("it accepts nothing more: see the server's log")),
            ("disk", engine.is_disk_full().then_some("it is full: new jobs are refused")),
            ("agent", (!matches!(agent, Ok(Ok(_)))).then_some(away)),
            ("server", engine.is_draining().then_some("it is ending: new jobs are refused")),
        ],
    )
}

/// 200 where no part has a fault, else 503; each part and its fault by name.
fn answer(headers: &HeaderMap, parts: &[(&str, Option<&str>)]) -> Response {
    let is_well = parts.iter().all(|(_, fault)| fault.is_none());
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wants_json = headers
        .get(header::ACCEPT)
        .is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("application/json")));
    let no_store = (header::CACHE_CONTROL, "no-store");
    if wants_json {
        let shown: Map<String, Value> =
            parts.iter().map(|(name, fault)| ((*name).to_owned(), json!(fault.unwrap_or("ok")))).collect();
        let mut body = json!({"status": if is_well { "ok" } else { "unavailable" }, "parts": shown});
        if !is_well {
            body["detail"] = json!(faults(parts).join("; "));
        }
        return (status, [no_store], axum::Json(body)).into_response();
    }
    let lines: Vec<String> =
        parts.iter().map(|(name, fault)| format!("{name}: {}\n", fault.unwrap_or("ok"))).collect();
    (status, [no_store, (header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines.concat()).into_response()
}

fn faults(parts: &[(&str, Option<&str>)]) -> Vec<String> {
    parts.iter().filter_map(|(name, fault)| fault.map(|fault| format!("{name}: {fault}"))).collect()
}
