//! The aims, as ratios within one run and, where they are promises in absolute numbers, as those. `--gate` fails
//! on the ratios alone, with room for a busy machine; times it never fails on.

use anyhow::ensure;
use serde_json::Value;

use super::figures::{Report, ms, number, ratio};

/// One aim, and what was measured of it.
pub struct Aim {
    what: &'static str,
    measured: Option<f64>,
    unit: &'static str,
    bound: Bound,
    /// The looser limit of the gate; none for what is measured in seconds or bytes.
    gate: Option<f64>,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn holds(&self, limit: f64) -> bool {
        self.measured.is_some_and(|measured| match self.bound {
            Bound::AtLeast(_) => measured >= limit,
            Bound::AtMost(_) => measured <= limit,
        })
    }

    /// As a row of a table.
    pub fn line(&self) -> String {
        let (word, limit) = match self.bound {
            Bound::AtLeast(limit) => ("at least", limit),
            Bound::AtMost(limit) => ("at most", limit),
        };
        let reached = match self.measured {
            None => "not measured",
            Some(_) if self.holds(limit) => "yes",
            Some(_) => "no",
        };
        let (measured, limit) = (number(self.measured), number(Some(limit)));
        format!("| {} | {word} {limit}{unit} | {measured}{unit} | {reached} |\n", self.what, unit = self.unit)
    }
}

/// Every aim.
pub fn aims(report: Report<'_>) -> Vec<Aim> {
    use Bound::{AtLeast, AtMost};
    let p50 = |row: &str| ms(report.run(row, "1"), "p50Us");
    let floor = match (p50("fdatasync"), p50("echo")) {
        (Some(sync), Some(echo)) => Some(sync + echo),
        _ => None,
    };
    let aim = |what, measured, unit, bound, gate| Aim { what, measured, unit, bound, gate };
    let (sdk, start, lists) = (report.row("sdk"), report.row("start"), report.row("prefetch"));
    let (queue, rate) = (report.row("queue"), |row: &str| report.rate(row, "64"));
    let lists = ratio(lists["lists"]["perSecond"].as_f64(), lists["one"]["perSecond"].as_f64());
    let flat = ratio(ms(&queue["ours"]["aloneLast"], "p50Us"), ms(&queue["ours"]["aloneFirst"], "p50Us"));
    let searched = |place: usize, side: &str| report.row("logs")["searches"][place][side]["s"].as_f64();
    let search = ratio(searched(0, "ours"), searched(0, "zgrep"));
    let everywhere = ratio(searched(2, "ours"), searched(2, "zgrep"));
    let mut aims = vec![
        aim("a text of a log found cold, beside zgrep", search, "", AtMost(0.20), Some(0.50)),
        aim(
            "a text in every block of a log, all of it, beside zgrep",
            everywhere,
            "",
            AtMost(0.50),
            Some(1.0),
        ),
        aim("whole durable jobs a second, 64 clients", rate("jobs"), "", AtLeast(5_000.0), None),
        aim(
            "the same, beside Redis streams",
            ratio(rate("jobs"), rate("redis")),
            "",
            AtLeast(0.5),
            Some(0.3),
        ),
        aim(
            "submit beside one sync and one echo, p50",
            ratio(p50("submit"), floor),
            "",
            AtMost(2.0),
            Some(4.0),
        ),
        aim("our share of a round trip, p50", ms(&sdk["ours"], "p50Us"), " ms", AtMost(2.0), None),
        aim("our share of a round trip, p99", ms(&sdk["ours"], "p99Us"), " ms", AtMost(10.0), None),
        aim("lists beside one job a take", lists, "", AtLeast(20.0), Some(10.0)),
        aim("submit with a full queue beside an empty one, p50", flat, "", AtMost(1.5), Some(3.0)),
        aim(
            "ready after a start, 100 endpoints",
            start["endpoints100"]["readyMs"].as_f64(),
            " ms",
            AtMost(300.0),
            None,
        ),
        aim(
            "memory with 100 endpoints",
            start["endpoints100"]["residentMib"].as_f64(),
            " MiB",
            AtMost(40.0),
            Some(60.0),
        ),
    ];
    aims.extend(console(report.row("console")));
    aims
}

