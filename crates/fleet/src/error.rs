//! What the fleet cannot do.

use runyard_domain::{EndpointId, FailReason};
use runyard_engine::EngineError;
use runyard_runtime::RuntimeError;

/// Why a call to the fleet failed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// There is no such endpoint.
    #[error("there is no endpoint '{0}'")]
    NoSuchEndpoint(EndpointId),
    /// There is no such release, or it never passed its tests.
    #[error("release {0} cannot serve: {1}")]
    NotServable(u32, &'static str),
    /// The release did not pass.
    #[error("{}", .0.sentence())]
    Release(Box<FailReason>),
}
