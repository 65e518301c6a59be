//! Records of the control plane that the engine keeps: endpoints, releases, workers, keys, connections, tries of webhooks.
//! They are replaced as a whole; jobs never come this way.

use runyard_domain::delivery::Try;
use runyard_domain::git::Connection;
use runyard_domain::{
    Access, ConnectionId, Delivery, DeliveryId, Endpoint, EndpointId, Example, Job, KeyRecord, Release,
    Resource, ResourceId, Timestamp, WorkerRecord,
};
use runyard_store::{Command, Reply};
use runyard_vault::Caller;

use crate::{Engine, EngineError};

impl Engine {
    /// Keeps what came of a try to deliver a webhook; where it failed, the next one is at `again`.
    pub async fn record_try(
        &self,
        delivery: &DeliveryId,
        tried: Try,
        again: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        self.shared.writer.commit(Command::Tried { delivery: delivery.clone(), tried, again }).await.map(drop)
    }

    /// Delivers one end of a job once more: this one, else the last. `None` where the job has no such delivery.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        job: &Job,
        which: Option<&DeliveryId>,
    ) -> Result<Option<Delivery>, EngineError> {
        caller.may(Access::Run, Some(&job.endpoint))?;
        let found = self.reader().deliveries(&job.id)?;
        let Some(delivery) = found.into_iter().rfind(|d| which.is_none_or(|which| d.id == *which)) else {
            return Ok(None);
        };
        match self.commit_deed(Command::Redeliver(delivery.id)).await? {
            Reply::Tried { delivery, .. } => Ok(Some(*delivery)),
            _ => Ok(None),
        }
    }

    /// Replaces an endpoint's record.
    pub async fn put_endpoint(&self, endpoint: Endpoint) -> Result<(), EngineError> {
        self.commit_deed(Command::PutEndpoint(Box::new(endpoint))).await.map(drop)
    }

    /// Changes an endpoint's record as it is now, one change after the other; nothing is written where nothing
    /// changed. `None` where there is no such endpoint.
    pub async fn change_endpoint(
        &self,
        id: &EndpointId,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<Option<Endpoint>, EngineError> {
        let _turn = self.shared.endpoint_turn.lock().await;
        let Some(current) = self.endpoint_by_id(id) else { return Ok(None) };
        let mut next = (*current).clone();
        change(&mut next);
        if next != *current {
            self.put_endpoint(next.clone()).await?;
        }
        Ok(Some(next))
    }

    /// Removes an endpoint with everything that is kept of it.
    pub async fn drop_endpoint(&self, endpoint: &EndpointId) -> Result<(), EngineError> {
        self.commit_deed(Command::DropEndpoint(endpoint.clone())).await.map(drop)
    }

    /// Removes an endpoint as it is when nobody else changes it; `check` may refuse that.
    pub async fn drop_endpoint_if<E>(
        &self,
        endpoint: &EndpointId,
        check: impl FnOnce(&Endpoint) -> Result<(), E>,
    ) -> Result<Result<(), E>, EngineError> {
        let _turn = self.shared.endpoint_turn.lock().await;
        let Some(current) = self.endpoint_by_id(endpoint) else { return Ok(Ok(())) };
        if let Err(refused) = check(&current) {
            return Ok(Err(refused));
        }
        self.drop_endpoint(endpoint).await.map(Ok)
    }

    /// Replaces a release's record.
    pub async fn put_release(&self, release: Release) -> Result<(), EngineError> {
        self.shared.writer.commit(Command::PutRelease(Box::new(release))).await.map(drop)
    }

    /// Replaces a worker's record.
    pub async fn put_worker(&self, worker: WorkerRecord) -> Result<(), EngineError> {
        self.shared.writer.commit(Command::PutWorker(Box::new(worker))).await.map(drop)
    }

    /// Replaces a worker's record some time, in the order of the calls: it is for people and for the next start.
    pub fn note_worker(&self, worker: WorkerRecord) {
        self.shared.writer.submit(Command::PutWorker(Box::new(worker)));
    }

    /// Replaces a connection's record.
    pub async fn put_connection(&self, connection: Connection) -> Result<(), EngineError> {
        self.commit_deed(Command::PutConnection(Box::new(connection))).await.map(drop)
    }

    /// Removes a connection.
    pub async fn drop_connection(&self, id: &ConnectionId) -> Result<(), EngineError> {
        self.commit_deed(Command::DropConnection(id.clone())).await.map(drop)
    }

    /// Replaces the record of a template, a network volume or the like.
    pub async fn put_resource(&self, resource: Resource) -> Result<(), EngineError> {
        self.commit_deed(Command::PutResource(Box::new(resource))).await.map(drop)
    }

    /// Removes one.
    pub async fn drop_resource(&self, id: &ResourceId) -> Result<(), EngineError> {
        self.commit_deed(Command::DropResource(id.clone())).await.map(drop)
    }

    /// Replaces the example of a name.
    pub async fn put_example(&self, example: Example) -> Result<(), EngineError> {
        self.commit_deed(Command::PutExample(Box::new(example))).await.map(drop)
    }

    /// Removes the example of a name.
    pub async fn drop_example(&self, endpoint: &EndpointId, name: &str) -> Result<(), EngineError> {
        self.commit_deed(Command::DropExample(endpoint.clone(), name.to_owned())).await.map(drop)
    }

    /// Replaces a key's record and lets the vault know it.
    pub async fn put_key(&self, key: KeyRecord) -> Result<(), EngineError> {
        self.commit_deed(Command::PutKey(Box::new(key.clone()))).await?;
        self.shared.vault.learn(key);
        Ok(())
    }
}
