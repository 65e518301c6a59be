//! Releases of endpoints that are described by an image. One loop looks which blueprint is ahead of its releases and
//! has a deploy made of it, on the road of every other deploy; it is told when one may be. What a restart broke off is
//! begun again, because a revision counts as built when its deploy has ended.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runyard_domain::{Blueprint, Endpoint, EndpointId};
use runyard_engine::{Deed, Trail};
use serde_json::{Map, json};
use tokio::sync::mpsc::unbounded_channel;

use super::config::command_of;
use crate::audit::DEPLOY;
use crate::deploy::Request;
use crate::stream::outcome_of;
use crate::{Manage, container};

/// How often it is looked whether another deploy of the endpoint has ended.
const TURN: Duration = Duration::from_millis(500);

/// The pause after which the store is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Makes releases until the server ends.
pub struct Builder(pub(crate) Manage);

impl Builder {
    /// Its loop.
    pub async fn run(self) {
        let working: Arc<Mutex<HashSet<EndpointId>>> = Arc::default();
        loop {
            let behind = self.0.inner.rest.behind.notified();
            for endpoint in self.0.inner.engine.endpoints() {
                let id = endpoint.id.clone();
                if is_behind(&endpoint)
                    && working.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone())
                {
                    let (manage, working) = (self.0.clone(), working.clone());
                    tokio::spawn(async move {
                        manage.build(&id).await;
                        working.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                        manage.inner.rest.behind.notify_one();
                    });
                }
            }
            behind.await;
        }
    }
}

fn is_behind(endpoint: &Endpoint) -> bool {
    endpoint.blueprint.as_ref().is_some_and(|blueprint| blueprint.is_behind())
}

impl Manage {
    /// Makes releases of a blueprint's newest revision, until there is no newer one.
    async fn build(&self, id: &EndpointId) {
        while let Some(endpoint) = self.inner.engine.endpoint_by_id(id).filter(|e| is_behind(e)) {
            let Some(blueprint) = endpoint.blueprint.as_ref() else { return };
            let Some(failed) = self.build_one(&endpoint, blueprint).await else {
                tokio::time::sleep(TURN).await;
                continue;
            };
            if let Err(why) = &failed {
                tracing::warn!(endpoint.id = %id, why, "no release could be made of what an endpoint was asked to be");
            }
            let revision = blueprint.revision;
            let change = move |endpoint: &mut Endpoint| {
                if let Some(blueprint) = &mut endpoint.blueprint {
                    blueprint.built = blueprint.built.max(revision);
                    blueprint.failed = failed.err();
                }
            };
            if self.inner.engine.change_endpoint(id, change).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// One deploy: how it ended, or nothing where another one is under way.
    async fn build_one(&self, endpoint: &Endpoint, blueprint: &Blueprint) -> Option<Result<(), String>> {
        let login = match &blueprint.config.registry {
            Some(id) => self.login_of(id, &blueprint.config.image).await.map_err(|problem| problem.words()),
            None => Ok(String::new()),
        };
        let request = match login.and_then(|login| request(blueprint, &login)) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (sender, lines) = unbounded_channel();
        let caller = self.inner.engine.vault().local_caller();
        let deed = Deed {
            subject: Some(format!("revision {}", blueprint.revision)),
            ..self.inner.engine.deed(&caller, DEPLOY)
        };
        let deploy = self.deploy(caller, endpoint.id.as_str(), request, sender);
        match Trail::new(deed).scope(deploy).await {
            Ok(()) => {
                let outcome = outcome_of(lines).await;
                Some(outcome.why.map_or(Ok(()), Err))
            }
            Err(problem) if problem.status() == http::StatusCode::CONFLICT => None,
            Err(problem) => Some(Err(problem.words())),
        }
    }
}

/// What is deployed of a blueprint, whose image is pulled with this login.
fn request(blueprint: &Blueprint, login: &str) -> Result<Request, String> {
    let command = command_of(&blueprint.config.args).map_err(|problem| problem.words())?;
    let container = container::Request {
        image: Some(blueprint.config.image.clone()),
        entrypoint: command.entrypoint,
        command: command.cmd,
        ..container::Request::default()
    };
    let cpu_millis = blueprint.cpus.first().map_or(0, |cpu| cpu.vcpus.saturating_mul(1_000));
    let mut settings = Map::new();
    settings.insert("gpus".to_owned(), json!(blueprint.gpus()?));
    settings.insert("network_volume".to_owned(), json!(blueprint.volumes.first()));
    settings.insert("container".to_owned(), json!({"cpu_millis": cpu_millis, "registry": login}));
    Ok(Request {
        container: Some(container),
        env: blueprint.config.env.clone(),
        settings,
        note: Some(format!("revision {}", blueprint.revision)),
        tests: true,
        of_blueprint: true,
        ..Request::default()
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn a_blueprint_becomes_a_deploy() {
        let mut blueprint = Blueprint { revision: 3, ..Blueprint::default() };
        blueprint.config.image = "me/worker:1".to_owned();
        blueprint.config.args = "python -u 'my handler.py'".to_owned();
        let request = request(&blueprint, "hub").unwrap();
        let container = request.container.unwrap();
        assert_eq!(container.command.unwrap(), ["python", "-u", "my handler.py"]);
        assert_eq!(request.settings["gpus"], 0);
        assert_eq!(request.settings["container"]["registry"], "hub");
        assert_eq!(request.note.unwrap(), "revision 3");
        assert!(blueprint.is_behind());
    }
}
