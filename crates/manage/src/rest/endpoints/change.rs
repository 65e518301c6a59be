//! A changed endpoint. What says how many workers there are holds at once; what says what they are is put into a
//! release, which is made behind the answer and takes over by a rollout.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::{Access, Endpoint};
use serde_json::Value;

use super::body::Body;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::rest::reader::Raw;

pub(in crate::rest) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    raw: Raw,
) -> Result<Json<Value>, Problem> {
    manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let settings = raw.read(|object| Some(Body::read(object, false)))?;
    let body = raw.read(|object| Some(Body::read(object, false)))?;
    let _turn = manage.inner.rest.turn.lock().await;
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let before = manage.blueprint(&endpoint)?;
    let renamed = body.name.as_ref().filter(|name| **name != before.title);
    let name = renamed.map(|title| manage.name_for(title, Some(&endpoint))).transpose()?;
    let next = body.over_blueprint(&manage, &before)?;
    let release = next.revision != before.revision;
    if release && next.config.image.is_empty() {
        return Err(Problem::invalid("this endpoint runs code that was deployed, not an image")
            .hint("say an 'image', or deploy it again: runyard deploy --help"));
    }
    if release {
        manage.check_config(&next.config).await?;
    }
    let keep = next != before;
    let mut outcome = Ok(());
    let change = |endpoint: &mut Endpoint| {
        outcome = settings.over_settings(&mut endpoint.settings);
        if outcome.is_err() || !keep {
            return;
        }
        let mut next = next;
        // What was built meanwhile stays built.
        if let Some(now) = &endpoint.blueprint {
            (next.built, next.failed) = (now.built, now.failed.clone());
        }
        endpoint.blueprint = Some(Box::new(next));
        endpoint.name = name.unwrap_or_else(|| endpoint.name.clone());
    };
    let changed = manage.inner.engine.change_endpoint(&endpoint.id, change).await?;
    outcome?;
    let changed = changed.ok_or_else(|| Problem::no_endpoint(&ep))?;
    manage.inner.rest.behind.notify_one();
    Ok(Json(manage.serverless_view(&changed)?))
}
