//! The report as Markdown: what `docs/benchmarks.md` shows and what the command prints.

use std::fmt::Write as _;

use serde_json::Value;

use super::figures::{Report, latency, number, ratio};
use super::gate::aims;
use super::seen;

/// The whole text.
pub fn render(report: Report<'_>) -> String {
    let mut out = machine(report.0);
    out.push_str("\n| aim | bound | measured | reached |\n|---|---|---|---|\n");
    out.extend(aims(report).iter().map(super::gate::Aim::line));
    for table in
        [scale, cpu, sdk, prefetch, seen::logs, python, fanout, queue, endpoints, start, seen::console]
    {
        table(report, &mut out);
    }
    out
}

fn machine(report: &Value) -> String {
    let machine = &report["machine"];
    let text = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    format!(
        "Measured {} (UTC) at commit `{}`, {} round(s) of {} s a row, in {} minutes; load average {} before and {} after.\n\
         {}, {} threads, {} GiB, {}, {}, {}. {}; redis-server {}; {}.\n",
        text("date"),
        text("commit"),
        report["rounds"],
        report["runSeconds"],
        number(report["minutes"].as_f64()),
        number(machine["load"].as_f64()),
        number(report["loadAfter"].as_f64()),
        text("cpu"),
        machine["threads"],
        machine["memoryGiB"],
        text("fileSystem"),
        text("kernel"),
        text("system"),
        text("rust"),
        text("redis"),
        text("packages"),
    )
}

