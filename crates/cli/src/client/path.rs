//! Paths and queries of requests, with everything that came from a user escaped.

use std::fmt::Write as _;

/// `/api/v1/` and the parts, each escaped.
pub fn api(parts: &[&str]) -> String {
    join("/api/v1", parts)
}

/// `/v2/{endpoint}/` and the parts, each escaped: RunPod's job API.
pub fn jobs_of(endpoint: &str, parts: &[&str]) -> String {
    join(&format!("/v2/{}", escape(endpoint)), parts)
}

/// `path` with those values that are there as its query.
pub fn query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<String> = values
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}={}", escape(v))))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn join(base: &str, parts: &[&str]) -> String {
    parts.iter().fold(base.to_owned(), |path, part| format!("{path}/{}", escape(part)))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A lone dot or two would be taken as a step in the path.
    if out == "." || out == ".." { out.replace('.', "%2E") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_is_escaped() {
        assert_eq!(api(&["endpoints", "a/b?c", "why"]), "/api/v1/endpoints/a%2Fb%3Fc/why");
        assert_eq!(api(&["jobs", ".."]), "/api/v1/jobs/%2E%2E");
        assert_eq!(jobs_of("t2i", &["run"]), "/v2/t2i/run");
        let path = query("/l", &[("q", Some("a b&c".to_owned())), ("x", None), ("n", Some("1".to_owned()))]);
        assert_eq!(path, "/l?q=a%20b%26c&n=1");
    }
}
