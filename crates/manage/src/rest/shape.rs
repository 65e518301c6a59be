//! Problem documents in the shape of this dialect: title, status, detail, and what is wrong with a body one by one.
//! What to do about it is part of the detail, since clients show nothing else.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::problem::{self, Problem};

/// Every error in the shape of the dialect; what is none stays as it is.
pub(super) async fn of_dialect(response: Response) -> Response {
    let response = problem::in_shape(response).await;
    let Some(problem) = response.extensions().get::<Problem>().cloned() else { return response };
    let mut body = json!({
        "title": problem.title(),
        "status": problem.status().as_u16(),
        "detail": problem.words(),
    });
    if !problem.errors().is_empty() {
        body["errors"] = json!(problem.errors());
    }
    let mut shaped = (problem.status(), Json(body)).into_response();
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH {
            shaped.headers_mut().insert(name.clone(), value.clone());
        }
    }
    let kind = HeaderValue::from_static("application/problem+json");
    shaped.headers_mut().insert(header::CONTENT_TYPE, kind);
    shaped
}
