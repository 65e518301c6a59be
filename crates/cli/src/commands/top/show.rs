//! What was seen as a page of tables.

use super::gather::{EndpointRow, GpuRow, Seen, WorkerRow};
use crate::output::{Cell, Paint, Table, Tone, json, text, time};

/// The page.
pub fn page(seen: &Seen, paint: Paint, width: Option<usize>) -> String {
    let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let head = format!(
        "{} · {} · {} · {}",
        time::clock(seen.at).split('.').next().unwrap_or_default(),
        number(seen.gpus.len(), "GPU"),
        number(seen.endpoints.len(), "endpoint"),
        number(seen.workers.len(), "worker"),
    );
    let mut out = format!("{}\n", paint.tone(&head, Tone::Dim));
    if !seen.gpus.is_empty() {
        out.push('\n');
        out.push_str(&gpus(&seen.gpus).render(paint, width));
    }
    out.push('\n');
    out.push_str(&endpoints(&seen.endpoints).render(paint, width));
    if !seen.workers.is_empty() {
        out.push('\n');
        out.push_str(&workers(&seen.workers).render(paint, width));
    }
    out
}

fn unknown() -> String {
    "–".to_owned()
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(unknown, |share| format!("{:.0} %", share * 100.0))
}

fn seconds(value: Option<f64>) -> String {
    time::span(value.map(|value| (value * 1_000.0).round() as i64))
}

fn bytes(value: Option<f64>) -> String {
    value.map_or_else(unknown, |value| json::bytes(value.max(0.0) as usize))
}

fn gpus(rows: &[GpuRow]) -> Table {
    let mut table = Table::new(&["GPU", "TYPE", "USE", "MEMORY", "OF", "HELD BY"]);
    for row in rows {
        let holder = match (&row.endpoint_name, &row.worker) {
            _ if row.free => Cell::toned("free", Tone::Good),
            (Some(name), Some(worker)) => format!("{name} ({worker})").into(),
            _ => "another endpoint".into(),
        };
        table.row(vec![
            row.index.to_string().into(),
            row.kind.as_str().into(),
            percent(row.use_ratio).into(),
            bytes(row.memory_used_bytes).into(),
            bytes(row.memory_total_bytes).into(),
            holder,
        ]);
    }
    table
}

fn endpoints(rows: &[EndpointRow]) -> Table {
    let headings = [
        "ENDPOINT", "STATE", "BUSY", "IDLE", "STARTING", "MAX", "QUEUE", "OLDEST", "JOBS/MIN", "ERRORS",
        "P50", "P90",
    ];
    let mut table = Table::new(&headings);
    for row in rows {
        let state = match row.state.as_str() {
            "failing" | "no_gpu" => Tone::Bad,
            "ready" | "busy" => Tone::Good,
            "starting" => Tone::Warn,
            _ => Tone::Dim,
        };
        let errors = if row.errors.is_some_and(|errors| errors > 0.0) { Tone::Bad } else { Tone::Plain };
        table.row(vec![
            row.name.as_str().into(),
            Cell::toned(&row.state, state),
            row.running.to_string().into(),
            row.idle.to_string().into(),
            row.starting.to_string().into(),
            row.workers_max.to_string().into(),
            row.queue.to_string().into(),
            seconds(row.oldest_wait_s).into(),
            row.jobs_per_minute.map_or_else(unknown, |jobs| format!("{jobs:.1}")).into(),
            Cell::toned(percent(row.errors), errors),
            seconds(row.p50_s).into(),
            seconds(row.p90_s).into(),
        ]);
    }
    table
}

fn workers(rows: &[WorkerRow]) -> Table {
    let mut table = Table::new(&["WORKER", "ENDPOINT", "STATE", "CPU", "MEMORY", "GPUS", "JOB"]);
    for row in rows {
        let gpus: Vec<String> = row.gpus.iter().map(ToString::to_string).collect();
        let job = match row.jobs.as_slice() {
            [] => unknown(),
            [one] => text::short_id(one),
            [first, rest @ ..] => format!("{} and {} more", text::short_id(first), rest.len()),
        };
        table.row(vec![
            row.id.as_str().into(),
            row.endpoint_name.as_deref().unwrap_or("–").into(),
            row.state.as_str().into(),
            row.cpu_percent.map_or_else(unknown, |percent| format!("{percent:.0} %")).into(),
            bytes(row.memory_bytes.map(|bytes| bytes as f64)).into(),
            if gpus.is_empty() { unknown() } else { gpus.join(",") }.into(),
            job.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_was_seen_and_dashes_for_the_rest() {
        let seen = Seen {
            at: 0,
            gpus: vec![GpuRow {
                kind: "NVIDIA A40".into(),
                use_ratio: Some(0.874),
                free: true,
                ..GpuRow::default()
            }],
            endpoints: vec![EndpointRow {
                name: "t2i".into(),
                state: "busy".into(),
                queue: 4,
                oldest_wait_s: Some(12.3),
                jobs_per_minute: Some(2.4),
                errors: Some(0.5),
                p90_s: Some(1.25),
                ..EndpointRow::default()
            }],
            workers: vec![WorkerRow {
                id: "w1".into(),
                jobs: vec!["3f2c9a1e-0".into(), "b".into()],
                ..WorkerRow::default()
            }],
        };
        let page = page(&seen, Paint::plain(), Some(200));
        for part in
            ["1 GPU · 1 endpoint · 1 worker", "87 %", "free", "12s", "2.4", "50 %", "1.2s", "and 1 more", "–"]
        {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
        assert!(!self::page(&Seen::default(), Paint::plain(), None).contains("GPU  TYPE"));
    }
}
