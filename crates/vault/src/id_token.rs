//! ID tokens of an OpenID Connect provider: a JWT that is signed with RS256 or ES256 by one of the provider's published
//! keys, for this server, now, and for the very sign-in that asked for it. Nothing of a token is believed before its
//! signature was; which algorithm is right says the key, and not the token. Why this is no library's tells
//! `docs/decisions/0019-people-are-members.md`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token, in bytes.
pub const LONGEST: usize = 64 * 1024;

/// How far the clocks of provider and server may differ, in seconds.
const LEEWAY_S: i64 = 60;

/// The most keys of a provider that are looked at, and the most groups of one person.
const MOST_KEYS: usize = 100;
const MOST_GROUPS: usize = 1_000;

/// Bytes of a coordinate on P-256.
const COORDINATE: usize = 32;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is no JWT.
    #[error("it is no signed token")]
    Malformed,
    /// It is signed in a way that is not accepted.
    #[error("it is signed with '{0}', and RS256 and ES256 are accepted")]
    Algorithm(String),
    /// None of the provider's keys has its id and kind.
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    /// The signature does not fit.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing or wrong.
    #[error("{0}")]
    Claim(&'static str),
}

/// The keys that a provider publishes.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ProviderKeys {
    keys: Vec<Value>,
}

/// One of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PublicKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: String,
    e: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a token has to say to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who made it.
    pub issuer: &'a str,
    /// For whom: the client's id.
    pub audience: &'a str,
    /// The number of the sign-in, where one was sent.
    pub nonce: Option<&'a str>,
    /// The wall clock, in seconds since the Unix epoch.
    pub now_s: i64,
}

/// What a provider says of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is, to the provider.
    pub subject: String,
    /// The e-mail address, where the provider has verified it.
    pub email: Option<String>,
    /// What the person is called.
    pub name: Option<String>,
    /// What the person belongs to.
    pub groups: Vec<String>,
}

impl ProviderKeys {
    /// Reads a JSON Web Key Set.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|keys: &Self| keys.keys.len() <= MOST_KEYS)
    }

    /// The identity that a token proves; `groups` names the claim that holds them.
    pub fn verify(&self, token: &str, expected: &Expected<'_>, groups: &str) -> Result<Identity, BadToken> {
        let claims = self.claims(token)?;
        check(&claims, expected)?;
        identity(&claims, groups)
    }

    /// What a token with a right signature says.
    fn claims(&self, token: &str) -> Result<Map<String, Value>, BadToken> {
        if token.len() > LONGEST {
            return Err(BadToken::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| BadToken::Malformed)?;
        if header.crit.is_some() {
            return Err(BadToken::Malformed);
        }
        let (kind, signature) = (kind_of(&header.alg)?, decode(signature)?);
        let keys = self.keys.iter().filter_map(|key| serde_json::from_value(key.clone()).ok());
        let mut seen = false;
        for key in keys.filter(|key: &PublicKey| key.fits(kind, &header)) {
            seen = true;
            if key.verifies(signed.as_bytes(), &signature) {
                return serde_json::from_slice(&decode(claims)?).map_err(|_| BadToken::Malformed);
            }
        }
        Err(if seen { BadToken::Signature } else { BadToken::UnknownKey })
    }
}

/// The kind of key that an algorithm needs.
fn kind_of(algorithm: &str) -> Result<&'static str, BadToken> {
    match algorithm {
        "RS256" => Ok("RSA"),
        "ES256" => Ok("EC"),
        other => Err(BadToken::Algorithm(other.chars().filter(|c| !c.is_control()).take(20).collect())),
    }
}

impl PublicKey {
    /// Whether it may have signed a token with this header.
    fn fits(&self, kind: &str, header: &Header) -> bool {
        let for_signing = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let for_this = self.alg.as_ref().is_none_or(|alg| *alg == header.alg);
        let is_named = header.kid.is_none() || self.kid == header.kid;
        let curve = kind != "EC" || self.crv.as_deref() == Some("P-256");
        self.kty == kind && for_signing && for_this && is_named && curve
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        if self.kty == "RSA" {
            let (Some(n), Some(e)) = (decode(&self.n), decode(&self.e)) else { return false };
            // Leading zeros are no part of the number, and the check wants none.
            let n = n.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &n[at..]);
            let key = RsaPublicKeyComponents { n, e: &e[..] };
            return key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok();
        }
        let (Some(x), Some(y)) = (decode(&self.x), decode(&self.y)) else { return false };
        if x.len() != COORDINATE || y.len() != COORDINATE {
            return false;
        }
        let point = [&[4][..], &x, &y].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }
}

/// Whether the token is for this sign-in.
fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), BadToken> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let ensure = |holds: bool, otherwise| if holds { Ok(()) } else { Err(BadToken::Claim(otherwise)) };
    ensure(text("iss") == Some(expected.issuer), "it comes from another issuer")?;
    let ours = |value: &Value| value.as_str() == Some(expected.audience);
    let (for_us, alone) = match claims.get("aud") {
        Some(Value::Array(all)) => (all.iter().any(ours), all.len() == 1),
        Some(one) => (ours(one), true),
        None => (false, false),
    };
    ensure(for_us, "it is for another audience")?;
    let party = claims.get("azp").map_or(alone, ours);
    ensure(party, "it was given to another party")?;
    let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().map(|at| at as i64));
    let ends = seconds("exp").flatten().ok_or(BadToken::Claim("it does not say when it ends"))?;
    ensure(ends.saturating_add(LEEWAY_S) > expected.now_s, "it has expired")?;
    for name in ["nbf", "iat"] {
        let begins = match seconds(name) {
            None => continue,
            Some(at) => at.ok_or(BadToken::Claim("one of its times is no number"))?,
        };
        let late = begins.saturating_sub(LEEWAY_S) <= expected.now_s;
        ensure(late, "it is of the future: the clock here or at the provider is wrong")?;
    }
    match expected.nonce {
        Some(nonce) => ensure(text("nonce") == Some(nonce), "it is not of this sign-in"),
        None => Ok(()),
    }
}

