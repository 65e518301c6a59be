//! The address of a repository, as users write it: `github.com/me/repo`, `https://…`, `http://…`, `ssh://…`,
//! `git@host:me/repo`. Everything else is refused: Git knows addresses that run programs (`ext::`) or read this
//! machine (`file:`, a path).

use crate::GitError;

/// The longest address, in bytes.
const LONGEST: usize = 2048;

/// How the repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http:`
    Http,
    /// `https:`
    Https,
    /// `ssh:`
    Ssh,
}

/// A repository's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How it is reached.
    pub scheme: Scheme,
    /// The user that SSH signs in as.
    pub user: Option<String>,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, also where none is written.
    pub port: u16,
    /// What follows the host, beginning with `/`.
    pub path: String,
}

impl Address {
    /// Takes an address apart. What `http:` addresses carry as name and password comes beside it: it is a secret and
    /// no part of the address.
    pub fn parse(text: &str) -> Result<(Self, Option<(String, String)>), GitError> {
        let refused = |why: &str| {
            let shown: String = hidden(text).chars().filter(|c| !c.is_control()).take(120).collect();
            GitError::Refused(format!(
                "'{shown}' is no repository's address: {why}; write https://HOST/OWNER/REPO, or git@HOST:OWNER/REPO"
            ))
        };
        if text.len() > LONGEST || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(refused("it is too long or holds spaces or control characters"));
        }
        if text.starts_with('-') || text.contains("::") && !text.contains("://[") {
            return Err(refused("such addresses run programs"));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("ssh", rest)) => (Scheme::Ssh, rest),
            Some(_) => return Err(refused("only http, https and ssh are spoken")),
            None => {
                return Self::short(text)
                    .map(|address| (address, None))
                    .ok_or_else(|| refused("it names no host"));
            }
        };
        let (authority, path) = rest.split_once('/').ok_or_else(|| refused("it names no repository"))?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) = port(host, scheme).ok_or_else(|| refused("its host cannot be read"))?;
        let path = clean(path).ok_or_else(|| refused("its path cannot be read"))?;
        let mut address = Self { scheme, user: None, host, port, path };
        if scheme == Scheme::Ssh {
            address.user = user.map(str::to_owned);
            if user.is_some_and(|user| !is_name(user)) {
                return Err(refused("its user cannot be read"));
            }
            return Ok((address, None));
        }
        let secret = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or(("", user));
            (decoded(name), decoded(password))
        });
        Ok((address, secret))
    }

    /// `git@host:me/repo`, and `host/me/repo` for https.
    fn short(text: &str) -> Option<Self> {
        if let Some((user, rest)) = text.split_once('@') {
            let (host, path) = rest.split_once(':')?;
            let host = (is_name(user) && is_host(host)).then(|| host.to_owned())?;
            let path = clean(path.trim_start_matches('/'))?;
            return Some(Self { scheme: Scheme::Ssh, user: Some(user.to_owned()), host, port: 22, path });
        }
        let (host, path) = text.split_once('/')?;
        // A name with a dot: `me/repo` alone would be a folder.
        let dotted = host.contains('.') && !host.starts_with('.');
        let (host, port) = port(host, Scheme::Https).filter(|_| dotted)?;
        Some(Self { scheme: Scheme::Https, user: None, host, port, path: clean(path)? })
    }

    /// The address as Git takes it.
    pub fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let (scheme, usual) = match self.scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
            Scheme::Ssh => ("ssh", 22),
        };
        let user = self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{user}{host}{port}{}", self.path)
    }

    /// What forges call it: `me/repo`.
    pub fn full_name(&self) -> &str {
        let path = self.path.trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }

    /// The last part of that: what an endpoint may be called.
    pub fn name(&self) -> &str {
        self.full_name().rsplit('/').next().unwrap_or_default()
    }

    /// The API of its forge, where that is known from the host.
    pub fn api(&self) -> Option<String> {
        match self.host.as_str() {
            "github.com" => Some("https://api.github.com".to_owned()),
            "gitlab.com" => Some("https://gitlab.com/api/v4".to_owned()),
            "codeberg.org" | "gitea.com" => Some(format!("https://{}/api/v1", self.host)),
            _ => None,
        }
    }
}

