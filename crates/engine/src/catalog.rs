//! The endpoints in memory, written through: every request has to find one by name or id.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use runyard_domain::{Endpoint, EndpointId};

/// Endpoints by id, with their names.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    inner: RwLock<HashMap<EndpointId, Arc<Endpoint>>>,
}

impl Catalog {
    /// The endpoint with this id, or else with this name.
    pub(crate) fn find(&self, id_or_name: &str) -> Option<Arc<Endpoint>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = inner.get(&EndpointId::new(id_or_name)) {
            return Some(found.clone());
        }
        inner.values().find(|e| e.name == id_or_name).cloned()
    }

    /// The endpoint with this id.
    pub(crate) fn get(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Every endpoint, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Endpoint>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = inner.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(crate) fn put(&self, endpoint: Endpoint) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.insert(endpoint.id.clone(), Arc::new(endpoint));
    }

    pub(crate) fn remove(&self, id: &EndpointId) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
