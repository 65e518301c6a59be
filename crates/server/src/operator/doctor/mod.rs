//! `GET /api/v1/doctor`: the server examines itself and its machine, check by check, each with what was found, what
//! that means and what to do. It changes nothing but a small file that it writes and removes to see how fast the
//! disk is.

mod check;
mod data;
mod machine;
mod service;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Admin, Operator};
use check::Check;

pub(super) async fn examine(State(operator): State<Operator>, _admin: Admin) -> Json<Value> {
    let options = &operator.inner;
    let mut checks = service::checks(options).await;
    let paths = options.paths.clone();
    let now = options.engine.env().wall().0;
    let apart = tokio::task::spawn_blocking(move || data::checks(&paths, now));
    checks.extend(apart.await.unwrap_or_default());
    checks.extend(machine::checks(options).await);
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": now,
        "checks": checks.iter().map(Check::view).collect::<Vec<_>>(),
    }))
}
