//! How an endpoint did in the last half hour: four figures, each with small bars.

use crate::call::Trouble;
use crate::chart::Unit;
use crate::draw;
use crate::pages::pulse::Back;
use crate::series::{Metrics, Part, Series, count, named};
use crate::session::Visit;

const SERIES: &str = "jobs_submitted,jobs_completed,jobs_failed,jobs_timed_out,delay,execution";

/// A figure.
pub(crate) struct Tile {
    pub(crate) title: &'static str,
    pub(crate) value: String,
    pub(crate) sub: String,
    pub(crate) bars: String,
}

/// Loads the figures of an endpoint.
pub(crate) async fn load(visit: &Visit, name: &str, now: i64) -> Result<Vec<Tile>, Trouble> {
    let back = Back::HalfHour;
    let path = format!("/api/v1/metrics?endpoint={name}&series={SERIES}&{}", back.query(now));
    let metrics: Metrics = visit.get(&path).await?;
    Ok(tiles(&metrics.series, back.words()))
}

fn tiles(series: &[Series], span: &str) -> Vec<Tile> {
    let counts = |name: &str| -> Vec<u32> {
        named(series, name).map(|series| series.counts().collect()).unwrap_or_default()
    };
    let (submitted, completed) = (count(series, "jobs_submitted"), count(series, "jobs_completed"));
    let failed = count(series, "jobs_failed") + count(series, "jobs_timed_out");
    let mut bad = counts("jobs_failed");
    for (sum, more) in bad.iter_mut().zip(counts("jobs_timed_out")) {
        *sum += more;
    }
    let ended = completed + failed;
    let share = if ended == 0 { "–".to_owned() } else { Unit::Ratio.say(failed as f64 / ended as f64) };
    let minutes = counts("jobs_submitted").len().max(1) as f64;
    let tile = |title, value, sub: String, bars| Tile { title, value, sub, bars };
    vec![
        tile(
            "Jobs a minute",
            Unit::Count.say((submitted as f64 / minutes * 10.0).round() / 10.0),
            format!("{submitted} {span}"),
            draw::bars(&counts("jobs_submitted"), "", &format!("{submitted} jobs, {span}")),
        ),
        tile(
            "Failed",
            share,
            format!("{failed} of {ended} that ended"),
            draw::bars(&bad, "bad", &format!("{failed} failed, {span}")),
        ),
        times("Delay", series, "delay"),
        times("Execution", series, "execution"),
    ]
}

fn times(title: &'static str, series: &[Series], name: &str) -> Tile {
    let found = named(series, name);
    let say = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| Unit::Seconds.say(value));
    let (p50, p90) = (found.and_then(|s| s.whole.p50), found.and_then(|s| s.whole.p90));
    // Bars in milliseconds: they are compared with one another alone.
    let ms = |value: &Option<f64>| value.map_or(0, |value| (value * 1_000.0).clamp(1.0, 4e9) as u32);
    let bars: Vec<u32> = found.map(|s| s.part(Part::P90).iter().map(ms).collect()).unwrap_or_default();
    let alt = format!("p90 of each minute, {} in all", say(p90));
    Tile { title, value: say(p50), sub: format!("p50; p90 {}", say(p90)), bars: draw::bars(&bars, "", &alt) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_of_what_ended_and_none_is_no_zero() {
        let list = json!([
            {"name": "jobs_submitted", "whole": {"count": 4}, "count": [1, 3]},
            {"name": "jobs_completed", "whole": {"count": 2}, "count": [1, 1]},
            {"name": "jobs_failed", "whole": {"count": 1}, "count": [0, 1]},
            {"name": "jobs_timed_out", "whole": {"count": 1}, "count": [0, 1]},
            {"name": "delay", "whole": {"count": 4, "p50": 0.4, "p90": 1.5}, "p90": [null, 1.5]},
        ]);
        let series: Vec<Series> = serde_json::from_value(list).expect("series");
        let said: Vec<(String, String)> =
            tiles(&series, "last 30 min").into_iter().map(|tile| (tile.value, tile.sub)).collect();
        assert_eq!(said[0], ("2".into(), "4 last 30 min".into()));
        assert_eq!(said[1], ("50 %".into(), "2 of 4 that ended".into()));
        assert_eq!(said[2], ("400 ms".into(), "p50; p90 1.5 s".into()));
        assert_eq!(said[3].0, "–");
    }
}
