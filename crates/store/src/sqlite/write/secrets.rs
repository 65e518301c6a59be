//! Secrets, the keys that seal them, when secrets and API keys were last used, and the audit log.

use runyard_domain::{
    AuditRecord, DataKeyRecord, EndpointId, KeyId, KeyRecord, SecretRecord, Timestamp, audit,
};

use super::Batch;
use crate::sqlite::sql::{document, first, run, to_document};
use crate::{Reply, StoreError};

impl Batch<'_> {
    pub(super) fn put_secret(&self, record: &SecretRecord) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO secrets (name, record) VALUES (?1, ?2)";
        let document = to_document(record, "secret")?;
        run(self.conn, "keep a secret", SQL, (&record.name, document))?;
        Ok(Reply::Nothing)
    }

    pub(super) fn drop_secret(&self, name: &str) -> Result<Reply, StoreError> {
        run(self.conn, "drop a secret", "DELETE FROM secrets WHERE name = ?1", [name])?;
        Ok(Reply::Nothing)
    }

    pub(super) fn use_secrets(&self, names: &[String], at: Timestamp) -> Result<Reply, StoreError> {
        const SQL: &str = "SELECT record FROM secrets WHERE name = ?1";
        for name in names {
            let found = first(self.conn, "load a secret", SQL, [name], |row| document(row, 0, "secret"))?;
            if let Some(record) = found {
                self.put_secret(&SecretRecord { used_at: Some(at), ..record })?;
            }
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn put_data_keys(&self, records: &[DataKeyRecord]) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO data_keys (id, record) VALUES (?1, ?2)";
        for record in records {
            let document = to_document(record, "data key")?;
            run(self.conn, "keep a data key", SQL, (&record.id, document))?;
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn use_keys(&self, uses: &[(KeyId, Timestamp)]) -> Result<Reply, StoreError> {
        const SQL: &str = "SELECT record FROM keys WHERE id = ?1";
        for (id, at) in uses {
            let found = first(self.conn, "load a key", SQL, [id.as_str()], |row| document(row, 0, "key"))?;
            if let Some(record) = found {
                self.put_key(&KeyRecord { used_at: Some(*at), ..record })?;
            }
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn put_audit(&self, record: &AuditRecord) -> Result<Reply, StoreError> {
        const SQL: &str = "INSERT INTO audit (at, endpoint, record) VALUES (?1, ?2, ?3)";
        const TOO_MUCH: &str = "DELETE FROM audit WHERE n <= (SELECT max(n) FROM audit) - ?1";
        // Never the newest: the next one's place comes from it.
        const TOO_OLD: &str =
            "DELETE FROM audit INDEXED BY audit_by_time WHERE at < ?1 AND n < (SELECT max(n) FROM audit)";
        let endpoint = record.endpoint.as_ref().map(EndpointId::as_str);
        let document = to_document(record, "audit record")?;
        run(self.conn, "keep an audit record", SQL, (record.at.0, endpoint, document))?;
        run(self.conn, "prune the audit log", TOO_MUCH, [audit::MOST as i64])?;
        run(self.conn, "prune the audit log", TOO_OLD, [record.at.0 - audit::KEPT_MS])?;
        Ok(Reply::Nothing)
    }
}
