//! TLS of a listener, from a file of certificates and a file with their key. Both are read again when they change;
//! connections that stand keep what they began with. Files that cannot be used change nothing, and that is told. An
//! authority that asks whether a name is ours (RFC 8737) is shown the proof that was laid down for it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::expiry;

/// The protocol by which an authority asks for a proof.
const PROVING: &[u8] = b"acme-tls/1";

/// Files above this size hold no certificates, in bytes.
const LARGEST: u64 = 1 << 20;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {wanted} in PEM")]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// They do not belong together, or are of a kind that is not spoken.
    #[error("the certificate {cert} and the key {key} cannot be used together: {message}")]
    Unusable {
        /// The file of certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        message: String,
    },
    /// A proof for an authority cannot be shown.
    #[error("the proof that {name} is ours cannot be shown: {message}")]
    Proof {
        /// The name.
        name: String,
        /// Why.
        message: String,
    },
}

/// Certificate and key of a listener. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
    proofs: Proofs,
}

/// Certificates that prove to an authority that a name is ours, by that name.
type Proofs = Arc<RwLock<HashMap<String, Arc<CertifiedKey>>>>;

/// What a client is shown.
#[derive(Debug)]
struct Certificates {
    own: Arc<CertifiedKey>,
    proofs: Proofs,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if !hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == PROVING)) {
            return Some(Arc::clone(&self.own));
        }
        self.proofs.read().unwrap_or_else(PoisonError::into_inner).get(hello.server_name()?).cloned()
    }
}

struct State {
    config: Arc<ServerConfig>,
    not_after: Option<i64>,
    /// The files when they were read last.
    seen: Stamps,
    /// The files at the last look, where they were others than those read.
    changing: Option<Stamps>,
    trouble: Option<String>,
}

/// What tells a file from one that took its place: device, inode, length and time of change.
type Stamps = [Option<(u64, u64, u64, i64, i64)>; 2];

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("cert", &self.inner.cert).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both in PEM.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = stamps(cert, key);
        let proofs = Proofs::default();
        let (config, not_after) = read(cert, key, &proofs)?;
        let state = Mutex::new(State { config, not_after, seen, changing: None, trouble: None });
        let inner = Inner { cert: cert.to_owned(), key: key.to_owned(), state, proofs };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Shows `cert` (DER) with its key (PKCS #8, DER) to authorities that ask whether `name` is ours, until
    /// [`proved`](Self::proved).
    pub fn prove(&self, name: &str, cert: Vec<u8>, key: Vec<u8>) -> Result<(), TlsError> {
        // Not `from_der`, which looks into the certificate and does not know the extension that is the proof.
        let key = ring::default_provider().key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.into()));
        let key =
            key.map_err(|error| TlsError::Proof { name: name.to_owned(), message: error.to_string() })?;
        let proof = CertifiedKey::new(vec![CertificateDer::from(cert)], key);
        let mut proofs = self.inner.proofs.write().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.to_owned(), Arc::new(proof));
        Ok(())
    }

    /// Forgets all proofs.
    pub fn proved(&self) {
        self.inner.proofs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes why there is no newer certificate than the one in force, for whoever asks; the next good files end it.
    pub fn troubled(&self, why: String) {
        self.lock().trouble = Some(why);
    }

    /// Reads the files again, changed or not. On an error what was in force stays so.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Inner { cert, key, proofs, .. } = &*self.inner;
        let seen = stamps(cert, key);
        let outcome = read(cert, key, proofs);
        let mut state = self.lock();
        (state.seen, state.changing) = (seen, None);
        match outcome {
            Ok((config, not_after)) => {
                (state.config, state.not_after, state.trouble) = (config, not_after, None);
                Ok(())
            }
            Err(error) => {
                state.trouble = Some(sentence(&error));
                Err(error)
            }
        }
    }

    /// Reads the files again if they are others than those read, and the same as at the look before this one: whoever
    /// writes two files writes one after the other. `None`: there was nothing to do.
    pub fn look(&self) -> Option<Result<(), TlsError>> {
        let now = stamps(&self.inner.cert, &self.inner.key);
        let mut state = self.lock();
        if now == state.seen {
            state.changing = None;
            return None;
        }
        if state.changing != Some(now) {
            state.changing = Some(now);
            return None;
        }
        drop(state);
        Some(self.reload())
    }

    /// When the certificate in force ends, in seconds since the Unix epoch; `None` where it does not say so legibly.
    pub fn not_after(&self) -> Option<i64> {
        self.lock().not_after
    }

    /// Why the files as they are now are not in force, if they are not.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// The file of certificates.
    pub fn cert(&self) -> &Path {
        &self.inner.cert
    }

    /// The file of the key.
    pub fn key(&self) -> &Path {
        &self.inner.key
    }

    /// What a new connection begins with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.lock().config))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its cause, in one line.
