//! The ways of the command line in: by the browser of its own machine, which brings a code to a port that it listens on,
//! or by any browser, where the person types a short code. The code from the browser is exchanged once, within a minute,
//! by whoever knows the proof that it began with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use runyard_vault::hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

use super::admit::Begun;
use super::browser::challenge_of;
use super::provider::{Refused, query};
use crate::Manage;
use crate::audit::Peer;
use crate::problem::Problem;
use crate::stream::Body;

/// How long a code waits to be exchanged.
const CODE_LIFE: Duration = Duration::from_mins(1);

/// The most codes that wait.
const MOST_CODES: usize = 1_000;

/// What a device's handle is sealed for.
const PLACE: &str = "oidc device";

/// How often a device asks, in seconds, where the provider says nothing.
const INTERVAL_S: i64 = 5;

/// A command line that waits for a browser.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Terminal {
    port: u16,
    challenge: String,
    state: String,
}

impl Terminal {
    /// Who waits, by what its address says; nobody where it says nothing of it.
    pub(super) fn of(
        port: Option<u16>,
        challenge: Option<String>,
        state: Option<String>,
    ) -> Result<Option<Self>, Problem> {
        let plain = |text: &String| {
            (16..=128).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        match (port, challenge, state) {
            (None, None, None) => Ok(None),
            (Some(port), Some(challenge), Some(state))
                if port >= 1024 && plain(&challenge) && plain(&state) =>
            {
                Ok(Some(Self { port, challenge, state }))
            }
            _ => Err(Problem::invalid(
                "a command line says 'port' (1024 to 65535), 'challenge' and 'state' (16 to 128 letters, digits, '-' and '_')",
            )),
        }
    }

    /// Where the browser brings the code: to its own machine, and no other.
    pub(super) fn address(&self, code: &str) -> String {
        format!("http://127.0.0.1:{}/?{}", self.port, query(&[("code", code), ("state", &self.state)]))
    }
}

/// A session that waits for its command line.
pub(super) struct Waiting {
    begun: Begun,
    challenge: String,
    since: Instant,
}

impl Manage {
    /// Keeps a session until its command line comes for it; answers the code.
    pub(super) fn keep_for_terminal(&self, begun: Begun, terminal: &Terminal) -> Result<String, Problem> {
        let code = self.inner.engine.env().token(40);
        let mut codes = self.inner.sign_in.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, waiting| waiting.since.elapsed() < CODE_LIFE);
        if codes.len() >= MOST_CODES {
            return Err(Problem::busy("too many sign-ins wait for their command lines"));
        }
        let challenge = terminal.challenge.clone();
        codes.insert(hash(&code), Waiting { begun, challenge, since: Instant::now() });
        Ok(code)
    }

    /// A session as the command line gets it.
    fn given(&self, begun: &Begun) -> Json<Value> {
        let member = begun.record.member.as_ref().and_then(|id| self.inner.engine.vault().member(id));
        Json(json!({
            "key": begun.key,
            "expiresAt": begun.record.expires_at.map(|at| at.0),
            "member": member.map(|member| self.member_view(&member)),
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    code: String,
    verifier: String,
}

/// A code for the session that waits for it.
pub(super) async fn token(
    State(manage): State<Manage>,
    body: Body<Exchange>,
) -> Result<Json<Value>, Problem> {
    let body = body.read()?;
    let waiting = {
        let mut codes = manage.inner.sign_in.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.remove(&hash(&body.code))
    };
    let waiting = waiting.filter(|waiting| {
        waiting.since.elapsed() < CODE_LIFE && waiting.challenge == challenge_of(&body.verifier)
    });
    let waiting = waiting.ok_or_else(|| {
        Problem::refused("the code is not known, was used, or is older than a minute")
            .hint("runyard login --oidc")
    })?;
    Ok(manage.given(&waiting.begun))
}

/// A device's wait, sealed.
#[derive(Serialize, Deserialize)]
struct Handle {
    code: String,
    until: i64,
}

/// Begins a sign-in by another machine's browser.
pub(super) async fn device(State(manage): State<Manage>) -> Result<Json<Value>, Problem> {
    let device = manage.inner.sign_in.ask()?.begin_device().await.map_err(Problem::not_there)?;
    let engine = &manage.inner.engine;
    let lasts = device.expires_in.clamp(1, 3_600);
    let handle = Handle { code: device.code, until: engine.now().0 + lasts * 1_000 };
    let handle = serde_json::to_string(&handle).map_err(|error| Problem::internal(&error))?;
    let handle = engine.vault().seal_text(PLACE, &handle).map_err(|error| Problem::internal(&error))?;
    Ok(Json(json!({
        "handle": handle,
        "userCode": device.user_code,
        "verificationUri": device.verification_uri,
        "verificationUriComplete": device.verification_uri_complete,
        "expiresInS": lasts,
        "intervalS": device.interval.unwrap_or(INTERVAL_S).clamp(1, 60),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    handle: String,
}

/// The session of a device, once its person has signed in; 202 until then.
pub(super) async fn device_token(
    State(manage): State<Manage>,
    from: Option<axum::Extension<Peer>>,
    body: Body<Waits>,
) -> Result<Response, Problem> {
    let engine = &manage.inner.engine;
    let opened = engine.vault().open_text(PLACE, &body.read()?.handle).ok();
    let handle: Option<Handle> = opened.and_then(|text| serde_json::from_str(&text).ok());
    let handle = handle.filter(|handle| handle.until > engine.now().0).ok_or_else(|| {
        Problem::refused("this sign-in is not known, or is over")
            .hint("runyard login --device begins another")
    })?;
    let now_s = engine.env().wall().0 / 1_000;
    let identity = match manage.inner.sign_in.ask()?.end_device(&handle.code, now_s).await {
        Ok(identity) => identity,
        Err(refused @ (Refused::Pending | Refused::SlowDown)) => {
            let slower = matches!(refused, Refused::SlowDown);
            let said = Json(json!({"pending": true, "slower": slower}));
            return Ok((StatusCode::ACCEPTED, said).into_response());
        }
        Err(Refused::Why(why)) => return Err(Problem::refused(why)),
    };
    let begun = manage.admit(&identity, from.map(|peer| peer.0.0)).await?;
    Ok(manage.given(&begun).into_response())
}
