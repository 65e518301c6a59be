//! Webhooks: the deliveries of a job, one of them once more, and the secret that receivers check signatures with.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::delivery::{Delivery, DeliveryState, Heard, Try};
use runyard_domain::{Access, DeliveryId, JobId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::page::Paging;
use crate::stream::Body;
use crate::{Manage, Problem};

impl Manage {
    /// The deliveries of a job, oldest first.
    pub(crate) fn webhooks(&self, job: &JobId) -> Result<Vec<Value>, Problem> {
        Ok(self.inner.engine.reader().deliveries(job)?.iter().map(webhook).collect())
    }
}

/// `Webhook`.
fn webhook(delivery: &Delivery) -> Value {
    let (state, next_at, ended_at) = match delivery.state {
        DeliveryState::Pending { next_at } => ("pending", Some(next_at.0), None),
        DeliveryState::Delivered { at, .. } => ("delivered", None, Some(at.0)),
        DeliveryState::GivenUp { at } => ("given_up", None, Some(at.0)),
    };
    json!({
        "id": delivery.id.as_str(),
        "url": delivery.url,
        "state": state,
        "tried": delivery.tried,
        "nextAt": next_at,
        "endedAt": ended_at,
        "tries": delivery.tries.iter().map(one_try).collect::<Vec<_>>(),
    })
}

fn one_try(tried: &Try) -> Value {
    let (status, error) = match &tried.heard {
        Heard::Status(status) => (Some(*status), None),
        Heard::Error(words) => (None, Some(words.as_str())),
    };
    json!({"at": tried.at.0, "status": status, "error": error, "ms": tried.ms})
}

/// The deliveries of a job.
pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let all = manage.inner.engine.reader().deliveries(&job.id)?;
    let (page, next) = paging.cut(all, |delivery| delivery.seq)?;
    Ok(Json(json!({"webhooks": page.iter().map(webhook).collect::<Vec<_>>(), "nextCursor": next})))
}

/// What to deliver once more.
#[derive(Deserialize)]
pub(crate) struct Redeliver {
    /// A delivery's id; without, it is the last one.
    id: Option<String>,
}

/// Delivers one end of a job once more.
pub(crate) async fn redeliver(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    body: Body<Redeliver>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    auth.0.may(Access::Run, Some(&job.endpoint))?;
    let which = body.read()?.id.map(DeliveryId::new);
    match manage.inner.engine.redeliver(&auth.0, &job, which.as_ref()).await? {
        Some(delivery) => Ok(Json(webhook(&delivery))),
        None if which.is_some() => Err(Problem::not_found("this job has no such delivery")),
        None => Err(Problem::conflict(if job.webhook.is_none() {
            "the job was submitted without a webhook"
        } else {
            "the job has not ended, so there is nothing to deliver yet"
        })),
    }
}

/// The secret, for whoever administers the server.
pub(crate) async fn secret(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    Ok(Json(manage.secret()))
}

/// A new secret; the one before it goes on signing for a day.
pub(crate) async fn rotate(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let engine = manage.inner.engine.clone();
    let rotated = tokio::task::spawn_blocking(move || match engine.vault().signer() {
        Some(signer) => signer.rotate(&**engine.env()).map_err(|error| Problem::internal(&error)),
        None => Err(Problem::conflict("this server has no secret to sign webhooks with")),
    });
    rotated.await.map_err(|error| Problem::internal(&error))??;
    tracing::info!(by = auth.0.name(), "the secret that webhooks are signed with was replaced");
    Ok(Json(manage.secret()))
}

impl Manage {
    fn secret(&self) -> Value {
        let engine = &self.inner.engine;
        let Some(signer) = engine.vault().signer() else { return json!({"secret": null}) };
        let before = signer.replaced(engine.env().wall().0.div_euclid(1_000));
        let before = before.map(|(secret, until_s)| json!({"secret": secret, "endsAt": until_s * 1_000}));
        json!({"secret": signer.secret(), "replaced": before})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runyard_domain::{Outcome, Phase, Timestamp};

    #[test]
    fn a_delivery_is_shown_with_its_tries() {
        let end = Phase::Done {
            at: Timestamp(1),
            outcome: Outcome::Completed,
            worker: None,
            release: None,
            delay_ms: None,
            execution_ms: None,
            upload_ms: None,
        };
        let tries = vec![
            Try { at: Timestamp(1), ms: 3, heard: Heard::Error("no".into()) },
            Try { at: Timestamp(9), ms: 4, heard: Heard::Status(204) },
        ];
        let delivery = Delivery {
            id: DeliveryId::new("msg_j-1"),
            job: JobId::new("j"),
            seq: 1,
            url: "http://h/".into(),
            made_at: Timestamp(1),
            end,
            state: DeliveryState::Delivered { at: Timestamp(13), status: 204 },
            tried: 2,
            tries,
        };
        let expected = json!({
            "id": "msg_j-1", "url": "http://h/", "state": "delivered", "tried": 2,
            "nextAt": null, "endedAt": 13,
            "tries": [
                {"at": 1, "status": null, "error": "no", "ms": 3},
                {"at": 9, "status": 204, "error": null, "ms": 4},
            ],
        });
        assert_eq!(webhook(&delivery), expected);
    }
}
