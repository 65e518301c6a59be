//! How things are said: states with shape and word, times, spans, sizes, ids. What makes HTML here escapes what it is
//! given.

use std::borrow::Borrow;

use jiff::Timestamp;

/// Text as HTML shows it.
pub(crate) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What a terminal would obey is shown and not done.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A kind of state: its colour and its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Idle,
    Ok,
    Busy,
    Starting,
    Warn,
    Bad,
    Outdated,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Starting => "starting",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Outdated => "outdated",
        }
    }
}

/// A state: shape, word and colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) tone: Tone,
    pub(crate) word: String,
}

impl State {
    pub(crate) fn new(tone: Tone, word: &str) -> Self {
        Self { tone, word: word.to_owned() }
    }

    /// As HTML.
    pub(crate) fn pill(&self) -> String {
        let class = self.tone.class();
        format!(
            "<span class=\"st {class}\"><svg class=\"sh\" aria-hidden=\"true\"><use href=\"#s-{class}\"/></svg>{}</span>",
            esc(&self.word)
        )
    }
}

/// Of an endpoint's state.
pub(crate) fn endpoint_state(word: &str) -> State {
    let (tone, shown) = match word {
        "ready" => (Tone::Ok, "Ready"),
        "asleep" => (Tone::Idle, "Asleep"),
        "starting" => (Tone::Starting, "Starting"),
        "busy" => (Tone::Busy, "Busy"),
        "failing" => (Tone::Bad, "Failing"),
        "stopped" => (Tone::Idle, "Stopped"),
        "no_gpu" => (Tone::Warn, "No GPU"),
        "new" => (Tone::Idle, "New"),
        other => (Tone::Idle, other),
    };
    State::new(tone, shown)
}

/// Of a job's status.
pub(crate) fn job_state(status: &str) -> State {
    let (tone, shown) = match status {
        "IN_QUEUE" => (Tone::Idle, "Queued"),
        "IN_PROGRESS" => (Tone::Busy, "Running"),
        "COMPLETED" => (Tone::Ok, "Completed"),
        "FAILED" => (Tone::Bad, "Failed"),
        "TIMED_OUT" => (Tone::Bad, "Timed out"),
        "CANCELLED" => (Tone::Idle, "Cancelled"),
        other => (Tone::Idle, other),
    };
    State::new(tone, shown)
}

/// A span of time: `850 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`, `4 d`.
pub(crate) fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", s, ms % 1000 / 100),
        10..=59 => format!("{s} s"),
        60..=3599 if s % 60 == 0 => format!("{} min", s / 60),
        60..=3599 => format!("{} min {} s", s / 60, s % 60),
        3600..=86_399 if s % 3600 < 60 => format!("{} h", s / 3600),
        3600..=86_399 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d", s / 86_400),
    }
}

/// How long ago, in one unit: scripts of the page say it the same way.
fn ago(at: i64, now: i64) -> String {
    let s = (now - at) / 1000;
    let (sign, s) = if s < 0 { (true, -s) } else { (false, s) };
    let text = match s {
        0..=59 => format!("{s} s"),
        60..=3599 => format!("{} min", s / 60),
        3600..=86_399 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    };
    if sign { format!("in {text}") } else { format!("{text} ago") }
}

/// A moment of the calendar, in UTC.
pub(crate) fn moment(at: impl Borrow<i64>) -> String {
    let at = *at.borrow();
    Timestamp::from_millisecond(at)
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A moment as RFC 3339 has it.
pub(crate) fn iso(at: i64) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| String::new(), |at| at.to_string())
}

/// The time of a log line: `14:03:59.120`.
pub(crate) fn clock(at: i64) -> String {
    Timestamp::from_millisecond(at)
        .map_or_else(|_| at.to_string(), |at| at.strftime("%H:%M:%S%.3f").to_string())
}

/// A moment as HTML: how long ago, and exactly when one looks closer.
pub(crate) fn time(at: impl Borrow<i64>, now: impl Borrow<i64>) -> String {
    let (at, now) = (*at.borrow(), *now.borrow());
    let iso = iso(at);
    format!("<time datetime=\"{iso}\" data-at=\"{at}\" title=\"{}\">{}</time>", moment(at), ago(at, now))
}

/// The same, or a dash.
pub(crate) fn time_or(at: impl Borrow<Option<i64>>, now: impl Borrow<i64>) -> String {
    at.borrow().map_or_else(|| "<span class=\"none\">–</span>".to_owned(), |at| time(at, now.borrow()))
}

/// A size: `120 B`, `4.2 KB`, `1.3 MB`.
pub(crate) fn bytes(n: impl Borrow<u64>) -> String {
    let n = *n.borrow();
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// An id without its middle, where it is long.
pub(crate) fn short(id: &str) -> String {
    if id.len() <= 14 || !id.is_ascii() {
        return id.to_owned();
    }
    format!("{}…{}", &id[..8], &id[id.len() - 4..])
}

/// `1 job`, `2 jobs`.
pub(crate) fn count(n: impl Borrow<u64>, what: &str) -> String {
    let n = n.borrow();
    format!("{n} {what}{}", if *n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_unit_that_fits() {
        for (ms, said) in [
            (-5, "0 ms"),
            (850, "850 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (3_600_000, "1 h"),
            (7_500_000, "2 h 5 min"),
            (400_000_000, "4 d"),
        ] {
            assert_eq!(span(ms), said);
        }
        assert_eq!(ago(1_000, 62_000), "1 min ago");
        assert_eq!(ago(5_000, 0), "in 5 s");
    }

    #[test]
    fn what_is_hostile_is_shown_and_not_done() {
        assert_eq!(
            esc("<b a='\"'>&\u{1b}[31m\u{0}"),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}[31m\u{fffd}"
        );
        assert!(State::new(Tone::Bad, "<i>").pill().contains("&lt;i&gt;"));
    }

    #[test]
    fn long_ids_lose_their_middle() {
        assert_eq!(short("0b5e9c1a-77d1-4b11-9a55-1234567890ab-u1"), "0b5e9c1a…b-u1");
        assert_eq!(short("w-7k2"), "w-7k2");
    }
}
