//! What is noted in the data directory about engines: which ones have, or may have, things of ours, and which images
//! are there because we pulled them. Server and agent both write here, so a note is one line or one file, and never
//! rewritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The engines in use: a file with one address a line.
#[derive(Debug, Clone)]
pub struct Used(PathBuf);

impl Used {
    /// In this file.
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// The addresses.
    pub fn known(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut known: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Two processes may have noted the same one at once.
            if !known.iter().any(|address| address == line) {
                known.push(line.to_owned());
            }
        }
        known
    }

    /// Notes an engine, before anything is made on it.
    pub fn note(&self, address: &str) -> io::Result<()> {
        if self.known().iter().any(|line| line == address) {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        file.write_all(format!("{address}\n").as_bytes())
    }
}

/// Images that our own pulls brought: a folder with a file for each, which holds the engine's address and the image's
/// id. An image that was there before is somebody else's and has none.
#[derive(Debug, Clone)]
pub struct Pulled(PathBuf);

impl Pulled {
    /// In this folder.
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// When an image came by a pull of ours, or was last asked for; `None` for one that is not ours.
    pub fn at(&self, engine: &str, id: &str) -> Option<SystemTime> {
        fs::metadata(self.file(engine, id)).and_then(|meta| meta.modified()).ok()
    }

    /// Notes an image that came.
    pub fn note(&self, engine: &str, id: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.file(engine, id))?;
        file.write_all(format!("{engine}\n{id}\n").as_bytes())
    }

    /// Notes that an image is asked for again, where it is ours.
    pub fn touch(&self, engine: &str, id: &str) {
        if self.at(engine, id).is_some()
            && let Err(error) = self.note(engine, id)
        {
            tracing::debug!(%error, image = id, "the use of an image was not noted");
        }
    }

    /// Forgets an image that is gone.
    pub fn forget(&self, engine: &str, id: &str) {
        let _ = fs::remove_file(self.file(engine, id));
    }

    fn file(&self, engine: &str, id: &str) -> PathBuf {
        let engine = crate::name_of(Path::new(engine));
        self.0.join(format!("{engine}-{}", id.trim_start_matches("sha256:").replace('/', "_")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        let used = Used::new(dir.path().join("engines"));
        assert!(used.known().is_empty());
        for address in ["unix:///a", "unix:///b", "unix:///a"] {
            used.note(address).unwrap();
        }
        assert_eq!(used.known(), ["unix:///a", "unix:///b"]);
    }

    #[test]
    fn pulled_images_belong_to_one_engine() {
        let dir = tempfile::tempdir().unwrap();
        let pulled = Pulled::new(dir.path().join("pulled"));
        pulled.touch("unix:///a", "sha256:1");
        assert_eq!(pulled.at("unix:///a", "sha256:1"), None, "what is not ours does not become it");
        pulled.note("unix:///a", "sha256:1").unwrap();
        pulled.touch("unix:///a", "sha256:1");
        assert!(pulled.at("unix:///a", "sha256:1").is_some());
        assert_eq!(pulled.at("unix:///b", "sha256:1"), None);
        pulled.forget("unix:///a", "sha256:1");
        assert_eq!(pulled.at("unix:///a", "sha256:1"), None);
    }
}