/// The aims of the console, where it was measured: bytes are exact, and times stand beside one another.
fn console(row: &Value) -> Vec<Aim> {
    use Bound::{AtLeast, AtMost};
    if row.is_null() {
        return Vec::new();
    }
    let aim = |what, measured, unit, bound, gate| Aim { what, measured, unit, bound, gate };
    let most = |part: &str, name: &str| {
        let values = row[part].as_object()?.values().filter_map(|one| one[name].as_f64());
        values.max_by(f64::total_cmp)
    };
    let first = &row["pages"]["/"];
    let (size, shown) = (first["bytes"].as_f64().map(|bytes| bytes / 1e3), first["numbersMs"].as_f64());
    let slowest = ratio(most("pages", "numbersMs"), shown);
    let load = ratio(row["load"]["perSecond"].as_f64(), row["load"]["asked"].as_f64());
    let grown = most("tabs", "grownBytes").map(|bytes| bytes / 1e6);
    vec![
        aim("the console's first page, with all that it loads", size, " KB", AtMost(60.0), Some(60.0)),
        aim("its numbers are there", shown, " ms", AtMost(300.0), None),
        aim("the slowest page beside the first", slowest, "", AtMost(4.0), Some(8.0)),
        aim("jobs under load beside those that were asked for", load, "", AtLeast(0.95), Some(0.8)),
        aim("the most that an open tab grew under load", grown, " MB", AtMost(3.0), Some(6.0)),
    ]
}

/// Fails where a ratio does not hold.
pub fn check(report: Report<'_>) -> anyhow::Result<()> {
    let mut missed = 0;
    for aim in aims(report) {
        let Some(limit) = aim.gate else { continue };
        let holds = aim.holds(limit);
        println!(
            "{} {}: {} (limit {limit})",
            if holds { "ok  " } else { "MISS" },
            aim.what,
            number(aim.measured)
        );
        missed += usize::from(!holds);
    }
    ensure!(missed == 0, "{missed} of the ratios do not hold");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(jobs: f64) -> Value {
        let clients = |rate: f64, p50: f64| {
            let run = json!({"perSecond": rate, "p50Us": p50, "p99Us": p50});
            json!({"1": run, "64": run})
        };
        json!({"clients": [1, 64], "rows": [
            {"row": "fdatasync", "clients": clients(5_000.0, 200.0)},
            {"row": "echo", "clients": clients(10_000.0, 100.0)},
            {"row": "submit", "clients": clients(3_000.0, 500.0)},
            {"row": "jobs", "clients": clients(jobs, 900.0)},
            {"row": "redis", "clients": clients(2_000.0, 900.0)},
            {"row": "prefetch", "one": {"perSecond": 1.0}, "lists": {"perSecond": 40.0}},
            {"row": "queue", "ours": {"aloneFirst": {"p50Us": 300.0}, "aloneLast": {"p50Us": 310.0}}},
            {"row": "start", "endpoints100": {"readyMs": 50.0, "residentMib": 16.0}},
            {"row": "logs", "searches": [{"ours": {"s": 0.1}, "zgrep": {"s": 4.0}}, {}, {"ours": {"s": 1.0}, "zgrep": {"s": 4.0}}]},
        ]})
    }

    #[test]
    fn the_gate_looks_at_ratios() {
        check(Report(&report(1_500.0))).expect("0.75 of the peer");
        check(Report(&report(500.0))).expect_err("0.25 of the peer");
    }

    #[test]
    fn a_console_that_grows_or_does_not_keep_up_is_told() {
        let with = |kb: f64, rate: f64, grown: f64| {
            let mut all = report(1_500.0);
            let page = |bytes: f64, ms: f64| json!({"bytes": bytes, "numbersMs": ms});
            let row = json!({
                "row": "console", "pages": {"/": page(kb * 1e3, 80.0), "/jobs": page(1e5, 300.0)},
                "load": {"asked": 24.0, "perSecond": rate}, "tabs": {"/": {"grownBytes": grown}},
            });
            all["rows"].as_array_mut().expect("rows").push(row);
            check(Report(&all))
        };
        with(45.0, 23.9, 60_000.0).expect("it holds");
        with(61.0, 23.9, 60_000.0).expect_err("the first page is too large");
        with(45.0, 8.0, 60_000.0).expect_err("it did not keep up");
        with(45.0, 23.9, 9e6).expect_err("a tab grew");
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        check(Report(&json!({"rows": []}))).expect_err("nothing was measured");
    }
}
