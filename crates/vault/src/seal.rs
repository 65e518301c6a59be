//! Secrets at rest: XChaCha20-Poly1305 with a data key, which lies in the store, wrapped by a key of the key file. A
//! new key in the file wraps the data keys anew and touches no secret.
//!
//! A sealed value is a mark, the data key's id, a nonce and the ciphertext. What it is sealed *for* (which secret,
//! which endpoint) is authenticated with it: a sealed value that was moved to another place does not open there. What
//! earlier versions sealed has no mark and opens with the key that was in the key file then.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use runyard_domain::{DataKeyRecord, Env};
use sha2::Sha256;

use crate::keyfile::{KeyFile, WrappingKey};

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// Bytes of a nonce, and of a data key's id.
const NONCE: usize = 24;
const ID: usize = 8;

/// What a sealed value begins with.
const MARK: &[u8; 4] = b"rys1";

/// The data key that opens what has no mark.
const UNMARKED: &str = "unmarked";

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
    /// The key file holds something else.
    #[error("the key file {0} is damaged: it must hold keys of 32 bytes in base64, one a line")]
    KeyText(String),
    /// Secrets are there, and the key file is not.
    #[error(
        "the key file {0} is not there, and without it the secrets in this data directory cannot be opened: put it back"
    )]
    KeyFileGone(String),
    /// None of its keys is the one that is needed.
    #[error(
        "the key file {path} does not hold the key {needed}, by which the secrets in this data directory are sealed: put the right file there"
    )]
    OtherKey {
        /// Which file.
        path: String,
        /// The id of the key that is needed.
        needed: String,
    },
    /// There is no key file whose key could be replaced.
    #[error("the sealing key is in no file")]
    NoKeyFile,
    /// The file of the webhook secret holds something else.
    #[error(
        "the file {0} must hold a webhook secret: whsec_ and 24 to 64 bytes in base64; remove it to have a new one made"
    )]
    WebhookSecret(String),
    /// The sealed bytes were changed, moved to another place, or sealed with another key.
    #[error("a sealed secret cannot be opened: it is damaged, or the key file was replaced")]
    Broken,
}

/// One key, ready for use.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XNonce::from(nonce);
        let sealed = self.0.encrypt(&nonce, Payload { msg, aad }).map_err(|_| SealError::Broken)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, msg) = sealed.split_at_checked(NONCE).ok_or(SealError::Broken)?;
        self.0.decrypt(XNonce::from_slice(nonce), Payload { msg, aad }).map_err(|_| SealError::Broken)
    }
}

/// The keys that seal, opened.
pub struct Sealer {
    /// The data key that new values are sealed with.
    current: [u8; ID],
    keys: HashMap<[u8; ID], Cipher>,
    unmarked: Option<Cipher>,
    /// What tokens are marked with, made of each data key; the current one's first.
    marks: Vec<[u8; KEY_LEN]>,
    file: Mutex<Option<KeyFile>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// A data key was opened with this key of the file.
struct Opened {
    record: DataKeyRecord,
    bytes: [u8; KEY_LEN],
}

impl Sealer {
    /// A sealer with one data key that is kept nowhere.
    pub fn new(key: [u8; KEY_LEN]) -> Self {
        let keys = HashMap::from([([0; ID], Cipher::new(&key))]);
        let (unmarked, marks) = (Some(Cipher::new(&key)), vec![mark_of(&key)]);
        Self { current: [0; ID], keys, unmarked, marks, file: Mutex::default() }
    }