fn sentence(error: &TlsError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn stamps(cert: &Path, key: &Path) -> Stamps {
    [cert, key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    })
}

fn read(cert: &Path, key: &Path, proofs: &Proofs) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
    let content = |path: &Path, wanted| TlsError::Content { path: path.to_owned(), wanted };
    let pem = bytes(cert)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| content(cert, "certificates"))?;
    let first = chain.first().ok_or_else(|| content(cert, "certificates"))?;
    let not_after = expiry::not_after(first);
    let secret = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|_| content(key, "private key"))?;
    let unusable = |error: tokio_rustls::rustls::Error| TlsError::Unusable {
        cert: cert.to_owned(),
        key: key.to_owned(),
        message: error.to_string(),
    };
    let provider = ring::default_provider();
    let own = Arc::new(CertifiedKey::from_der(chain, secret, &provider).map_err(unusable)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates { own, proofs: Arc::clone(proofs) }));
    config.alpn_protocols = vec![b"http/1.1".to_vec(), PROVING.to_vec()];
    Ok((Arc::new(config), not_after))
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let fail = |source| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(fail)?.take(LARGEST).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        put("first.pem", &cert);
        put("first.key", &key);
        (dir, cert, key)
    }

    fn put(from: &str, to: &Path) {
        fs::copy(Path::new(FILES).join(from), to).expect("copied");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (dir, cert, key) = folder();
        let error = |cert: &Path, key: &Path| sentence(&Tls::load(cert, key).expect_err("unusable"));
        let away = dir.path().join("away");
        assert!(error(&away, &key).contains("cannot read"), "{}", error(&away, &key));
        assert!(error(&key, &key).contains("holds no certificates"), "{}", error(&key, &key));
        assert!(error(&cert, &cert).contains("holds no private key"), "{}", error(&cert, &cert));
        put("second.key", &key);
        assert!(error(&cert, &key).contains("cannot be used together"), "{}", error(&cert, &key));
    }

    #[test]
    fn new_files_come_into_force_once_both_are_there() {
        let (_dir, cert, key) = folder();
        let tls = Tls::load(&cert, &key).expect("usable");
        let first = tls.not_after();
        assert!(tls.look().is_none(), "nothing changed");
        put("second.pem", &cert);
        assert!(tls.look().is_none(), "only seen");
        put("second.key", &key);
        assert!(tls.look().is_none(), "changed again meanwhile");
        assert!(matches!(tls.look(), Some(Ok(()))), "they stayed as they were");
        assert!(tls.not_after() > first && tls.trouble().is_none());
        assert!(tls.look().is_none());
    }

    #[test]
    fn a_bad_file_leaves_the_old_certificate_in_force_and_is_told_once() {
        let (_dir, cert, key) = folder();
        let tls = Tls::load(&cert, &key).expect("usable");
        let first = tls.not_after();
        fs::write(&cert, "nothing").expect("written");
        assert!(tls.look().is_none());
        assert!(matches!(tls.look(), Some(Err(TlsError::Content { .. }))));
        assert!(tls.look().is_none(), "it was told");
        assert!(tls.trouble().expect("known").contains("holds no certificates"));
        assert_eq!(tls.not_after(), first);
        put("second.pem", &cert);
        put("second.key", &key);
        tls.reload().expect("good again");
        assert_eq!((tls.trouble(), tls.not_after() > first), (None, true));
    }
}
