//! One check: its name, how it went, what was found, what that means, what to do.

use serde_json::{Value, json};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    found: String,
    meaning: Option<String>,
    advice: Option<String>,
}

impl Check {
    /// All is well.
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), meaning: None, advice: None }
    }

    /// It works, and something should be done.
    pub(super) fn warn(name: &'static str, found: impl Into<String>, meaning: &str, advice: &str) -> Self {
        let told = |text: &str| Some(text.to_owned());
        Self {
            name,
            verdict: Verdict::Warn,
            found: found.into(),
            meaning: told(meaning),
            advice: told(advice),
        }
    }

    /// Something does not work.
    pub(super) fn fail(name: &'static str, found: impl Into<String>, meaning: &str, advice: &str) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, found, meaning, advice) }
    }

    /// As the API shows it.
    pub(super) fn view(&self) -> Value {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        json!({
            "check": self.name,
            "verdict": verdict,
            "found": self.found,
            "meaning": self.meaning,
            "advice": self.advice,
        })
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
