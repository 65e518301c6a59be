//! How many lines of each level there are over time, drawn above them. A part leads to the lines of that time.

use std::fmt::Write as _;

use serde::Deserialize;

use super::Filter;
use crate::place::Query;
use crate::session::Visit;
use crate::show;

/// How many parts it has.
const STEPS: usize = 60;

/// The shortest time that is drawn where none is asked for, in milliseconds.
const LEAST_MS: i64 = 900_000;

/// Its height, in the units of the drawing.
const HIGH: f64 = 48.0;

/// Levels from the foot to the top, with their classes.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Histogram {
    since: i64,
    until: i64,
    step_ms: i64,
    at: Vec<i64>,
    counts: Counts,
    lines: u64,
    counted_since: i64,
    partial: bool,
    /// The address that parts lead to.
    #[serde(skip)]
    query: Query,
}

#[derive(Debug, Deserialize)]
struct Counts {
    debug: Vec<u64>,
    info: Vec<u64>,
    warn: Vec<u64>,
    error: Vec<u64>,
}

impl Histogram {
    /// Asks for it; none where it cannot be had.
    pub(super) async fn load(
        visit: &Visit,
        name: &str,
        filter: &Filter,
        query: &Query,
        oldest: Option<i64>,
        now: i64,
    ) -> Option<Self> {
        let until = filter.until.unwrap_or(now);
        // Where no time is asked for, it is that of the lines below, and a while at least.
        let since = filter.since.unwrap_or_else(|| oldest.unwrap_or(until).min(until - LEAST_MS));
        let timed = Filter { since: Some(since), until: Some(until), ..filter.clone() };
        let path = format!("/api/v1/logs/counts?{}&steps={STEPS}", timed.api(name));
        let found: Self = visit.get(&path).await.ok()?;
        Some(Self { query: query.clone(), ..found })
    }

    fn of(&self, step: usize) -> [u64; 4] {
        let counts = &self.counts;
        [&counts.debug, &counts.info, &counts.warn, &counts.error]
            .map(|level| level.get(step).copied().unwrap_or(0))
    }

    fn sum(&self, level: usize) -> u64 {
        (0..self.at.len()).map(|step| self.of(step)[level]).sum()
    }

    /// What there is to see, in words.
    pub(super) fn says(&self) -> String {
        let (warn, error) = (self.sum(2), self.sum(3));
        let length = show::span(self.until - self.since);
        let part = if self.partial {
            format!(
                " Counted since {}: before that are more lines than are counted at once.",
                show::moment(self.counted_since)
            )
        } else {
            String::new()
        };
        let [lines, errors, warnings] =
            [(self.lines, "line"), (error, "error"), (warn, "warning")].map(|(n, word)| show::count(n, word));
        format!("{lines} in {length}: {errors}, {warnings}.{part}")
    }

    /// As a drawing.
    pub(super) fn svg(&self) -> String {
        let sums = (0..self.at.len()).map(|step| self.of(step).iter().sum::<u64>());
        let most = sums.max().unwrap_or(0).max(1) as f64;
        let mut out = format!(
            "<svg class=\"hist\" viewBox=\"0 0 {} {HIGH}\" preserveAspectRatio=\"none\" role=\"group\" aria-label=\"Lines over time\">",
            self.at.len().max(1) * 10
        );
        for (step, at) in self.at.iter().enumerate() {
            let counts = self.of(step);
            let sum: u64 = counts.iter().sum();
            if sum == 0 {
                continue;
            }
            let href = self.part(*at);
            let _ = write!(
                out,
                "<a href=\"{href}\" tabindex=\"-1\" aria-label=\"{sum} lines from {}\"><title>{sum} lines from {}</title>",
                show::moment(*at),
                show::moment(*at)
            );
            let mut foot = HIGH;
            for (level, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                // What is there is seen, however little it is.
                let high = (*count as f64 / most * (HIGH - 4.0)).max(1.5);
                foot -= high;
                let _ = write!(
                    out,
                    "<rect class=\"{}\" x=\"{}\" y=\"{:.1}\" width=\"8\" height=\"{high:.1}\"/>",
                    LEVELS[level],
                    step * 10,
                    foot.max(0.0)
                );
            }
            out.push_str("</a>");
        }
        out.push_str("</svg>");
        out
    }

    /// The address of the lines of one part.
    fn part(&self, at: i64) -> String {
        let from = Query::parse(&self.query.with("since", &at.to_string()));
        show::esc(&format!("?{}", from.with("until", &(at + self.step_ms - 1).to_string())))
    }

    /// Where it begins and ends, for the line below.
    pub(super) fn ends(&self) -> [String; 2] {
        [self.since, self.until].map(show::moment)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_lead_to_their_lines_and_a_part_that_was_not_counted_is_told() {
        let histogram: Histogram = serde_json::from_value(json!({
            "since": 0, "until": 2_000, "stepMs": 1_000, "at": [0, 1_000], "lines": 12, "countedSince": 900, "partial": true,
            "counts": {"debug": [0, 0], "info": [9, 0], "warn": [1, 0], "error": [2, 0]},
        }))
        .expect("counts");
        let svg = histogram.svg();
        assert!(
            svg.contains("href=\"?since=0&amp;until=999\"") && svg.matches("<rect").count() == 3,
            "{svg}"
        );
        let said = histogram.says();
        assert!(said.starts_with("12 lines in 2.0 s: 2 errors, 1 warning. Counted since 1970"), "{said}");
    }
}
