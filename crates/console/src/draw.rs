//! Small drawings, made here: bars of counts, and the waterfall of a job. Both have their numbers in words beside them.
//! They have no style of their own: the style sheet gives colours by class.

use std::fmt::Write as _;

use crate::show::{Tone, esc};

/// Bars of counts over time, oldest first; `alt` says what they show.
pub(crate) fn bars(counts: &[u32], class: &str, alt: &str) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let n = counts.len().max(1);
    let mut out = format!(
        "<svg class=\"bars {}\" viewBox=\"0 0 {} 28\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        esc(class),
        n * 4,
        esc(alt)
    );
    for (at, count) in counts.iter().enumerate() {
        // What is there is seen, however little it is.
        let height = if *count == 0 { 1.0 } else { (f64::from(*count) / f64::from(most) * 26.0).max(3.0) };
        let class = if *count == 0 { " class=\"nil\"" } else { "" };
        let _ = write!(
            out,
            "<rect{class} x=\"{}\" y=\"{:.1}\" width=\"3\" height=\"{height:.1}\"/>",
            at * 4,
            28.0 - height
        );
    }
    out.push_str("</svg>");
    out
}

/// A share of what there is, as a small bar; its number stands beside it.
pub(crate) fn meter(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let class = if share > 0.9 { " high" } else { "" };
    format!(
        "<svg class=\"meter{class}\" aria-hidden=\"true\"><rect width=\"{:.1}%\" height=\"100%\"/></svg>",
        share * 100.0
    )
}

/// A part of a job's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) tone: Tone,
    /// It goes on.
    pub(crate) open: bool,
    /// What came of it, or how long it usually takes.
    pub(crate) remark: String,
}

impl Phase {
    /// Its bar, on an axis from `from` to `to`.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
    pub(crate) fn bar(&self, from: &i64, to: &i64) -> String {
        let whole = (to - from).max(1) as f64;
        let x = ((self.from - from) as f64 / whole * 100.0).clamp(0.0, 100.0);
        let width = ((self.to - self.from) as f64 / whole * 100.0).clamp(0.4, 100.0);
        let x = x.min(100.0 - width);
        let class = self.tone.class();
        let open = if self.open { " open" } else { "" };
        format!(
            "<svg class=\"fall {class}{open}\" aria-hidden=\"true\"><rect x=\"{x:.2}%\" y=\"3\" width=\"{width:.2}%\" height=\"10\" rx=\"2\"/></svg>"
        )
    }

    pub(crate) fn took(&self) -> String {
        crate::show::span(self.to - self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_counts() {
        let svg = bars(&[0, 1, 1000], "", "jobs <b>");
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(
            svg.contains("height=\"26.0\"")
                && svg.contains("height=\"3.0\"")
                && svg.contains("height=\"1.0\"")
        );
        assert!(svg.contains("aria-label=\"jobs &lt;b&gt;\""));
        assert!(bars(&[], "", "none").ends_with("</svg>"));
    }

    #[test]
    fn a_phase_stays_on_its_axis() {
        let phase = |from, to| Phase {
            name: String::new(),
            from,
            to,
            tone: Tone::Busy,
            open: false,
            remark: String::new(),
        };
        assert!(phase(50, 100).bar(&0, &100).contains("x=\"50.00%\" y=\"3\" width=\"50.00%\""));
        assert!(
            phase(100, 100).bar(&0, &100).contains("x=\"99.60%\""),
            "one that took no time is still seen"
        );
        assert!(phase(-10, 500).bar(&0, &100).contains("width=\"100.00%\""));
    }
}
