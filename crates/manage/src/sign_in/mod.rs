//! Signing in: with a key or at an OpenID Connect provider, from a browser, which gets a cookie, or from the command line,
//! which gets the session's key. Whoever signs in becomes a caller like every other: a session is a key of limited life,
//! bounded by what its member may do.
//!
//! - [`provider`] asks the provider: where its doors are, its keys, a code for a token.
//! - [`admit`] decides which member an identity is, and begins sessions.
//! - [`browser`] are the pages' ways in and out, [`terminal`] those of the command line.
//! - [`cookie`] makes callers of cookies, for pages of this server alone.

mod admit;
mod browser;
mod cookie;
pub(crate) mod provider;
mod terminal;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use runyard_domain::Role;
use tokio::time::Instant;

pub(crate) use browser::probe_next;
pub(crate) use cookie::{Browser, cookie as cookie_of, from_cookie};

use crate::problem::Problem;
use crate::{Manage, problem};

/// Where people sign in.
pub(crate) const PATHS: [&str; 7] = [
    "/auth/oidc/start",
    "/auth/oidc/callback",
    "/auth/oidc/token",
    "/auth/oidc/device",
    "/auth/oidc/device/token",
    "/auth/session",
    "/auth/logout",
];

/// How often the provider is asked at most in a minute, for people of whom nothing is known yet.
const ASKED_A_MINUTE: u32 = 300;

/// How people sign in at an OpenID Connect provider.
#[derive(Clone, Default)]
pub struct Oidc {
    /// The provider, as its tokens name it.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// The password of this server there, where it has one.
    pub client_secret: Option<String>,
    /// What is asked for.
    pub scopes: String,
    /// The domains whose people may come in; empty: all.
    pub domains: Vec<String>,
    /// The claim that holds a person's groups.
    pub groups_claim: String,
    /// The roles of groups.
    pub roles: BTreeMap<String, Role>,
    /// The role of people whom nobody invited and whose groups have none; without it they stay out.
    pub default_role: Option<Role>,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// How people sign in.
#[derive(Debug, Clone)]
pub struct SignInOptions {
    /// The provider, where there is one.
    pub oidc: Option<Oidc>,
    /// How long a session lasts, in seconds.
    pub session_s: i64,
}

impl Default for SignInOptions {
    fn default() -> Self {
        Self { oidc: None, session_s: 12 * 3600 }
    }
}

/// What signing in keeps while the server runs.
pub(crate) struct SignIn {
    pub(crate) session_s: i64,
    provider: Option<provider::Provider>,
    /// Codes that the command line exchanges for a session, by hash; each once.
    codes: Mutex<HashMap<String, terminal::Waiting>>,
    meter: Mutex<(Instant, u32)>,
}

impl SignIn {
    pub(crate) fn new(options: SignInOptions) -> Self {
        Self {
            session_s: options.session_s,
            provider: options.oidc.map(provider::Provider::new),
            codes: Mutex::default(),
            meter: Mutex::new((Instant::now(), 0)),
        }
    }

    /// The provider, where there is one.
    fn provider(&self) -> Result<&provider::Provider, Problem> {
        self.provider.as_ref().ok_or_else(|| {
            Problem::not_found("this server knows no identity provider")
                .hint("sign in with a key, or set oidc_issuer and oidc_client_id in server.toml")
        })
    }

    /// The provider, which is asked now.
    fn ask(&self) -> Result<&provider::Provider, Problem> {
        let provider = self.provider()?;
        let mut meter = self.meter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if meter.0.elapsed().as_secs() >= 60 {
            *meter = (Instant::now(), 0);
        }
        meter.1 += 1;
        if meter.1 > ASKED_A_MINUTE {
            return Err(Problem::busy("too many people sign in at this moment"));
        }
        Ok(provider)
    }
}

/// The routes of signing in.
pub(crate) fn routes(manage: &Manage) -> Router {
    let [start, callback, token, device, device_token, session, logout] = PATHS;
    // Pages in words, which stay as they are.
    let pages = Router::new().route(start, get(browser::start)).route(callback, get(browser::callback));
    Router::new()
        .route(token, post(terminal::token))
        .route(device, post(terminal::device))
        .route(device_token, post(terminal::device_token))
        .route(session, post(browser::with_key))
        .route(logout, post(browser::logout))
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(middleware::from_fn_with_state(manage.clone(), from_cookie))
        .layer(middleware::map_response(problem::in_shape))
        .merge(pages.method_not_allowed_fallback(problem::wrong_method))
        .with_state(manage.clone())
}
