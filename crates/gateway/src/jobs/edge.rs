//! The edge of the job API: request ids, CORS, and the bodies of errors. It stands around every route, so that
//! also a refusal can be read by a page of another origin.
//!
//! Where keys are required, the endpoint says whose pages may read its answers: those of any origin, unless told
//! otherwise (they have to hold a key, and no cookie is ever looked at); a key for pages has origins of its own, which
//! the key's check sees to. Where no key is needed, only pages of this machine may.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use runyard_domain::Origin;

use super::error::Refusal;
use crate::Gateway;
use crate::rates::Standing;

/// The name of the header that carries a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
const HEADERS: &str = "authorization, content-type, idempotency-key, x-request-id, x-job-token";
const EXPOSED: &str = "x-request-id, x-job-token, retry-after, ratelimit, ratelimit-policy";
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Runs around every route of the job API.
pub(crate) async fn edge(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    let id = request_id(&gateway, request.headers());
    let Cors { allowed, varies } = cors(&gateway, request.uri().path(), request.headers());
    let is_openai = request.uri().path().split('/').nth(3) == Some("openai");
    let standing = Arc::new(OnceLock::<Standing>::new());
    request.extensions_mut().insert(Arc::clone(&standing));
    let mut response = if request.method() == Method::OPTIONS {
        preflight(request.headers(), allowed.is_some())
    } else {
        next.run(request).await
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        if let Some(cause) = refusal.cause() {
            tracing::error!(request.id = id, cause, "a call of the job API failed");
        }
        let status = response.status();
        let (kind, body) = if is_openai { refusal.openai_body(status) } else { refusal.body(status, &id) };
        let (mut parts, _) = response.into_parts();
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        parts.headers.remove(header::CONTENT_LENGTH);
        response = Response::from_parts(parts, body.into());
    }
    let headers = response.headers_mut();
    if let Some(standing) = standing.get() {
        standing.write(headers);
    }
    if varies {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    name(&mut response, &id);
    response
}

/// Says the request's id.
pub(crate) fn name(response: &mut Response, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// The caller's own id where it is well formed, else a new one.
pub(crate) fn request_id(gateway: &Gateway, headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let well_formed = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    sent.filter(well_formed).map_or_else(|| gateway.engine().env().uuid(), str::to_owned)
}

/// Whose pages may read the answer.
struct Cors {
    /// What to say in `access-control-allow-origin`.
    allowed: Option<HeaderValue>,
    /// Whether another page would hear another.
    varies: bool,
}

fn cors(gateway: &Gateway, path: &str, headers: &HeaderMap) -> Cors {
    let origin = |admits: &dyn Fn(&str) -> bool| {
        headers.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(admits)).cloned()
    };
    if gateway.options().open {
        return Cors { allowed: origin(&is_loopback_origin), varies: true };
    }
    let named = path.split('/').nth(2).unwrap_or_default();
    match gateway.engine().endpoint(named).filter(|endpoint| !endpoint.settings.cors.contains(&Origin::Any)) {
        Some(own) => Cors { allowed: origin(&|page| own.settings.admits_origin(page)), varies: true },
        None => Cors { allowed: Some(HeaderValue::from_static("*")), varies: false },
    }
}

/// The answer to a browser that asks before it calls; it carries no key, and needs none.
fn preflight(asked: &HeaderMap, allowed: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, METHODS);
    if allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.append(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    }
    response
}

/// The usual headers and whatever was asked for.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let mut names = HEADERS.to_owned();
    let asked = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    for name in asked.unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase()) {
        let is_known = names.split(", ").any(|known| known == name);
        if !is_known && names.len() < 4_096 && HeaderName::from_bytes(name.as_bytes()).is_ok() {
            names.push_str(", ");
            names.push_str(&name);
        }
    }
    HeaderValue::from_str(&names).unwrap_or(HeaderValue::from_static(HEADERS))
}

/// Whether an `Origin` is a page of this machine.
pub(crate) fn is_loopback_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(is_loopback_host)
}

/// Whether a `Host` (with or without a port) is this machine: `localhost`, 127.0.0.0/8, `[::1]`.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, rest)) => (name, rest.strip_prefix(':').or(rest.is_empty().then_some("0"))),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        },
    };
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let is_v6 = host.starts_with('[');
    match name.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() && !is_v6,
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() && is_v6,
        Err(_) => !is_v6 && name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_apart() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_host(host), "{host}");
            assert!(is_loopback_origin(&format!("http://{host}")), "{host}");
        }
        let others = [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "[localhost]",
            "localhost:x",
            "127.1",
            "user@localhost",
            "localhost/",
            "localhost:99999",
        ];
        for host in others {
            assert!(!is_loopback_host(host), "{host}");
        }
        for origin in ["null", "localhost", "file://", "http://localhost/x", "ftp://localhost"] {
            assert!(!is_loopback_origin(origin), "{origin}");
        }
    }
}
