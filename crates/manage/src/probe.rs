//! Doors to the bodies of calls, for the fuzz targets (`crates/fuzz`). No part of the interface.

use runyard_domain::Settings;
use serde_json::Map;

use crate::page::Paging;
use crate::version::Versions;
use crate::{deploy, endpoints, keys, logs, members, releases, rest, try_login};

/// Which of the calls' bodies a text can be.
pub fn bodies(text: &[u8]) -> Vec<&'static str> {
    let mut fits = Vec::new();
    let mut note = |name, ok| {
        if ok {
            fits.push(name);
        }
    };
    note("key", serde_json::from_slice::<keys::Create>(text).is_ok());
    note("endpoint", serde_json::from_slice::<endpoints::Create>(text).is_ok());
    note("change", serde_json::from_slice::<endpoints::change::Change>(text).is_ok());
    note("release", serde_json::from_slice::<deploy::Request>(text).is_ok());
    note("member", serde_json::from_slice::<members::Add>(text).is_ok());
    note("rollback", serde_json::from_slice::<releases::Target>(text).is_ok());
    fits
}

/// The page of one to nine that begins after a cursor, where that is one, and the next one's cursor.
pub fn page(cursor: &str) -> Option<(Vec<u32>, Option<String>)> {
    Paging::after_cursor(cursor, 3).cut((1..=9).collect(), |n| *n).ok()
}

/// Where a registry of images sends whoever wants a token, and for which service; `None`: it wants the password itself,
/// or something else.
pub fn token_door(challenge: &str) -> Option<(String, Option<String>)> {
    match try_login::challenge(challenge)? {
        try_login::Challenge::Bearer { realm, service } => Some((realm, service)),
        try_login::Challenge::Basic => None,
    }
}

/// Whether `If-Match` with this text lets a change of this version through.
pub fn may_change(wanted: &str, version: &str) -> bool {
    Versions::wanting(wanted).check(version).is_ok()
}

/// Why each of REST v2's calls refuses a text, in words and place by place; those that take it say nothing.
pub fn rest_refusals(text: &[u8]) -> Vec<(String, Vec<String>)> {
    let refusals = rest::refusals(text).into_iter();
    refusals.map(|problem| (problem.words(), problem.errors().to_vec())).collect()
}

/// Where a sign-in with this query goes on.
pub fn sign_in_next(query: &str) -> Option<String> {
    crate::sign_in::probe_next(query)
}

/// What a line of cookies holds under a name.
pub fn cookie(line: &[u8], name: &str) -> Option<String> {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::COOKIE, http::HeaderValue::from_bytes(line).ok()?);
    crate::sign_in::cookie_of(&headers, name).map(str::to_owned)
}

/// Why a search in the logs with these parameters is refused, where it is.
pub fn log_refusal(pairs: &[(String, String)]) -> Option<String> {
    logs::refusal(pairs)
}

/// The default settings with these changes, where they are allowed.
pub fn settings(changes: &[u8]) -> Option<Settings> {
    let changes: Map<_, _> = serde_json::from_slice(changes).ok()?;
    endpoints::changed(&Settings::default(), &changes).ok()
}
