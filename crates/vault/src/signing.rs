//! Signatures of outgoing webhooks, by the Standard Webhooks specification: a secret `whsec_…` in a file of its
//! own (mode 0600), so that its owner can read it and hand it to receivers, and HMAC-SHA256 over the message.
//!
//! A secret that was replaced goes on signing for a day beside the new one, so that receivers can change over without
//! losing a message. It stands in the file's second line, with the time of its end.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use runyard_domain::Env;
use sha2::Sha256;

use crate::SealError;

/// What webhook secrets start with.
const PREFIX: &str = "whsec_";

/// Bytes of a secret that we make; the specification allows 24 to 64.
const LENGTH: usize = 32;

/// How long a replaced secret goes on signing, in seconds.
const OVERLAP_S: i64 = 86_400;

/// Signs webhooks with one secret, and with the one before it for a while. Clones share them.
#[derive(Clone)]
pub struct Signer {
    keys: Arc<RwLock<Keys>>,
    file: Option<PathBuf>,
}

#[derive(Clone)]
struct Keys {
    current: Vec<u8>,
    before: Option<Replaced>,
}

#[derive(Clone)]
struct Replaced {
    key: Vec<u8>,
    /// Seconds since the Unix epoch.
    until_s: i64,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with the secret as its text, `whsec_…`; `None` if it is not one.
    pub fn new(secret: &str) -> Option<Self> {
        Some(Self::of(Keys { current: key(secret)?, before: None }, None))
    }

    fn of(keys: Keys, file: Option<PathBuf>) -> Self {
        Self { keys: Arc::new(RwLock::new(keys)), file }
    }

    /// Reads the secret's file, or makes it on the first start.
    pub fn open(path: &Path, env: &dyn Env) -> Result<Self, SealError> {
        let fail = |source| SealError::KeyFile { path: path.display().to_string(), source };
        let keys = match std::fs::read_to_string(path) {
            Ok(text) => {
                Keys::read(&text).ok_or_else(|| SealError::WebhookSecret(path.display().to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Keys { current: new_key(env), before: None };
                keys.write(path).map_err(fail)?;
                keys
            }
            Err(error) => return Err(fail(error)),
        };
        Ok(Self::of(keys, Some(path.to_owned())))
    }

    /// The secret as its text, for the receivers.
    pub fn secret(&self) -> String {
        text(&self.keys().current)
    }

    /// The one before it while it still signs, and until when, in seconds since the Unix epoch.
    pub fn replaced(&self, now_s: i64) -> Option<(String, i64)> {
        let before = self.keys().before.filter(|before| before.until_s > now_s)?;
        Some((text(&before.key), before.until_s))
    }

    /// Makes a new secret. The one before it goes on signing for a day; one before that ends now.
    pub fn rotate(&self, env: &dyn Env) -> Result<(), SealError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let until_s = env.wall().0.div_euclid(1_000) + OVERLAP_S;
        let before = Replaced { key: keys.current.clone(), until_s };
        let next = Keys { current: new_key(env), before: Some(before) };
        if let Some(path) = &self.file {
            let fail = |source| SealError::KeyFile { path: path.display().to_string(), source };
            next.write(path).map_err(fail)?;
        }
        *keys = next;
        Ok(())
    }

    fn keys(&self) -> Keys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The value of `webhook-signature` for a message whose body is `parts`, one after the other: a signature for each
    /// secret that signs at that time, the current one's first.
    pub fn sign<'a>(
        &self,
        id: &str,
        seconds: i64,
        parts: impl IntoIterator<Item = &'a [u8]> + Clone,
    ) -> String {
        let keys = self.keys();
        let current = sign(&keys.current, id, seconds, parts.clone());
        match keys.before.filter(|before| before.until_s > seconds) {
            Some(before) => format!("{current} {}", sign(&before.key, id, seconds, parts)),
            None => current,
        }
    }
}

impl Keys {
    fn read(file: &str) -> Option<Self> {
        let mut lines = file.trim().lines();
        let current = key(lines.next()?)?;
        let before = match lines.next().map(|line| line.split_once(" until ")) {
            None => None,
            Some(parts) => {
                let (secret, until) = parts?;
                Some(Replaced { key: key(secret)?, until_s: until.trim().parse().ok()? })
            }
        };
        Some(Self { current, before })
    }

    /// Replaces the file in one step.
    fn write(&self, path: &Path) -> io::Result<()> {
        let before = match &self.before {
            Some(Replaced { key, until_s }) => format!("{} until {until_s}\n", text(key)),
            None => String::new(),
        };
        let lines = format!("{}\n{before}", text(&self.current));
        crate::keyfile::replace(path, lines.as_bytes())
    }
}

fn new_key(env: &dyn Env) -> Vec<u8> {
    let mut key = vec![0; LENGTH];
    env.fill(&mut key);
    key
}

fn key(secret: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.trim().strip_prefix(PREFIX)?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

fn text(key: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(key))
}

fn sign<'a>(key: &[u8], id: &str, seconds: i64, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    for part in parts {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[derive(Debug)]
    struct Sevens;

    impl Env for Sevens {
        fn now(&self) -> runyard_domain::Timestamp {
            runyard_domain::Timestamp(0)
        }
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let parts: [&[u8]; 2] = [br#"{"test": "#, b"2432232314}"];
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, parts);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_file_is_made_once_and_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("webhook.secret");
        let made = Signer::open(&path, &Sevens).expect("made").secret();
        assert!(made.starts_with("whsec_BwcH"), "{made}");
        assert_eq!(Signer::open(&path, &Sevens).expect("read").secret(), made);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for bad in [
            "",
            "whsec_",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nold",
            "whsec_AAAA",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        ] {
            std::fs::write(&path, bad).expect("written");
            assert!(matches!(Signer::open(&path, &Sevens), Err(SealError::WebhookSecret(_))), "{bad}");
        }
    }

    #[test]
    fn a_replaced_secret_signs_for_another_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("webhook.secret");
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("written");
        let signer = Signer::open(&path, &Sevens).expect("read");
        let (shared, old) = (signer.clone(), signer.secret());
        let alone = signer.sign("m", 5, [&b"x"[..]]);
        signer.rotate(&Sevens).expect("replaced");
        assert_ne!(signer.secret(), old);
        assert_eq!(shared.secret(), signer.secret(), "whoever signs already goes on with the new one");
        let again = Signer::open(&path, &Sevens).expect("read");
        for signer in [&signer, &again] {
            assert_eq!(signer.replaced(86_399), Some((old.clone(), 86_400)));
            let both = signer.sign("m", 5, [&b"x"[..]]);
            let (new, before) = both.split_once(' ').expect("two signatures");
            assert_eq!((before, new == before), (alone.as_str(), false));
            assert!(!signer.sign("m", 86_400, [&b"x"[..]]).contains(' '));
            assert_eq!(signer.replaced(86_400), None);
        }
    }
}
