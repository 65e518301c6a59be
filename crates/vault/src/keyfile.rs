//! The key file: the keys that wrap the keys which seal secrets. It may lie apart from the data, so that neither a
//! copied data directory nor a copied key file alone reveals anything.
//!
//! One key a line, 32 bytes in base64; the first wraps, the others only open what they wrapped before. A file of
//! exactly 32 bytes is one key as it is: earlier versions wrote that.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::Env;
use sha2::{Digest as _, Sha256};

use crate::seal::{Cipher, KEY_LEN, SealError};

/// The most keys that a file may hold.
const MOST: usize = 16;

/// The longest file that is read, in bytes.
const LONGEST: usize = 4_096;

/// A key of the key file.
#[derive(Clone)]
pub(crate) struct WrappingKey {
    pub(crate) id: String,
    pub(crate) bytes: [u8; KEY_LEN],
}

impl WrappingKey {
    pub(crate) fn new(bytes: [u8; KEY_LEN]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"runyard wrapping key");
        hash.update(bytes);
        Self { id: runyard_domain::id::hex(&hash.finalize()[..8]), bytes }
    }

    fn made(env: &dyn Env) -> Self {
        let mut bytes = [0; KEY_LEN];
        env.fill(&mut bytes);
        Self::new(bytes)
    }

    pub(crate) fn cipher(&self) -> Cipher {
        Cipher::new(&self.bytes)
    }
}

/// A key file that was read. The keys are in the order of its lines; there is at least one.
pub(crate) struct KeyFile {
    path: PathBuf,
    pub(crate) keys: Vec<WrappingKey>,
    /// It is one key as it is.
    pub(crate) is_bare: bool,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Reads the file; `None` where there is none. A link is followed.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, SealError> {
        let fail = |source| SealError::KeyFile { path: path.display().to_string(), source };
        let real = target(path).map_err(fail)?;
        let text = match fs::read(&real) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let keys = parse(&text).ok_or_else(|| SealError::KeyText(path.display().to_string()))?;
        Ok(Some(Self { path: real, keys, is_bare: text.len() == KEY_LEN }))
    }

    /// Makes the file with a new key.
    pub(crate) fn make(path: &Path, env: &dyn Env) -> Result<Self, SealError> {
        let fail = |source| SealError::KeyFile { path: path.display().to_string(), source };
        let file =
            Self { path: target(path).map_err(fail)?, keys: vec![WrappingKey::made(env)], is_bare: false };
        file.write()?;
        Ok(file)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key that wraps.
    pub(crate) fn current(&self) -> &WrappingKey {
        &self.keys[0]
    }

    /// The same file with a new key before those that it has; written.
    pub(crate) fn with_new_key(&self, env: &dyn Env) -> Result<Self, SealError> {
        let keys = std::iter::once(WrappingKey::made(env)).chain(self.keys.iter().cloned());
        self.holding(keys.take(MOST).collect())
    }

    /// The same file with its first key alone; written.
    pub(crate) fn with_current_alone(&self) -> Result<Self, SealError> {
        self.holding(vec![self.current().clone()])
    }

    fn holding(&self, keys: Vec<WrappingKey>) -> Result<Self, SealError> {
        let file = Self { path: self.path.clone(), keys, is_bare: false };
        file.write()?;
        Ok(file)
    }

    /// Replaces the file in one step.
    fn write(&self) -> Result<(), SealError> {
        let lines: String = self.keys.iter().map(|key| STANDARD.encode(key.bytes) + "\n").collect();
        replace(&self.path, lines.as_bytes())
            .map_err(|source| SealError::KeyFile { path: self.path.display().to_string(), source })
    }
}

/// Where a link leads, also where nothing is there yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::read_link(path) {
        Ok(target) => Ok(path.parent().unwrap_or(Path::new("/")).join(target)),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
            Ok(path.to_owned())
        }
        Err(error) => Err(error),
    }
}

fn parse(text: &[u8]) -> Option<Vec<WrappingKey>> {
    if let Ok(key) = <[u8; KEY_LEN]>::try_from(text) {
        return Some(vec![WrappingKey::new(key)]);
    }
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let key = |line: &str| Some(WrappingKey::new(STANDARD.decode(line).ok()?.try_into().ok()?));
    let keys: Vec<WrappingKey> = lines.map(key).collect::<Option<_>>()?;
    (1..=MOST).contains(&keys.len()).then_some(keys)
}

/// Reads a key file's bytes and says how many keys there are.
#[doc(hidden)]
pub fn probe(text: &[u8]) -> Option<usize> {
    parse(text).map(|keys| keys.len())
}

/// Writes a file of mode 0600 in one step, to the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
