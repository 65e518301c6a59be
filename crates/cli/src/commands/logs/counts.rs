//! `runyard logs --counts`: how many lines there are of each level over time.

use serde::Deserialize;

use crate::output::{Table, Ui, time};

/// How many marks the longest bar has.
const WIDEST: u64 = 30;

/// How many steps a table has.
pub const STEPS: usize = 24;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverTime {
    at: Vec<i64>,
    counts: Levels,
    counted_since: i64,
    partial: bool,
}

#[derive(Deserialize)]
struct Levels {
    debug: Vec<u64>,
    info: Vec<u64>,
    warn: Vec<u64>,
    error: Vec<u64>,
}

impl OverTime {
    /// Shows them as a table, a row for each step.
    pub fn show(&self, ui: Ui) -> anyhow::Result<()> {
        let levels = [&self.counts.error, &self.counts.warn, &self.counts.info, &self.counts.debug];
        let of = |step: usize| levels.map(|level| level.get(step).copied().unwrap_or(0));
        let most = (0..self.at.len()).map(|step| of(step).iter().sum()).max().unwrap_or(0).max(1);
        let mut table = Table::new(&["FROM", "ERROR", "WARN", "INFO", "DEBUG", "LINES"]);
        for (step, at) in self.at.iter().enumerate() {
            let counts = of(step);
            let sum: u64 = counts.iter().sum();
            let mut row: Vec<crate::output::Cell> = vec![time::date(*at).into()];
            row.extend(counts.map(|count| count.to_string().into()));
            row.push(bar(sum, most).into());
            table.row(row);
        }
        if self.partial {
            ui.note(&format!(
                "too much to count at once: of the lines before {} not all are counted",
                time::date(self.counted_since)
            ));
        }
        ui.table(&table)
    }
}

fn bar(count: u64, most: u64) -> String {
    "█".repeat((count * WIDEST).div_ceil(most) as usize)
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn what_is_there_is_seen() {
        assert_eq!((bar(0, 9).as_str(), bar(1, 1_000).as_str()), ("", "█"));
        assert_eq!(bar(10, 10).chars().count(), 30);
    }
}
