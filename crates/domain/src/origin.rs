//! The origins of web pages that may read answers: `https://app.example`, or `*` for any.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest origin, in bytes: a host's name has 253 at most.
const LONGEST: usize = 300;

/// An origin as browsers send it: scheme, host, and a port that is not the scheme's own; or any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Any.
    Any,
    /// This one, in lowercase.
    Page(String),
}

impl Origin {
    /// Whether a page of this origin, as its browser sends it, is meant.
    pub fn admits(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Page(own) => own.eq_ignore_ascii_case(origin),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            format!("'{shown}' is no origin: write https://example.com, http://localhost:3000 or *")
        };
        let lower = text.trim().trim_end_matches('/').to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self::Any);
        }
        let host =
            lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).ok_or_else(wrong)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        if host.is_empty() || lower.len() > LONGEST || !host.bytes().all(plain) {
            return Err(wrong());
        }
        let own = if lower.starts_with("https://") { ":443" } else { ":80" };
        Ok(Self::Page(lower.strip_suffix(own).unwrap_or(&lower).to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Page(own) => own,
        })
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for (text, sent) in [
            ("https://Example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("*", "*"),
        ] {
            let origin: Origin = text.parse().unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(origin.to_string(), sent);
            assert!(origin.admits(sent) && origin.admits(&sent.to_uppercase()));
            assert_eq!(origin.admits("https://other.example"), sent == "*");
        }
        for bad in ["", "example.com", "https://", "https://a/b", "ftp://a", "https://*.a", "null"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
