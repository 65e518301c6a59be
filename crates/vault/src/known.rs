//! A key as the vault knows it: its record, and when it was last used, which is noted without a lock on each request
//! and written every so often.

use std::sync::atomic::{AtomicI64, Ordering};

use runyard_domain::{KeyRecord, Timestamp};

use crate::Denied;

/// No use yet.
const NEVER: i64 = i64::MIN;

/// A key.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) record: KeyRecord,
    used: AtomicI64,
    /// Up to which use it was told to be written.
    told: AtomicI64,
}

impl Known {
    pub(crate) fn new(record: KeyRecord) -> Self {
        let used = record.used_at.map_or(NEVER, |at| at.0);
        Self { record, used: AtomicI64::new(used), told: AtomicI64::new(used) }
    }

    /// A changed record takes the place of the one `before`: uses are not forgotten.
    pub(crate) fn goes_on_from(&self, before: &Self) {
        self.used.fetch_max(before.used.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Why it opens nothing now.
    pub(crate) fn is_closed(&self, now: Timestamp) -> Option<Denied> {
        let record = &self.record;
        if record.revoked_at.is_some() {
            return Some(Denied::Revoked);
        }
        if record.expires_at.is_some_and(|at| at <= now) {
            return Some(Denied::Expired);
        }
        record.disabled_at.map(|_| Denied::Disabled)
    }

    /// It was used.
    pub(crate) fn used(&self, now: Timestamp) {
        self.used.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Its last use, if that was not told yet.
    pub(crate) fn take_use(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        (self.told.swap(used, Ordering::Relaxed) < used).then_some(Timestamp(used))
    }

    /// Its record, with its last use.
    pub(crate) fn as_it_is(&self) -> KeyRecord {
        let used = self.used.load(Ordering::Relaxed);
        KeyRecord { used_at: (used != NEVER).then_some(Timestamp(used)), ..self.record.clone() }
    }
}
