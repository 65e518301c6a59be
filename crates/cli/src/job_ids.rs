//! Job ids as users give them: whole, or the beginning that tables show.

use serde::Deserialize;

use crate::client::{Client, path};
use crate::errors::{Code, Failure};
use crate::output::text;

/// How many of the newest jobs a prefix is looked for in.
const LOOKED_AT: u32 = 1_000;

/// Whether `text` is a whole id: a UUID with a suffix, where the job was synchronous with `sync-` in front.
pub fn is_whole(text: &str) -> bool {
    let id = text.strip_prefix("sync-").unwrap_or(text);
    let parts: Vec<&str> = id.splitn(6, '-').collect();
    parts.len() == 6
        && parts[..5].iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
        && parts[..5].iter().all(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether `text` may be the beginning of an id.
pub fn is_prefix(text: &str) -> bool {
    let id = text.strip_prefix("sync-").unwrap_or(text);
    !id.is_empty() && id.len() <= 40 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'u')
}

#[derive(Deserialize)]
struct Listed {
    jobs: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// The whole id of the job that `text` names.
pub async fn resolve(client: &Client, text: &str) -> anyhow::Result<String> {
    if is_whole(text) || !is_prefix(text) {
        return Ok(text.to_owned());
    }
    let path = path::query(&path::api(&["jobs"]), &[("limit", Some(LOOKED_AT.to_string()))]);
    let listed: Listed = client.get(path).await?.parse()?;
    let begins =
        |id: &str| id.starts_with(text) || id.strip_prefix("sync-").is_some_and(|id| id.starts_with(text));
    let found: Vec<&str> = listed.jobs.iter().map(|j| j.id.as_str()).filter(|id| begins(id)).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::new(Code::NotFound, format!("there is no job '{text}'"))
            .cause(format!("none of the newest {LOOKED_AT} jobs begins with it"))
            .hint("runyard jobs")
            .into()),
        many => Err(ambiguous(text, many).into()),
    }
}

fn ambiguous(text: &str, ids: &[&str]) -> Failure {
    let shown: Vec<String> = ids.iter().take(5).map(|id| text::line(id, 60)).collect();
    Failure::usage(format!("'{text}' is the beginning of {} jobs", ids.len())).cause(shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_ids_are_told_from_prefixes_and_names() {
        assert!(is_whole("3f2c9a1e-0000-4000-8000-123456789abc-u1"));
        assert!(is_whole("sync-3f2c9a1e-0000-4000-8000-123456789abc-u1"));
        for not in ["3f2c9a1e", "3f2c9a1e-0000", "whisper", "3f2c9a1e-0000-4000-8000-123456789abc"] {
            assert!(!is_whole(not), "{not}");
        }
        for prefix in ["3f2c", "sync-3f2c9a1e", "3f2c9a1e-00"] {
            assert!(is_prefix(prefix), "{prefix}");
        }
        for not in ["whisper", "t2i", "", "sync-"] {
            assert!(!is_prefix(not), "{not}");
        }
    }
}
