//! Who looks. A person signs in with an API key, or at the identity provider, and gets the cookie of a session that the
//! API keeps (`/auth/session`); nothing is kept here. Whoever started the server may follow its link instead.
//! Forms carry a number that belongs to the cookie and that pages of others cannot know.

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use runyard_domain::KeyId;
use runyard_manage::Peer;
use runyard_vault::{Caller, hash};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

use crate::Console;
use crate::assets::ASSETS;
use crate::call::{Trouble, trouble};
use crate::forms::{Form, read};
use crate::frame::{Flash, Theme};
use crate::place::Query;

/// Where the link leads that signs in whoever started the server.
pub const LINK: &str = "/open";

/// Holds the session; no script reads it.
const COOKIE: &str = "runyard_session";

/// What the session is sealed for.
const PLACE: &str = "console session";

/// How long a session lasts, in seconds.
const LASTS_S: i64 = 12 * 3600;

/// The largest form that signs in, in bytes.
const MOST: usize = 16 << 10;

/// What is sealed in the cookie of whoever followed the link: it holds as long as the server runs.
#[derive(Serialize, Deserialize)]
struct Sealed {
    link: String,
    until: i64,
}

/// A session that began, as the API tells it: in cookies.
struct Begun(Vec<HeaderValue>);

/// A request of somebody who is signed in.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) console: Console,
    pub(crate) caller: Caller,
    pub(crate) peer: Option<Peer>,
    pub(crate) csrf: String,
    pub(crate) theme: Theme,
    pub(crate) flash: Option<Flash>,
    cookie: String,
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let cookie = cookie(&parts.headers, COOKIE).unwrap_or_default().to_owned();
        let Some(caller) = console.caller(&cookie) else { return Err(not_signed_in(parts)) };
        Ok(Self {
            console: console.clone(),
            caller,
            peer: parts.extensions.get::<Peer>().copied(),
            csrf: hash(&format!("csrf {cookie}")),
            theme: Theme::of(&parts.headers),
            flash: Flash::of(&parts.headers),
            cookie,
        })
    }
}

impl Visit {
    /// The same visitor a while later; none where the session, or its key, has ended.
    pub(crate) fn again(&self) -> Option<Self> {
        let caller = self.console.caller(&self.cookie)?;
        Some(Self { caller, flash: None, ..self.clone() })
    }

    /// What the visitor is called: the name of the key, or the member's address.
    pub(crate) fn name(&self) -> String {
        let key = self.console.inner.engine.vault().key(&KeyId::new(self.caller.name()));
        let name = key.map(|key| key.name).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| self.caller.name().to_owned());
        name.strip_prefix("session of ").map(str::to_owned).unwrap_or(name)
    }

    /// Whether a form is one of our own pages, for this visitor.
    pub(crate) fn owns(&self, form: &Form) -> bool {
        // Hashes are compared, so that the time it takes tells nothing.
        hash(form.get("csrf").unwrap_or_default()) == hash(&self.csrf)
    }
}

impl Console {
    /// Whose cookie it is: a session of `/auth/session` or of the identity provider, or that of the link.
    fn caller(&self, cookie: &str) -> Option<Caller> {
        let vault = self.inner.engine.vault();
        if let Ok(caller) = vault.key_caller(cookie) {
            return caller.is_session().then_some(caller);
        }
        let sealed: Sealed = serde_json::from_str(&vault.open_text(PLACE, cookie).ok()?).ok()?;
        let holds = sealed.until > self.inner.engine.now().0 && hash(&sealed.link) == hash(&self.inner.link);
        holds.then(|| vault.local_caller())
    }

    /// The cookie of whoever followed the link.
    fn begin(&self, link: String) -> Response {
        let until = self.inner.engine.now().0 + LASTS_S * 1_000;
        let text = serde_json::to_string(&Sealed { link, until }).unwrap_or_default();
        match self.inner.engine.vault().seal_text(PLACE, &text) {
            Ok(sealed) => go_on(vec![self.cookie(COOKIE, &sealed, LASTS_S)], "/"),
            Err(error) => {
                tracing::error!(%error, "a session could not be sealed");
                let words = "the session could not be sealed; see the server's log";
                (StatusCode::INTERNAL_SERVER_ERROR, words).into_response()
            }
        }
    }

    /// Begins a session with a key, as the API does.
    async fn with_key(&self, key: &str, peer: Option<Peer>) -> Result<Begun, Trouble> {
        let body = Body::from(serde_json::json!({"key": key}).to_string());
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/auth/session");
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let Ok(response) = self.inner.api.clone().oneshot(request).await;
        let cookies = response.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
        if response.status().is_success() {
            return Ok(Begun(cookies));
        }
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), MOST).await.unwrap_or_default();
        Err(trouble(status, &body))
    }

    /// A cookie for pages of this server, kept for so many seconds.
    pub(crate) fn cookie(&self, name: &str, value: &str, seconds: i64) -> HeaderValue {
        let secure = if self.inner.url.starts_with("https://") { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; SameSite=Lax; HttpOnly{secure}");
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Whether a request is of a page of this server, as far as browsers tell.
    pub(crate) fn is_own_page(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let site = text("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
        let own = |origin: &str| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            (host.is_some() && host == text("host")) || self.inner.url == origin
        };
        site && text("origin").is_none_or(own)
    }
}

/// A cookie of a request. Where a name comes more than once, none counts: somebody else put one of them there.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    found.next().filter(|value| found.next().is_none() && !value.is_empty())
}