fn identity(claims: &Map<String, Value>, groups: &str) -> Result<Identity, BadToken> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let subject = text("sub").filter(|sub| !sub.is_empty() && sub.len() <= 255);
    let subject = subject.ok_or(BadToken::Claim("it does not say whose it is"))?;
    let verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    let groups = match claims.get(groups) {
        Some(Value::Array(all)) => {
            all.iter().filter_map(Value::as_str).take(MOST_GROUPS).map(str::to_owned).collect()
        }
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let name = text("name").map(|name| name.chars().filter(|c| !c.is_control()).take(100).collect());
    Ok(Identity { subject, email: text("email").filter(|_| verified), name, groups })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    struct Issuer {
        pair: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
            Self { pair: pair.unwrap(), random }
        }

        fn keys(&self, id: &str) -> ProviderKeys {
            let point = self.pair.public_key().as_ref();
            let half = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let key = json!({"kty": "EC", "crv": "P-256", "kid": id, "x": half(&point[1..33]), "y": half(&point[33..])});
            ProviderKeys::read(json!({"keys": [{"kty": "oct", "k": "AA"}, key]}).to_string().as_bytes())
                .unwrap()
        }

        fn token(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example", "aud": "runyard", "exp": 2_000, "iat": 1_000, "nonce": "n", "sub": "7",
            "email": "ann@example.com", "email_verified": true, "groups": ["gpu", 3],
        })
    }

    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://id.example", audience: "runyard", nonce: Some("n"), now_s: 1_500 };

    #[test]
    fn a_token_is_believed_when_everything_fits() {
        let issuer = Issuer::new();
        let header = json!({"alg": "ES256", "kid": "k"});
        let verify =
            |claims: &Value| issuer.keys("k").verify(&issuer.token(&header, claims), &EXPECTED, "groups");
        let found = verify(&claims()).unwrap();
        assert_eq!((found.subject.as_str(), found.email.as_deref()), ("7", Some("ann@example.com")));
        assert_eq!(found.groups, ["gpu"]);
        let with = |name: &str, value: Value| {
            let mut changed = claims();
            changed[name] = value;
            verify(&changed)
        };
        for (name, value) in [
            ("iss", json!("https://id.example/")),
            ("aud", json!("other")),
            ("aud", json!(["other"])),
            ("aud", json!(["runyard", "other"])),
            ("azp", json!("other")),
            ("exp", json!(1_440)),
            ("exp", json!("2000")),
            ("exp", Value::Null),
            ("nbf", json!(1_561)),
            ("nbf", json!("soon")),
            ("iat", json!(1_561)),
            ("nonce", json!("m")),
            ("nonce", Value::Null),
            ("sub", json!("")),
            ("sub", json!(7)),
        ] {
            assert!(matches!(with(name, value.clone()), Err(BadToken::Claim(_))), "{name} {value}");
        }
        for (name, value) in [("aud", json!(["runyard"])), ("azp", json!("runyard")), ("exp", json!(1_441))] {
            assert!(with(name, value.clone()).is_ok(), "{name} {value}");
        }
        for value in [json!(false), json!("yes"), json!(1), Value::Null] {
            assert_eq!(with("email_verified", value).unwrap().email, None, "an address that nobody verified");
        }
    }

    #[test]
    fn the_key_says_how_a_token_is_signed() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let verify = |token: &str| issuer.keys("k").verify(token, &EXPECTED, "groups").unwrap_err();
        let made = |header: Value| issuer.token(&header, &claims());
        for algorithm in ["none", "HS256", "RS512", "es256", ""] {
            let refused = verify(&made(json!({"alg": algorithm, "kid": "k"})));
            assert_eq!(refused, BadToken::Algorithm(algorithm.to_owned()));
        }
        assert_eq!(verify(&made(json!({"alg": "RS256", "kid": "k"}))), BadToken::UnknownKey);
        assert_eq!(verify(&made(json!({"alg": "ES256", "kid": "l"}))), BadToken::UnknownKey);
        assert_eq!(verify(&made(json!({"alg": "ES256", "kid": "k", "crit": ["x"]}))), BadToken::Malformed);
        let forged = other.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
        assert_eq!(verify(&forged), BadToken::Signature);
        let good = made(json!({"alg": "ES256"}));
        assert!(
            issuer.keys("k").verify(&good, &EXPECTED, "groups").is_ok(),
            "without an id every key is tried"
        );
        let (signed, _) = good.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{signed}.")), BadToken::Signature);
        for broken in ["", ".", "..", "a.b", signed, "!.!.!"] {
            assert_eq!(verify(broken), BadToken::Malformed, "{broken}");
        }
    }
}
