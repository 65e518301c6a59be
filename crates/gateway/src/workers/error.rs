//! What a worker is told when it is refused. Its SDK only logs it, so one sentence is enough.

use std::error::Error as _;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use runyard_engine::EngineError;
use runyard_vault::Denied;
use serde::Serialize;

use crate::body::Unread;

/// Why a worker's request did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("this token belongs to another worker")]
    OtherWorker,
    #[error("there is no such route of the worker protocol")]
    NoSuchRoute,
    #[error("this route of the worker protocol does not take {0}")]
    Method(Method),
    #[error("the body did not arrive whole")]
    Body(#[source] Unread),
    #[error("the body must be {{\"worker\": ID, \"jobs\": [ID, …]}}")]
    GiveBack,
    #[error("the server failed to do this; its log says why")]
    Engine(#[from] EngineError),
}

#[derive(Serialize)]
struct Wire {
    error: String,
}

impl IntoResponse for WorkerError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Denied(denied) if denied.is_about_identity() => StatusCode::UNAUTHORIZED,
            Self::Denied(_) | Self::OtherWorker => StatusCode::FORBIDDEN,
            Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::GiveBack | Self::Body(Unread::Broken(_) | Unread::TooLarge { .. }) => {
                StatusCode::BAD_REQUEST
            }
            // The SDK tries a result three times after a 5xx, and never again after anything else.
            Self::Body(Unread::NoRoom | Unread::Slow) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Engine(error) => {
                let source = error.source().map(tracing::field::display);
                tracing::error!(%error, source, "a worker's request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, Json(Wire { error: self.to_string() })).into_response()
    }
}
