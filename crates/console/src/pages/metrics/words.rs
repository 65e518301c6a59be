//! What the charts of an endpoint say in words: how much, and how that is beside the time before.

use crate::chart::Unit;
use crate::series::{Series, count, named};
use crate::show;

/// What sentences are made of.
pub(super) struct Told<'a> {
    pub(super) series: &'a [Series],
    /// What the time before is called.
    pub(super) before: &'a str,
    /// The lists of the endpoint's jobs that were submitted in this range, and of those that ended in it.
    pub(super) submitted: &'a str,
    pub(super) ended: &'a str,
}

impl Told<'_> {
    /// How an amount is beside that of the time before: `, up 12 % from the hour before`.
    fn beside(&self, now: Option<f64>, earlier: Option<f64>) -> String {
        let (Some(now), Some(earlier)) = (now, earlier) else { return String::new() };
        if earlier <= 0.0 {
            return if now > 0.0 { format!(", after none in {}", self.before) } else { String::new() };
        }
        let percent = ((now - earlier) / earlier * 100.0).round();
        match percent as i64 {
            0 => format!(", as in {}", self.before),
            1.. => format!(", up {percent:.0} % from {}", self.before),
            _ => format!(", down {:.0} % from {}", -percent, self.before),
        }
    }

    fn count(&self, name: &str) -> u64 {
        count(self.series, name)
    }

    /// Jobs by how they ended. The numbers lead to the same jobs.
    pub(super) fn requests(&self) -> String {
        let submitted = self.count("jobs_submitted");
        let series = named(self.series, "jobs_submitted");
        let earlier = series.and_then(|series| series.before.as_ref()).and_then(|whole| whole.count);
        let beside = self.beside(Some(submitted as f64), earlier);
        let ends = [
            ("jobs_completed", "completed", "COMPLETED"),
            ("jobs_failed", "failed", "FAILED"),
            ("jobs_timed_out", "timed out", "TIMED_OUT"),
            ("jobs_cancelled", "cancelled", "CANCELLED"),
        ];
        let ends: Vec<String> = ends
            .into_iter()
            .filter(|(name, ..)| self.count(name) > 0)
            .map(|(name, word, status)| {
                format!("<a href=\"{}&amp;status={status}\">{} {word}</a>", self.ended, self.count(name))
            })
            .collect();
        let ends = if ends.is_empty() { "none ended".to_owned() } else { ends.join(", ") };
        let were = if submitted == 1 { "was" } else { "were" };
        format!(
            "<a href=\"{}\" data-submitted=\"{submitted}\">{}</a> {were} submitted{beside}; {ends}.",
            self.submitted,
            show::count(submitted, "job")
        )
    }

    /// The queue.
    pub(super) fn queue(&self) -> String {
        let Some(series) = named(self.series, "queue_waiting") else { return String::new() };
        let (most, average) = (series.whole.max.unwrap_or(0.0), series.whole.average.unwrap_or(0.0));
        if most == 0.0 {
            return "Nothing had to wait when it was looked at.".to_owned();
        }
        let earlier = series.before.as_ref().and_then(|whole| whole.average);
        let beside = self.beside(Some(average), earlier);
        format!("At most {most:.0} waited, {} on average{beside}.", Unit::Count.say(average))
    }

    /// The most of a level.
    pub(super) fn most(&self, name: &str, unit: Unit, lead: &str) -> String {
        let whole = named(self.series, name).map(|series| &series.whole);
        let value = |of: Option<f64>| of.map(|value| unit.say(value));
        match whole.and_then(|whole| value(whole.max).zip(value(whole.average))) {
            Some((most, average)) => format!("{lead} at most {most}, {average} on average."),
            None => "Nobody looked in this range.".to_owned(),
        }
    }

    /// Durations: the middle, p90 beside the time before, and the longest.
    pub(super) fn times(&self, name: &str, none: &str) -> String {
        let Some(series) = named(self.series, name) else { return String::new() };
        let of = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| Unit::Seconds.say(value));
        if series.whole.count.unwrap_or(0.0) == 0.0 {
            return none.to_owned();
        }
        let earlier = series.before.as_ref().and_then(|whole| whole.p90);
        format!(
            "p50 {}, p90 {}{}; the longest {}.",
            of(series.whole.p50),
            of(series.whole.p90),
            self.beside(series.whole.p90, earlier),
            of(series.whole.max)
        )
    }

    /// Workers that were started.
    pub(super) fn starts(&self) -> String {
        let (ready, failed) = (self.count("starts_ready"), self.count("starts_failed"));
        let series = named(self.series, "starts_ready");
        let earlier = series.and_then(|series| series.before.as_ref()).and_then(|whole| whole.count);
        let beside = self.beside(Some(ready as f64), earlier);
        match (ready, failed) {
            (0, 0) => "No worker was started.".to_owned(),
            (_, 0) => format!("{} started{beside}; none failed to.", show::count(ready, "worker")),
            _ => format!("{} started{beside}; {failed} failed to.", show::count(ready, "worker")),
        }
    }

    /// Workers that ended.
    pub(super) fn ends(&self) -> String {
        let (stopped, crashed) = (self.count("workers_stopped"), self.count("workers_crashed"));
        if crashed == 0 {
            return format!("{} stopped; none crashed.", show::count(stopped, "worker"));
        }
        format!("{} stopped; {crashed} crashed.", show::count(stopped, "worker"))
    }

    /// Inputs and results.
    pub(super) fn bytes(&self) -> String {
        let said = |name: &str| Unit::Bytes.say(self.count(name) as f64);
        format!("Inputs had {}, results {}.", said("input_bytes"), said("output_bytes"))
    }

    /// Deliveries.
    pub(super) fn webhooks(&self) -> String {
        let [good, failed, over] =
            ["webhooks_delivered", "webhooks_failed", "webhooks_given_up"].map(|name| self.count(name));
        format!("{} delivered; {failed} failed and repeated, {over} given up.", show::count(good, "webhook"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series() -> Vec<Series> {
        let list = json!([
            {"name": "jobs_submitted", "whole": {"count": 112}, "before": {"count": 100}},
            {"name": "jobs_completed", "whole": {"count": 110}},
            {"name": "jobs_failed", "whole": {"count": 2}},
            {"name": "delay", "whole": {"count": 3, "p50": 0.4, "p90": 1.8, "max": 2.0}, "before": {"count": 1, "p90": 2.0}},
            {"name": "queue_waiting", "whole": {"average": 0.0, "max": 0.0}, "before": null},
        ]);
        serde_json::from_value(list).expect("series")
    }

    #[test]
    fn a_sentence_says_how_much_and_how_it_was_before() {
        let series = series();
        let told =
            Told { series: &series, before: "the hour before", submitted: "/jobs?s", ended: "/jobs?e" };
        let said = told.requests();
        assert!(said.contains(">112 jobs</a> were submitted, up 12 % from the hour before;"), "{said}");
        assert!(said.contains("<a href=\"/jobs?e&amp;status=FAILED\">2 failed</a>"), "{said}");
        assert_eq!(
            told.times("delay", "none"),
            "p50 400 ms, p90 1.8 s, down 10 % from the hour before; the longest 2.0 s."
        );
        assert_eq!(told.queue(), "Nothing had to wait when it was looked at.");
        assert_eq!(told.beside(Some(3.0), Some(0.0)), ", after none in the hour before");
        assert_eq!(told.beside(Some(3.0), None), "");
    }
}
