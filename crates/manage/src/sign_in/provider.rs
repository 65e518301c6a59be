//! The identity provider, asked over the network: its own description, its keys, and what it gives for a code. What it
//! describes is kept for an hour; its keys are read anew where a token is signed with another one, every so often.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use runyard_vault::{BadToken, Expected, Identity, ProviderKeys};
use runyard_webhooks::{Asker, Reach};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Oidc;

/// How long the provider's description of itself is believed.
const KEPT: Duration = Duration::from_hours(1);

/// Where it could not be asked, it is asked again after this.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Its keys are not read more often than this.
const KEYS_PAUSE: Duration = Duration::from_secs(10);

/// Where the provider's doors are.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Doors {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What it gives for a code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Given {
    id_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// A device that waits for its person.
#[derive(Debug, Deserialize)]
pub(super) struct Device {
    #[serde(rename = "device_code")]
    pub(super) code: String,
    pub(super) user_code: String,
    #[serde(alias = "verification_url")]
    pub(super) verification_uri: String,
    #[serde(default)]
    pub(super) verification_uri_complete: Option<String>,
    pub(super) expires_in: i64,
    #[serde(default)]
    pub(super) interval: Option<i64>,
}

/// Why nobody came in.
#[derive(Debug)]
pub(super) enum Refused {
    /// The person has not decided yet.
    Pending,
    /// The same, and it was asked too often.
    SlowDown,
    /// In words.
    Why(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

/// The provider.
pub(crate) struct Provider {
    pub(super) options: Oidc,
    asker: Asker,
    doors: Mutex<Option<(Result<Doors, String>, Instant)>>,
    keys: Mutex<Option<(ProviderKeys, Instant)>>,
}

impl Provider {
    pub(super) fn new(options: Oidc) -> Self {
        // Whoever configures the server says where the provider is, also in the own network.
        Self { options, asker: Asker::new(Reach::Anywhere), doors: Mutex::default(), keys: Mutex::default() }
    }

    /// Where its doors are.
    pub(super) async fn doors(&self) -> Result<Doors, String> {
        let mut known = self.doors.lock().await;
        if let Some((found, at)) = &*known
            && at.elapsed() < if found.is_ok() { KEPT } else { TRY_AGAIN }
        {
            return found.clone();
        }
        let found = self.find_doors().await;
        *known = Some((found.clone(), Instant::now()));
        found
    }

    async fn find_doors(&self) -> Result<Doors, String> {
        let issuer = self.options.issuer.trim_end_matches('/');
        let doors: Doors = self.read(&format!("{issuer}/.well-known/openid-configuration")).await?;
        if doors.issuer != self.options.issuer {
            return Err(format!(
                "the identity provider calls itself '{}', and oidc_issuer is '{}'",
                short(&doors.issuer),
                self.options.issuer
            ));
        }
        let all = [&doors.authorization_endpoint, &doors.token_endpoint, &doors.jwks_uri];
        let encrypted = issuer.starts_with("https://");
        if encrypted
            && all
                .into_iter()
                .chain(&doors.device_authorization_endpoint)
                .any(|url| !url.starts_with("https://"))
        {
            return Err("the identity provider names addresses that are not https".to_owned());
        }
        Ok(doors)
    }

    /// The identity that it gives for a code.
    pub(super) async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        back: &str,
        nonce: &str,
        now_s: i64,
    ) -> Result<Identity, Refused> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", verifier),
        ];
        let token = self.token(&form).await?;
        Ok(self.identity(&token, Some(nonce), now_s).await?)
    }

    /// Begins to wait for the person at a device.
    pub(super) async fn begin_device(&self) -> Result<Device, String> {
        let doors = self.doors().await?;
        let door = doors.device_authorization_endpoint.ok_or(
            "the identity provider has no sign-in for devices: sign in with the browser of this machine instead",
        )?;
        let form = [("client_id", self.options.client_id.as_str()), ("scope", &self.options.scopes)];
        let (status, body) = self.post(&door, &form, HeaderMap::new()).await?;
        if status != 200 {
            return Err(format!("the identity provider refused the device: status {status}"));
        }
        parsed(&body)
    }

    /// The identity of the person at a device, once the person has decided.
    pub(super) async fn end_device(&self, code: &str, now_s: i64) -> Result<Identity, Refused> {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code)];
        let token = self.token(&form).await?;
        Ok(self.identity(&token, None, now_s).await?)
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<String, Refused> {
        let doors = self.doors().await?;
        let mut form = form.to_vec();
        form.push(("client_id", &self.options.client_id));
        let mut headers = HeaderMap::new();
        if let Some(secret) = &self.options.client_secret {
            let ways = &doors.token_endpoint_auth_methods_supported;
            if ways.is_empty() || ways.iter().any(|way| way == "client_secret_basic") {
                let pair = format!("{}:{}", encode(&self.options.client_id), encode(secret));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|_| "the client's secret cannot be sent".to_owned())?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            } else {
                form.push(("client_secret", secret));
            }
        }
        let (status, body) = self.post(&doors.token_endpoint, &form, headers).await?;
        let given: Given = parsed(&body)?;
        match (given.id_token, given.error.as_deref()) {
            (Some(token), None) if status == 200 => Ok(token),
            (_, Some("authorization_pending")) => Err(Refused::Pending),
            (_, Some("slow_down")) => Err(Refused::SlowDown),
            (_, Some(error)) => {
                let why = given.error_description.unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { format!(": {}", short(&why)) };
                Err(format!("the identity provider says '{}'{why}", short(error)).into())
            }
            _ => Err(format!("the identity provider gave no ID token: status {status}").into()),
        }
    }

    /// What a token proves. A key that is not known is looked for once more.
    async fn identity(&self, token: &str, nonce: Option<&str>, now_s: i64) -> Result<Identity, String> {
        let options = &self.options;
        let expected = Expected { issuer: &options.issuer, audience: &options.client_id, nonce, now_s };
        let keys = self.keys(false).await?;
        let mut found = keys.verify(token, &expected, &options.groups_claim);
        if matches!(found, Err(BadToken::UnknownKey | BadToken::Signature)) {
            found = self.keys(true).await?.verify(token, &expected, &options.groups_claim);
        }
        found.map_err(|error| format!("the ID token is not accepted: {error}"))
    }

    async fn keys(&self, anew: bool) -> Result<ProviderKeys, String> {
        let mut known = self.keys.lock().await;
        if let Some((keys, at)) = &*known
            && at.elapsed() < if anew { KEYS_PAUSE } else { KEPT }
        {
            return Ok(keys.clone());
        }
        let doors = self.doors().await?;
        let said = self.asker.ask(Method::GET, &doors.jwks_uri, HeaderMap::new(), Bytes::new()).await?;
        let keys = ProviderKeys::read(&said.body).filter(|_| said.status == 200);
        let keys = keys.ok_or("the identity provider's keys cannot be read")?;
        *known = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }

    async fn read<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let said = self.asker.ask(Method::GET, url, HeaderMap::new(), Bytes::new()).await?;
        if said.status != 200 {
            return Err(format!("{} answers with status {}", short(url), said.status));
        }
        parsed(&said.body)
    }

    async fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
        mut headers: HeaderMap,
    ) -> Result<(u16, Bytes), String> {
        let body = query(form);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let said = self.asker.ask(Method::POST, url, headers, body.into()).await?;
        Ok((said.status, said.body))
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("the identity provider's answer cannot be read: {error}"))
}

/// What others say, short and on one line.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Names and values as a query or a form.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A text in which only letters, digits, `-`, `_`, `.` and `~` stand for themselves.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
