//! The flags that say how releases follow each other.

use clap::Args;
use runyard_domain::rollout::Portion;
use serde_json::{Map, Value, json};

use crate::output::time;

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Rollouts")]
pub struct RolloutArgs {
    /// Workers beyond those that serve while they are replaced: 25%, or 2
    #[arg(long, value_name = "PORTION")]
    surge: Option<Portion>,
    /// Workers that may be missing meanwhile: 25%, or 1
    #[arg(long, value_name = "PORTION")]
    max_unavailable: Option<Portion>,
    /// How long after its rollout a release is taken back for its errors: 10m; 0 for not at all
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    watch: Option<i64>,
    /// So many failed starts in a row take traffic back; 0 for never
    #[arg(long, value_name = "N")]
    failed_starts: Option<u32>,
    /// By how many of 100 jobs more than before may fail
    #[arg(long, value_name = "N")]
    error_margin: Option<u32>,
    /// So many of its jobs have to end before errors count; 0 for never
    #[arg(long, value_name = "N")]
    error_jobs: Option<u32>,
    /// How long a canary is tried: 10m; 0 until it is promoted by hand
    #[arg(long, value_name = "DURATION", value_parser = time::milliseconds)]
    canary_for: Option<i64>,
    /// With how many of its jobs a canary is tried; 0 for any number
    #[arg(long, value_name = "N")]
    canary_jobs: Option<u32>,
}

impl RolloutArgs {
    /// The group as the API takes it, where something of it was given.
    pub fn value(&self) -> Option<Value> {
        let given = [
            ("surge", self.surge.map(|portion| json!(portion))),
            ("max_unavailable", self.max_unavailable.map(|portion| json!(portion))),
            ("watch_ms", self.watch.map(Value::from)),
            ("failed_starts", self.failed_starts.map(Value::from)),
            ("error_margin", self.error_margin.map(Value::from)),
            ("error_jobs", self.error_jobs.map(Value::from)),
            ("canary_ms", self.canary_for.map(Value::from)),
            ("canary_jobs", self.canary_jobs.map(Value::from)),
        ];
        let given: Map<String, Value> =
            given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_in_the_group() {
        assert_eq!(RolloutArgs::default().value(), None);
        let args = RolloutArgs {
            surge: Some(Portion::Percent(50)),
            max_unavailable: Some(Portion::Workers(1)),
            ..RolloutArgs::default()
        };
        assert_eq!(args.value(), Some(json!({"surge": "50%", "max_unavailable": 1})));
    }
}
