//! The engine's own cache of build steps, as BuildKit keeps it. It does not say whose build made what, so it can only
//! be measured and cut as a whole: what was unused for longest first.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::PruneBuildOptionsBuilder;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use runyard_domain::image::Fault;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Engine, error};

/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 << 20;

/// The engine goes through all of its disk for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The newest version of the API that answers in this shape.
const VERSION: (usize, usize) = (1, 44);

/// A build cache, the longest unused first. What an image holds anyway does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildCache {
    /// Its parts.
    pub parts: Vec<Part>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// On the disk.
    pub bytes: u64,
    /// When it was last used, in seconds since the epoch.
    pub used: i64,
    /// A build uses it now.
    pub busy: bool,
}

/// What has to go of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// So many bytes.
    pub bytes: u64,
    /// What was not used since then, in seconds since the epoch.
    pub since: i64,
}

impl BuildCache {
    /// What it takes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// What has to go so that at most so many bytes are left; `None` where it is within the bound.
    pub fn excess(&self, most: u64) -> Option<Excess> {
        let all = self.bytes();
        let mut gone = Excess { bytes: 0, since: 0 };
        for part in self.parts.iter().filter(|part| !part.busy) {
            if all - gone.bytes <= most {
                break;
            }
            gone = Excess { bytes: gone.bytes + part.bytes, since: part.used };
        }
        (gone.bytes > 0).then_some(gone)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "BuildCache", default)]
    parts: Option<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Record {
    size: i64,
    in_use: bool,
    shared: bool,
    created_at: Option<String>,
    last_used_at: Option<String>,
}

impl Engine {
    /// What the cache of builds holds.
    pub async fn build_cache(&self) -> Result<BuildCache, Fault> {
        let refused = |message: String| Fault::EngineRefused {
            operation: "measure its build cache".to_owned(),
            message,
        };
        let asked = timeout(PATIENCE, self.disk_usage()).await;
        let text = asked.map_err(|_| refused("it took too long".to_owned()))?.map_err(&refused)?;
        let answer: Answer = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
        let records = answer.parts.unwrap_or_default();
        let mut parts: Vec<Part> = records.iter().filter(|record| !record.shared).map(part).collect();
        parts.sort_by_key(|part| part.used);
        Ok(BuildCache { parts })
    }

    /// The engine's own account. Of its two shapes the client library reads the newer alone, and engines in the field
    /// answer in the older one.
    async fn disk_usage(&self) -> Result<Bytes, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let path = self.address().trim_start_matches("unix://");
        let stream = UnixStream::connect(path).await.map_err(|error| said(&error))?;
        let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = made.map_err(|error| said(&error))?;
        tokio::spawn(connection);
        let version = self.docker().client_version();
        let (major, minor) = (version.major_version, version.minor_version).min(VERSION);
        let request = Request::get(format!("/v{major}.{minor}/system/df?type=build-cache"))
            .header(header::HOST, "engine")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(|error| said(&error))?).await;
        let answer = answer.map_err(|error| said(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| said(&error))?;
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        Ok(body.to_bytes())
    }

    /// Removes what was not used for so many seconds.
    pub async fn trim_build_cache(&self, unused_s: u64) -> Result<(), Fault> {
        let filters = HashMap::from([("until".to_owned(), vec![format!("{unused_s}s")])]);
        let options = PruneBuildOptionsBuilder::default().all(true).filters(&filters).build();
        let pruned = self.docker().prune_build(Some(options)).await;
        pruned.map(|_| ()).map_err(|error| error::plain("cut its build cache", &error))
    }
}

fn part(record: &Record) -> Part {
    let used = record.last_used_at.as_deref().and_then(seconds);
    Part {
        bytes: u64::try_from(record.size).unwrap_or(0),
        used: used.or_else(|| record.created_at.as_deref().and_then(seconds)).unwrap_or(0),
        busy: record.in_use,
    }
}

/// Seconds since the epoch of `2026-11-21T20:01:02.345Z`, to the second; engines write in UTC.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years begin in March, so that a leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Some(days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:30:05.5Z"), Some(951_827_405));
        assert_eq!(seconds("2026-11-21T20:01:02.345678Z"), Some(1_795_291_262));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let part = |bytes, used, busy| Part { bytes, used, busy };
        let cache = BuildCache { parts: vec![part(10, 1, false), part(5, 2, true), part(20, 3, false)] };
        assert_eq!(cache.bytes(), 35);
        assert_eq!(cache.excess(35), None);
        assert_eq!(cache.excess(30), Some(Excess { bytes: 10, since: 1 }));
        assert_eq!(cache.excess(20), Some(Excess { bytes: 30, since: 3 }));
        assert_eq!(cache.excess(0), Some(Excess { bytes: 30, since: 3 }), "what a build uses stays");
    }
}
