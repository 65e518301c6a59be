//! Who may: keys, ids, whether a request is the local user's, and how variables refer to secrets.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use runyard_domain::endpoint::is_valid_name;
use runyard_domain::{Access, EndpointId, Env, JobId, KeyId, KeyRecord, Timestamp, WorkerId};
use runyard_vault::{Sealer, Vault};

use crate::text;

#[derive(Debug)]
struct Nothing;

impl Env for Nothing {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Only the key itself opens, whatever stands around it.
pub fn authorization(data: &[u8]) {
    const KEY: &str = "ry_0123456789abcdef0123456789abcdef01234";
    let record = KeyRecord {
        id: KeyId::new("k"),
        name: String::new(),
        hash: runyard_vault::hash(KEY),
        access: Access::Admin,
        endpoints: Vec::new(),
        created_at: Timestamp(0),
        expires_at: None,
        revoked_at: None,
        rates: runyard_domain::Rates::default(),
        grants: std::collections::BTreeMap::new(),
        disabled_at: None,
        used_at: None,
        page: None,
        member: None,
        session: None,
    };
    let vault = Vault::new(Arc::new(Nothing), Sealer::new([0; 32]), vec![record]);
    let text = text(data);
    if vault.key_caller(&text).is_ok() {
        assert!(text.trim().ends_with(KEY), "{text:?} opens");
    }
    assert!(vault.worker_caller(&text).is_err());
}

/// Nothing but a signature by one of the provider's keys makes an identity: a token alone never does.
pub fn id_token(data: &[u8]) {
    use runyard_vault::{Expected, ProviderKeys};

    let (keys, token) = crate::two(data);
    let expected =
        Expected { issuer: "https://id.example", audience: "runyard", nonce: Some("n"), now_s: 1_500 };
    let Some(keys) = ProviderKeys::read(keys.as_bytes()) else { return };
    let refused = keys.verify(token.trim_end(), &expected, "groups").expect_err("nobody signed this");
    assert!(!refused.to_string().contains(char::is_control), "{refused}");
}

/// A token for a job opens that job, and no text that looks like one does.
pub fn job_token(data: &[u8]) {
    use runyard_domain::{Job, Operation};
    use runyard_vault::Denied;

    let vault = Vault::new(Arc::new(Nothing), Sealer::new([0; 32]), Vec::new());
    let (job, text) = crate::two(data);
    let Ok(job) = JobId::parse(&job) else { return };
    let ask = |text: &str, job: &JobId| {
        let find = |_: &JobId| Err::<Job, Denied>(Denied::NoKey);
        vault.job_token_caller(text, Some(Operation::Status), Some(job), find).expect_err("there is no job")
    };
    let own = vault.job_token(&job);
    assert_eq!(ask(&own, &job), Denied::NoKey, "it was looked for");
    let is_own = text.trim().ends_with(&own);
    assert_eq!(ask(&text, &job) == Denied::NoKey, is_own, "{text:?} of {job}");
    assert_ne!(ask(&own, &JobId::new(format!("{job}0"))), Denied::NoKey);
}

/// Whatever a sign-in is asked to, it goes on at a path of this server or at a port of the browser's own machine; and a
/// cookie is one that was sent.
pub fn sign_in(data: &[u8]) {
    let (query, cookies) = crate::two(data);
    if let Some(next) = runyard_manage::probe::sign_in_next(&query) {
        let here = next.starts_with('/') && !next.starts_with("//") && !next.starts_with("/\\");
        let (own, port) = next.split_once("/?").unwrap_or_default();
        let own = own.strip_prefix("http://127.0.0.1:").is_some_and(|port| port.parse::<u16>().is_ok());
        assert!(here || (own && !port.is_empty()), "{next}");
        assert!(next.bytes().all(|byte| byte.is_ascii_graphic()), "{next:?}");
    }
    if let Some(value) = runyard_manage::probe::cookie(cookies.as_bytes(), "runyard_session") {
        assert_eq!(cookies.matches(&format!("runyard_session={value}")).count(), 1, "{cookies:?}");
    }
}

/// An id is a harmless name of a file and one step of a path; so is an endpoint's name.
pub fn ids(data: &[u8]) {
    let text = text(data);
    let harmless = |id: &str| {
        !id.is_empty()
            && id.len() <= 96
            && !id.contains(['/', '\0', '%', '?', '#'])
            && id != "."
            && id != ".."
    };
    if let Ok(id) = JobId::parse(&text) {
        assert!(harmless(id.as_str()) && id.as_str() == text);
        let shown = id.to_string();
        assert_eq!(WorkerId::parse(&shown).map(|id| id.to_string()), Ok(shown.clone()));
        assert_eq!(EndpointId::parse(&shown).map(|id| id.to_string()), Ok(shown));
    }
    assert!(!is_valid_name(&text) || harmless(&text));
}

/// A key file has between one and sixteen keys, or is none.
pub fn key_file(data: &[u8]) {
    if let Some(keys) = runyard_vault::probe_key_file(data) {
        assert!((1..=16).contains(&keys), "{keys} keys");
        assert!(data.len() == 32 || data.len() >= 43 * keys, "{keys} keys in {} bytes", data.len());
    }
}

/// Whatever a value refers to is put in, and nothing else of it changes.
pub fn secret_references(data: &[u8]) {
    use runyard_domain::secret::{fill, references};

    let text = text(data);
    let names: Vec<&str> = references(&text).collect();
    let mut asked = Vec::new();
    let filled = fill(&text, |name| {
        asked.push(name.to_owned());
        Some("{{ RUNPOD_SECRET_x }}".to_owned())
    });
    assert_eq!(asked, names, "what is found is what is put in");
    let filled = filled.expect("every name has a value");
    if names.is_empty() {
        assert_eq!(filled, text);
    } else {
        assert_eq!(
            references(&filled).count(),
            names.len(),
            "no reference is left, and none is made: {filled:?}"
        );
        assert!(fill(&text, |_| None).is_err_and(|missing| missing == names[0]));
    }
}

/// What counts as this machine is an address of this machine by the strict reading of the name that a browser
/// sends.
pub fn local_request(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let text = text(data);
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, value.clone());
    if runyard_gateway::is_local_request(&headers) {
        is_loopback(&format!("http://{text}/"));
    }
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert(header::ORIGIN, value);
    if runyard_gateway::is_local_request(&headers) {
        is_loopback(&text);
    }
}

fn is_loopback(url: &str) {
    let (_, _, host, _, _) = runyard_webhooks::probe::parse(url).expect("a local name stands in a URL");
    let address = host.parse::<std::net::IpAddr>().map(|address| address.is_loopback());
    assert!(address.unwrap_or(host.eq_ignore_ascii_case("localhost")), "{url} is taken for this machine");
}

/// Where a registry of images sends a password for a token is said in its own words, and can stand in a request.
pub fn registry_challenge(data: &[u8]) {
    let challenge = text(data);
    let Some((realm, service)) = runyard_manage::probe::token_door(&challenge) else { return };
    for said in [Some(realm), service].into_iter().flatten() {
        assert!(challenge.contains(&said), "{said:?} is made up");
        assert!(
            !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_graphic()),
            "{said:?} cannot be sent"
        );
    }
}
