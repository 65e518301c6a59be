//! Records of the control plane: replaced as a whole.

use runyard_domain::git::Connection;
use runyard_domain::registry::Registry;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    ConnectionId, Endpoint, EndpointId, Example, KeyId, KeyRecord, Member, MemberId, Release, Resource,
    ResourceId, WorkerRecord,
};
use runyard_metrics::count;

use super::Batch;
use crate::sqlite::GONE_WORKERS_KEPT;
use crate::sqlite::sql::{document, first, run, to_document};
use crate::{Reply, StoreError};

impl Batch<'_> {
    pub(super) fn put_endpoint(&self, record: &Endpoint) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO endpoints (id, name, record) VALUES (?1, ?2, ?3)";
        let document = to_document(record, "endpoint")?;
        run(self.conn, "keep an endpoint", SQL, (record.id.as_str(), &record.name, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_release(&self, record: &Release) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO releases (endpoint, number, record) VALUES (?1, ?2, ?3)";
        let document = to_document(record, "release")?;
        run(self.conn, "keep a release", SQL, (record.endpoint.as_str(), record.number, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_worker(&mut self, record: &WorkerRecord) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO workers (id, endpoint, gone, created_at, record)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
        const PRUNE: &str = "DELETE FROM workers WHERE id IN (
            SELECT id FROM workers INDEXED BY workers_of_endpoint WHERE endpoint = ?1 AND gone = 1
            ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)";
        const BEFORE: &str = "SELECT record FROM workers WHERE id = ?1";
        let (endpoint, gone) = (record.endpoint.as_str(), record.state == WorkerState::Gone);
        let before = first(self.conn, "load a worker", BEFORE, [record.id.as_str()], |row| {
            document::<WorkerRecord>(row, 0, "worker")
        })?;
        count::worker(self.marks_of(&record.endpoint), before.as_ref(), record);
        let document = to_document(record, "worker")?;
        let columns = (record.id.as_str(), endpoint, gone, record.created_at.0, document);
        run(self.conn, "keep a worker", SQL, columns)?;
        if gone {
            run(self.conn, "prune workers that are gone", PRUNE, (endpoint, GONE_WORKERS_KEPT as i64))?;
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn put_key(&self, record: &KeyRecord) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO keys (id, created_at, record) VALUES (?1, ?2, ?3)";
        let document = to_document(record, "key")?;
        run(self.conn, "keep a key", SQL, (record.id.as_str(), record.created_at.0, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_keys(&self, ids: &[KeyId]) -> Result<Reply, StoreError> {
        for id in ids {
            run(self.conn, "drop a key", "DELETE FROM keys WHERE id = ?1", [id.as_str()])?;
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn put_member(&self, record: &Member) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO members (id, record) VALUES (?1, ?2)";
        let document = to_document(record, "member")?;
        run(self.conn, "keep a member", SQL, (record.id.as_str(), document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_member(&self, id: &MemberId) -> Result<Reply, StoreError> {
        run(self.conn, "drop a member", "DELETE FROM members WHERE id = ?1", [id.as_str()])?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_connection(&self, record: &Connection) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO connections (id, endpoint, record) VALUES (?1, ?2, ?3)";
        let document = to_document(record, "connection")?;
        run(self.conn, "keep a connection", SQL, (record.id.as_str(), record.endpoint.as_str(), document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_connection(&self, id: &ConnectionId) -> Result<Reply, StoreError> {
        run(self.conn, "drop a connection", "DELETE FROM connections WHERE id = ?1", [id.as_str()])?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_registry(&self, record: &Registry) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO registries (name, record) VALUES (?1, ?2)";
        let document = to_document(record, "registry")?;
        run(self.conn, "keep a registry", SQL, (&record.name, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_registry(&self, name: &str) -> Result<Reply, StoreError> {
        run(self.conn, "drop a registry", "DELETE FROM registries WHERE name = ?1", [name])?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_resource(&self, record: &Resource) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO resources (id, record) VALUES (?1, ?2)";
        let document = to_document(record, "resource")?;
        run(self.conn, "keep a resource", SQL, (record.id.as_str(), document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_resource(&self, id: &ResourceId) -> Result<Reply, StoreError> {
        run(self.conn, "drop a resource", "DELETE FROM resources WHERE id = ?1", [id.as_str()])?;
        Ok(Reply::Nothing)
    }

    pub(super) fn put_example(&self, record: &Example) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO examples (endpoint, name, record) VALUES (?1, ?2, ?3)";
        let document = to_document(record, "example")?;
        run(self.conn, "keep an example", SQL, (record.endpoint.as_str(), &record.name, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_example(&self, endpoint: &EndpointId, name: &str) -> Result<Reply, StoreError> {
        const SQL: &str = "DELETE FROM examples WHERE endpoint = ?1 AND name = ?2";
        run(self.conn, "drop an example", SQL, [endpoint.as_str(), name])?;
        Ok(Reply::Nothing)
    }
}
