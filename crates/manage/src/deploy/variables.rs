//! Other variables for what serves: a release of the same code, tested and rolled out like any other, so that there is
//! a way back to the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::response::Response;
use runyard_domain::{Access, Endpoint, Release, ReleaseState};
use serde::Deserialize;
use serde_json::Map;

use super::{Deploy, Tests, check_env};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::releases::Move;
use crate::secrets::SecretEnv;
use crate::stream::{Body, lines};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// Plain variables to set, and to take away (`null`).
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
    /// Secure ones.
    #[serde(default)]
    secret_env: SecretEnv,
    note: Option<String>,
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Change>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let request = body.read()?;
    let serving = manage.serving_release(&endpoint).await?;
    let plain = |set: bool| request.env.iter().filter(move |(_, value)| value.is_some() == set);
    let given: BTreeMap<String, String> =
        plain(true).filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    check_env(&given)?;
    request.secret_env.check(given.keys())?;
    let mut env = serving.env.clone();
    // A variable is plain or secure: what it becomes it was not.
    let gone = plain(false).map(|(name, _)| name).chain(request.secret_env.0.keys());
    gone.for_each(|name| drop(env.remove(name)));
    env.extend(given);
    manage.check_references(&env)?;
    let turn = Some(manage.take_turn(&endpoint)?);
    let kept = serving.secure_env.clone();
    let secure_env = manage.changed_secure(&endpoint.id, kept, request.env.keys(), &request.secret_env)?;
    if env == serving.env && secure_env == serving.secure_env {
        return Err(Problem::invalid(format!("the variables of '{}' are so already", endpoint.name)));
    }
    let release = Release {
        number: manage.take_number(&endpoint).await?,
        created_at: manage.inner.engine.now(),
        created_by: auth.0.name().to_owned(),
        state: ReleaseState::Building,
        env,
        secure_env,
        note: request.note.or_else(|| Some(format!("release {} with other variables", serving.number))),
        // Its variables were set by hand: those of the next commits' releases follow them.
        commit: None,
        took_ms: None,
        ..serving
    };
    manage.inner.engine.put_release(release.clone()).await?;
    let code = PathBuf::from(release.launch.as_ref().map_or("", |launch| launch.code_dir.as_str()));
    let (lines, response) = lines();
    let endpoint = (*endpoint).clone();
    let mut deploy = Deploy {
        manage,
        caller: auth.0,
        settings: endpoint.settings.clone(),
        endpoint,
        changes: Map::new(),
        managed: None,
        of_blueprint: false,
        release,
        how: Move::Roll,
        turn,
        container: None,
        lines,
        log: None,
    };
    tokio::spawn(async move {
        deploy.open_log();
        let outcome = deploy.prove(&code, Tests::Own(true)).await;
        deploy.end(outcome).await;
    });
    Ok(response)
}

impl Manage {
    async fn serving_release(&self, endpoint: &Endpoint) -> Result<Release, Problem> {
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        let serving = releases.into_iter().find(|release| Some(release.number) == endpoint.serving);
        let release = serving.ok_or_else(|| {
            Problem::conflict(format!(
                "nothing serves '{}' yet, so that there is nothing to change",
                endpoint.name
            ))
            .hint(format!("runyard deploy --name {} --env K=V --secret-env K", endpoint.name))
        })?;
        self.check_ready(&release).await?;
        Ok(release)
    }
}
