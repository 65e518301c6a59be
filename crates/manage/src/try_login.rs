//! Whether a registry of images takes a login, asked as container engines ask: `GET /v2/`, with the password itself or
//! with a token that is given out for it. What cannot be told is said so: a login is kept in any case, and tried again
//! when an image is pulled.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use runyard_domain::registry::{DOCKER, Login};
use runyard_webhooks::{Asker, Reach};
use serde_json::{Value, json};

/// How long the whole question may take.
const WHOLE: Duration = Duration::from_secs(10);

/// Where Docker's own registry answers.
const DOCKER_API: &str = "registry-1.docker.io";

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The registry takes it.
    Accepted,
    /// It does not; with its status.
    Refused(u16),
    /// That could not be told, and why.
    Unknown(String),
}

impl Tried {
    /// `login` of an answer: `{state, message}`.
    pub(crate) fn view(&self, server: &str) -> Value {
        let (state, message) = match self {
            Self::Accepted => ("accepted", format!("{server} takes it")),
            Self::Refused(status) => ("refused", format!("{server} does not take it (status {status})")),
            Self::Unknown(why) => ("unknown", why.clone()),
        };
        json!({"state": state, "message": message})
    }
}

/// Who gives out tokens, as a registry says it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// The password itself is wanted.
    Basic,
    /// A token is: from this address, for this service.
    Bearer { realm: String, service: Option<String> },
}

/// Reads `WWW-Authenticate`: the first way in that is known here.
pub(crate) fn challenge(text: &str) -> Option<Challenge> {
    let text = text.get(..text.len().min(4_096))?;
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let value = |name: &str| {
        let parts = rest.split(',').map(str::trim);
        let mut found = parts.filter_map(|part| part.split_once('='));
        let (_, value) = found.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
        let value = value.trim().trim_matches('"');
        let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        (plain && !value.is_empty()).then(|| value.to_owned())
    };
    Some(Challenge::Bearer { realm: value("realm")?, service: value("service") })
}

/// Tries a login.
pub(crate) async fn tried(login: &Login) -> Tried {
    let asked = tokio::time::timeout(WHOLE, ask(login)).await;
    let late = || format!("{} gave no answer within {} s", login.server, WHOLE.as_secs());
    asked.unwrap_or_else(|_| Err(late())).unwrap_or_else(Tried::Unknown)
}

async fn ask(login: &Login) -> Result<Tried, String> {
    // A password goes to registries that are known by the name that was said, and nowhere unsealed but on this machine.
    let asker = Asker::new(Reach::Anywhere);
    let host = if login.server == DOCKER { DOCKER_API } else { &login.server };
    let is_here = is_loopback(host);
    let base = format!("{}://{host}/v2/", if is_here { "http" } else { "https" });
    let open = asker.ask(Method::GET, &base, HeaderMap::new(), Bytes::new()).await?;
    match open.status {
        401 => {}
        200 => return Ok(Tried::Unknown(format!("{} asks nobody for a password", login.server))),
        other => return Ok(Tried::Unknown(format!("{} answers with status {other}", login.server))),
    }
    let mut ways = open.headers.get_all(header::WWW_AUTHENTICATE).iter();
    let way = ways.find_map(|way| challenge(way.to_str().ok()?));
    let address = match way {
        Some(Challenge::Basic) => base,
        Some(Challenge::Bearer { realm, service }) => {
            let is_safe = realm.starts_with("https://") || (is_here && is_loopback_url(&realm));
            if !is_safe {
                return Ok(Tried::Unknown(format!(
                    "{} gives out tokens at {realm}, which is not https",
                    login.server
                )));
            }
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("account", &login.username).append_pair("client_id", "runyard");
            query.extend_pairs(service.map(|service| ("service", service)));
            let mark = if realm.contains('?') { '&' } else { '?' };
            format!("{realm}{mark}{}", query.finish())
        }
        None => return Ok(Tried::Unknown(format!("{} asks for no login that is known here", login.server))),
    };
    let pair = STANDARD.encode(format!("{}:{}", login.username, login.password));
    let mut headers = HeaderMap::new();
    let basic =
        HeaderValue::from_str(&format!("Basic {pair}")).map_err(|_| "it cannot be sent".to_owned())?;
    headers.insert(header::AUTHORIZATION, basic);
    let said = asker.ask(Method::GET, &address, headers, Bytes::new()).await?;
    Ok(match said.status {
        200 => Tried::Accepted,
        status @ (401 | 403) => Tried::Refused(status),
        other => Tried::Unknown(format!("{} answers with status {other}", login.server)),
    })
}

/// Whether a host is this machine, to which engines speak without TLS.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_loopback_url(url: &str) -> bool {
    let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
    host.is_some_and(|host| !host.contains('@') && is_loopback(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        let bearer =
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a:b\"";
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
        };
        assert_eq!(challenge(bearer), Some(expected));
        for none in [
            "",
            "Digest realm=\"x\"",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"a b\"",
            "Bearer realm=\"\"",
        ] {
            assert_eq!(challenge(none), None, "{none}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert!(is_loopback(here), "{here}");
        }
        for other in ["ghcr.io", "localhost.example", "10.0.0.1:5000"] {
            assert!(!is_loopback(other), "{other}");
        }
        assert!(is_loopback_url("http://127.0.0.1:1/token?x=1"));
        assert!(!is_loopback_url("http://127.0.0.1:1@evil.example/") && !is_loopback_url("ftp://localhost/"));
    }
}
