//! Failures by fingerprint, in the transaction of the jobs that failed. What a batch failed is gathered and written at
//! its end: each group once.

use std::collections::{BTreeMap, BTreeSet};

use runyard_domain::reason::fingerprint::GROUPS;
use runyard_domain::{EndpointId, FailureGroup, Job};

use super::Batch;
use crate::StoreError;
use crate::sqlite::sql::{document, first, run, to_document};

impl Batch<'_> {
    /// Notes a job that failed.
    pub(super) fn note_failure(&mut self, before: Option<&Job>, next: &Job) {
        if let Some(fingerprint) = FailureGroup::fingerprint_of(before, next) {
            self.failed.push((fingerprint, next.clone()));
        }
    }

    /// Forgets what failed of an endpoint.
    pub(super) fn drop_failures(&mut self, endpoint: &EndpointId) -> Result<(), StoreError> {
        self.failed.retain(|(_, job)| job.endpoint != *endpoint);
        let sql = "DELETE FROM failures WHERE endpoint = ?1";
        run(self.conn, "drop an endpoint's failures", sql, [endpoint.as_str()])?;
        Ok(())
    }

    /// Writes what the batch failed.
    pub(super) fn write_failures(&mut self) -> Result<(), StoreError> {
        const PUT: &str =
            "INSERT INTO failures (endpoint, fingerprint, last_at, record) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (endpoint, fingerprint)
                           DO UPDATE SET last_at = excluded.last_at, record = excluded.record";
        let mut groups: BTreeMap<(EndpointId, String), FailureGroup> = BTreeMap::new();
        let mut new: BTreeSet<EndpointId> = BTreeSet::new();
        for (fingerprint, job) in std::mem::take(&mut self.failed) {
            let key = (job.endpoint.clone(), fingerprint);
            let known = match groups.remove(&key) {
                Some(group) => Some(group),
                None => self.failure(&key)?,
            };
            if known.is_none() {
                new.insert(key.0.clone());
            }
            if let Some(group) = FailureGroup::with(known, &job) {
                groups.insert(key, group);
            }
        }
        for ((endpoint, fingerprint), group) in &groups {
            let record = to_document(group, "group of failures")?;
            let columns = (endpoint.as_str(), fingerprint, group.last_at.0, record);
            run(self.conn, "keep a group of failures", PUT, columns)?;
        }
        for endpoint in new {
            self.let_failures_go(&endpoint)?;
        }
        Ok(())
    }

    fn failure(
        &self,
        (endpoint, fingerprint): &(EndpointId, String),
    ) -> Result<Option<FailureGroup>, StoreError> {
        const SQL: &str = "SELECT record FROM failures WHERE endpoint = ?1 AND fingerprint = ?2";
        first(self.conn, "load a group of failures", SQL, (endpoint.as_str(), fingerprint), |row| {
            document(row, 0, "group of failures")
        })
    }

    /// Of too many groups those go that were seen longest ago.
    fn let_failures_go(&self, endpoint: &EndpointId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM failures WHERE endpoint = ?1 AND fingerprint IN (
            SELECT fingerprint FROM failures WHERE endpoint = ?1
            ORDER BY last_at DESC, fingerprint LIMIT -1 OFFSET ?2)";
        run(self.conn, "let groups of failures go", SQL, (endpoint.as_str(), GROUPS as i64))?;
        Ok(())
    }
}
