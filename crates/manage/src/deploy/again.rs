//! A release of what serves with something else about it: other variables, GPUs, containers, another image. It is tested
//! and rolled out like any other, so that there is a way back to the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::response::Response;
use runyard_domain::release::Given;
use runyard_domain::{Endpoint, Release, ReleaseState, Settings};
use runyard_engine::Trail;
use runyard_vault::Caller;
use serde_json::{Map, Value};

use super::{Deploy, Tests};
use crate::problem::Problem;
use crate::releases::Move;
use crate::stream::lines;
use crate::{Manage, container};

/// What is other than in what serves.
pub(crate) struct Other {
    /// The settings that it is tested with.
    pub(crate) settings: Settings,
    /// Those that the endpoint gets when it serves; others stay as they are by then.
    pub(crate) changes: Map<String, Value>,
    /// Another name for the endpoint, likewise.
    pub(crate) name: Option<String>,
    /// Its plain variables, where they are other ones.
    pub(crate) env: Option<BTreeMap<String, String>>,
    /// Its secure variables, likewise.
    pub(crate) secure_env: Option<BTreeMap<String, String>>,
    /// Another image.
    pub(crate) image: Option<String>,
    /// What it is remembered by.
    pub(crate) note: String,
}

impl Manage {
    /// Begins a deploy of what serves, with something else about it.
    pub(crate) async fn deploy_again(
        &self,
        caller: Caller,
        endpoint: &Endpoint,
        serving: Release,
        other: Other,
    ) -> Result<Response, Problem> {
        let turn = Some(self.take_turn(endpoint)?);
        let Other { settings, changes, name, env, secure_env, image, note } = other;
        // Who sets variables or an image by hand goes on with them: those of the next commits' releases follow.
        let commit =
            serving.commit.clone().filter(|_| env.is_none() && secure_env.is_none() && image.is_none());
        let release = Release {
            number: self.take_number(endpoint).await?,
            created_at: self.inner.engine.now(),
            created_by: caller.name().to_owned(),
            state: ReleaseState::Building,
            env: env.unwrap_or_else(|| serving.env.clone()),
            secure_env: secure_env.unwrap_or_else(|| serving.secure_env.clone()),
            gpus: settings.gpus.clone(),
            given: Some(Given::of(&settings)),
            note: Some(note),
            commit,
            took_ms: None,
            ..serving
        };
        self.inner.engine.put_release(release.clone()).await?;
        let launch = release.launch.as_ref();
        let code = PathBuf::from(launch.map_or("", |launch| launch.code_dir.as_str()));
        let ran = launch.and_then(|launch| launch.image.as_ref());
        let container = image.map(|image| container::Request {
            image: Some(image),
            entrypoint: ran.and_then(|ran| ran.entrypoint.clone()),
            command: ran.and_then(|ran| ran.command.clone()),
            ..container::Request::default()
        });
        let (lines, response) = lines();
        let mut deploy = Deploy {
            manage: self.clone(),
            caller,
            endpoint: endpoint.clone(),
            settings,
            changes,
            rename: name,
            managed: None,
            of_blueprint: false,
            release,
            how: Move::Roll,
            turn,
            container,
            lines,
            log: None,
        };
        tokio::spawn(Trail::carried(async move {
            if deploy.container.is_some() {
                // Of the code that served nothing is left in it.
                let release = &mut deploy.release;
                (release.bundle, release.environment, release.python) = <(String, String, String)>::default();
                return deploy.run(PathBuf::new(), None, Tests::Own(false), Vec::new()).await;
            }
            deploy.open_log();
            let outcome = deploy.prove(&code, Tests::Own(true)).await;
            deploy.end(outcome).await;
        }));
        Ok(response)
    }

    /// The release that serves, if it can be made again.
    pub(crate) async fn serving_release(&self, endpoint: &Endpoint) -> Result<Release, Problem> {
        let release = self.what_serves(endpoint)?.ok_or_else(|| {
            Problem::conflict(format!(
                "nothing serves '{}' yet, so that there is nothing to change",
                endpoint.name
            ))
            .hint(format!("runyard deploy --name {} --env K=V --secret-env K", endpoint.name))
        })?;
        self.check_ready(&release).await?;
        Ok(release)
    }

    /// The release that serves.
    pub(crate) fn what_serves(&self, endpoint: &Endpoint) -> Result<Option<Release>, Problem> {
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        Ok(releases.into_iter().find(|release| Some(release.number) == endpoint.serving))
    }
}
