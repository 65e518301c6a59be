//! What is counted in the transaction of what it counts, and what is measured beside it: intervals of ten seconds, of
//! which longer ones are made when they are over. Of each subject that changed, a batch writes one row.

use std::collections::{BTreeMap, HashMap};

use runyard_domain::{EndpointId, Job, Timestamp};
use runyard_metrics::{Grain, Interval, Subject, count};
use rusqlite::{Connection, params};

use super::Batch;
use crate::sqlite::sql::{all, column, document, first, run, to_document};
use crate::{Reply, StoreError};

/// How many intervals of each length one command lets go at most, so that others need not wait long.
const GO_AT_ONCE: i64 = 2_000;

/// The place of what was ever counted.
const TOTAL: i64 = 0;

/// The current interval, as it is in the database: so that a batch need not read what the batch before it wrote.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Current {
    /// Up to where minutes, and up to where intervals of ten minutes were made; `None`: not read yet.
    made: Option<[Timestamp; 2]>,
    at: Timestamp,
    rows: HashMap<Subject, Interval>,
}

impl Current {
    /// Nothing is known any more: a batch failed.
    pub(in crate::sqlite) fn forget(&mut self) {
        *self = Self::default();
    }

    fn made(&mut self, conn: &Connection) -> Result<[Timestamp; 2], StoreError> {
        const SQL: &str = "SELECT value FROM numbers WHERE name = ?1";
        if let Some(made) = self.made {
            return Ok(made);
        }
        let mut made = [Timestamp(0); 2];
        for (made, name) in made.iter_mut().zip(["metrics_60", "metrics_600"]) {
            let found = first(conn, "read how far intervals are", SQL, [name], |row| column(row, 0))?;
            *made = Timestamp(found.unwrap_or(0));
        }
        Ok(*self.made.insert(made))
    }

    /// The beginning of the current interval. One that is part of a longer one already is never the current one, also
    /// where the clock was set back.
    fn begin(&mut self, conn: &Connection, now: Timestamp) -> Result<Timestamp, StoreError> {
        let at = Grain::Fine.start(now).max(self.made(conn)?[0]);
        if at != self.at {
            self.at = at;
            self.rows.clear();
        }
        Ok(at)
    }
}

