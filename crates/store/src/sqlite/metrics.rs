//! Queries about what was counted and measured. Each is one statement, and so sees an interval either by itself or as
//! part of a longer one, never both.

use std::collections::BTreeMap;

use runyard_domain::Timestamp;
use runyard_metrics::{Grain, Interval, Row, Subject};
use rusqlite::Connection;

use super::sql::{column, document, each};
use crate::StoreError;

/// Intervals of one length, and the shorter ones from where no longer ones were made.
const INTERVALS: &str = "
    SELECT grain, at, record FROM metrics WHERE subject = ?1 AND grain = ?2 AND at >= ?3 AND at < ?4
    UNION ALL
    SELECT grain, at, record FROM metrics WHERE subject = ?1 AND grain = 60 AND ?2 > 60 AND at < ?4
        AND at >= max(?3, coalesce((SELECT value FROM numbers WHERE name = 'metrics_600'), 0))
    UNION ALL
    SELECT grain, at, record FROM metrics WHERE subject = ?1 AND grain = 10 AND ?2 > 10 AND at < ?4
        AND at >= max(?3, coalesce((SELECT value FROM numbers WHERE name = 'metrics_60'), 0))
    ORDER BY 2";

const TOTALS: &str = "
    SELECT subject, record FROM metrics INDEXED BY metrics_by_time WHERE grain = 0
    UNION ALL
    SELECT subject, record FROM metrics INDEXED BY metrics_by_time WHERE grain = 60
        AND at >= coalesce((SELECT value FROM numbers WHERE name = 'metrics_600'), 0)
    UNION ALL
    SELECT subject, record FROM metrics INDEXED BY metrics_by_time WHERE grain = 10
        AND at >= coalesce((SELECT value FROM numbers WHERE name = 'metrics_60'), 0)";

pub(super) fn intervals(
    conn: &Connection,
    subject: &Subject,
    grain: Grain,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    let asked = (subject.to_string(), grain.seconds(), since.0, until.0);
    each(conn, "list intervals", INTERVALS, asked, |row| {
        if let Some(grain) = Grain::of_seconds(column(row, 0)?) {
            let interval = document(row, 2, "interval")?;
            rows.push(Row { at: Timestamp(column(row, 1)?), grain, interval });
        }
        Ok(true)
    })?;
    Ok(rows)
}

pub(super) fn totals(conn: &Connection) -> Result<Vec<(Subject, Interval)>, StoreError> {
    let mut totals: BTreeMap<Subject, Interval> = BTreeMap::new();
    each(conn, "add up what was counted", TOTALS, [], |row| {
        let subject = Subject::parse(&column::<String>(row, 0)?);
        if let Some(subject @ (Subject::Server | Subject::Endpoint(_))) = subject {
            let interval: Interval = document(row, 1, "interval")?;
            totals.entry(subject).or_default().merge(&interval.rising());
        }
        Ok(true)
    })?;
    totals.retain(|_, total| !total.is_empty());
    Ok(totals.into_iter().collect())
}
