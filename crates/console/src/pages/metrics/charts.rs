//! The charts of an endpoint: which series each of them has, in which colours, and where Prometheus has them.

use super::words::Told;
use crate::chart::{Chart, Column, Kind, Unit};
use crate::series::{Metrics, Part, Series, named};

/// A line, or a part of bars: its name, the series, which of its numbers, and its colour.
type Line = (&'static str, &'static str, Part, &'static str);

/// A chart.
struct Plan {
    id: &'static str,
    title: &'static str,
    kind: Kind,
    unit: Unit,
    lines: &'static [Line],
    /// What is drawn as a line over bars.
    over: &'static [Line],
    /// What is compared with the time before.
    compared: Option<(&'static str, Part)>,
    /// For Prometheus; `{}` is the name of the endpoint.
    promql: &'static [&'static str],
}

const TIMES_TONES: [&str; 5] = ["ok", "busy", "accent", "warn", "bad"];

macro_rules! times {
    ($series:literal) => {
        &[
            ("p50", $series, Part::P50, TIMES_TONES[0]),
            ("p70", $series, Part::P70, TIMES_TONES[1]),
            ("p90", $series, Part::P90, TIMES_TONES[2]),
            ("p98", $series, Part::P98, TIMES_TONES[3]),
            ("max", $series, Part::Max, TIMES_TONES[4]),
        ]
    };
}

const fn plan(id: &'static str, title: &'static str, kind: Kind, unit: Unit, lines: &'static [Line]) -> Plan {
    Plan { id, title, kind, unit, lines, over: &[], compared: None, promql: &[] }
}

const PLANS: &[Plan] = &[
    Plan {
        over: &[
            ("submitted", "jobs_submitted", Part::Count, "accent"),
            ("retried", "jobs_retried", Part::Count, "starting"),
        ],
        compared: Some(("jobs_submitted", Part::Count)),
        promql: &["sum by (outcome) (increase(runyard_jobs_ended_total{name=\"{}\"}[5m]))"],
        ..plan(
            "requests",
            "Requests by outcome",
            Kind::Bars,
            Unit::Count,
            &[
                ("completed", "jobs_completed", Part::Count, "ok"),
                ("failed", "jobs_failed", Part::Count, "bad"),
                ("timed out", "jobs_timed_out", Part::Count, "warn"),
                ("cancelled", "jobs_cancelled", Part::Count, "idle"),
            ],
        )
    },
    Plan {
        compared: Some(("queue_waiting", Part::Max)),
        promql: &["max by (name) (runyard_queue_jobs{name=\"{}\"})"],
        ..plan(
            "queue",
            "Queue",
            Kind::Lines,
            Unit::Count,
            &[
                ("most that waited", "queue_waiting", Part::Max, "accent"),
                ("on average", "queue_waiting", Part::Average, "idle"),
            ],
        )
    },
    Plan {
        compared: Some(("queue_oldest_wait", Part::Max)),
        promql: &["max by (name) (runyard_queue_oldest_wait_seconds{name=\"{}\"})"],
        ..plan(
            "oldest",
            "Oldest wait",
            Kind::Lines,
            Unit::Seconds,
            &[("oldest in the queue", "queue_oldest_wait", Part::Max, "warn")],
        )
    },
    Plan {
        compared: Some(("delay", Part::P90)),
        promql: &[
            "histogram_quantile(0.9, sum by (le) (rate(runyard_job_delay_seconds_bucket{name=\"{}\"}[5m])))",
        ],
        ..plan("delay", "Delay", Kind::Lines, Unit::Seconds, times!("delay"))
    },
    Plan {
        compared: Some(("execution", Part::P90)),
        promql: &[
            "histogram_quantile(0.9, sum by (le) (rate(runyard_job_execution_seconds_bucket{name=\"{}\"}[5m])))",
        ],
        ..plan("execution", "Execution", Kind::Lines, Unit::Seconds, times!("execution"))
    },
    Plan {
        compared: Some(("starts_ready", Part::Count)),
        promql: &["sum by (result) (increase(runyard_worker_starts_total{name=\"{}\"}[5m]))"],
        ..plan(
            "starts",
            "Cold starts",
            Kind::Bars,
            Unit::Count,
            &[
                ("ready", "starts_ready", Part::Count, "starting"),
                ("failed", "starts_failed", Part::Count, "bad"),
            ],
        )
    },
    Plan {
        compared: Some(("start", Part::P90)),
        promql: &[
            "histogram_quantile(0.9, sum by (le, phase) (rate(runyard_worker_start_phase_seconds_bucket{name=\"{}\"}[5m])))",
        ],
        ..plan(
            "start-time",
            "Time of cold starts",
            Kind::Lines,
            Unit::Seconds,
            &[
                ("whole, p50", "start", Part::P50, "ok"),
                ("whole, p90", "start", Part::P90, "accent"),
                ("launch, p50", "start_launch", Part::P50, "starting"),
                ("launch, p90", "start_launch", Part::P90, "warn"),
                ("load, p50", "start_load", Part::P50, "busy"),
                ("load, p90", "start_load", Part::P90, "outdated"),
            ],
        )
    },
    Plan {
        promql: &["sum by (state) (runyard_workers{name=\"{}\"})"],
        ..plan(
            "workers",
            "Workers by state",
            Kind::Area,
            Unit::Count,
            &[
                ("running", "workers_running", Part::Average, "busy"),
                ("idle", "workers_idle", Part::Average, "ok"),
                ("starting", "workers_starting", Part::Average, "starting"),
                ("draining", "workers_draining", Part::Average, "outdated"),
                ("throttled", "workers_throttled", Part::Average, "warn"),
                ("unhealthy", "workers_unhealthy", Part::Average, "bad"),
            ],
        )
    },
    Plan {
        compared: Some(("jobs_running", Part::Average)),
        promql: &["runyard_jobs_running{name=\"{}\"}"],
        ..plan(
            "running",
            "Jobs at the same time",
            Kind::Lines,
            Unit::Count,
            &[
                ("most", "jobs_running", Part::Max, "busy"),
                ("on average", "jobs_running", Part::Average, "accent"),
            ],
        )
    },
    Plan {
        promql: &["runyard_concurrency_use_ratio{name=\"{}\"}"],
        ..plan(
            "concurrency",
            "Of what may run at once",
            Kind::Lines,
            Unit::Ratio,
            &[
                ("most", "concurrency_use", Part::Max, "busy"),
                ("on average", "concurrency_use", Part::Average, "accent"),
            ],
        )
    },
    Plan {
        compared: Some(("input_bytes", Part::Count)),
        promql: &[
            "rate(runyard_job_input_bytes_total{name=\"{}\"}[5m])",
            "rate(runyard_job_output_bytes_total{name=\"{}\"}[5m])",
        ],
        ..plan(
            "bytes",
            "Inputs and results",
            Kind::Bars,
            Unit::Bytes,
            &[
                ("inputs", "input_bytes", Part::Count, "accent"),
                ("results", "output_bytes", Part::Count, "ok"),
            ],
        )
    },
    Plan {
        promql: &["sum by (how) (increase(runyard_worker_ends_total{name=\"{}\"}[5m]))"],
        ..plan(
            "ends",
            "Workers that ended",
            Kind::Bars,
            Unit::Count,
            &[
                ("stopped", "workers_stopped", Part::Count, "idle"),
                ("crashed", "workers_crashed", Part::Count, "bad"),
            ],
        )
    },
    Plan {
        compared: Some(("gpu_use", Part::Average)),
        promql: &["runyard_endpoint_gpu_use_ratio{name=\"{}\"}"],
        ..plan("gpu-use", "GPU use", Kind::Lines, Unit::Ratio, LEVEL_GPU_USE)
    },
    Plan {
        promql: &["runyard_endpoint_gpu_memory_bytes{name=\"{}\"}"],
        ..plan(
            "gpu-memory",
            "GPU memory",
            Kind::Lines,
            Unit::Bytes,
            &[
                ("most", "gpu_memory", Part::Max, "busy"),
                ("on average", "gpu_memory", Part::Average, "accent"),
            ],
        )
    },
    Plan {
        promql: &["runyard_endpoint_gpu_power_watts{name=\"{}\"}"],
        ..plan(
            "gpu-power",
            "GPU power",
            Kind::Lines,
            Unit::Watts,
            &[("most", "gpu_power", Part::Max, "busy"), ("on average", "gpu_power", Part::Average, "accent")],
        )
    },
    Plan {
        promql: &["runyard_endpoint_cpu_cores{name=\"{}\"}"],
        ..plan(
            "cpu",
            "Processors",
            Kind::Lines,
            Unit::Cores,
            &[("most", "cpu", Part::Max, "busy"), ("on average", "cpu", Part::Average, "accent")],
        )
    },
    Plan {
        promql: &["runyard_endpoint_memory_bytes{name=\"{}\"}"],
        ..plan(
            "memory",
            "Memory",
            Kind::Lines,
            Unit::Bytes,
            &[("most", "memory", Part::Max, "busy"), ("on average", "memory", Part::Average, "accent")],
        )
    },
    Plan {
        promql: &["sum by (outcome) (increase(runyard_webhook_tries_total{name=\"{}\"}[5m]))"],
        ..plan(
            "webhooks",
            "Webhooks",
            Kind::Bars,
            Unit::Count,
            &[
                ("delivered", "webhooks_delivered", Part::Count, "ok"),
                ("failed", "webhooks_failed", Part::Count, "warn"),
                ("given up", "webhooks_given_up", Part::Count, "bad"),
            ],
        )
    },
];

const LEVEL_GPU_USE: &[Line] =
    &[("most", "gpu_use", Part::Max, "busy"), ("on average", "gpu_use", Part::Average, "accent")];

/// Those that are there even where they are zero.
const ALWAYS: [&str; 9] =
    ["requests", "queue", "oldest", "delay", "execution", "starts", "start-time", "workers", "running"];

/// The charts of an endpoint that have something to show, and the titles of the others; `earlier` is drawn dashed.
pub(super) fn charts(
    name: &str,
    metrics: &Metrics,
    earlier: Option<&Metrics>,
    told: &Told<'_>,
) -> (Vec<Chart>, Vec<String>) {
    let (mut shown, mut empty) = (Vec::new(), Vec::new());
    for plan in PLANS {
        let mut chart = plan.draw(name, metrics);
        if !chart.is_something() && !ALWAYS.contains(&plan.id) {
            empty.push(chart.title);
            continue;
        }
        if let (Some(earlier), Some((series, part))) = (earlier, plan.compared) {
            chart.columns.extend(before(&earlier.series, series, part, chart.at.len()));
        }
        chart.says = says(plan.id, told);
        shown.push(chart);
    }
    (shown, empty)
}

impl Plan {
    fn draw(&self, name: &str, metrics: &Metrics) -> Chart {
        let mut chart = Chart::new(self.id, self.title, self.kind, self.unit, &metrics.at);
        let column = |line: &Line, over: bool| {
            let (label, series, part, tone) = *line;
            let values = named(&metrics.series, series).map(|series| series.part(part).to_vec());
            let values = values.unwrap_or_default();
            Column { name: label.to_owned(), tone, line: over, before: false, values }
        };
        chart.columns.extend(self.lines.iter().map(|line| column(line, false)));
        chart.columns.extend(self.over.iter().map(|line| column(line, true)));
        chart.promql = self.promql.iter().map(|text| text.replace("{}", name)).collect();
        chart
    }
}

/// What was before, on the axis of now.
fn before(earlier: &[Series], name: &str, part: Part, steps: usize) -> Option<Column> {
    let mut values = named(earlier, name)?.part(part).to_vec();
    // A step more or less may have come of the edges.
    let cut = values.len().saturating_sub(steps);
    values.drain(..cut);
    let label = match part {
        Part::P90 => "p90 before",
        _ => "before",
    };
    Some(Column { name: label.to_owned(), tone: "idle", line: true, before: true, values })
}

fn says(id: &str, told: &Told<'_>) -> String {
    match id {
        "requests" => told.requests(),
        "queue" => told.queue(),
        "oldest" => told.most("queue_oldest_wait", Unit::Seconds, "The first in the queue waited"),
        "delay" => told.times("delay", "No job that had waited ended."),
        "execution" => told.times("execution", "No job that had run ended."),
        "starts" => told.starts(),
        "start-time" => told.times("start", "No worker became ready."),
        "workers" => told.most("workers_running", Unit::Count, "Busy were"),
        "running" => told.most("jobs_running", Unit::Count, "There ran"),
        "concurrency" => told.most("concurrency_use", Unit::Ratio, "There ran"),
        "bytes" => told.bytes(),
        "ends" => told.ends(),
        "gpu-use" => told.most("gpu_use", Unit::Ratio, "Its GPUs were busy"),
        "gpu-memory" => told.most("gpu_memory", Unit::Bytes, "On its GPUs it held"),
        "gpu-power" => told.most("gpu_power", Unit::Watts, "Its GPUs drew"),
        "cpu" => told.most("cpu", Unit::Cores, "Its workers used"),
        "memory" => told.most("memory", Unit::Bytes, "Its workers held"),
        _ => told.webhooks(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_chart_has_its_series_a_sentence_and_another_name() {
        let names: HashSet<&str> = PLANS.iter().map(|plan| plan.id).collect();
        assert_eq!(names.len(), PLANS.len());
        assert!(PLANS.iter().all(|plan| !plan.promql.is_empty()));
        let docs = include_str!("../../../../../docs/metrics.md");
        for (_, series, ..) in PLANS.iter().flat_map(|plan| plan.lines.iter().chain(plan.over)) {
            assert!(docs.contains(&format!("| `{series}` |")), "{series}");
        }
    }

    #[test]
    fn what_is_zero_is_named_and_not_drawn_and_the_time_before_is_on_the_same_axis() {
        let of = |counts: serde_json::Value| -> Metrics {
            let list = json!([{"name": "jobs_submitted", "whole": {"count": 3}, "count": counts}]);
            serde_json::from_value(json!({"since": 0, "until": 20_000, "at": [0, 10_000], "series": list}))
                .expect("metrics")
        };
        let (now, earlier) = (of(json!([1, 2])), of(json!([9, 3, 4])));
        let told = Told { series: &now.series, before: "before", submitted: "/jobs", ended: "/jobs" };
        let (shown, empty) = charts("a", &now, Some(&earlier), &told);
        assert_eq!((shown.len(), empty.len()), (ALWAYS.len(), PLANS.len() - ALWAYS.len()));
        let before = shown[0].columns.last().expect("a column");
        assert!(before.before && before.values == [Some(3.0), Some(4.0)]);
        assert!(shown[0].promql[0].contains("{name=\"a\"}"));
    }
}
