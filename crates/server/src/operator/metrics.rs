//! `/metrics`: what Prometheus reads. With a key, what that key may see; without one everything, to programs of this
//! machine, unless `metrics_loopback` says otherwise.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use runyard_domain::{Access, Endpoint, EndpointId};
use runyard_gateway::is_local_request;
use runyard_manage::Problem;
use runyard_metrics::text::{self, Entry};
use runyard_metrics::{Interval, Of, Subject};
use runyard_vault::{Caller, Denied};

use super::Operator;
use crate::client::Client;
use crate::telemetry::Latest;

/// What proxies leave in the requests that they pass on.
const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Who reads.
enum Reader {
    /// A key's holder, or the owner.
    Caller(Caller),
    /// A program of this machine.
    Near,
}

impl Reader {
    /// Who sent this.
    fn of(operator: &Operator, parts: &Parts) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Caller>() {
            return Ok(Self::Caller(caller.clone()));
        }
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let value = value.to_str().map_err(|_| Denied::UnknownKey)?;
            return Ok(Self::Caller(operator.inner.engine.vault().key_caller(value)?));
        }
        let client = parts.extensions.get::<Client>();
        let is_near = client.is_some_and(|client| client.address.is_loopback()) && is_direct(&parts.headers);
        if is_near && operator.inner.config.metrics_loopback {
            return Ok(Self::Near);
        }
        Err(Denied::NoKey.into())
    }

    fn sees(&self, endpoint: &EndpointId) -> bool {
        match self {
            Self::Caller(caller) => caller.sees(endpoint),
            Self::Near => true,
        }
    }

    /// Whether it sees the server and its GPUs, too.
    fn sees_all(&self) -> bool {
        match self {
            Self::Caller(caller) => caller.may(Access::Read, None).is_ok(),
            Self::Near => true,
        }
    }
}

/// Whether a request from this machine was made on it: not by a page that a browser was led to, and not passed on by a
/// proxy that nobody told us of.
fn is_direct(headers: &HeaderMap) -> bool {
    is_local_request(headers) && !PROXIED.iter().any(|name| headers.contains_key(*name))
}

pub(super) async fn show(
    State(operator): State<Operator>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let reader = Reader::of(&operator, &parts)?;
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let engine = operator.inner.engine.clone();
    let totals = tokio::task::spawn_blocking(move || engine.reader().totals()).await;
    let totals =
        totals.map_err(|error| Problem::internal(&error))?.map_err(|error| Problem::internal(&error))?;
    let endpoints = operator.inner.engine.endpoints();
    let seen = endpoints.iter().map(AsRef::as_ref).filter(|endpoint| reader.sees(&endpoint.id));
    let entries = entries(seen, reader.sees_all(), totals, &operator.inner.latest);
    let kind = if open { text::OPEN } else { text::PLAIN };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text::page(&entries, open)).into_response())
}

/// What is shown of these endpoints, of their workers, and, where that is seen, of GPUs and of the server.
fn entries<'a>(
    endpoints: impl Iterator<Item = &'a Endpoint>,
    all: bool,
    totals: Vec<(Subject, Interval)>,
    latest: &Latest,
) -> Vec<Entry> {
    let seen = latest.get();
    let mut totals: BTreeMap<Subject, Interval> = totals.into_iter().collect();
    let mut levels = seen.levels.by_subject().clone();
    let mut entries = Vec::new();
    let mut entry = |subject: &Subject, labels: Vec<(&'static str, String)>| {
        entries.push(Entry {
            of: subject.of(),
            labels,
            totals: totals.remove(subject).unwrap_or_default(),
            levels: levels.remove(subject).unwrap_or_default(),
        });
    };
    let mut names = BTreeMap::new();
    for endpoint in endpoints {
        let labels = vec![("endpoint", endpoint.id.to_string()), ("name", endpoint.name.clone())];
        entry(&Subject::Endpoint(endpoint.id.clone()), labels.clone());
        names.insert(endpoint.id.clone(), labels);
    }
    for subject in seen.levels.by_subject().keys() {
        match subject {
            Subject::Worker(endpoint, worker) => {
                if let Some(labels) = names.get(endpoint) {
                    let own = ("worker", worker.to_string());
                    entry(subject, labels.iter().cloned().chain([own]).collect());
                }
            }
            Subject::Gpu(index) if all => {
                let model = seen.gpus.get(index).cloned().unwrap_or_default();
                entry(subject, vec![("gpu", index.to_string()), ("model", model)]);
            }
            _ => {}
        }
    }
    if all {
        entry(&Subject::Server, Vec::new());
    }
    entries.retain(|entry| entry.of != Of::Worker || !entry.levels.is_empty());
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_or_a_page_passes_on_is_not_near() {
        let near = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            });
            is_direct(&headers.collect())
        };
        assert!(near(&[("host", "127.0.0.1:8080")]) && near(&[("host", "localhost")]));
        for pairs in [
            &[][..],
            &[("host", "runyard.example.com")],
            &[("host", "localhost"), ("x-forwarded-for", "203.0.113.1")],
            &[("host", "localhost"), ("forwarded", "for=203.0.113.1")],
            &[("host", "localhost"), ("origin", "https://evil.example")],
        ] {
            assert!(!near(pairs), "{pairs:?}");
        }
    }
}
