//! Endpoints of pull requests: like the one that they are about, without workers that are always kept, and gone when
//! the pull request is closed.

use std::sync::Arc;

use runyard_domain::git::{Connection, Preview, Target};
use runyard_domain::{Endpoint, EndpointId, Settings};
use runyard_engine::{Deed, Trail};

use crate::Manage;

/// The longest name of an endpoint.
const LONGEST_NAME: usize = 64;

impl Manage {
    /// The endpoint that a build is for. That of a pull request is made where it is not there.
    pub(super) async fn endpoint_of(
        &self,
        connection: &Connection,
        target: Target,
    ) -> Result<Arc<Endpoint>, String> {
        let find = |id: &EndpointId| self.inner.engine.endpoint_by_id(id);
        let main = find(&connection.endpoint).ok_or("its endpoint was removed")?;
        let Target::Preview(number) = target else { return Ok(main) };
        let preview = connection.preview(number).ok_or("the pull request was closed")?;
        if let Some(endpoint) = preview.endpoint.as_ref().and_then(find) {
            return Ok(endpoint);
        }
        let name = name_of(&main.name, number);
        if self.inner.engine.endpoint(&name).is_some() {
            return Err(format!("there is an endpoint '{name}' already, which is not this pull request's"));
        }
        let settings = Settings { workers_min: 0, ..main.settings.clone() };
        let engine = &self.inner.engine;
        let endpoint = Endpoint::new(engine.env().endpoint_id(), name, engine.now(), settings);
        let id = endpoint.id.clone();
        // The connection names it first: nobody would remove an endpoint that no connection knows.
        let known = self.change(&connection.id, |connection| {
            let preview = connection.previews.iter_mut().find(|preview| preview.number == number)?;
            preview.endpoint = Some(id);
            Some(())
        });
        known.await.map_err(|error| error.to_string())?.flatten().ok_or("the pull request was closed")?;
        self.of_pull(number, "endpoint.create", engine.put_endpoint(endpoint.clone()))
            .await
            .map_err(|error| error.to_string())?;
        if self.connection(&connection.id).map_err(|error| error.to_string())?.is_none() {
            // It was ended meanwhile, by somebody who did not see this endpoint yet.
            self.remove_endpoint(&endpoint.id).await.map_err(|problem| problem.words())?;
            return Err("the repository is not followed any more".to_owned());
        }
        Ok(Arc::new(endpoint))
    }

    /// A change that a pull request asks for, with its record in the audit log.
    async fn of_pull<T>(&self, number: u64, action: &str, change: impl Future<Output = T>) -> T {
        let caller = self.inner.engine.vault().git_caller();
        let deed = Deed {
            subject: Some(format!("pull request {number}")),
            ..self.inner.engine.deed(&caller, action)
        };
        Trail::new(deed).scope(change).await
    }

    /// Removes the endpoint of a closed pull request.
    pub(super) async fn close_preview(
        &self,
        connection: &Connection,
        preview: &Preview,
    ) -> Result<(), String> {
        if let Some(id) =
            preview.endpoint.as_ref().filter(|id| self.inner.engine.endpoint_by_id(id).is_some())
        {
            let removed = self.of_pull(preview.number, "endpoint.remove", self.remove_endpoint(id));
            removed.await.map_err(|problem| problem.words())?;
            tracing::info!(endpoint.id = %id, "the endpoint of a closed pull request was removed");
        }
        let number = preview.number;
        let dropped = self.change(&connection.id, |connection| connection.drop_preview(number)).await;
        dropped.map(drop).map_err(|error| error.to_string())
    }
}

/// `t2i-pr-7`.
fn name_of(main: &str, number: u64) -> String {
    let end = format!("-pr-{number}");
    let start: String = main.chars().take(LONGEST_NAME - end.len()).collect();
    format!("{start}{end}")
}

#[cfg(test)]
mod tests {
    use runyard_domain::endpoint::is_valid_name;

    use super::*;

    #[test]
    fn names_are_valid_however_long_they_would_be() {
        assert_eq!(name_of("t2i", 7), "t2i-pr-7");
        let long = name_of(&"x".repeat(64), 12_345);
        assert!(is_valid_name(&long) && long.ends_with("-pr-12345"), "{long}");
    }
}
