//! Failures of an endpoint by fingerprint: what its jobs failed of, how often, and since which release.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, Query, State};
use runyard_domain::{Access, FailureGroup};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;

#[derive(Deserialize)]
pub(crate) struct Which {
    since: Option<i64>,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    Query(Which { since }): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let mut groups = manage.inner.engine.reader().failures(&endpoint.id)?;
    groups.retain(|group| since.is_none_or(|since| group.last_at.0 >= since));
    let (page, next) = paging.cut(groups, |group| (Reverse(group.last_at.0), group.fingerprint.clone()))?;
    Ok(Json(json!({"failures": page.iter().map(view).collect::<Vec<_>>(), "nextCursor": next})))
}

/// `FailureGroup`.
fn view(group: &FailureGroup) -> Value {
    let releases: Vec<Value> = group
        .releases
        .iter()
        .rev()
        .map(|(number, count)| json!({"release": number, "count": count}))
        .collect();
    json!({
        "fingerprint": group.fingerprint,
        "code": group.code,
        "title": group.title,
        "sentence": group.sentence,
        "count": group.count,
        "firstAt": group.first_at.0,
        "lastAt": group.last_at.0,
        "firstRelease": group.first_release,
        "releases": releases,
        "job": group.job,
    })
}
