//! The enumerated reasons: why a job waits, how it runs, and why it failed. Each has a stable code, which has a page in
//! `docs/errors/`, and one sentence for people. What failed in the same way has the same [`fingerprint`].

pub mod cuda;
mod fail;
pub mod fingerprint;
pub mod hint;
mod run;
pub mod said;
mod wait;

pub use fail::FailReason;
pub use run::{RunReason, SILENT_MS};
pub use wait::WaitReason;

pub(crate) fn unset(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("; its source reads {}, which the release does not set", names.join(", "))
}

pub(crate) fn attempt_word(n: u32) -> &'static str {
    if n == 1 { "attempt" } else { "attempts" }
}

/// A duration for people: `25 ms`, `0.4 s`, `12 s`, `3 min`, `2 h`.
pub fn seconds(ms: i64) -> String {
    match ms {
        1..100 => format!("{ms} ms"),
        ..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