/// A heading; says why where a row was left out, and that there is nothing more to show.
pub(super) fn head(row: &Value, title: &str, columns: &[&str], out: &mut String) -> bool {
    if row.is_null() {
        return false;
    }
    let _ = writeln!(out, "\n### {title}\n");
    if let Some(why) = row["skipped"].as_str() {
        let _ = writeln!(out, "Left out: {why}.");
        return false;
    }
    let _ = writeln!(out, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    true
}

pub(super) fn line(cells: &[String], out: &mut String) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn people(count: &str) -> String {
    if count == "1" { "1 client".to_owned() } else { format!("{count} clients") }
}

fn scale(report: Report<'_>, out: &mut String) {
    const NAMES: [(&str, &str); 6] = [
        ("fdatasync", "append 4 KiB and fdatasync (floor)"),
        ("echo", "HTTP echo (floor)"),
        ("store", "whole jobs, the store alone (floor)"),
        ("submit", "**durable submit**"),
        ("jobs", "**whole durable jobs**: submit, take, done, read"),
        ("redis", "whole jobs, Redis streams, synced always (peer)"),
    ];
    let clients = report.clients();
    let names: Vec<String> = clients.iter().map(|count| people(count)).collect();
    let mut columns = vec!["operations a second; p50 / p99 ms"];
    columns.extend(names.iter().map(String::as_str));
    head(&Value::Bool(true), "Jobs through HTTP", &columns, out);
    for (row, name) in NAMES {
        if let Some(why) = report.row(row)["skipped"].as_str() {
            line(&[name.to_owned(), format!("left out: {why}")], out);
        }
        let mut cells = vec![name.to_owned()];
        cells.extend(clients.iter().map(|count| {
            let run = report.run(row, count);
            if run.is_null() {
                return String::new();
            }
            format!("{}; {}", number(run["perSecond"].as_f64()), latency(run))
        }));
        if !report.row(row)["clients"].is_null() {
            line(&cells, out);
        }
    }
    for (peer, name) in
        [("redis", "whole jobs beside Redis streams"), ("store", "whole jobs beside the store alone")]
    {
        let mut cells = vec![name.to_owned()];
        cells.extend(
            clients.iter().map(|count| number(ratio(report.rate("jobs", count), report.rate(peer, count)))),
        );
        line(&cells, out);
    }
}

fn cpu(report: Report<'_>, out: &mut String) {
    const PARTS: [&str; 4] = ["server", "agent", "workers", "load"];
    let columns =
        ["processor time of a whole job, µs", "server", "agent", "stub workers", "load program", "sum"];
    if !head(report.row("jobs"), "Where the processor's time goes", &columns, out) {
        return;
    }
    for count in report.clients() {
        let cpu = &report.run("jobs", &count)["cpuUsPerJob"];
        let parts: Vec<f64> = PARTS.iter().filter_map(|part| cpu[*part].as_f64()).collect();
        let mut cells = vec![people(&count)];
        cells.extend(parts.iter().map(|part| number(Some(*part))));
        cells.push(number(Some(parts.iter().sum())));
        line(&cells, out);
    }
}

fn sdk(report: Report<'_>, out: &mut String) {
    let row = report.row("sdk");
    let columns = ["one empty job, a worker of SDK 1.12.0 that waits", "p50 / p99 ms"];
    if !head(row, "A round trip through the unmodified SDK", &columns, out) {
        return;
    }
    for (part, name) in [
        ("total", "all of it, at the client"),
        ("sdk", "the SDK's share: from the job in its hands to its result"),
        ("ours", "**our share**: three commits, four HTTP hops and the tap's two"),
        ("toWorker", "of it: from the submit to the worker"),
        ("toClient", "of it: from the result to the client"),
    ] {
        line(&[name.to_owned(), latency(&row[part])], out);
    }
    for (peer, name) in
        [("taskiq", "taskiq, the whole round trip (peer)"), ("celery-threads", "Celery, threads (peer)")]
    {
        line(&[name.to_owned(), latency(&report.row("python")[peer]["clients"]["1"])], out);
    }
}

fn prefetch(report: Report<'_>, out: &mut String) {
    let row = report.row("prefetch");
    let columns = ["one worker of SDK 1.12.0, concurrency 1, a full queue of empty jobs", "jobs a second"];
    if !head(row, "Lists of jobs", &columns, out) {
        return;
    }
    let rate = |part: &str| row[part]["perSecond"].as_f64();
    line(&["one job a take".into(), number(rate("one"))], out);
    line(&["**lists**".into(), number(rate("lists"))], out);
    line(&["lists beside one job a take".into(), number(ratio(rate("lists"), rate("one")))], out);
}

fn python(report: Report<'_>, out: &mut String) {
    const NAMES: [(&str, &str); 5] = [
        ("runyard", "**runyard**, a bare worker in Python"),
        ("runyard-sdk", "**runyard**, a worker of SDK 1.12.0, concurrency 64"),
        ("celery-prefork", "Celery, prefork, 2 processes (peer)"),
        ("celery-threads", "Celery, 64 threads (peer)"),
        ("taskiq", "taskiq, Redis lists (peer)"),
    ];
    let row = report.row("python");
    let columns = ["jobs a second; p50 / p99 ms", "1 client", "8 clients", "64 clients"];
    if !head(row, "Python to Python", &columns, out) {
        return;
    }
    for (queue, name) in NAMES {
        let mut cells = vec![name.to_owned()];
        match row[queue]["skipped"].as_str() {
            Some(why) => cells.push(format!("left out: {why}")),
            None => cells.extend(["1", "8", "64"].map(|count| {
                let run = &row[queue]["clients"][count];
                format!("{}; {}", number(run["perSecond"].as_f64()), latency(run))
            })),
        }
        line(&cells, out);
    }
}

fn fanout(report: Report<'_>, out: &mut String) {
    let row = report.row("fanout");
    let columns = ["from the request that ends the job to its news", "p50 / p99 ms", "last ms"];
    if !head(row, &format!("One end of a job, {} clients that wait for it", row["waiting"]), &columns, out) {
        return;
    }
    for (part, name) in [
        ("ours", "**long polls** (`status-sync`)"),
        ("redis", "SET, synced, and PUBLISH to subscribers of Redis (peer)"),
        ("floor", "one write to each connection, nothing durable (floor)"),
    ] {
        line(&[name.to_owned(), latency(&row[part]), number(super::figures::ms(&row[part], "maxUs"))], out);
    }
}

fn queue(report: Report<'_>, out: &mut String) {
    let row = report.row("queue");
    let jobs = number(row["jobs"].as_f64());
    let columns = ["", "runyard", "Redis stream, synced always (peer)"];
    if !head(row, &format!("A queue of {jobs} jobs"), &columns, out) {
        return;
    }
    type Figure = fn(&Value) -> String;
    let figures: [(&str, Figure); 6] = [
        ("submits a second, the first tenth, 64 clients", |side| number(side["first"]["perSecond"].as_f64())),
        ("submits a second, the last tenth", |side| number(side["last"]["perSecond"].as_f64())),
        ("submit of one client, empty queue, p50 / p99 ms", |side| latency(&side["aloneFirst"])),
        ("submit of one client, full queue, p50 / p99 ms", |side| latency(&side["aloneLast"])),
        ("memory before and after, MiB", |side| {
            let memory = &side["residentMib"];
            format!("{} → {}", number(memory["before"].as_f64()), number(memory["after"].as_f64()))
        }),
        ("bytes of memory a job", |side| number(side["bytesPerJob"].as_f64())),
    ];
    for (name, figure) in figures {
        line(&[name.to_owned(), figure(&row["ours"]), figure(&row["redis"])], out);
    }
    let restart = number(row["ours"]["restartReadyMs"].as_f64());
    line(&["ready after a restart with the full queue, ms".into(), restart, String::new()], out);
}

fn endpoints(report: Report<'_>, out: &mut String) {
    let row = report.row("endpoints");
    let count = number(row["endpoints"].as_f64());
    let columns = ["", "runyard", "Redis, as many streams with a group (peer)"];
    if !head(row, &format!("{count} idle endpoints"), &columns, out) {
        return;
    }
    let memory = |side: &Value| {
        let memory = &side["residentMib"];
        format!("{} → {}", number(memory["before"].as_f64()), number(memory["after"].as_f64()))
    };
    let idle = |side: &Value| number(side["idleCpuPercent"].as_f64());
    line(&["memory before and after, MiB".into(), memory(row), memory(&row["redis"])], out);
    line(&["processor while nothing happens, % of one core".into(), idle(row), idle(&row["redis"])], out);
    let submit = |which: &str| latency(&row["submit"][which]);
    line(&["submit without them, p50 / p99 ms".into(), submit("alone"), String::new()], out);
    line(&["submit among them, p50 / p99 ms".into(), submit("among"), String::new()], out);
    line(&["ready after a restart, ms".into(), number(row["restartReadyMs"].as_f64()), String::new()], out);
}

fn start(report: Report<'_>, out: &mut String) {
    let row = report.row("start");
    if !head(row, "A cold start", &["", "ready after ms", "memory MiB"], out) {
        return;
    }
    for (part, name) in [
        ("empty", "**runyard**, a new data directory"),
        ("endpoints100", "**runyard**, 100 endpoints"),
        ("redis", "redis-server (peer)"),
        ("bare", "a program that only listens (floor)"),
    ] {
        let start = &row[part];
        line(&[name.into(), number(start["readyMs"].as_f64()), number(start["residentMib"].as_f64())], out);
    }
    line(&["runyard's agent".into(), String::new(), number(row["agentMib"].as_f64())], out);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_that_were_left_out_say_why() {
        let report = json!({"clients": [1], "rows": [{"row": "python", "skipped": "no Python was given"}]});
        let text = render(Report(&report));
        assert!(text.contains("Left out: no Python was given."), "{text}");
    }

    #[test]
    fn a_row_shows_its_rate_and_its_latencies() {
        let run = json!({"perSecond": 4_321.0, "p50Us": 1_500.0, "p99Us": 12_000.0});
        let report = json!({"clients": [64], "rows": [
            {"row": "jobs", "clients": {"64": run}}, {"row": "redis", "clients": {"64": {"perSecond": 8_642.0}}},
        ]});
        let text = render(Report(&report));
        assert!(text.contains("| 4,321; 1.50 / 12.0 |"), "{text}");
        assert!(text.contains("| whole jobs beside Redis streams | 0.50 |"), "{text}");
    }
}
