//! The ways of a browser in and out: to the provider and back, with a key, and the end of a session. What a sign-in began
//! with (its state, its number, its proof, where it goes on) travels in a sealed cookie, so that a sign-in ends in the
//! browser that began it.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runyard_domain::KeyId;
use runyard_engine::Trail;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::cookie::{self, BEGUN_S, Headers};
use super::provider::{Refused, query, short};
use super::terminal::Terminal;
use crate::Manage;
use crate::audit::Peer;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::Body;

/// What the sealed cookie is sealed for.
const PLACE: &str = "oidc sign-in";

/// The longest path that a sign-in goes on to, in bytes.
const LONGEST_NEXT: usize = 2_000;

/// The address that the provider sends people back to, below our own.
const BACK: &str = "/auth/oidc/callback";

/// What a sign-in began with.
#[derive(Serialize, Deserialize)]
struct Begun {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    terminal: Option<Terminal>,
    until: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    next: Option<String>,
    /// The port of a command line that waits for the end of it on the same machine as the browser.
    port: Option<u16>,
    challenge: Option<String>,
    state: Option<String>,
}

/// Sends a browser to the provider.
pub(super) async fn start(
    State(manage): State<Manage>,
    Query(start): Query<Start>,
) -> Result<Response, Response> {
    manage
        .begin_sign_in(start)
        .await
        .map_err(|problem| page(problem.status(), "Sign-in failed", &problem.words()))
}

