//! Cookies of pages of this server. A session's cookie goes with every request that a browser makes here, also where a
//! page of somebody else has it made: so it counts only for requests of our own pages, and what changes something needs
//! a number beside it that only our own pages can read.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use runyard_vault::{Caller, Denied, hash};

use crate::Manage;
use crate::problem::Problem;

/// Holds the session's key; no script reads it.
const SESSION: &str = "runyard_session";

/// Holds the number that changes need; scripts of our own pages read it.
const CSRF: &str = "runyard_csrf";

/// Where a page sends that number.
const CSRF_HEADER: &str = "x-csrf-token";

/// Holds what a sign-in at the provider began with.
const BEGUN: &str = "runyard_sign_in";

/// How long somebody may take at the provider, in seconds.
pub(super) const BEGUN_S: i64 = 600;

/// A caller whom a cookie made; in a request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// What changes need beside the cookie.
    pub(crate) csrf: String,
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The headers of a request, for what looks at cookies and origins.
pub(super) struct Headers(pub(super) HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for Headers {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.clone()))
    }
}

/// Runs around the calls that pages make: whoever brings no key and a session's cookie is the caller of that session.
pub(crate) async fn from_cookie(State(manage): State<Manage>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let known = headers.contains_key(header::AUTHORIZATION) || request.extensions().get::<Caller>().is_some();
    let Some(key) = cookie(headers, SESSION).filter(|_| !known).map(str::to_owned) else {
        return next.run(request).await;
    };
    let reads = request.method().is_safe();
    match manage.session_caller(&key, headers, reads) {
        Ok((caller, browser)) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(browser);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Manage {
    fn session_caller(
        &self,
        key: &str,
        headers: &HeaderMap,
        reads: bool,
    ) -> Result<(Caller, Browser), Problem> {
        let caller = self.inner.engine.vault().key_caller(key)?;
        if !caller.is_session() {
            return Err(Denied::UnknownKey.into());
        }
        self.is_own_page(headers)?;
        let csrf = csrf_of(key);
        if !reads {
            let sent = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
            // Hashes are compared, so that the time it takes tells nothing.
            if hash(&String::from_utf8_lossy(sent)) != hash(&csrf) {
                return Err(Problem::refused(format!("a page that changes something sends {CSRF_HEADER}"))
                    .hint(format!("its value is in the cookie {CSRF}, and in GET /api/v1/me")));
            }
        }
        Ok((caller, Browser { csrf }))
    }

    /// Whether a request is of a page of this server, as far as browsers tell.
    pub(super) fn is_own_page(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let site = text("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
        let own = |origin: &str| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let here = host.is_some() && host == text("host");
            here || origin_of(&self.inner.info.url) == Some(origin)
        };
        if site && text("origin").is_none_or(own) {
            return Ok(());
        }
        Err(Problem::refused("a session's cookie is for pages of this server").hint("programs send a key"))
    }

    /// Whether cookies are for https alone.
    fn is_secure(&self) -> bool {
        self.inner.info.url.starts_with("https://")
    }

    /// The cookies of a session that begins; it ends in so many seconds.
    pub(super) fn session_cookies(&self, key: &str, seconds: i64) -> [HeaderValue; 2] {
        let secure = self.is_secure();
        [set(SESSION, key, "/", seconds, true, secure), set(CSRF, &csrf_of(key), "/", seconds, false, secure)]
    }

    /// The cookies of a session that ended.
    pub(super) fn no_cookies(&self) -> [HeaderValue; 2] {
        let secure = self.is_secure();
        [set(SESSION, "", "/", 0, true, secure), set(CSRF, "", "/", 0, false, secure)]
    }

    /// The cookie of a sign-in that begins.
    pub(super) fn begun_cookie(&self, sealed: &str) -> HeaderValue {
        set(BEGUN, sealed, "/auth", BEGUN_S, true, self.is_secure())
    }

    /// The cookie of a sign-in that is over.
    pub(super) fn not_begun(&self) -> HeaderValue {
        set(BEGUN, "", "/auth", 0, true, self.is_secure())
    }
}

/// What a sign-in began with.
pub(super) fn begun(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, BEGUN)
}

/// `https://host:port` of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    Some(&url[..end])
}

/// The number that belongs to a session's key, which nobody finds out from it.
fn csrf_of(key: &str) -> String {
    hash(&format!("csrf {key}"))
}

/// A cookie of a request. Where a name comes more than once, none counts: somebody else put one of them there.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    found.next().filter(|value| found.next().is_none() && !value.is_empty())
}

fn set(name: &str, value: &str, path: &str, seconds: i64, hidden: bool, secure: bool) -> HeaderValue {
    let hidden = if hidden { "; HttpOnly" } else { "" };
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; Max-Age={seconds}; SameSite=Lax{hidden}{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        let headers = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a header"));
            }
            headers
        };
        for (lines, value) in [
            (&["a=1; runyard_session=rs_x; b=2"][..], Some("rs_x")),
            (&["a=1", "runyard_session=rs_x"], Some("rs_x")),
            (&["runyard_session=x=="], Some("x==")),
            (&["runyard_session=a; runyard_session=b"], None),
            (&["runyard_session=a", "runyard_session=a"], None),
            (&["xrunyard_session=a", "runyard_session"], None),
            (&["runyard_session="], None),
            (&[], None),
        ] {
            assert_eq!(cookie(&headers(lines), SESSION), value, "{lines:?}");
        }
    }

    #[test]
    fn origins_are_cut_out_of_urls() {
        assert_eq!(origin_of("https://a.example:8443/prefix"), Some("https://a.example:8443"));
        assert_eq!(origin_of("http://127.0.0.1:8080"), Some("http://127.0.0.1:8080"));
    }
}
