//! A job's life on a terminal: a line for each span, with a bar on one axis.

use std::fmt::Write as _;

use crate::output::{Paint, Tone, text, time};
use crate::views::{Span, Timeline};

/// How many columns the axis has.
const AXIS: usize = 32;

/// The lines.
pub fn render(timeline: &Timeline, paint: Paint) -> String {
    let spans: Vec<&Span> = timeline.spans.iter().filter(|span| span.name != "submitted").collect();
    if spans.is_empty() {
        return String::new();
    }
    let last = spans.iter().map(|span| span.end.unwrap_or(timeline.now)).max().unwrap_or(timeline.now);
    let (from, to) = (timeline.from, last.max(timeline.from + 1));
    let names: Vec<String> = spans.iter().map(|span| name(span, &spans)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let submitted = time::clock(from);
    let mut out = format!(
        "  {}   submitted at {submitted}, {} shown\n",
        paint.tone("when", Tone::Dim),
        time::span(Some(to - from))
    );
    for (span, name) in spans.iter().zip(&names) {
        let end = span.end.unwrap_or(to);
        let took = time::span(Some(end - span.start));
        let bar = paint.tone(&bar(span.start, end, from, to), tone(span));
        let _ = write!(out, "         {name:<width$}  {bar}  {took}");
        if span.end.is_none() {
            out.push('…');
        }
        if let Some(usual) = span.usual_ms {
            let _ = write!(out, " (usually {})", time::span(Some(usual)));
        }
        if let Some(note) = &span.note {
            let _ = write!(out, " {}", text::line(note, 120));
        }
        out.push('\n');
    }
    out
}

/// What a span is, with its attempt where there are several.
fn name(span: &Span, all: &[&Span]) -> String {
    let word = match span.name.as_str() {
        "worker.schedule" => "worker: scheduled",
        "worker.image" => "worker: image",
        "worker.launch" => "worker: made",
        "worker.load" => "worker: loads",
        "result.upload" => "result: stored",
        "webhook.wait" => "webhook waits",
        other => other,
    };
    let several = all.iter().any(|other| other.attempt.is_some_and(|attempt| attempt > 1));
    match span.attempt.filter(|_| several && matches!(span.name.as_str(), "run" | "queued")) {
        Some(attempt) => format!("{word} {attempt}"),
        None => text::line(word, 30),
    }
}

fn tone(span: &Span) -> Tone {
    match (span.state.as_str(), span.name.as_str()) {
        ("bad", _) => Tone::Bad,
        (_, "run") => Tone::Good,
        (_, "queued" | "draft" | "webhook.wait") => Tone::Dim,
        _ => Tone::Warn,
    }
}

/// A bar from `start` to `end` on an axis from `from` to `to`. What took no time is still seen.
fn bar(start: i64, end: i64, from: i64, to: i64) -> String {
    let place =
        |at: i64| ((at - from) as f64 / (to - from).max(1) as f64 * AXIS as f64).clamp(0.0, AXIS as f64);
    let first = (place(start).floor() as usize).min(AXIS - 1);
    let past = (place(end).ceil() as usize).clamp(first + 1, AXIS);
    format!("{}{}{}", "·".repeat(first), "█".repeat(past - first), "·".repeat(AXIS - past))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_on_their_axis() {
        for (start, end) in [(0, 100), (0, 0), (100, 100), (-5, 500), (50, 50), (99, 100)] {
            let bar = bar(start, end, 0, 100);
            assert_eq!(bar.chars().count(), AXIS, "{start} {end}");
            assert!(bar.contains('█'), "{start} {end}");
        }
        assert!(bar(0, 50, 0, 100).starts_with(&"█".repeat(16)));
    }

    #[test]
    fn what_goes_on_and_what_failed_say_so() {
        let span = |name: &str, start, end, attempt| Span {
            name: name.into(),
            start,
            end,
            state: if end.is_some() { "ok" } else { "open" }.into(),
            attempt,
            ..Span::default()
        };
        let lost = Span {
            state: "bad".into(),
            note: Some("worker_lost".into()),
            ..span("run", 1_000, Some(2_000), Some(1))
        };
        let load = Span { usual_ms: Some(1_200), ..span("worker.load", 2_500, None, Some(2)) };
        let timeline = Timeline {
            from: 0,
            to: None,
            now: 4_000,
            spans: vec![
                span("submitted", 0, Some(0), None),
                span("queued", 0, Some(1_000), Some(1)),
                lost,
                span("queued", 2_000, None, Some(2)),
                load,
            ],
        };
        let shown = render(&timeline, Paint::plain());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 5, "{shown}");
        assert!(lines[2].contains("run 1") && lines[2].ends_with("1.0s worker_lost"), "{shown}");
        assert!(lines[4].contains("worker: loads") && lines[4].ends_with("1.5s… (usually 1.2s)"), "{shown}");
        assert_eq!(render(&Timeline::default(), Paint::plain()), "");
    }
}
