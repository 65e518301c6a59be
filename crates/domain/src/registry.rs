//! Logins for the registries that images come from: what is kept of one, and which one an image is pulled with. The
//! password lies sealed in the record; a [`Login`] is the opened form, which goes to the container engine and is kept
//! nowhere.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Docker's own registry: images whose name has no host come from there.
pub const DOCKER: &str = "docker.io";

/// The longest name of a login, in characters.
const LONGEST_NAME: usize = 64;

/// The longest host, with its port, in bytes.
const LONGEST_SERVER: usize = 255;

/// A login as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// What people call it; unique.
    pub name: String,
    /// The registry's host, with a port where it is not the usual one.
    pub server: String,
    /// Who logs in.
    pub username: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a key's id, or `local`.
    pub created_by: String,
    /// The whole [`Login`], sealed, in base64.
    pub sealed: String,
}

/// A login, opened.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Login {
    /// What people call it.
    pub name: String,
    /// The registry's host.
    pub server: String,
    /// Who logs in.
    pub username: String,
    /// The password, or a token in its place.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Why no login can be chosen for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is none of that name.
    #[error("there is no registry login '{name}'")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The one that was named is for another registry: its password is not shown elsewhere.
    #[error("the registry login '{name}' is for {server}, and the image comes from {host}")]
    OtherServer {
        /// The name.
        name: String,
        /// What it is for.
        server: String,
        /// Where the image comes from.
        host: String,
    },
    /// There are several for the registry, and none was named.
    #[error("there are several registry logins for {host}: {}", names.join(", "))]
    Several {
        /// The registry.
        host: String,
        /// Their names.
        names: Vec<String>,
    },
}

/// Whether this can name a login.
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// The host of a registry, from what people write: `ghcr.io`, `https://ghcr.io/`, `localhost:5000`,
/// `https://index.docker.io/v1/`. `None` where it is no host.
pub fn server_of(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = text.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com") {
        return Some(DOCKER.to_owned());
    }
    let (name, port) = host.rsplit_once(':').map_or((host.as_str(), None), |(name, port)| (name, Some(port)));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_name = !name.is_empty()
        && name.bytes().all(allowed)
        && (!name.contains(':') || (name.starts_with('[') && name.ends_with(']')));
    (host.len() <= LONGEST_SERVER && is_name && is_port && looks_like_host(&host)).then_some(host)
}

/// The registry that an image's name points to.
pub fn host_of(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if looks_like_host(host) => {
            server_of(host).unwrap_or_else(|| host.to_ascii_lowercase())
        }
        _ => DOCKER.to_owned(),
    }
}

/// Whether the first part of a name is a host and no folder of Docker's registry.
fn looks_like_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

/// The login for an image: the named one, else the only one for its registry. `named` is empty where none was.
pub fn choose<'a>(all: &'a [Registry], image: &str, named: &str) -> Result<Option<&'a Registry>, Unfit> {
    let host = host_of(image);
    if !named.is_empty() {
        let found = all.iter().find(|registry| registry.name == named);
        let found = found.ok_or_else(|| Unfit::Unknown { name: named.to_owned() })?;
        if found.server != host {
            let (name, server) = (found.name.clone(), found.server.clone());
            return Err(Unfit::OtherServer { name, server, host });
        }
        return Ok(Some(found));
    }
    let fitting: Vec<&Registry> = all.iter().filter(|registry| registry.server == host).collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let names = several.iter().map(|registry| registry.name.clone()).collect();
            Err(Unfit::Several { host, names })
        }
    }
}

/// The logins that a build may need, one for each registry: the named one, else the only one.
pub fn for_build<'a>(all: &'a [Registry], named: &str) -> Vec<&'a Registry> {
    let is_only = |one: &Registry| all.iter().filter(|other| other.server == one.server).count() == 1;
    let rival = all.iter().find(|registry| registry.name == named).map(|registry| &registry.server);
    all.iter().filter(|one| one.name == named || (is_only(one) && rival != Some(&one.server))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(name: &str, server: &str) -> Registry {
        Registry {
            name: name.to_owned(),
            server: server.to_owned(),
            username: "u".to_owned(),
            created_at: Timestamp(1),
            created_by: "local".to_owned(),
            sealed: String::new(),
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (text, host) in [
            ("ghcr.io", Some("ghcr.io")),
            (" https://GHCR.io/ ", Some("ghcr.io")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("localhost:5000", Some("localhost:5000")),
            ("http://[::1]:5000", Some("[::1]:5000")),
            ("localhost", Some("localhost")),
            ("nothost", None),
            ("a b.c", None),
            ("host:0", None),
            ("host:x", None),
            ("u:p@host.example", None),
            ("", None),
        ] {
            assert_eq!(server_of(text).as_deref(), host, "{text}");
        }
        for (image, host) in [
            ("python", "docker.io"),
            ("me/worker:v1", "docker.io"),
            ("docker.io/library/python", "docker.io"),
            ("ghcr.io/me/worker:v1", "ghcr.io"),
            ("localhost:5000/w@sha256:00", "localhost:5000"),
        ] {
            assert_eq!(host_of(image), host, "{image}");
        }
    }

    #[test]
    fn an_image_gets_the_login_of_its_registry() {
        let one = [registry("gh", "ghcr.io"), registry("hub", "docker.io")];
        let name = |found: Result<Option<&Registry>, Unfit>| found.map(|found| found.map(|r| r.name.clone()));
        assert_eq!(name(choose(&one, "ghcr.io/me/w", "")), Ok(Some("gh".to_owned())));
        assert_eq!(name(choose(&one, "me/w", "")), Ok(Some("hub".to_owned())));
        assert_eq!(name(choose(&one, "quay.io/me/w", "")), Ok(None));
        assert!(matches!(choose(&one, "ghcr.io/me/w", "no"), Err(Unfit::Unknown { .. })));
        assert!(matches!(choose(&one, "quay.io/me/w", "gh"), Err(Unfit::OtherServer { .. })));
        let two = [registry("a", "ghcr.io"), registry("b", "ghcr.io")];
        let says = choose(&two, "ghcr.io/me/w", "").map_err(|unfit| unfit.to_string());
        assert_eq!(says, Err("there are several registry logins for ghcr.io: a, b".to_owned()));
        assert_eq!(name(choose(&two, "ghcr.io/me/w", "b")), Ok(Some("b".to_owned())));
    }

    #[test]
    fn a_build_gets_one_login_for_each_registry() {
        let all = [registry("a", "ghcr.io"), registry("b", "ghcr.io"), registry("hub", "docker.io")];
        let names = |named: &str| {
            for_build(&all, named).iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((names("").as_str(), names("b").as_str()), ("hub", "b hub"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let login = Login {
            name: "gh".to_owned(),
            server: "ghcr.io".to_owned(),
            username: "me".to_owned(),
            password: "sesame".to_owned(),
        };
        assert!(!format!("{login:?}").contains("sesame"));
    }

    #[test]
    fn names_are_plain() {
        assert!(is_valid_name("gh") && is_valid_name("my-ghcr.io_2"));
        for bad in ["", "-a", "A", "a b", "a/b", &"a".repeat(65)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
