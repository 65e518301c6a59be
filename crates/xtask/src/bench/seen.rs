//! The tables of what people look at: logs and their capture, kept metrics, and the console.

use std::fmt::Write as _;

use serde_json::Value;

use super::figures::{Report, number, ratio};
use super::table::{head, line};

/// Searches, what pages of logs ask for, capture, and what metrics cost.
pub fn logs(report: Report<'_>, out: &mut String) {
    searches(report, out);
    pages_of_logs(report, out);
    capture(report, out);
    measure(report, out);
}

fn searches(report: Report<'_>, out: &mut String) {
    let row = report.row("logs");
    let seconds = |value: &Value| number(value.as_f64());
    let title = format!("A search in {} MiB of log text, nothing of it in memory", seconds(&row["mib"]));
    let columns = [
        "seconds; lines found",
        "runyard, all of them",
        "the first ones after s",
        "processor s",
        "`zgrep` (peer)",
        "`grep` on plain text (peer)",
        "beside `zgrep`",
    ];
    if !head(row, &title, &columns, out) {
        return;
    }
    for search in row["searches"].as_array().map_or(&[][..], Vec::as_slice) {
        let found = |side: &str| format!("{}; {}", seconds(&search[side]["s"]), search[side]["found"]);
        let beside = ratio(search["ours"]["s"].as_f64(), search["zgrep"]["s"].as_f64());
        let name = search["name"].as_str().unwrap_or_default().to_owned();
        let (first, cpu) = (seconds(&search["ours"]["firstS"]), seconds(&search["ours"]["cpuS"]));
        line(&[name, found("ours"), first, cpu, found("zgrep"), found("grep"), number(beside)], out);
    }
    let disk = &row["onDiskMib"];
    let written = number(row["writtenMibPerSecond"].as_f64());
    let lines = number(row["writtenLinesPerSecond"].as_f64());
    let (packed, heads, gzip) = (seconds(&disk["ours"]), seconds(&disk["filters"]), seconds(&disk["gzip"]));
    let _ = writeln!(
        out,
        "\nWritten and packed, on one thread, at {written} MiB of text or {lines} lines a second; {packed} MiB on the disk, of \
         which {heads} are heads and filters (gzip: {gzip} MiB)."
    );
}

fn pages_of_logs(report: Report<'_>, out: &mut String) {
    let row = report.row("logs");
    if row["many"].is_null() {
        return;
    }
    let lines = number(row["many"]["lines"].as_f64());
    let one = format!("one worker, {} MiB, packed", number(row["mib"].as_f64()));
    let many = format!("{} workers, {lines} lines, not packed", row["many"]["workers"]);
    let columns = ["what a page of logs asks, ms (processor ms)", &one, &many];
    head(row, "A page of logs", &columns, out);
    let ms = |part: &Value| {
        let ms = |name: &str| number(part[name].as_f64().map(|seconds| seconds * 1e3));
        if part.is_null() { String::new() } else { format!("{} ({})", ms("s"), ms("cpuS")) }
    };
    for (part, name) in [
        ("newest", "the newest 300 lines"),
        ("errors", "the newest 300 errors"),
        ("counts", "all lines by level over time, 60 steps"),
    ] {
        line(&[name.to_owned(), ms(&row["one"][part]), ms(&row["many"][part])], out);
    }
}

fn capture(report: Report<'_>, out: &mut String) {
    let row = report.row("capture");
    let title = format!("A worker that prints {} lines", number(row["lines"].as_f64()));
    if !head(row, &title, &["", "through pipe and agent, packed"], out) {
        return;
    }
    for (part, name) in [
        ("linesPerSecond", "lines a second"),
        ("agentCpuUsPerLine", "processor time of the agent, µs a line"),
        ("serverCpuUsPerLine", "processor time of the server, µs a line"),
        ("agentMib", "memory of the agent afterwards, MiB"),
    ] {
        line(&[name.to_owned(), number(row[part].as_f64())], out);
    }
}

fn measure(report: Report<'_>, out: &mut String) {
    let row = report.row("measure");
    let title = format!("Metrics of {} workers, kept every ten seconds", row["workers"]);
    if !head(row, &title, &["", "the store's writer"], out) {
        return;
    }
    let commit = &row["commitMs"];
    let ms = |name: &str| number(commit[name].as_f64());
    line(
        &[
            "a commit, ms: mean / p50 / longest".into(),
            format!("{} / {} / {}", ms("mean"), ms("p50"), ms("max")),
        ],
        out,
    );
    let share = row["shareOfWriter"].as_f64().map(|share| share * 100.0);
    line(&["of the writer's time, %".into(), number(share)], out);
    line(&["database, MiB".into(), number(row["databaseMib"].as_f64())], out);
}

/// Pages and open tabs.
pub fn console(report: Report<'_>, out: &mut String) {
    let row = report.row("console");
    let title =
        format!("The console with {} workers and {} jobs", row["workers"], number(row["jobs"].as_f64()));
    let columns = ["page, p50 of 5", "numbers, ms", "live, ms", "the server's processor, ms", "KB"];
    if !head(row, &title, &columns, out) {
        return;
    }
    let empty = serde_json::Map::new();
    for (path, page) in row["pages"].as_object().unwrap_or(&empty) {
        let ms = |name: &str| number(page[name].as_f64());
        let size = number(page["bytes"].as_f64().map(|bytes| bytes / 1e3));
        line(&[format!("`{path}`"), ms("numbersMs"), ms("liveMs"), ms("serverCpuMs"), size], out);
    }
    let load = &row["load"];
    let figure = |name: &str| number(load[name].as_f64());
    let _ = writeln!(
        out,
        "\nThen {} s of load with five tabs open: {} jobs a second were asked for, {} ended; the server used {} processors, the \
         agent {}.\n",
        figure("seconds"),
        figure("asked"),
        figure("perSecond"),
        figure("serverCores"),
        figure("agentCores"),
    );
    let _ = writeln!(out, "| tab | heap before, MB | after, MB | grown, MB |\n|---|---|---|---|");
    for (path, tab) in row["tabs"].as_object().unwrap_or(&empty) {
        let mb = |name: &str| number(tab[name].as_f64().map(|bytes| bytes / 1e6));
        line(&[format!("`{path}`"), mb("beforeBytes"), mb("afterBytes"), mb("grownBytes")], out);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_console_is_shown_where_it_was_measured() {
        let mut out = String::new();
        console(Report(&json!({"rows": []})), &mut out);
        assert_eq!(out, "");
        let row = json!({
            "row": "console", "workers": 500, "jobs": 10_000,
            "pages": {"/jobs": {"numbersMs": 84.1, "liveMs": 151.2, "serverCpuMs": 12.0, "bytes": 70_390}},
            "load": {"seconds": 300.0, "asked": 24.0, "perSecond": 23.96, "serverCores": 0.29, "agentCores": 0.03},
            "tabs": {"/": {"beforeBytes": 1_266_176, "afterBytes": 1_325_076, "grownBytes": 58_900}},
        });
        console(Report(&json!({"rows": [row]})), &mut out);
        for part in
            ["| `/jobs` | 84.1 | 151 | 12.0 | 70.4 |", "24.0 jobs a second", "| `/` | 1.27 | 1.33 | 0.06 |"]
        {
            assert!(out.contains(part), "{out}");
        }
    }
}
