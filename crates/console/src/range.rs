//! The range of time that charts show: the last so long, up to now, or from one moment to another. It stands in the
//! address.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::place::Query;

/// A length that is offered: its word, milliseconds, the seconds of a step, and what the time before it is called.
struct Offer {
    word: &'static str,
    name: &'static str,
    ms: i64,
    step_s: i64,
    before: &'static str,
}

const OFFERS: [Offer; 6] = [
    offer("15m", "15 min", 900_000, 10, "the 15 minutes before"),
    offer("1h", "1 h", 3_600_000, 30, "the hour before"),
    offer("6h", "6 h", 21_600_000, 180, "the six hours before"),
    offer("24h", "24 h", 86_400_000, 600, "the day before"),
    offer("7d", "7 d", 604_800_000, 7_200, "the week before"),
    offer("30d", "30 d", 2_592_000_000, 21_600, "the 30 days before"),
];

const fn offer(word: &'static str, name: &'static str, ms: i64, step_s: i64, before: &'static str) -> Offer {
    Offer { word, name, ms, step_s, before }
}

/// A range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its word in the address; empty where it goes from one moment to another.
    pub(crate) word: &'static str,
    /// In milliseconds since the epoch.
    pub(crate) since: i64,
    pub(crate) until: i64,
    /// The seconds of a step, where they are chosen here.
    step_s: Option<i64>,
    /// What the time of the same length before it is called.
    pub(crate) before: &'static str,
}

impl Range {
    /// The range that an address asks for; `usual` where it asks for none.
    pub(crate) fn of(query: &Query, usual: &str, now: i64) -> Self {
        let (from, to) = (query.get("from").and_then(moment), query.get("to").and_then(moment));
        if from.is_some() || to.is_some() {
            let until = to.unwrap_or(now).min(now);
            let since = from.unwrap_or(until - 3_600_000).min(until - 1_000);
            return Self { word: "", since, until, step_s: None, before: "the same time before" };
        }
        let asked = query.get("range").unwrap_or(usual);
        let find = |word: &str| OFFERS.iter().find(|offer| offer.word == word);
        let offer = find(asked).or_else(|| find(usual)).unwrap_or(&OFFERS[1]);
        let step_s = Some(offer.step_s);
        // The store keeps thirty days: a step that begins before them is not to be had.
        let slack = if offer.ms >= 2_592_000_000 { offer.step_s * 1_000 } else { 0 };
        Self { word: offer.word, since: now - offer.ms + slack, until: now, step_s, before: offer.before }
    }

    /// Whether it ends now, and so goes on.
    pub(crate) fn is_live(&self) -> bool {
        !self.word.is_empty()
    }

    /// The ranges that are offered: word and name.
    pub(crate) fn offers() -> [(&'static str, &'static str); 6] {
        OFFERS.map(|offer| (offer.word, offer.name))
    }

    /// As the API takes it.
    pub(crate) fn query(&self) -> String {
        let step = self.step_s.map_or_else(String::new, |step| format!("&step={step}"));
        format!("since={}&until={}{step}", self.since, self.until)
    }

    /// The range of the same length before it.
    pub(crate) fn earlier(&self) -> Self {
        Self { since: self.since - (self.until - self.since), until: self.since, ..self.clone() }
    }

    /// Its beginning as a field of a form has it, in UTC.
    pub(crate) fn begin_field(&self) -> String {
        field(self.since - self.since.rem_euclid(60_000))
    }

    /// Its end.
    pub(crate) fn end_field(&self) -> String {
        field(self.until - self.until.rem_euclid(60_000))
    }

    /// As a flag of the command line, where there is one.
    pub(crate) fn flag(&self) -> String {
        if self.word.is_empty() { String::new() } else { format!(" --since {}", self.word) }
    }
}

/// A moment as a field for dates has it, in UTC, as exact as it has to be.
pub(crate) fn field(at: i64) -> String {
    let form = match at {
        at if at % 60_000 == 0 => "%Y-%m-%dT%H:%M",
        at if at % 1_000 == 0 => "%Y-%m-%dT%H:%M:%S",
        _ => "%Y-%m-%dT%H:%M:%S.%3f",
    };
    let at = Timestamp::from_millisecond(at).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime(form).to_string()
}

/// A moment of an address: milliseconds, RFC 3339, or what a field for dates sends, which is UTC.
pub(crate) fn moment(text: &str) -> Option<i64> {
    if let Ok(ms) = text.parse::<i64>() {
        return (0..=253_402_300_799_999).contains(&ms).then_some(ms);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let civil = text.parse::<DateTime>().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn of(text: &str) -> Range {
        Range::of(&Query::parse(text), "1h", NOW)
    }

    #[test]
    fn a_range_is_what_the_address_asks_for() {
        assert_eq!((of("").word, of("range=6h").since), ("1h", NOW - 21_600_000));
        assert_eq!(of("range=nonsense").word, "1h");
        let custom = of("from=2023-11-14T10:00&to=2023-11-14T11:30");
        assert_eq!((custom.until - custom.since, custom.is_live()), (5_400_000, false));
        assert_eq!(custom.begin_field(), "2023-11-14T10:00");
        assert_eq!(of("from=1699999000000").until, NOW);
    }

    #[test]
    fn what_is_odd_is_no_moment_and_no_range_is_empty() {
        for odd in ["", "-5", "tomorrow", "9e99", "99999999999999999999"] {
            assert_eq!(moment(odd), None, "{odd}");
        }
        let odd = of("from=2033-01-01T00:00&to=2001-01-01T00:00");
        assert!(odd.since < odd.until && odd.until <= NOW);
        let earlier = of("range=1h").earlier();
        assert_eq!((earlier.until, earlier.until - earlier.since), (NOW - 3_600_000, 3_600_000));
    }
}
