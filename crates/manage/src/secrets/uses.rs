//! Who uses a secret: the releases that get traffic or have workers, and the variables that a repository's next release
//! will have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runyard_domain::{Endpoint, Release, secret};
use runyard_fleet::secrets_of;
use serde_json::{Value, json};

use crate::{Manage, Problem};

/// An endpoint that uses a secret.
#[derive(Clone)]
pub(crate) struct Use {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The variables that refer to it.
    variables: BTreeSet<String>,
    /// Its releases that do.
    pub(crate) releases: Vec<u32>,
    /// Workers of those releases: what a new value reaches by a restart only.
    workers: usize,
}

impl Use {
    /// `t2i (HF_TOKEN)`.
    pub(crate) fn words(&self) -> String {
        let variables: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        format!("{} ({})", self.endpoint.name, variables.join(", "))
    }

    pub(crate) fn view(&self) -> Value {
        json!({
            "endpoint": self.endpoint.id,
            "endpointName": self.endpoint.name,
            "variables": self.variables,
            "releases": self.releases,
            "workers": self.workers,
        })
    }
}

impl Manage {
    /// Who uses this secret, by the names of endpoints.
    pub(crate) fn uses_of(&self, name: &str) -> Result<Vec<Use>, Problem> {
        Ok(self.secret_uses()?.remove(name).unwrap_or_default())
    }

    /// Who uses which secret.
    pub(crate) fn secret_uses(&self) -> Result<BTreeMap<String, Vec<Use>>, Problem> {
        let mut uses: BTreeMap<String, Vec<Use>> = BTreeMap::new();
        let connections = self.inner.engine.reader().connections()?;
        for endpoint in self.inner.engine.endpoints() {
            let mut of_endpoint: BTreeMap<String, Use> = BTreeMap::new();
            let fresh = |workers| Use {
                endpoint: endpoint.clone(),
                variables: BTreeSet::new(),
                releases: Vec::new(),
                workers,
            };
            for (release, workers) in self.releases_in_use(&endpoint)? {
                for (name, variables) in secrets_of(&release) {
                    let one = of_endpoint.entry(name).or_insert_with(|| fresh(0));
                    one.variables.extend(variables);
                    one.releases.push(release.number);
                    one.workers += workers;
                }
            }
            for connection in connections.iter().filter(|connection| connection.endpoint == endpoint.id) {
                for (variable, value) in &connection.part.env {
                    for name in secret::references(value) {
                        let one = of_endpoint.entry(name.to_owned()).or_insert_with(|| fresh(0));
                        one.variables.insert(variable.clone());
                    }
                }
            }
            for (name, one) in of_endpoint {
                uses.entry(name).or_default().push(one);
            }
        }
        Ok(uses)
    }

    /// Releases that get traffic, or shall, or have workers; each with how many.
    fn releases_in_use(&self, endpoint: &Endpoint) -> Result<Vec<(Release, usize)>, Problem> {
        let workers = self.inner.fleet.workers();
        let of =
            |number: u32| workers.iter().filter(|w| w.endpoint == endpoint.id && w.release == number).count();
        let rollout = endpoint.rollout.as_ref();
        let is_wanted = |number: u32| {
            endpoint.serving == Some(number)
                || rollout.is_some_and(|rollout| rollout.to == number || rollout.from.contains(&number))
        };
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        let counted = releases.into_iter().map(|release| {
            let workers = of(release.number);
            (release, workers)
        });
        Ok(counted.filter(|(release, workers)| *workers > 0 || is_wanted(release.number)).collect())
    }
}
