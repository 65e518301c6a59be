//! What failures have in common. Two have the same fingerprint where their code, the exception's type, its message
//! without what differs from job to job, and the innermost frame are the same. Fingerprints are kept: what goes into
//! one does not change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FailReason;
use super::fail::telling_line;
use crate::{Exit, Job, JobId, Outcome, Phase, Timestamp};

/// The longest folded message, in characters.
const LONGEST: usize = 200;

/// The longest sentence that is kept of a group, in characters.
const SENTENCE: usize = 500;

/// How many groups an endpoint has at most; of more, those that were seen last.
pub const GROUPS: usize = 100;

/// How many releases a group counts for; of more, the newest.
const RELEASES: usize = 20;

/// Failures of an endpoint with one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureGroup {
    /// Sixteen hex digits.
    pub fingerprint: String,
    /// The code of the reason.
    pub code: String,
    /// What they have in common, in one line.
    pub title: String,
    /// The sentence of the newest.
    pub sentence: String,
    /// How many there were.
    pub count: u64,
    /// When the first was.
    pub first_at: Timestamp,
    /// When the newest was.
    pub last_at: Timestamp,
    /// The release that the first ran on; `None` where it never ran.
    pub first_release: Option<u32>,
    /// How many there were by release, of the newest releases.
    pub releases: BTreeMap<u32, u64>,
    /// The newest of the jobs.
    pub job: JobId,
}

impl FailureGroup {
    /// The fingerprint of what became of `job`, where a step from `before` to it is a failure that counts: an end by an
    /// error or by a limit, not of a test.
    pub fn fingerprint_of(before: Option<&Job>, job: &Job) -> Option<String> {
        if job.pinned.is_some() || before.is_some_and(Job::is_done) {
            return None;
        }
        reason_of(job).map(FailReason::fingerprint)
    }

    /// The group with `job` in it, which failed with its fingerprint.
    pub fn with(group: Option<Self>, job: &Job) -> Option<Self> {
        let reason = reason_of(job)?;
        let Phase::Done { at, release, .. } = &job.phase else { return None };
        let mut group = group.unwrap_or_else(|| Self {
            fingerprint: reason.fingerprint(),
            code: reason.code().to_owned(),
            title: reason.title(),
            sentence: String::new(),
            count: 0,
            first_at: *at,
            last_at: *at,
            first_release: *release,
            releases: BTreeMap::new(),
            job: job.id.clone(),
        });
        group.sentence = reason.sentence().chars().take(SENTENCE).collect();
        group.count += 1;
        group.last_at = group.last_at.max(*at);
        group.job = job.id.clone();
        if let Some(release) = release {
            *group.releases.entry(*release).or_default() += 1;
            while group.releases.len() > RELEASES {
                group.releases.pop_first();
            }
        }
        Some(group)
    }
}

/// Why a job failed that did.
fn reason_of(job: &Job) -> Option<&FailReason> {
    match &job.phase {
        Phase::Done { outcome: Outcome::Failed { reason, .. } | Outcome::TimedOut { reason }, .. } => {
            Some(reason)
        }
        _ => None,
    }
}

impl FailReason {
    /// Sixteen hex digits, the same for failures of one kind.
    pub fn fingerprint(&self) -> String {
        let frame = match self {
            Self::HandlerException { file: Some(file), line: Some(line), .. } => {
                format!("{}:{line}", fold(file))
            }
            _ => String::new(),
        };
        let parts = [self.code(), &self.common(), &frame];
        // FNV-1a, with a byte between parts that none of them has.
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// What failures of this kind have in common, in one line.
    pub fn title(&self) -> String {
        self.common().trim_end_matches(": ").to_owned()
    }

    /// The same as it goes into the fingerprint.
    fn common(&self) -> String {
        if self.code() == "cuda_out_of_memory" {
            return "CUDA out of memory".to_owned();
        }
        match self {
            Self::HandlerException { kind, message, .. } => format!("{kind}: {}", fold(message)),
            Self::HandlerError { message } => format!("the handler returned an error: {}", fold(message)),
            Self::WorkerLost { exit, .. } => {
                let how = exit.as_ref().map_or("was lost with its agent".to_owned(), Exit::sentence);
                let said = exit.as_ref().and_then(|exit| telling_line(&exit.last_lines));
                let said = said.map_or(String::new(), |line| format!("; it last said: {}", fold(line)));
                format!("the worker {}{said}", fold(&how))
            }
            Self::ExecutionTimeout { .. } => "the handler ran longer than its execution timeout".to_owned(),
            Self::TtlExpired { .. } => "the job's time to live ended".to_owned(),
            Self::Abandoned { .. } => "the worker never answered the job".to_owned(),
            other => fold(&other.sentence()),
        }
    }
}

/// The first line of a text, with a `#` for what differs from time to time: numbers, ids, addresses, temporary names.
pub fn fold(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars().take(LONGEST * 4) {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            word.push(c);
            continue;
        }
        fold_word(&mut out, &word);
        word.clear();
        out.push(if c.is_control() { ' ' } else { c });
    }
    fold_word(&mut out, &word);
    // Numbers with a point and addresses with a port are one thing.
    for joined in ["#.#", "#-#", "#:#"] {
        while out.contains(joined) {
            out = out.replace(joined, "#");
        }
    }
    out.chars().take(LONGEST).collect()
}

