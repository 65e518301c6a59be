//! The last step of a deploy: traffic moves to the release, and everything that was asked for with it is written.

use std::time::Duration;

use runyard_domain::endpoint::Managed;
use runyard_domain::{Endpoint, FailReason};
use runyard_fleet::Followed;
use serde_json::json;

use super::{Deploy, reason_of};
use crate::{endpoints, releases, rest};

/// How long a deploy watches the old workers drain before it leaves that to the background.
const WATCH_ROLLOUT: Duration = Duration::from_secs(30);

impl Deploy {
    pub(super) async fn move_traffic(&mut self) -> Result<(), FailReason> {
        let (id, number) = (self.endpoint.id.clone(), self.release.number);
        let (engine, fleet) = (self.manage.inner.engine.clone(), self.manage.inner.fleet.clone());
        let started = engine.now();
        let (changes, tested) = (self.changes.clone(), self.settings.clone());
        let managed = self.managed.take().map(|managed| Managed { release: Some(number), ..managed });
        // Release and settings change in one write, so that a server that dies leaves all of it or nothing. A file says
        // what every setting is. Else what others changed meanwhile stays; what was asked for was checked at the start.
        let shown = (!self.of_blueprint).then(|| rest::Shown::by(&self.manage, &self.release));
        let rename = self.rename.take();
        self.check_rename(rename.as_deref())?;
        let change = move |endpoint: &mut Endpoint| {
            if let Some(name) = rename {
                endpoint.name = name;
            }
            match managed {
                Some(managed) => {
                    endpoint.settings = tested;
                    endpoint.managed = Some(Box::new(managed));
                }
                None => {
                    endpoint.settings = endpoints::changed(&endpoint.settings, &changes).unwrap_or(tested);
                }
            }
            // Who deploys by another door, or goes back, leaves a description of what serves then.
            if let (Some(blueprint), Some(shown)) = (&mut endpoint.blueprint, shown) {
                shown.into(blueprint);
            }
        };
        let message = releases::make(&fleet, &id, number, &self.how, change).await.map_err(reason_of)?;
        self.turn = None;
        if let Some(endpoint) = engine.endpoint_by_id(&id) {
            self.endpoint.name.clone_from(&endpoint.name);
        }
        self.say_since("traffic", "done", &message, started);
        if engine.endpoint_by_id(&id).is_some_and(|endpoint| endpoint.serving != Some(number)) {
            self.say("rollout", "skipped", "the release before serves until the canary has proved itself");
            return Ok(());
        }
        self.say("rollout", "running", "replacing workers of older releases");
        let followed = {
            let lines = self.lines.clone();
            let tell = move |message: String| {
                let _ = lines
                    .send(json!({"step": "rollout", "state": "running", "message": message, "ms": null}));
            };
            fleet
                .follow(&id, number, WATCH_ROLLOUT, |progress| tell(releases::progress_words(progress)))
                .await
        };
        match followed {
            Followed::Returned { why } => return Err(FailReason::RolledBack { why }),
            Followed::Replaced => {
                self.say_since("rollout", "done", "no worker of an older release is left", started);
            }
            Followed::Going { left } => {
                let message = format!("{left} workers of older releases still finish their jobs");
                self.say_since("rollout", "done", &message, started);
            }
        }
        Ok(())
    }

    /// Another endpoint may have taken the name meanwhile.
    fn check_rename(&self, name: Option<&str>) -> Result<(), FailReason> {
        let taken = name.and_then(|name| self.manage.inner.engine.endpoint(name));
        match taken.filter(|other| other.id != self.endpoint.id) {
            None => Ok(()),
            Some(other) => {
                let message = format!("there is an endpoint '{}' by now; nothing was changed", other.name);
                Err(FailReason::Environment { message, last_lines: Vec::new() })
            }
        }
    }
}