impl Manage {
    async fn begin_sign_in(&self, start: Start) -> Result<Response, Problem> {
        let provider = self.inner.sign_in.provider()?;
        let terminal = Terminal::of(start.port, start.challenge, start.state)?;
        let next = start.next.unwrap_or_else(|| "/".to_owned());
        if !is_own_path(&next) {
            return Err(Problem::invalid("'next' must be a path of this server"));
        }
        let engine = &self.inner.engine;
        let env = engine.env();
        let begun = Begun {
            state: env.token(32),
            nonce: env.token(32),
            verifier: env.token(64),
            next,
            terminal,
            until: engine.now().0 + BEGUN_S * 1_000,
        };
        let doors = provider.doors().await.map_err(Problem::not_there)?;
        let challenge = challenge_of(&begun.verifier);
        let back = self.back();
        let asked = query(&[
            ("response_type", "code"),
            ("client_id", &provider.options.client_id),
            ("redirect_uri", &back),
            ("scope", &provider.options.scopes),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let text = serde_json::to_string(&begun).map_err(|error| Problem::internal(&error))?;
        let sealed = engine.vault().seal_text(PLACE, &text).map_err(|error| Problem::internal(&error))?;
        let door = doors.authorization_endpoint;
        let joint = if door.contains('?') { '&' } else { '?' };
        let mut response = redirect(&format!("{door}{joint}{asked}"));
        response.headers_mut().append(header::SET_COOKIE, self.begun_cookie(&sealed));
        Ok(response)
    }

    fn back(&self) -> String {
        format!("{}{BACK}", self.inner.info.url)
    }

    fn open_begun(&self, headers: &Headers) -> Option<Begun> {
        let sealed = cookie::begun(&headers.0)?;
        let text = self.inner.engine.vault().open_text(PLACE, sealed).ok()?;
        let begun: Begun = serde_json::from_str(&text).ok()?;
        (begun.until > self.inner.engine.now().0).then_some(begun)
    }

    async fn end_sign_in(
        &self,
        headers: &Headers,
        answer: Answer,
        from: Option<Peer>,
    ) -> Result<Response, Problem> {
        let begun = self.open_begun(headers).filter(|begun| answer.state.as_ref() == Some(&begun.state));
        let begun = begun.ok_or_else(|| {
            Problem::refused("this sign-in did not begin in this browser, or took longer than ten minutes")
                .hint("begin once more")
        })?;
        if let Some(error) = answer.error {
            let why = answer.error_description.map_or(String::new(), |why| format!(": {}", short(&why)));
            return Err(Problem::refused(format!("the identity provider says '{}'{why}", short(&error))));
        }
        let code = answer.code.ok_or_else(|| Problem::invalid("the identity provider sent no code"))?;
        let provider = self.inner.sign_in.ask()?;
        let now_s = self.inner.engine.env().wall().0 / 1_000;
        let identity = provider.exchange(&code, &begun.verifier, &self.back(), &begun.nonce, now_s).await;
        let identity = identity.map_err(|refused| match refused {
            Refused::Why(why) => Problem::refused(why),
            Refused::Pending | Refused::SlowDown => Problem::refused("the identity provider has not decided"),
        })?;
        let session = self.admit(&identity, from.map(|peer| peer.0)).await?;
        if let Some(terminal) = begun.terminal {
            let code = self.keep_for_terminal(session, &terminal)?;
            return Ok(redirect(&terminal.address(&code)));
        }
        let mut response = redirect(&begun.next);
        for cookie in self.session_cookies(&session.key, self.inner.sign_in.session_s) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

/// What the provider sends a browser back with.
#[derive(Deserialize)]
pub(super) struct Answer {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// A browser comes back from the provider.
pub(super) async fn callback(
    State(manage): State<Manage>,
    headers: Headers,
    from: Option<axum::Extension<Peer>>,
    Query(answer): Query<Answer>,
) -> Response {
    let ended = manage.end_sign_in(&headers, answer, from.map(|peer| peer.0)).await;
    let mut response =
        ended.unwrap_or_else(|problem| page(problem.status(), "Sign-in failed", &problem.words()));
    // Each of them is for one return.
    response.headers_mut().append(header::SET_COOKIE, manage.not_begun());
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithKey {
    key: String,
}

/// A browser signs in with a key: its session opens what the key opens, for as long as that does.
pub(super) async fn with_key(
    State(manage): State<Manage>,
    headers: Headers,
    from: Option<axum::Extension<Peer>>,
    body: Body<WithKey>,
) -> Result<Response, Problem> {
    manage.is_own_page(&headers.0)?;
    let key = body.read()?.key;
    let vault = manage.inner.engine.vault();
    let caller = vault.key_caller(&key)?;
    if caller.is_session() || caller.name() == runyard_vault::OWNER {
        return Err(Problem::refused(
            "a session begins with a key, not with another session or the owner's key",
        ));
    }
    let record = vault.key(&KeyId::new(caller.name())).ok_or(runyard_vault::Denied::UnknownKey)?;
    let session = manage.begin_session(None, Some(&record), from.map(|peer| peer.0.0)).await?;
    let ends = session.record.expires_at.map(|at| at.0);
    let mut response = Json(json!({"session": session.record.id, "expiresAt": ends})).into_response();
    for cookie in manage.session_cookies(&session.key, manage.inner.sign_in.session_s) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The end of a session: of the one that asks.
pub(super) async fn logout(State(manage): State<Manage>, auth: Auth) -> Result<Response, Problem> {
    let engine = &manage.inner.engine;
    let mut record =
        engine.vault().key(&KeyId::new(auth.0.name())).filter(|_| auth.0.is_session()).ok_or_else(|| {
            Problem::conflict("a key is no session, and goes on").hint("runyard keys revoke ends a key")
        })?;
    record.revoked_at.get_or_insert(engine.now());
    let trail = Trail::new(engine.deed(&auth.0, "member.sign-out"));
    trail.scope(engine.put_key(record)).await?;
    let mut response = Json(json!({"signedOut": true})).into_response();
    for cookie in manage.no_cookies() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The proof that is told before, of the one that is told after.
pub(super) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// Whether a text is a path of this server, which leads nowhere else.
fn is_own_path(text: &str) -> bool {
    let second = text.as_bytes().get(1);
    text.starts_with('/')
        && !matches!(second, Some(b'/' | b'\\'))
        && text.len() <= LONGEST_NEXT
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn redirect(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(place) => {
            let headers =
                [(header::LOCATION, place), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => {
            page(StatusCode::BAD_GATEWAY, "Sign-in failed", "the identity provider's address cannot be sent")
        }
    }
}

/// A page that says one thing.
pub(super) fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1><p>{escaped}</p></html>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, body).into_response()
}

/// For the fuzz target: where a sign-in with this query goes on, if anywhere.
pub(crate) fn probe_next(query: &str) -> Option<String> {
    let uri = format!("/auth/oidc/start?{query}").parse().ok()?;
    let Query(start) = Query::<Start>::try_from_uri(&uri).ok()?;
    let _ = Query::<Answer>::try_from_uri(&uri);
    let terminal = Terminal::of(start.port, start.challenge, start.state).ok()?;
    match terminal {
        Some(terminal) => Some(terminal.address("code")),
        None => start.next.filter(|next| is_own_path(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_goes_on_here_and_nowhere_else() {
        for good in ["/", "/endpoints/t2i?tab=logs#x", "/a//b"] {
            assert!(is_own_path(good), "{good}");
        }
        for bad in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/a\n", "a", "/é"]
        {
            assert!(!is_own_path(bad), "{bad}");
        }
    }

    #[test]
    fn a_challenge_is_the_one_of_the_standard() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge_of(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
