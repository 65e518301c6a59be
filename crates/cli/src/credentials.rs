//! The credentials file, `$XDG_CONFIG_HOME/runyard/credentials.toml`: which server commands talk to by
//! themselves, and the key of each server. `login` writes it, and so does the first start of a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::files;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The server that commands talk to when nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What is known of each server, by its URL.
    #[serde(default)]
    pub servers: BTreeMap<String, Server>,
}

/// What is known of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The key; a server that is open needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Credentials {
    /// Where the file is.
    pub fn path() -> anyhow::Result<PathBuf> {
        Ok(files::config_dir().context("cannot tell where the credentials file is")?.join("credentials.toml"))
    }

    /// Reads the user's file; one that is not there is empty.
    pub fn load() -> anyhow::Result<Self> {
        Self::load_from(&Self::path()?)
    }

    /// Writes the user's file, mode 0600, in one step.
    pub fn save(&self) -> anyhow::Result<()> {
        self.save_to(&Self::path()?)
    }

    /// Makes `url` the current server, with this key.
    pub fn set(&mut self, url: &str, key: Option<String>) {
        let url = normal(url);
        self.servers.insert(url.clone(), Server { key });
        self.current = Some(url);
    }

    /// Forgets the server at `url`.
    pub fn forget(&mut self, url: &str) {
        self.servers.remove(&normal(url));
    }

    /// The key of the server at `url`.
    pub fn key(&self, url: &str) -> Option<&str> {
        self.servers.get(&normal(url))?.key.as_deref()
    }

    fn load_from(path: &Path) -> anyhow::Result<Self> {
        let text = files::read_optional(path).with_context(|| format!("cannot read {}", path.display()))?;
        // The parser's own message would quote the line, and the line may hold a key.
        toml::from_str(&text.unwrap_or_default()).map_err(|e| {
            let at = e.span().map_or(String::new(), |span| format!(", at byte {}", span.start));
            anyhow::anyhow!("{} is not valid TOML{at}: {}", path.display(), e.message())
        })
    }

    fn save_to(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("cannot write the credentials as TOML")?;
        files::write_private(path, &text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// One spelling for one server: no slash at the end.
fn normal(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("runyard/credentials.toml");
        assert_eq!(Credentials::load_from(&path).expect("no file is no error"), Credentials::default());

        let mut credentials = Credentials::default();
        credentials.set("http://127.0.0.1:8080/", Some("ry_1".to_owned()));
        credentials.set("http://other:1", None);
        credentials.save_to(&path).expect("it is written");

        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains("[servers.\"http://127.0.0.1:8080\"]\nkey = \"ry_1\""), "{text}");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let loaded = Credentials::load_from(&path).expect("it is read");
        assert_eq!(loaded, credentials);
        assert_eq!(loaded.current.as_deref(), Some("http://other:1"));
        assert_eq!(loaded.key("http://127.0.0.1:8080"), Some("ry_1"));
    }

    #[test]
    fn a_broken_file_is_named_without_its_content() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("credentials.toml");
        std::fs::write(&path, "current = secret-key\n").expect("it is written");
        let error = format!("{:#}", Credentials::load_from(&path).expect_err("not TOML"));
        assert!(error.contains("credentials.toml is not valid TOML"), "{error}");
        assert!(!error.contains("secret-key"), "{error}");
    }
}
