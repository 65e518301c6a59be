//! How soon a forge's API may be asked again, as its answers say: GitHub's and Gitea's `x-ratelimit-…`, GitLab's
//! `ratelimit-…`, and `retry-after`. The calls that are left are spread over the time until there are new ones, and
//! half of them are left to others.

use http::HeaderMap;
use runyard_domain::Timestamp;

/// The pause after a refusal that names none, and the longest, in milliseconds.
const USUAL_MS: i64 = 60_000;
const LONGEST_MS: i64 = 3_600_000;

/// The first moment of 2001, in seconds: what is less counts from now.
const EPOCH_S: i64 = 1_000_000_000;

/// What an answer says about the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// There were too many calls.
    pub(super) limited: bool,
    /// The next one after so many milliseconds.
    pub(super) wait_ms: i64,
}

impl Pace {
    /// Reads an answer.
    pub(super) fn of(status: u16, headers: &HeaderMap, now: Timestamp) -> Self {
        let number = |names: &[&str]| {
            let value = names.iter().find_map(|name| headers.get(*name))?;
            value.to_str().ok()?.trim().parse::<i64>().ok().filter(|number| *number >= 0)
        };
        let remaining = number(&["x-ratelimit-remaining", "ratelimit-remaining"]);
        let reset = number(&["x-ratelimit-reset", "ratelimit-reset"]);
        let reset_ms = reset.map(|reset| match reset {
            at @ EPOCH_S.. => Timestamp(at.saturating_mul(1_000)).since(now),
            seconds => seconds.saturating_mul(1_000),
        });
        let retry = number(&["retry-after"]).map(|s| s.saturating_mul(1_000));
        let limited = status == 429 || status == 403 && (retry.is_some() || remaining == Some(0));
        let wait_ms = if limited {
            let left = reset_ms.filter(|_| remaining == Some(0));
            retry.or(left).unwrap_or(USUAL_MS).clamp(1_000, LONGEST_MS)
        } else {
            let spread = |(left, ms): (i64, i64)| ms.saturating_mul(2) / left.max(1);
            remaining.zip(reset_ms).map_or(0, spread).clamp(0, LONGEST_MS)
        };
        Self { limited, wait_ms }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn pace(status: u16, pairs: &[(&'static str, &'static str)]) -> (bool, i64) {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let Pace { limited, wait_ms } = Pace::of(status, &pairs.iter().map(pair).collect(), NOW);
        (limited, wait_ms)
    }

    #[test]
    fn calls_that_are_left_are_spread() {
        assert_eq!(pace(200, &[]), (false, 0));
        let whole = [("x-ratelimit-remaining", "60"), ("x-ratelimit-reset", "1700003600")];
        assert_eq!(pace(200, &whole), (false, 120_000));
        let last = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")];
        assert_eq!(pace(304, &last), (false, 120_000));
        let many = [("ratelimit-remaining", "1999"), ("ratelimit-reset", "1700000060")];
        assert_eq!(pace(200, &many), (false, 60));
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1600000000")];
        assert_eq!(pace(200, &past), (false, 0));
    }

    #[test]
    fn refusals_say_how_long_they_last() {
        assert_eq!(pace(429, &[("retry-after", "7")]), (true, 7_000));
        assert_eq!(pace(403, &[("retry-after", "99999")]), (true, LONGEST_MS));
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000090")];
        assert_eq!(pace(403, &spent), (true, 90_000));
        assert_eq!(pace(429, &[]), (true, USUAL_MS));
        // The second limit of GitHub says nothing of the first.
        let second = [("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1700003600")];
        assert_eq!(pace(429, &second), (true, USUAL_MS));
        // No permission is no limit.
        assert!(!pace(403, &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1700003600")]).0);
    }
}
