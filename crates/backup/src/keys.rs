//! The keys of a data directory in a backup: closed with a passphrase, or not there. The passphrase stays where it is
//! typed: it is stretched there (Argon2id), and only what comes of it travels to whoever makes the archive.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use runyard_runtime::Paths;
use serde::{Deserialize, Serialize};

use crate::BackupError;

/// What stretching costs: memory in KiB, and passes.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// The most that an archive may ask for.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 20;
/// The largest file of keys, in bytes.
const LARGEST: u64 = 1 << 20;

/// Closes keys: what a passphrase was stretched to, and how.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrapping {
    key: String,
    salt: String,
    memory_kib: u32,
    passes: u32,
}

impl std::fmt::Debug for Wrapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wrapping")
    }
}

/// Keys that are closed, as they stand in an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrapped {
    salt: String,
    memory_kib: u32,
    passes: u32,
    nonce: String,
    sealed: String,
}

/// The files of keys by their names in the data directory, in base64.
#[derive(Default, Serialize, Deserialize)]
pub struct Keys(BTreeMap<String, String>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where the keys of a data directory lie.
fn files(paths: &Paths) -> [(&'static str, PathBuf); 2] {
    [("vault.key", paths.vault_key()), ("webhook.secret", paths.webhook_secret())]
}

/// The shortest passphrase, in characters.
pub const SHORTEST_PASSPHRASE: usize = 8;

impl Wrapping {
    /// Of a passphrase, with a salt of 16 random bytes.
    pub fn new(passphrase: &str, salt: [u8; 16]) -> Self {
        let key = stretch(passphrase, &salt, MEMORY_KIB, PASSES).unwrap_or_default();
        Self {
            key: STANDARD.encode(key),
            salt: STANDARD.encode(salt),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
        }
    }

    /// Whether keys can be closed with it.
    pub fn is_sound(&self) -> bool {
        let length = |text: &str| STANDARD.decode(text).map_or(0, |bytes| bytes.len());
        length(&self.key) == 32
            && self.key != STANDARD.encode([0; 32])
            && (8..=64).contains(&length(&self.salt))
            && (1..=MOST_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=MOST_PASSES).contains(&self.passes)
    }

    /// Closes the keys, with 24 random bytes.
    pub(crate) fn close(&self, keys: &Keys, nonce: [u8; 24]) -> Option<Wrapped> {
        let key: [u8; 32] = STANDARD.decode(&self.key).ok()?.try_into().ok()?;
        let plain = serde_json::to_vec(keys).ok()?;
        let cipher = XChaCha20Poly1305::new(&key.into());
        let sealed = cipher.encrypt(&XNonce::from(nonce), plain.as_slice()).ok()?;
        Some(Wrapped {
            salt: self.salt.clone(),
            memory_kib: self.memory_kib,
            passes: self.passes,
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        })
    }
}

impl Wrapped {
    /// Opens the keys.
    pub(crate) fn open(&self, passphrase: &str) -> Result<Keys, BackupError> {
        self.try_open(passphrase).ok_or(BackupError::Passphrase)
    }

    fn try_open(&self, passphrase: &str) -> Option<Keys> {
        if self.memory_kib > MOST_MEMORY_KIB || self.passes > MOST_PASSES {
            return None;
        }
        let key = stretch(passphrase, &STANDARD.decode(&self.salt).ok()?, self.memory_kib, self.passes)?;
        let nonce: [u8; 24] = STANDARD.decode(&self.nonce).ok()?.try_into().ok()?;
        let cipher = XChaCha20Poly1305::new(&key.into());
        let plain =
            cipher.decrypt(&XNonce::from(nonce), STANDARD.decode(&self.sealed).ok()?.as_slice()).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

impl Keys {
    /// Those of a data directory.
    pub(crate) fn of(paths: &Paths) -> Result<Self, BackupError> {
        let mut keys = BTreeMap::new();
        for (name, path) in files(paths) {
            match fs::metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Ok(meta) if meta.len() <= LARGEST => {
                    let bytes = fs::read(&path).map_err(BackupError::file("read", &path))?;
                    keys.insert(name.to_owned(), STANDARD.encode(bytes));
                }
                Ok(_) => {
                    let why = std::io::Error::other("it is too large for a key");
                    return Err(BackupError::file("read", &path)(why));
                }
                Err(error) => return Err(BackupError::file("read", &path)(error)),
            }
        }
        Ok(Self(keys))
    }

    /// Writes them where they belong in a data directory.
    pub(crate) fn put(&self, paths: &Paths) -> Result<(), BackupError> {
        for (name, path) in files(paths) {
            let Some(text) = self.0.get(name) else { continue };
            let bytes =
                STANDARD.decode(text).map_err(|_| BackupError::Damaged(format!("{name} is no key")))?;
            write_private(&path, &bytes)?;
        }
        Ok(())
    }
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = open.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(BackupError::file("write", path))
}

fn stretch(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Option<[u8; 32]> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).ok()?;
    let mut key = [0; 32];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase.as_bytes(), salt, &mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passphrase_opens_what_it_closed_and_another_does_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = Paths::new(dir.path());
        fs::write(paths.vault_key(), [7; 32]).expect("written");
        let wrapping = Wrapping::new("open sesame", [1; 16]);
        assert!(wrapping.is_sound() && !format!("{wrapping:?}").contains(&wrapping.key));
        let wrapped = wrapping.close(&Keys::of(&paths).expect("read"), [2; 24]).expect("closed");
        let text = serde_json::to_string(&wrapped).expect("JSON");
        assert!(!text.contains(&STANDARD.encode([7; 32])) && !text.contains(&wrapping.key), "{text}");
        assert!(matches!(wrapped.open("open barley"), Err(BackupError::Passphrase)));
        let to = tempfile::tempdir().expect("a folder");
        let to = Paths::new(to.path());
        wrapped.open("open sesame").expect("opened").put(&to).expect("written");
        assert_eq!(fs::read(to.vault_key()).expect("there"), [7; 32]);
        assert!(!to.webhook_secret().exists());
    }

    #[test]
    fn an_archive_cannot_ask_for_all_the_memory() {
        let wrapping = Wrapping::new("x", [1; 16]);
        let wrapped = wrapping.close(&Keys::default(), [2; 24]).expect("closed");
        let greedy = Wrapped { memory_kib: u32::MAX, ..wrapped.clone() };
        assert!(matches!(greedy.open("x"), Err(BackupError::Passphrase)));
        let endless = Wrapped { passes: u32::MAX, ..wrapped };
        assert!(matches!(endless.open("x"), Err(BackupError::Passphrase)));
        assert!(!Wrapping { key: String::new(), ..wrapping }.is_sound());
    }
}
