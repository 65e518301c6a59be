//! What an endpoint costs for an hour by the configured prices: with the workers that are always kept, and with the most
//! that there may be. A worker with GPUs costs its GPUs (where several types
//! would do, the dearest), any other one its processors. What has no price is said and not
//! guessed.

use runyard_domain::{Gpu, Settings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::rest::Options;

/// What one state of an endpoint costs for an hour.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    workers_min: u32,
    workers_max: u32,
    /// One worker.
    worker: Option<f64>,
    /// At `workers_min`.
    min: Option<f64>,
    /// At `workers_max`.
    max: Option<f64>,
    /// Why there are no figures.
    unknown: Option<String>,
}

/// What it costs now, where it is there, and what it would.
pub(crate) fn view(options: &Options, machine: &[Gpu], live: Option<&Settings>, wanted: &Settings) -> Value {
    json!({
        "old": live.map(|settings| cost(options, machine, settings)),
        "new": cost(options, machine, wanted),
    })
}

fn cost(options: &Options, machine: &[Gpu], settings: &Settings) -> Cost {
    let (worker, unknown) = match worker(options, machine, settings) {
        Ok(worker) => (Some(worker), None),
        Err(why) => (None, Some(why)),
    };
    let Settings { workers_min, workers_max, .. } = *settings;
    let of = |workers: u32| worker.map(|worker| rounded(worker * f64::from(workers)));
    Cost {
        workers_min,
        workers_max,
        worker: worker.map(rounded),
        min: of(workers_min),
        max: of(workers_max),
        unknown,
    }
}

fn worker(options: &Options, machine: &[Gpu], settings: &Settings) -> Result<f64, String> {
    if !settings.gpus.is_none() {
        return Ok(dearest(options, machine, settings)? * f64::from(settings.gpus.count()));
    }
    let price = options.vcpu_hour.ok_or("no price is configured for processors")?;
    match settings.container.cpu_millis {
        0 => Err("its workers may use any number of processors, as run.cpu is not set".to_owned()),
        millis => Ok(price * f64::from(millis) / 1_000.0),
    }
}

/// The price of one GPU: of several types that would do, the highest.
fn dearest(options: &Options, machine: &[Gpu], settings: &Settings) -> Result<f64, String> {
    let groups = settings.gpus.groups(machine);
    let types = groups.iter().filter_map(|group| machine.get(*group.first()? as usize));
    let mut dearest: Option<f64> = None;
    for gpu in types {
        let price = options.price_of_gpu(&gpu.name);
        let price = price.ok_or_else(|| format!("no price is configured for {}", gpu.name))?;
        dearest = Some(dearest.map_or(price, |most| most.max(price)));
    }
    dearest.ok_or_else(|| "this machine has no GPU that would do".to_owned())
}

/// To a millionth: sums of prices have no more to say.
fn rounded(sum: f64) -> f64 {
    (sum * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(min: u32, max: u32, gpus: u32, cpu_millis: u32) -> Settings {
        let gpus = gpus.to_string().parse().expect("GPUs");
        let mut settings = Settings { workers_min: min, workers_max: max, gpus, ..Settings::default() };
        settings.container.cpu_millis = cpu_millis;
        settings
    }

    fn machine(names: &[&str]) -> Vec<Gpu> {
        names.iter().map(|name| Gpu::named(name)).collect()
    }

    #[test]
    fn workers_are_counted_with_their_gpus() {
        let options = Options {
            gpu_hour: Some(0.1),
            gpu_prices: [("L4".to_owned(), 0.42)].into(),
            ..Options::default()
        };
        let view =
            view(&options, &machine(&["NVIDIA L4"]), Some(&settings(0, 1, 1, 0)), &settings(1, 2, 1, 0));
        assert_eq!((&view["old"]["max"], &view["new"]["min"]), (&json!(0.42), &json!(0.42)));
        assert_eq!((&view["new"]["max"], &view["new"]["workersMax"]), (&json!(0.84), &json!(2)));
        let two = cost(&options, &machine(&["NVIDIA A40", "NVIDIA A40"]), &settings(0, 3, 2, 0));
        assert_eq!((two.worker, two.max), (Some(0.2), Some(0.6)));
        let either = cost(&options, &machine(&["NVIDIA A40", "NVIDIA L4"]), &settings(0, 1, 1, 0));
        assert_eq!(either.max, Some(0.42), "the dearest that would do");
    }

    #[test]
    fn nothing_is_invented() {
        let options = Options { vcpu_hour: Some(0.03), ..Options::default() };
        let unknown = |settings: &Settings| {
            cost(&options, &machine(&["NVIDIA L4"]), settings).unknown.unwrap_or_default()
        };
        assert_eq!(unknown(&settings(0, 1, 1, 0)), "no price is configured for NVIDIA L4");
        assert!(unknown(&settings(0, 1, 0, 0)).contains("run.cpu is not set"));
        assert_eq!(cost(&options, &[], &settings(0, 2, 0, 1_500)).max, Some(0.09));
        let none = cost(&Options::default(), &[], &settings(0, 2, 0, 1_500));
        assert_eq!(none.unknown.as_deref(), Some("no price is configured for processors"));
        assert_eq!((none.min, none.max, none.worker), (None, None, None));
    }
}
