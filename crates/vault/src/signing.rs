//! Signatures of outgoing webhooks, by the Standard Webhooks specification: a secret `whsec_…` in a file of its
//! own (mode 0600), so that its owner can read it and hand it to receivers, and HMAC-SHA256 over the message.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

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

/// Signs webhooks with one secret.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with the secret as its text, `whsec_…`; `None` if it is not one.
    pub fn new(secret: &str) -> Option<Self> {
        let key = STANDARD.decode(secret.trim().strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self { key })
    }

    /// Reads the secret's file, or makes it on the first start.
    pub fn open(path: &Path, env: &dyn Env) -> Result<Self, SealError> {
        let name = || path.display().to_string();
        let fail = |source| SealError::KeyFile { path: name(), source };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::new(&text).ok_or_else(|| SealError::WebhookSecret(name())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = vec![0; LENGTH];
                env.fill(&mut key);
                let signer = Self { key };
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(fail)?;
                let line = format!("{}\n", signer.secret());
                file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
                Ok(signer)
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// The secret as its text, for the receivers.
    pub fn secret(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.key))
    }

    /// The value of `webhook-signature` for a message whose body is `parts`, one after the other.
    pub fn sign<'a>(&self, id: &str, seconds: i64, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        for part in parts {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
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
        for bad in ["", "whsec_", "whsec_AAAA", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="] {
            std::fs::write(&path, bad).expect("written");
            assert!(matches!(Signer::open(&path, &Sevens), Err(SealError::WebhookSecret(_))), "{bad}");
        }
    }
}