/// Whether a text is a path of this server, which leads nowhere else.
pub(crate) fn is_own_path(text: &str) -> bool {
    let second = text.as_bytes().get(1);
    text.starts_with('/')
        && !matches!(second, Some(b'/' | b'\\'))
        && text.len() <= 2_000
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn not_signed_in(parts: &Parts) -> Response {
    let asks_for_page = parts.headers.get(header::ACCEPT).is_none_or(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        !accept.contains("text/event-stream") && !accept.starts_with("image/")
    });
    if !asks_for_page || parts.uri.path().starts_with("/ui/") {
        return (StatusCode::UNAUTHORIZED, "sign in first").into_response();
    }
    let here = parts.uri.path_and_query().map_or("/", |here| here.as_str());
    // A form that was sent is gone; its page is not.
    let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Redirect::to(&if here == "/" { "/sign-in".to_owned() } else { format!("/sign-in?next={next}") })
        .into_response()
}

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn<'a> {
    theme: Theme,
    style: &'a str,
    icon: &'a str,
    next: &'a str,
    wrong: Option<String>,
    open: bool,
}

/// `GET /sign-in`.
pub(crate) async fn page(
    State(console): State<Console>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    sign_in_page(&console, &headers, query.get("next").unwrap_or("/"), None, StatusCode::OK)
}

fn sign_in_page(
    console: &Console,
    headers: &HeaderMap,
    next: &str,
    wrong: Option<String>,
    status: StatusCode,
) -> Response {
    let (style, icon) = (&*ASSETS.style.href, &*ASSETS.icon.href);
    let page = SignIn { theme: Theme::of(headers), style, icon, next, wrong, open: console.inner.open };
    crate::pages::html(status, page.render())
}

/// `POST /sign-in`: a key becomes a session.
pub(crate) async fn sign_in(
    State(console): State<Console>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !console.is_own_page(&headers) {
        return (StatusCode::FORBIDDEN, "this form is not one of this server's pages").into_response();
    }
    let Ok(form) = read(body, MOST).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the form is larger than 16 KiB, or broke off")
            .into_response();
    };
    let (key, next) = (form.get("key").unwrap_or_default().trim(), form.get("next").unwrap_or("/"));
    if key.is_empty() {
        return sign_in_page(
            &console,
            &headers,
            next,
            Some("Enter a key.".to_owned()),
            StatusCode::BAD_REQUEST,
        );
    }
    match console.with_key(key, peer.map(|peer| peer.0)).await {
        Ok(Begun(cookies)) => go_on(cookies, next),
        Err(trouble) => {
            let wrong = format!("That did not work: {}.", trouble.detail);
            sign_in_page(&console, &headers, next, Some(wrong), trouble.status)
        }
    }
}

/// Goes on to a page of this server, with cookies.
fn go_on(cookies: Vec<HeaderValue>, next: &str) -> Response {
    let mut response = Redirect::to(if is_own_path(next) { next } else { "/" }).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// `GET /open/{token}`: the link of whoever started the server.
pub(crate) async fn open(
    State(console): State<Console>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    if hash(&token) == hash(&console.inner.link) {
        return console.begin(token);
    }
    let wrong = "This link is of a server that has ended. The running one printed another.".to_owned();
    sign_in_page(&console, &headers, "/", Some(wrong), StatusCode::UNAUTHORIZED)
}

/// `POST /sign-out`.
pub(crate) async fn sign_out(State(console): State<Console>, visit: Visit, body: Body) -> Response {
    match read(body, MOST).await {
        Ok(form) if visit.owns(&form) => {
            // The session ends in the store; whoever came by the link has none there.
            let _ = visit.call(Method::POST, "/auth/logout", None).await;
            go_on(vec![console.cookie(COOKIE, "", 0)], "/sign-in")
        }
        _ => (StatusCode::FORBIDDEN, "this form is not one of this server's pages").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        for (lines, value) in [
            (&["a=1; runyard_session=x+/=; b=2"][..], Some("x+/=")),
            (&["runyard_session=a; runyard_session=b"], None),
            (&["runyard_session=a", "runyard_session=a"], None),
            (&["runyard_session="], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a header"));
            }
            assert_eq!(cookie(&headers, COOKIE), value, "{lines:?}");
        }
    }

    #[test]
    fn a_sign_in_goes_on_to_pages_of_this_server_alone() {
        for own in ["/", "/jobs?status=FAILED", "/e/llm/requests"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "jobs", "/a b", "/\u{e9}"]
        {
            assert!(!is_own_path(other), "{other}");
        }
    }
}