impl Batch<'_> {
    /// Notes what a job's step counts, and how it failed where it did.
    pub(super) fn mark_job(&mut self, before: Option<&Job>, next: &Job) {
        count::job(self.marks_of(&next.endpoint), before, next);
        self.note_failure(before, next);
    }

    /// What this batch counts of an endpoint.
    pub(super) fn marks_of(&mut self, endpoint: &EndpointId) -> &mut Interval {
        if !self.marks.contains_key(endpoint) {
            self.marks.insert(endpoint.clone(), Interval::default());
        }
        self.marks.get_mut(endpoint).expect("it was put there where it was not")
    }

    pub(super) fn measure(&mut self, points: &[(Subject, Interval)]) -> Result<Reply, StoreError> {
        for (subject, more) in points {
            self.add(subject.clone(), more)?;
        }
        self.make(Grain::Fine, Grain::Minute)?;
        self.make(Grain::Minute, Grain::Coarse)?;
        for grain in Grain::ALL {
            self.let_old_go(grain)?;
        }
        Ok(Reply::Nothing)
    }

    /// Writes what the batch counted.
    pub(super) fn write_marks(&mut self) -> Result<(), StoreError> {
        for (endpoint, marks) in std::mem::take(&mut self.marks) {
            if !marks.is_empty() {
                self.add(Subject::Endpoint(endpoint), &marks)?;
            }
        }
        Ok(())
    }

    /// Removes what was counted and measured of an endpoint and of its workers.
    pub(super) fn drop_metrics(&mut self, endpoint: &EndpointId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM metrics WHERE subject = ?1 OR (subject >= ?2 AND subject < ?3)";
        self.marks.remove(endpoint);
        self.current.rows.retain(|subject, _| subject.endpoint() != Some(endpoint));
        let (from, to) = (format!("worker/{endpoint}/"), format!("worker/{endpoint}0"));
        let subject = Subject::Endpoint(endpoint.clone()).to_string();
        run(self.conn, "drop an endpoint's series", SQL, (subject, from, to))?;
        Ok(())
    }

    fn add(&mut self, subject: Subject, more: &Interval) -> Result<(), StoreError> {
        let at = self.current.begin(self.conn, self.now)?;
        let key = subject.to_string();
        let mut interval = match self.current.rows.remove(&subject) {
            Some(known) => known,
            None => self.load(&key, Grain::Fine.seconds(), at)?.unwrap_or_default(),
        };
        interval.merge(more);
        self.put(&key, Grain::Fine.seconds(), at, &interval)?;
        self.current.rows.insert(subject, interval);
        Ok(())
    }

    /// Makes the longer intervals that are over of the shorter ones that are in them, and where they are the longest,
    /// adds them to what was ever counted.
    fn make(&mut self, from: Grain, into: Grain) -> Result<(), StoreError> {
        const SQL: &str = "SELECT subject, at, record FROM metrics INDEXED BY metrics_by_time
                           WHERE grain = ?1 AND at >= ?2 AND at < ?3 ORDER BY at";
        const KEEP: &str = "INSERT OR REPLACE INTO numbers (name, value) VALUES (?1, ?2)";
        let place = usize::from(into == Grain::Coarse);
        let (since, upto) = (self.current.made(self.conn)?[place], into.start(self.now));
        if upto <= since {
            return Ok(());
        }
        let rows =
            all(self.conn, "list intervals that are over", SQL, (from.seconds(), since.0, upto.0), |row| {
                let interval: Interval = document(row, 2, "interval")?;
                Ok((column::<String>(row, 0)?, Timestamp(column(row, 1)?), interval))
            })?;
        let mut made: BTreeMap<(String, Timestamp), Interval> = BTreeMap::new();
        for (subject, at, interval) in rows {
            made.entry((subject, into.start(at))).or_default().merge(&interval);
        }
        for ((subject, at), interval) in &made {
            let lasts = Subject::parse(subject).is_some_and(|subject| subject.is_lasting());
            if into != Grain::Coarse || lasts {
                self.put(subject, into.seconds(), *at, interval)?;
            }
            if into == Grain::Coarse {
                self.add_to_total(subject, &interval.rising())?;
            }
        }
        run(self.conn, "keep how far intervals are", KEEP, (name_of(into), upto.0))?;
        if let Some(made) = &mut self.current.made {
            made[place] = upto;
        }
        Ok(())
    }

    /// Of an endpoint that is gone nothing is added: nobody would ever remove it.
    fn add_to_total(&self, key: &str, more: &Interval) -> Result<(), StoreError> {
        const THERE: &str = "SELECT 1 FROM endpoints WHERE id = ?1";
        let counts = match Subject::parse(key) {
            Some(Subject::Server) => true,
            Some(Subject::Endpoint(id)) => {
                first(self.conn, "look for an endpoint", THERE, [id.as_str()], |_| Ok(()))?.is_some()
            }
            _ => false,
        };
        if !counts || more.is_empty() {
            return Ok(());
        }
        let mut total = self.load(key, TOTAL, Timestamp(0))?.unwrap_or_default();
        total.merge(more);
        self.put(key, TOTAL, Timestamp(0), &total)
    }

    fn let_old_go(&self, grain: Grain) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM metrics WHERE (subject, grain, at) IN (
            SELECT subject, grain, at FROM metrics INDEXED BY metrics_by_time
            WHERE grain = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";
        let oldest = grain.start(self.now.plus(-grain.kept_ms()));
        run(self.conn, "let old intervals go", SQL, (grain.seconds(), oldest.0, GO_AT_ONCE))?;
        Ok(())
    }

    fn load(&self, subject: &str, grain: i64, at: Timestamp) -> Result<Option<Interval>, StoreError> {
        const SQL: &str = "SELECT record FROM metrics WHERE subject = ?1 AND grain = ?2 AND at = ?3";
        let read = |row: &rusqlite::Row<'_>| document(row, 0, "interval");
        first(self.conn, "load an interval", SQL, (subject, grain, at.0), read)
    }

    fn put(&self, subject: &str, grain: i64, at: Timestamp, record: &Interval) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO metrics (subject, grain, at, record) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (subject, grain, at) DO UPDATE SET record = excluded.record";
        let columns = params![subject, grain, at.0, to_document(record, "interval")?];
        run(self.conn, "keep an interval", SQL, columns)?;
        Ok(())
    }
}

fn name_of(grain: Grain) -> String {
    format!("metrics_{}", grain.seconds())
}
