//! What this machine has, as a catalogue: its types of GPUs, flavours of processors, itself as the one data centre. The
//! names of types and pools are RunPod's; prices are those of the configuration.

pub(crate) mod centers;
pub(crate) mod cpus;
pub(crate) mod gpus;

use serde_json::{Value, json};

use crate::Manage;
use crate::problem::Problem;

/// A query as it came: a name may come several times, and a value hold several parted by commas.
pub(super) type Parameters = Vec<(String, String)>;

/// Every value of a name.
pub(super) fn values<'a>(parameters: &'a Parameters, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = parameters.iter().filter(move |(key, _)| key == name);
    named.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty())
}

/// What a query includes of availability: nothing, or how many GPUs or processors each.
fn availability(
    parameters: &Parameters,
    products: &[&str],
    number: &str,
    least: u32,
) -> Result<Option<u32>, Problem> {
    let mut wanted = false;
    for word in values(parameters, "include") {
        check(word, &["AVAILABILITY"], "include")?;
        wanted = true;
    }
    let mut product = false;
    for word in values(parameters, "product") {
        check(word, products, "product")?;
        product = true;
    }
    let mut count = least;
    for text in values(parameters, number) {
        count =
            text.parse().ok().filter(|count| *count >= least).ok_or_else(|| {
                Problem::invalid(format!("{number} must be an integer of at least {least}"))
            })?;
    }
    match (wanted, product) {
        (true, false) => {
            let words = products.join(" or ");
            Err(Problem::invalid(format!("include=AVAILABILITY needs product={words}")))
        }
        (wanted, _) => Ok(wanted.then_some(count)),
    }
}

pub(super) fn check(word: &str, words: &[&str], name: &str) -> Result<(), Problem> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(Problem::invalid(format!("{name} must be one of {}", words.join(", "))))
}

/// How readily `wanted` of `all` can be had where so many are free.
fn level(wanted: u32, free: u32, all: u32) -> &'static str {
    match () {
        () if wanted > all => "NONE",
        () if free >= wanted && free == all => "HIGH",
        () if free >= wanted => "MEDIUM",
        // Idle workers make room, busy ones end.
        () => "LOW",
    }
}

impl Manage {
    /// How many of these GPUs no worker holds.
    fn free_of(&self, gpus: &[u32]) -> u32 {
        let workers = self.inner.fleet.workers();
        let is_held = |gpu: &u32| workers.iter().any(|worker| worker.gpus.contains(gpu));
        gpus.iter().filter(|gpu| !is_held(gpu)).count() as u32
    }

    /// The data centre as availability names it.
    fn here(&self, level: &str) -> Value {
        let id = &self.inner.rest.options.data_center;
        json!([{"id": id, "name": id, "availability": level}])
    }

    /// Refuses places that are not this machine.
    pub(in crate::rest) fn check_centers(&self, centers: &[String]) -> Result<(), Problem> {
        let here = &self.inner.rest.options.data_center;
        match centers.iter().find(|center| *center != here) {
            None => Ok(()),
            Some(other) => {
                let other: String = other.chars().take(60).collect();
                Err(Problem::invalid(format!("there is no data centre '{other}': this machine is '{here}'"))
                    .hint("data_center in server.toml gives it another name"))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn availability_needs_a_product() {
        let ask = |text: &str| {
            let parameters: Parameters = text
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            availability(&parameters, &["POD", "SERVERLESS"], "count", 1)
        };
        assert_eq!(ask("product=POD").unwrap(), None);
        assert_eq!(ask("include=AVAILABILITY&product=POD,SERVERLESS&count=2").unwrap(), Some(2));
        for bad in ["include=AVAILABILITY", "include=x", "product=x", "count=0&product=POD", "count=x"] {
            assert!(ask(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_say_how_much_is_free() {
        assert_eq!(
            [level(1, 2, 2), level(1, 1, 2), level(2, 1, 2), level(3, 2, 2)],
            ["HIGH", "MEDIUM", "LOW", "NONE"]
        );
    }
}