    /// Opens the data keys with the key file, or makes both on the first start. Answers the records that have to be
    /// committed before anything is sealed: new ones, and those that the first key of the file did not wrap yet. Where
    /// the file is known to be [lost](lost), data keys that nothing opens are replaced: what they sealed has to be set
    /// anew.
    pub fn open(
        path: &Path,
        records: Vec<DataKeyRecord>,
        env: &dyn Env,
    ) -> Result<(Self, Vec<DataKeyRecord>), SealError> {
        let is_lost = lost(path).exists();
        let file = match KeyFile::read(path)? {
            Some(file) => file,
            None if records.is_empty() || is_lost => KeyFile::make(path, env)?,
            None => return Err(SealError::KeyFileGone(path.display().to_string())),
        };
        let mut changed = Vec::new();
        let mut opened = Vec::new();
        if records.is_empty() {
            opened.push(made(&file, env)?);
            if file.is_bare {
                // An earlier version may have sealed with it.
                let bytes = file.current().bytes;
                opened.push(Opened { record: wrapped(UNMARKED, &bytes, file.current(), env)?, bytes });
            }
            changed.extend(opened.iter().map(|one| one.record.clone()));
        }
        for record in records {
            let bytes = match unwrapped(&record, &file, path) {
                Ok(bytes) => bytes,
                Err(_) if is_lost => {
                    let mut bytes = [0; KEY_LEN];
                    env.fill(&mut bytes);
                    bytes
                }
                Err(error) => return Err(error),
            };
            if record.wrapped_by != file.current().id {
                let again = wrapped(&record.id, &bytes, file.current(), env)?;
                changed.push(DataKeyRecord { created_at: record.created_at, ..again });
            }
            opened.push(Opened { record, bytes });
        }
        let unmarked = opened.iter().find(|one| one.record.id == UNMARKED).map(|one| Cipher::new(&one.bytes));
        let ids = opened.iter().filter_map(|one| Some((one, id_of(&one.record.id)?)));
        let keys: HashMap<_, _> = ids.clone().map(|(one, id)| (id, Cipher::new(&one.bytes))).collect();
        let newest = ids.clone().max_by_key(|(one, id)| (one.record.created_at, *id)).map(|(_, id)| id);
        let current = newest.ok_or(SealError::Broken)?;
        let mut marks: Vec<_> = ids.map(|(one, id)| (id != current, mark_of(&one.bytes))).collect();
        marks.sort_unstable();
        let marks = marks.into_iter().map(|(_, mark)| mark).collect();
        Ok((Self { current, keys, unmarked, marks, file: Mutex::new(Some(file)) }, changed))
    }

    /// Puts a new key before the others in the key file and answers the data keys wrapped by it, to be committed;
    /// then the old keys may be [forgotten](Self::forget_old_keys). Killed in between, the file opens what is
    /// committed and what is not.
    pub(crate) fn rotate(
        &self,
        records: &[DataKeyRecord],
        env: &dyn Env,
    ) -> Result<Vec<DataKeyRecord>, SealError> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = held.as_ref().ok_or(SealError::NoKeyFile)?.with_new_key(env)?;
        let again = |record: &DataKeyRecord| {
            let bytes = unwrapped(record, &file, file.path())?;
            let again = wrapped(&record.id, &bytes, file.current(), env)?;
            Ok(DataKeyRecord { created_at: record.created_at, ..again })
        };
        let records = records.iter().map(again).collect::<Result<_, SealError>>()?;
        *held = Some(file);
        Ok(records)
    }

    /// Leaves the first key alone in the key file; answers its id.
    pub(crate) fn forget_old_keys(&self) -> Result<String, SealError> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = held.as_ref().ok_or(SealError::NoKeyFile)?.with_current_alone()?;
        let id = file.current().id.clone();
        *held = Some(file);
        Ok(id)
    }

    /// Keys for marks on what is given away and comes back; the first one makes new ones.
    pub(crate) fn marks(&self) -> &[[u8; KEY_LEN]] {
        &self.marks
    }

    pub(crate) fn seal(&self, nonce: [u8; NONCE], aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let cipher = self.keys.get(&self.current).ok_or(SealError::Broken)?;
        Ok([&MARK[..], &self.current, &cipher.seal(nonce, aad, secret)?].concat())
    }

    pub(crate) fn unseal(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let marked = || {
            let (id, rest) = sealed.strip_prefix(MARK)?.split_first_chunk::<ID>()?;
            self.keys.get(id)?.open(aad, rest).ok()
        };
        match (marked(), &self.unmarked) {
            (Some(secret), _) => Ok(secret),
            // What earlier versions sealed was sealed for nothing in particular.
            (None, Some(unmarked)) if aad.is_empty() => unmarked.open(aad, sealed),
            (None, _) => Err(SealError::Broken),
        }
    }
}

