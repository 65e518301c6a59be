//! What Prometheus reads: its text format 0.0.4, or OpenMetrics 1.0 where that is asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::series::{ALL, Kind, Of, Series};
use crate::{BOUNDS_US, Histogram, Interval, Key};

/// The media type of the text format.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of OpenMetrics.
pub const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown of one subject.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose series they are.
    pub of: Of,
    /// What tells the subject from others.
    pub labels: Vec<(&'static str, String)>,
    /// Everything that was ever counted of it.
    pub totals: Interval,
    /// Its levels now.
    pub levels: BTreeMap<Key, f64>,
}

/// A page with every series of these subjects. Counts that never rose are zero; levels that are not known are left out.
pub fn page(entries: &[Entry], open: bool) -> String {
    let mut out = String::new();
    let mut family = "";
    // What has no family is the sum of what has one.
    for series in ALL.iter().filter(|series| !series.family.is_empty()) {
        if series.family != family {
            family = series.family;
            if entries.iter().any(|entry| has(entry, family)) {
                head(&mut out, series, open);
                let of_family = ALL.iter().filter(|other| other.family == family);
                for series in of_family {
                    lines(&mut out, series, entries);
                }
            }
        }
    }
    if open {
        out.push_str("# EOF\n");
    }
    out
}

/// Whether an entry has anything of a family.
fn has(entry: &Entry, family: &str) -> bool {
    let mut of_family = ALL.iter().filter(|series| series.family == family && series.of == entry.of);
    of_family.any(|series| series.kind != Kind::Gauge || entry.levels.contains_key(&series.key))
}

fn head(out: &mut String, series: &Series, open: bool) {
    // OpenMetrics names a family of counters without the ending of its series.
    let name = match series.kind {
        Kind::Counter if open => series.family.trim_end_matches("_total"),
        _ => series.family,
    };
    // A family has one text: that of its first series, with the labels of each where they differ.
    let _ = writeln!(out, "# HELP {name} {}", help(series));
    let _ = writeln!(out, "# TYPE {name} {}", series.kind.word());
    if open && !series.unit.word().is_empty() && series.kind != Kind::Counter {
        let _ = writeln!(out, "# UNIT {name} {}", series.unit.word());
    }
}

fn help(first: &Series) -> String {
    let all: Vec<&Series> = ALL.iter().filter(|other| other.family == first.family).collect();
    if let [one] = all.as_slice() {
        return one.help.to_owned();
    }
    let value = |series: &Series| series.labels.last().map_or("", |(_, value)| *value);
    let texts: Vec<String> = all.iter().map(|series| format!("{}: {}", value(series), series.help)).collect();
    texts.join("; ")
}

fn lines(out: &mut String, series: &Series, entries: &[Entry]) {
    for entry in entries.iter().filter(|entry| entry.of == series.of) {
        let labels = labels(entry, series);
        match series.kind {
            Kind::Counter => {
                let count = entry.totals.counts.get(&series.key).copied().unwrap_or(0);
                line(out, series.family, "", &labels, None, &count.to_string());
            }
            Kind::Gauge => {
                if let Some(level) = entry.levels.get(&series.key) {
                    line(out, series.family, "", &labels, None, &level.to_string());
                }
            }
            Kind::Histogram => {
                let none = Histogram::default();
                buckets(out, series.family, &labels, entry.totals.times.get(&series.key).unwrap_or(&none));
            }
        }
    }
}

fn buckets(out: &mut String, family: &str, labels: &str, times: &Histogram) {
    let cumulated = times.cumulated();
    let bounds = BOUNDS_US.iter().map(|us| format!("{:?}", *us as f64 / 1e6)).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&cumulated) {
        line(out, family, "_bucket", labels, Some(&bound), &count.to_string());
    }
    line(out, family, "_sum", labels, None, &times.sum().to_string());
    line(out, family, "_count", labels, None, &times.count().to_string());
}

fn line(out: &mut String, family: &str, end: &str, labels: &str, bound: Option<&str>, value: &str) {
    let _ = match (labels, bound) {
        ("", None) => writeln!(out, "{family}{end} {value}"),
        ("", Some(bound)) => writeln!(out, "{family}{end}{{le=\"{bound}\"}} {value}"),
        (labels, None) => writeln!(out, "{family}{end}{{{labels}}} {value}"),
        (labels, Some(bound)) => writeln!(out, "{family}{end}{{{labels},le=\"{bound}\"}} {value}"),
    };
}

fn labels(entry: &Entry, series: &Series) -> String {
    let own = entry.labels.iter().map(|(name, value)| (*name, value.as_str()));
    let all = own.chain(series.labels.iter().copied());
    let texts: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    texts.join(",")
}

/// A label's value: names may hold anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str) -> Entry {
        let mut totals = Interval::default();
        totals.count(Key::JobsFailed, 2);
        totals.time_ms(Key::Delay, 30);
        let labels = vec![("endpoint", "e1".to_owned()), ("name", name.to_owned())];
        Entry { of: Of::Endpoint, labels, totals, levels: BTreeMap::from([(Key::QueueWaiting, 3.0)]) }
    }

    #[test]
    fn counts_are_there_from_the_start_and_unknown_levels_are_not() {
        let page = page(&[endpoint("a\"b\\c\nd")], false);
        let labels = r#"endpoint="e1",name="a\"b\\c\nd""#;
        for line in [
            format!("runyard_jobs_ended_total{{{labels},outcome=\"failed\"}} 2"),
            format!("runyard_jobs_ended_total{{{labels},outcome=\"completed\"}} 0"),
            format!("runyard_job_delay_seconds_bucket{{{labels},le=\"0.025\"}} 0"),
            format!("runyard_job_delay_seconds_bucket{{{labels},le=\"0.05\"}} 1"),
            format!("runyard_job_delay_seconds_sum{{{labels}}} 0.03"),
            format!("runyard_queue_jobs{{{labels}}} 3"),
            "# TYPE runyard_jobs_ended_total counter".to_owned(),
        ] {
            assert!(page.lines().any(|found| found == line), "no line\n{line}\nin\n{page}");
        }
        for absent in ["runyard_queue_oldest_wait_seconds", "runyard_gpu", "runyard_server", "# EOF"] {
            assert!(!page.contains(absent), "{absent}");
        }
    }

    #[test]
    fn openmetrics_names_families_without_their_ending() {
        let page = page(&[endpoint("a")], true);
        assert!(page.contains("# TYPE runyard_jobs_ended counter\n"));
        assert!(page.contains("# UNIT runyard_job_delay_seconds seconds\n"));
        assert!(page.ends_with("# EOF\n"));
    }
}
