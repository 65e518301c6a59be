//! What was seen last, for whoever asks now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use runyard_metrics::{Key, Subject};

/// Levels by subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Levels(BTreeMap<Subject, BTreeMap<Key, f64>>);

impl Levels {
    /// Notes a level.
    pub(super) fn put(&mut self, subject: &Subject, key: Key, value: f64) {
        match self.0.get_mut(subject) {
            Some(levels) => levels.insert(key, value),
            None => self.0.entry(subject.clone()).or_default().insert(key, value),
        };
    }

    /// Adds to a level.
    pub(super) fn add(&mut self, subject: &Subject, key: Key, more: f64) {
        let known = self.0.get(subject).and_then(|levels| levels.get(&key)).copied();
        self.put(subject, key, known.unwrap_or(0.0) + more);
    }

    /// Every level.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Subject, Key, f64)> {
        self.0.iter().flat_map(|(of, levels)| levels.iter().map(move |(key, value)| (of, *key, *value)))
    }

    /// These and others.
    pub(super) fn with(mut self, others: &Self) -> Self {
        for (subject, key, value) in others.all() {
            self.put(subject, key, value);
        }
        self
    }

    /// Levels by subject.
    pub(crate) fn by_subject(&self) -> &BTreeMap<Subject, BTreeMap<Key, f64>> {
        &self.0
    }
}

/// What was seen last. Cheap to clone; empty where nobody looks.
#[derive(Debug, Clone, Default)]
pub struct Latest(Arc<Mutex<Seen>>);

/// Levels, and the models of GPUs by index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) levels: Levels,
    pub(crate) gpus: BTreeMap<u32, String>,
}

impl Latest {
    pub(super) fn set(&self, levels: Levels, gpus: BTreeMap<u32, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Seen { levels, gpus };
    }

    /// What was seen last.
    pub(crate) fn get(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