/// The key for marks that belongs to a data key.
fn mark_of(data_key: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(data_key).expect("HMAC takes keys of any length");
    mac.update(b"runyard marks 1");
    mac.finalize().into_bytes().into()
}

fn made(file: &KeyFile, env: &dyn Env) -> Result<Opened, SealError> {
    let (mut bytes, mut id) = ([0; KEY_LEN], [0; ID]);
    env.fill(&mut bytes);
    env.fill(&mut id);
    let record = wrapped(&runyard_domain::id::hex(&id), &bytes, file.current(), env)?;
    Ok(Opened { record, bytes })
}

fn wrapped(
    id: &str,
    bytes: &[u8; KEY_LEN],
    by: &WrappingKey,
    env: &dyn Env,
) -> Result<DataKeyRecord, SealError> {
    let mut nonce = [0; NONCE];
    env.fill(&mut nonce);
    let wrapped = by.cipher().seal(nonce, id.as_bytes(), bytes)?;
    Ok(DataKeyRecord {
        id: id.to_owned(),
        wrapped_by: by.id.clone(),
        wrapped: STANDARD.encode(wrapped),
        created_at: env.now(),
    })
}

fn unwrapped(record: &DataKeyRecord, file: &KeyFile, path: &Path) -> Result<[u8; KEY_LEN], SealError> {
    let by = file.keys.iter().find(|key| key.id == record.wrapped_by).ok_or_else(|| SealError::OtherKey {
        path: path.display().to_string(),
        needed: record.wrapped_by.clone(),
    })?;
    let sealed = STANDARD.decode(&record.wrapped).map_err(|_| SealError::Broken)?;
    let bytes = by.cipher().open(record.id.as_bytes(), &sealed)?;
    bytes.try_into().map_err(|_| SealError::Broken)
}

/// The note beside a key file that it is lost: a restored backup without keys has it. It is removed once the keys that
/// [`Sealer::open`] answers are committed.
pub fn lost(key_file: &Path) -> PathBuf {
    key_file.with_extension("lost")
}

