//! Reads the load program's report: a row by its name, a figure by its place in it.

use serde_json::Value;

/// The report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a>(pub &'a Value);

impl<'a> Report<'a> {
    /// A row, or null.
    pub fn row(self, name: &str) -> &'a Value {
        let rows = self.0["rows"].as_array().map_or(&[][..], Vec::as_slice);
        rows.iter().find(|row| row["row"] == name).unwrap_or(&Value::Null)
    }

    /// What one run of a row that scales measured.
    pub fn run(self, row: &str, clients: &str) -> &'a Value {
        &self.row(row)["clients"][clients]
    }

    /// Operations a second of one run.
    pub fn rate(self, row: &str, clients: &str) -> Option<f64> {
        self.run(row, clients)["perSecond"].as_f64()
    }

    /// The client counts of the rows that scale.
    pub fn clients(self) -> Vec<String> {
        let counts = self.0["clients"].as_array().map_or(&[][..], Vec::as_slice);
        counts.iter().map(ToString::to_string).collect()
    }
}

/// A quantile of one run in milliseconds: `p50Us`, `p99Us`.
pub fn ms(run: &Value, quantile: &str) -> Option<f64> {
    run[quantile].as_f64().map(|micros| micros / 1000.0)
}

/// A number for people: three digits that count, thousands apart.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 100.0 => thousands(value.round() as i64),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0 { format!("-{out}") } else { out }
}

/// Median and 99th percentile, in milliseconds.
pub fn latency(run: &Value) -> String {
    format!("{} / {}", number(ms(run, "p50Us")), number(ms(run, "p99Us")))
}

/// One number by another, where both are there.
pub fn ratio(this: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (this, other) {
        (Some(this), Some(other)) if other > 0.0 => Some(this / other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let shown: Vec<String> =
            [0.123, 12.34, 123.4, 1_234_567.0, -1_234.0].into_iter().map(|n| number(Some(n))).collect();
        assert_eq!(shown, ["0.12", "12.3", "123", "1,234,567", "-1,234"]);
        assert_eq!(number(None), "–");
    }
}
