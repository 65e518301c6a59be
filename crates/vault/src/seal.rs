//! Secrets at rest: XChaCha20-Poly1305 with one key per data directory, kept in a file of its own (mode
//! 0600), so that a copied database alone reveals nothing.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use runyard_domain::Env;

/// Sealing or opening failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be used.
    #[error("cannot use the key file {path}")]
    KeyFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file has the wrong size.
    #[error("the key file {0} is damaged: it must hold 32 bytes")]
    KeySize(String),
    /// The file of the webhook secret holds something else.
    #[error(
        "the file {0} must hold a webhook secret: whsec_ and 24 to 64 bytes in base64; remove it to have a new one made"
    )]
    WebhookSecret(String),
    /// The sealed bytes were changed, or sealed with another key.
    #[error("a sealed secret cannot be opened: it is damaged, or the key file was replaced")]
    Broken,
}

/// One sealing key.
pub struct Sealer(XChaCha20Poly1305);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer with this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// Reads the key file, or makes it on the first start.
    pub fn open(path: &Path, env: &dyn Env) -> Result<Self, SealError> {
        let fail = |source| SealError::KeyFile { path: path.display().to_string(), source };
        let mut key = [0u8; 32];
        match std::fs::File::open(path) {
            Ok(mut file) => {
                file.read_exact(&mut key).map_err(|_| SealError::KeySize(path.display().to_string()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                env.fill(&mut key);
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(fail)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        }
        Ok(Self::new(key))
    }

    pub(crate) fn seal(&self, nonce: [u8; 24], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XNonce::from(nonce);
        let sealed = self.0.encrypt(&nonce, secret).map_err(|_| SealError::Broken)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, rest) = sealed.split_at_checked(24).ok_or(SealError::Broken)?;
        self.0.decrypt(XNonce::from_slice(nonce), rest).map_err(|_| SealError::Broken)
    }
}