/// The bytes of a data key's id; `None` for the one that opens what has no mark.
fn id_of(text: &str) -> Option<[u8; ID]> {
    let byte = |at: usize| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..ID).map(byte).collect();
    bytes?.try_into().ok().filter(|_| text.len() == ID * 2)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicU8, Ordering};

    use runyard_domain::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicU8);

    impl Env for Counting {
        fn now(&self) -> Timestamp {
            Timestamp(5)
        }
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    const N: [u8; NONCE] = [9; NONCE];

    #[test]
    fn a_value_opens_only_for_what_it_was_sealed_for() {
        let sealer = Sealer::new([7; KEY_LEN]);
        let sealed = sealer.seal(N, b"secret a", b"value").unwrap();
        assert_eq!(sealer.unseal(b"secret a", &sealed).unwrap(), b"value");
        assert!(sealer.unseal(b"secret b", &sealed).is_err());
        assert!(sealer.unseal(b"", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(sealer.unseal(b"secret a", &broken).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_nobody_elses() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Counting::default());
        let path = dir.path().join("vault.key");
        let (sealer, records) = Sealer::open(&path, vec![], &env).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = sealer.seal(N, b"", b"value").unwrap();
        let (again, changed) = Sealer::open(&path, records.clone(), &env).unwrap();
        assert_eq!(changed, []);
        assert_eq!(again.unseal(b"", &sealed).unwrap(), b"value");
        fs::remove_file(&path).unwrap();
        assert!(matches!(Sealer::open(&path, records.clone(), &env), Err(SealError::KeyFileGone(_))));
        fs::write(&path, [1; KEY_LEN]).unwrap();
        assert!(matches!(Sealer::open(&path, records.clone(), &env), Err(SealError::OtherKey { .. })));
        for bad in ["", "\n", "AAAA\n", "not base64 at all, and far too long to be a bare key"] {
            fs::write(&path, bad).unwrap();
            assert!(
                matches!(Sealer::open(&path, records.clone(), &env), Err(SealError::KeyText(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_an_earlier_version_sealed_opens_and_goes_on_to() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Counting::default());
        let path = dir.path().join("vault.key");
        fs::write(&path, [3; KEY_LEN]).unwrap();
        let old = Cipher::new(&[3; KEY_LEN]).seal(N, b"", b"s3 secret").unwrap();
        let (sealer, records) = Sealer::open(&path, vec![], &env).unwrap();
        assert_eq!(sealer.unseal(b"", &old).unwrap(), b"s3 secret");
        let records = sealer.rotate(&records, &env).unwrap();
        sealer.forget_old_keys().unwrap();
        assert_eq!(sealer.unseal(b"", &old).unwrap(), b"s3 secret");
        let (again, _) = Sealer::open(&path, records, &env).unwrap();
        assert_eq!(again.unseal(b"", &old).unwrap(), b"s3 secret");
        assert!(again.unseal(b"secret a", &old).is_err());
    }

    #[test]
    fn only_a_key_file_that_is_known_to_be_lost_is_replaced() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Counting::default());
        let path = dir.path().join("vault.key");
        let (sealer, records) = Sealer::open(&path, vec![], &env).unwrap();
        let sealed = sealer.seal(N, b"x", b"value").unwrap();
        fs::rename(&path, dir.path().join("kept")).unwrap();
        assert!(matches!(Sealer::open(&path, records.clone(), &env), Err(SealError::KeyFileGone(_))));
        fs::write(lost(&path), "").unwrap();
        // Killed before what it answers was committed, it opens the same way again.
        for _ in 0..2 {
            let (new, changed) = Sealer::open(&path, records.clone(), &env).unwrap();
            assert_eq!(changed.len(), records.len());
            assert!(new.unseal(b"x", &sealed).is_err(), "what was sealed is lost");
            let again = new.seal(N, b"x", b"new").unwrap();
            assert_eq!(new.unseal(b"x", &again).unwrap(), b"new");
        }
        // The right file, put back, opens everything.
        fs::rename(dir.path().join("kept"), &path).unwrap();
        let (old, changed) = Sealer::open(&path, records, &env).unwrap();
        assert_eq!((old.unseal(b"x", &sealed).unwrap(), changed.len()), (b"value".to_vec(), 0));
    }

    #[test]
    fn a_rotation_that_is_cut_off_loses_nothing() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Counting::default());
        let path = dir.path().join("apart.key");
        let link = dir.path().join("vault.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let (sealer, before) = Sealer::open(&link, vec![], &env).unwrap();
        assert!(path.is_file(), "a link is followed");
        let sealed = sealer.seal(N, b"x", b"value").unwrap();
        let after = sealer.rotate(&before, &env).unwrap();
        assert_ne!(after[0].wrapped_by, before[0].wrapped_by);
        assert_eq!(after[0].id, before[0].id);
        // Killed before the commit, and after it.
        for records in [&before, &after] {
            let (again, changed) = Sealer::open(&link, records.clone(), &env).unwrap();
            assert_eq!(again.unseal(b"x", &sealed).unwrap(), b"value");
            assert_eq!(changed.len(), usize::from(records == &before), "the rest is done at the next start");
        }
        let id = sealer.forget_old_keys().unwrap();
        assert_eq!(id, after[0].wrapped_by);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(matches!(Sealer::open(&link, before, &env), Err(SealError::OtherKey { .. })));
        let (again, changed) = Sealer::open(&link, after, &env).unwrap();
        assert_eq!((again.unseal(b"x", &sealed).unwrap(), changed), (b"value".to_vec(), vec![]));
    }
}
