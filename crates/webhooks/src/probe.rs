//! A door to the reading of URLs, for the fuzz targets (`crates/fuzz`). No part of the interface.

use crate::url::Url;

/// A URL's scheme is `https`, its `Host`, its host, its port and its path; else the words of the error.
pub type Parts = Result<(bool, String, String, u16, String), String>;

/// Takes a URL apart.
pub fn parse(text: &str) -> Parts {
    Url::parse(text).map(parts)
}

/// Where a redirect from `from` to `location` leads.
pub fn join(from: &str, location: &str) -> Parts {
    Url::parse(from)?.join(location).map(parts)
}

fn parts(url: Url) -> (bool, String, String, u16, String) {
    (url.https, url.authority, url.host, url.port, url.path)
}
