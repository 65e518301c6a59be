//! Webhooks: the deliveries of a job, and the secret that receivers check signatures with.

use axum::Json;
use axum::extract::State;
use runyard_domain::delivery::{Delivery, DeliveryState, Heard, Try};
use runyard_domain::{Access, JobId};
use serde_json::{Value, json};

use crate::auth::Auth;
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

/// The secret, for whoever administers the server.
pub(crate) async fn secret(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let signer = manage.inner.engine.vault().signer();
    Ok(Json(json!({"secret": signer.map(runyard_vault::Signer::secret)})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runyard_domain::{DeliveryId, Outcome, Phase, Timestamp};

    #[test]
    fn a_delivery_is_shown_with_its_tries() {
        let end = Phase::Done {
            at: Timestamp(1),
            outcome: Outcome::Completed,
            worker: None,
            release: None,
            delay_ms: None,
            execution_ms: None,
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
