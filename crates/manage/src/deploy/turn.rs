//! One deploy of an endpoint after the other.

use std::sync::PoisonError;

use runyard_domain::{Endpoint, EndpointId};

use crate::Manage;
use crate::problem::Problem;

/// One deploy per endpoint at a time; dropping it lets the next one in.
pub(super) struct Turn(Manage, EndpointId);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut deploying = self.0.inner.deploying.lock().unwrap_or_else(PoisonError::into_inner);
        deploying.remove(&self.1);
    }
}

impl Manage {
    /// The endpoint's turn, where no other deploy has it.
    pub(super) fn take_turn(&self, endpoint: &Endpoint) -> Result<Turn, Problem> {
        let mut deploying = self.inner.deploying.lock().unwrap_or_else(PoisonError::into_inner);
        if !deploying.insert(endpoint.id.clone()) {
            let detail = format!("another deploy of '{}' is under way", endpoint.name);
            return Err(Problem::conflict(detail).hint("try again when it has ended"));
        }
        Ok(Turn(self.clone(), endpoint.id.clone()))
    }
}
