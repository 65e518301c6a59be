//! Durations as users type them, and points in time as users read them.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The wall clock, in milliseconds since the Unix epoch. The only place of the command line that reads it.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// `500ms`, `30s`, `10m`, `2h`, `7d`, also `1.5h`, as milliseconds. A plain number counts `plain` milliseconds
/// each (1000 where a flag means seconds).
pub fn parse_ms(text: &str, plain: i64) -> Result<i64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim() {
        "" => plain,
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("'{text}' is no duration: write 500ms, 30s, 10m, 2h or 7d")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("'{text}' is no duration: write 500ms, 30s, 10m, 2h or 7d"))?;
    let ms = number * unit_ms as f64;
    if ms > 1e15 {
        return Err(format!("'{text}' is too long"));
    }
    Ok(ms.round() as i64)
}

/// A duration flag; a plain number is in seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(parse_ms(text, 1_000)? as u64))
}

/// A point in time that is past, in milliseconds: so long ago, a time of this day, a date, or both; in the local zone
/// where none is said.
pub fn moment(text: &str) -> Result<i64, String> {
    moment_before(text, &zoned(now_ms()).ok_or("the clock is wrong")?)
}

fn moment_before(text: &str, now: &jiff::Zoned) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    if let Ok(ms) = parse_ms(text, 1_000) {
        return Ok(now.timestamp().as_millisecond() - ms);
    }
    let day = text.parse::<Date>().map(|date| date.to_datetime(Time::midnight()));
    let today = |time: Time| {
        let at = now.date().to_datetime(time);
        // 23:50 shortly after midnight is yesterday's.
        if at > now.datetime() { at.yesterday() } else { Ok(at) }
    };
    let time = || text.parse::<Time>().and_then(today);
    // `T10:30`, as a part of a date, is what parses as a time of day, too.
    let local = if text.contains(['T', ' ']) {
        text.replace(' ', "T").parse::<DateTime>()
    } else {
        day.or_else(|_| time())
    };
    let zoned = local.and_then(|local| local.to_zoned(now.time_zone().clone()));
    zoned.map(|at| at.timestamp().as_millisecond()).map_err(|_| {
        format!(
            "'{text}' is no time: write 30m or 2h for so long ago, 10:30, 2026-01-31, or 2026-01-31T10:30"
        )
    })
}

/// A duration flag in milliseconds; a plain number is in milliseconds, as RunPod's fields are.
pub fn milliseconds(text: &str) -> Result<i64, String> {
    parse_ms(text, 1)
}

/// A duration flag in whole seconds; a plain number is in seconds.
pub fn whole_seconds(text: &str) -> Result<u32, String> {
    u32::try_from(parse_ms(text, 1_000)?.div_euclid(1_000)).map_err(|_| format!("'{text}' is too long"))
}

/// A length for a column: `–`, `12ms`, `0.4s`, `42s`, `3m`, `2h`, `5d`.
pub fn span(ms: Option<i64>) -> String {
    let Some(ms) = ms else { return "–".to_owned() };
    match ms.max(0) {
        ms @ ..100 => format!("{ms}ms"),
        ms @ 100..10_000 => format!("{:.1}s", ms as f64 / 1_000.0),
        ms => coarse(ms),
    }
}

/// A length as one would type it, nothing rounded: `90s`, `10m`, `1d`, `1500ms`.
pub fn exact(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(size, _)| ms != 0 && ms % size == 0) {
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => format!("{ms}ms"),
    }
}

/// How long ago `at` was: `5s`, `2m`, `3h`, `4d`.
pub fn age(at: i64, now: i64) -> String {
    coarse((now - at).max(0))
}

fn coarse(ms: i64) -> String {
    match ms {
        ..60_000 => format!("{}s", ms / 1_000),
        60_000..3_600_000 => format!("{}m", ms / 60_000),
        3_600_000..86_400_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

/// The time of day in the local zone, `10:02:14.118`.
pub fn clock(at: i64) -> String {
    zoned(at).map_or_else(|| at.to_string(), |z| z.strftime("%H:%M:%S%.3f").to_string())
}

/// The date and time in the local zone, `2026-07-01 10:02:14`.
pub fn date(at: i64) -> String {
    zoned(at).map_or_else(|| at.to_string(), |z| z.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// RFC 3339 in UTC with milliseconds, as machines and other logs write it.
pub fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |t| format!("{t:.3}"))
}

fn zoned(at: i64) -> Option<jiff::Zoned> {
    Some(jiff::Timestamp::from_millisecond(at).ok()?.to_zoned(TimeZone::system()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse() {
        let cases = [
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1.5h", 5_400_000),
            ("30", 30_000),
            ("0", 0),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse_ms(text, 1_000), Ok(wanted), "{text}");
        }
        for bad in ["", "abc", "-5s", "5 weeks", "1e9", "s", "9999999999999d"] {
            assert!(parse_ms(bad, 1_000).is_err(), "{bad}");
        }
        assert_eq!(milliseconds("600000"), Ok(600_000));
    }

    #[test]
    fn points_in_time_are_read_in_many_forms() {
        let now: jiff::Timestamp = "2026-03-10T10:00:00Z".parse().expect("a time");
        let now = now.to_zoned(TimeZone::UTC);
        let read = |text: &str| moment_before(text, &now).map(rfc3339);
        for (text, wanted) in [
            ("30m", "2026-03-10T09:30:00.000Z"),
            ("09:15", "2026-03-10T09:15:00.000Z"),
            ("23:50", "2026-03-09T23:50:00.000Z"),
            ("2026-03-01", "2026-03-01T00:00:00.000Z"),
            ("2026-03-01T12:00", "2026-03-01T12:00:00.000Z"),
            ("2026-03-01 12:00:30", "2026-03-01T12:00:30.000Z"),
            ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000Z"),
        ] {
            assert_eq!(read(text), Ok(wanted.to_owned()), "{text}");
        }
        for bad in ["", "soon", "25:00", "2026-13-01", "-5m", "T"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_and_spans_are_short() {
        assert_eq!(age(0, 150_000), "2m");
        assert_eq!(age(0, 3 * 3_600_000), "3h");
        assert_eq!(age(10_000, 0), "0s");
        assert_eq!(span(Some(42)), "42ms");
        assert_eq!(span(Some(400)), "0.4s");
        assert_eq!(span(Some(42_078)), "42s");
        assert_eq!(span(None), "–");
        for text in ["90s", "10m", "1d", "1500ms", "0ms", "36h"] {
            assert_eq!(exact(parse_ms(text, 1).expect("a duration")), text);
        }
    }

    #[test]
    fn times_for_machines_are_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }
}