fn fold_word(out: &mut String, word: &str) {
    let parts: Vec<&str> = word.split('-').collect();
    let is_hex = |part: &&str| part.len() >= 4 && part.chars().all(|c| c.is_ascii_hexdigit());
    // A UUID, whatever follows it in an id.
    if parts.len() >= 5 && parts[..5].iter().all(is_hex) {
        out.push('#');
        return;
    }
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            out.push('-');
        }
        fold_part(out, part);
    }
}

fn fold_part(out: &mut String, word: &str) {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let is_hex = word.len() >= 6 && word.chars().all(|c| c.is_ascii_hexdigit()) && digits > 0;
    let kinds: Vec<bool> = word.chars().map(|c| c.is_ascii_digit()).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let is_random = word.len() >= 8 && changes >= 3;
    // What Python's `tempfile` makes up.
    let is_temporary = word.len() == 11 && word.starts_with("tmp");
    if is_hex || is_random || is_temporary || word.starts_with("0x") {
        out.push('#');
        return;
    }
    let mut in_number = false;
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !in_number {
            out.push('#');
        }
        in_number = c.is_ascii_digit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(kind: &str, message: &str, line: u32) -> FailReason {
        FailReason::HandlerException {
            kind: kind.into(),
            message: message.into(),
            file: Some("handler.py".into()),
            line: Some(line),
        }
    }

    #[test]
    fn what_differs_from_job_to_job_is_folded() {
        for (text, folded) in [
            ("list index 7 out of range 12", "list index # out of range #"),
            ("took 1.25 s, 3,400 bytes", "took # s, #,# bytes"),
            ("no file /tmp/tmpab_cdxyz/part-17.bin", "no file /tmp/#/part-#.bin"),
            ("object at 0x7f3a11c0 is gone", "object at # is gone"),
            ("job 3f2c9a1e-0b5c-4d1f-9a41-1f2e3d4c5b6a-e1 failed", "job # failed"),
            ("connect to 10.0.0.12:8080: refused", "connect to #: refused"),
            ("KeyError: 'prompt'", "KeyError: 'prompt'"),
            ("float16 is not bfloat16", "float# is not bfloat#"),
            ("\n\nfirst\nsecond", "first"),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
        assert_eq!(fold(&"x ".repeat(5_000)).chars().count(), LONGEST);
    }

    #[test]
    fn a_fingerprint_is_stable_and_tells_kinds_apart() {
        let first = raised("IndexError", "index 7", 12);
        assert_eq!(first.fingerprint(), raised("IndexError", "index 99", 12).fingerprint());
        assert_eq!(first.fingerprint(), "8752e3fa97ff5d2b", "it is kept: it must not change");
        for other in [
            raised("ValueError", "index 7", 12),
            raised("IndexError", "index 7", 13),
            raised("IndexError", "place 7", 12),
            FailReason::HandlerError { message: "IndexError: index 7".into() },
            FailReason::ExecutionTimeout { limit_ms: 5 },
        ] {
            assert_ne!(first.fingerprint(), other.fingerprint(), "{other:?}");
        }
        let timeout = |limit_ms| FailReason::ExecutionTimeout { limit_ms }.fingerprint();
        assert_eq!(timeout(5), timeout(6));
        let cuda = |tried: &str| {
            raised("OutOfMemoryError", &format!("CUDA out of memory. Tried to allocate {tried}"), 3)
        };
        assert_eq!(cuda("2.50 GiB.").fingerprint(), cuda("20.00 MiB (GPU 0)").fingerprint());
    }
}
