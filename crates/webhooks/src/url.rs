//! A webhook's URL, taken apart into what a request needs, and where a redirect leads from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::uri::Authority;

/// An `http:` or `https:` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether the connection is encrypted.
    pub(crate) https: bool,
    /// Host and port as they stand in the `Host` header.
    pub(crate) authority: String,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    /// The port, also where the URL names none.
    pub(crate) port: u16,
    /// Path and query, never empty.
    pub(crate) path: String,
    /// The value of `Authorization` where the URL carries a name and a password.
    pub(crate) authorization: Option<String>,
}

impl Url {
    /// Takes a URL apart, or says why that cannot be done.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("the URL cannot be read: {error}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("only http:// and https:// URLs can be called".to_owned()),
        };
        let authority = uri.authority().ok_or("the URL names no host")?;
        let (user, bare) = match authority.as_str().rsplit_once('@') {
            Some((user, bare)) => (Some(user), bare),
            None => (None, authority.as_str()),
        };
        // Alone it must be the same: brackets and signs before the host can hide another one.
        let alone = bare.parse::<Authority>().is_ok_and(|alone| alone.host() == authority.host());
        if !alone {
            return Err(format!("the URL's host cannot be read: {bare}"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            https,
            authority: bare.to_owned(),
            host: host.to_owned(),
            port: port(bare.strip_prefix(authority.host()).unwrap_or_default(), https)?,
            path: format!("{slash}{path}"),
            authorization: user.map(|user| format!("Basic {}", STANDARD.encode(decoded(user)))),
        })
    }

    /// Where a redirect to `location` leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.https { "https" } else { "http" };
        let location = location.split('#').next().unwrap_or_default().trim();
        let before_query = self.path.split('?').next().unwrap_or_default();
        let folder = before_query.rsplit_once('/').map_or("", |(folder, _)| folder);
        let origin = format!("{scheme}://{}", self.authority);
        let next = match location {
            "" => return Err("a redirect says not where to".to_owned()),
            l if has_scheme(l) => Self::parse(l),
            l if l.starts_with("//") => Self::parse(&format!("{scheme}:{l}")),
            l if l.starts_with('/') => Self::parse(&format!("{origin}{l}")),
            l if l.starts_with('?') => Self::parse(&format!("{origin}{before_query}{l}")),
            l => Self::parse(&format!("{origin}{folder}/{l}")),
        }?;
        if self.https && !next.https {
            return Err(format!("it redirects from https to http ({})", next.authority));
        }
        Ok(next)
    }
}

/// The port, from what follows the host: nothing, or a colon and a number.
fn port(text: &str, https: bool) -> Result<u16, String> {
    match text.trim_start_matches(':') {
        "" => Ok(if https { 443 } else { 80 }),
        port => port.parse().map_err(|_| format!("the URL names the impossible port {port}")),
    }
}

fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// `%41` as the byte that it names; anything else as it stands.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn shown(url: &Url) -> String {
        let scheme = if url.https { "https" } else { "http" };
        format!("{scheme}|{}|{}|{}", url.host, url.port, url.path)
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, expected) in [
            ("http://example.com", "http|example.com|80|/"),
            ("https://example.com?a=1", "https|example.com|443|/?a=1"),
            ("http://[::1]:81/x?y#z", "http|::1|81|/x?y"),
            ("https://u:p@h:8443/x", "https|h|8443|/x"),
        ] {
            assert_eq!(shown(&Url::parse(text).unwrap()), expected, "{text}");
        }
        for text in [
            "",
            "example.com",
            "/x",
            "ftp://h/",
            "file:///etc/passwd",
            "http://",
            "http://h:99999/",
            "http:// h/",
            "http://2[::1@]:81/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_passwords_become_a_header_and_nothing_else() {
        let url = Url::parse("http://us%65r:p%40ss%zz@h:81/").unwrap();
        assert_eq!(url.authorization.unwrap(), format!("Basic {}", STANDARD.encode("user:p@ss%zz")));
        assert_eq!(url.authority, "h:81");
    }

    #[test]
    fn redirects_lead_where_browsers_would_go() {
        let from = Url::parse("https://h:8443/a/b?q=1").unwrap();
        for (location, expected) in [
            ("https://other/x#y", "https|other|443|/x"),
            ("//other/x", "https|other|443|/x"),
            ("/x?y=2", "https|h|8443|/x?y=2"),
            ("x", "https|h|8443|/a/x"),
            ("?q=2", "https|h|8443|/a/b?q=2"),
        ] {
            assert_eq!(shown(&from.join(location).unwrap()), expected, "{location}");
        }
        for location in ["", "#x", "ftp://h/", "javascript:x", "http://h/", "https://", "http://a b/"] {
            assert!(from.join(location).is_err(), "{location}");
        }
        assert!(Url::parse("http://h/").unwrap().join("http://other/").is_ok());
    }
}