/// An address without what stands before its `@`.
fn hidden(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => text.to_owned(),
    }
}

fn port(host: &str, scheme: Scheme) -> Option<(String, u16)> {
    let usual = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
        Scheme::Ssh => 22,
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let known = host.contains(':') || is_host(host);
    let port = if port.is_empty() { usual } else { port.parse().ok().filter(|port| *port > 0)? };
    known.then(|| (host.to_owned(), port))
}

fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_name(user: &str) -> bool {
    user.starts_with(|c: char| c.is_ascii_alphanumeric())
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// A path without empty parts at its ends, and without parts that lead elsewhere.
fn clean(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let parts = path.split('/');
    let fine = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-');
    let odd = |c: char| c.is_ascii_punctuation() && !"-_.~/+%@:,=!$&'()*".contains(c);
    (parts.clone().all(fine) && !path.contains(odd)).then(|| format!("/{path}"))
}

/// `%41` as the byte that it names.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, url, full_name) in [
            ("github.com/me/repo", "https://github.com/me/repo", "me/repo"),
            ("https://github.com/me/repo.git/", "https://github.com/me/repo.git", "me/repo"),
            ("http://127.0.0.1:8081/a/b.git", "http://127.0.0.1:8081/a/b.git", "a/b"),
            ("http://[::1]:81/a", "http://[::1]:81/a", "a"),
            ("git@github.com:me/repo.git", "ssh://git@github.com/me/repo.git", "me/repo"),
            ("ssh://git@host:2222/srv/x", "ssh://git@host:2222/srv/x", "srv/x"),
        ] {
            let (address, secret) = Address::parse(text).unwrap();
            assert_eq!((address.url().as_str(), address.full_name()), (url, full_name), "{text}");
            assert_eq!(secret, None);
            assert_eq!(Address::parse(&address.url()).unwrap().0, address, "{text}");
        }
    }

    #[test]
    fn what_would_run_or_read_something_else_is_refused() {
        for bad in [
            "",
            "ext::sh -c id",
            "ext::x",
            "fd::1/x",
            "file:///etc",
            "/srv/repo",
            "../repo",
            "me/repo",
            "git://host/x",
            "-oProxyCommand=id@host:x",
            "--upload-pack=x",
            "https://",
            "https:///x",
            "https://-x/y",
            "https://host",
            "https://host/../x",
            "https://host/a//b",
            "https://ho st/x",
            "https://host/x\ny",
            "ssh://-oProxyCommand=id/x",
            "ssh://-l@host/x",
            "git@-host:x",
            "http://h:0/x",
            "http://h:99999/x",
            "https://host/x;id",
            "https://host/`id`",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_stay_in_the_address() {
        let (address, secret) = Address::parse("https://me:p%40ss@host/a/b").unwrap();
        assert_eq!(address.url(), "https://host/a/b");
        assert_eq!(secret.unwrap(), ("me".to_owned(), "p@ss".to_owned()));
        let (_, secret) = Address::parse("https://ghp_token@host/a/b").unwrap();
        assert_eq!(secret.unwrap(), (String::new(), "ghp_token".to_owned()));
        let error = Address::parse("ftp://me:secret@host/a").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn forges_are_known_by_their_hosts() {
        let api = |text| Address::parse(text).unwrap().0.api();
        assert_eq!(api("github.com/a/b").unwrap(), "https://api.github.com");
        assert_eq!(api("git@gitlab.com:a/b").unwrap(), "https://gitlab.com/api/v4");
        assert_eq!(api("https://git.example.com/a/b"), None);
    }
}
