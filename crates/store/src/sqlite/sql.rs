//! Small helpers around prepared statements: they name the operation in errors, tell a full disk apart, and
//! let a row be read into a type whose reading can fail for its own reasons.

use rusqlite::{Connection, Params, Row, ffi};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{is_disk_failure, is_disk_full};
use crate::StoreError;

/// Names the operation that a database error interrupted.
pub(super) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| {
            if is_disk_full(&source) {
                StoreError::DiskFull
            } else {
                StoreError::Database { operation, source }
            }
        })
    }
}

/// A failure of the disk, kept so that it can be reported again.
#[derive(Debug, Clone)]
pub(super) struct Break {
    code: ffi::Error,
    message: String,
    operation: &'static str,
}

impl Break {
    /// The failure in `error`, if it is one after which nothing may be written any more.
    pub(super) fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Database { operation, source } if is_disk_failure(source) => {
                let code = *source.sqlite_error()?;
                Some(Self { code, message: source.to_string(), operation })
            }
            _ => None,
        }
    }

    pub(super) fn error(&self) -> StoreError {
        let source = rusqlite::Error::SqliteFailure(self.code, Some(self.message.clone()));
        StoreError::Database { operation: self.operation, source }
    }
}

/// Runs a statement that changes rows; says how many.
pub(super) fn run(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<usize, StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).during(operation)
}

/// Calls `see` with each row until it says `false`.
pub(super) fn each(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    mut see: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(sql).during(operation)?;
    let mut rows = statement.query(params).during(operation)?;
    while let Some(row) = rows.next().during(operation)? {
        if !see(row)? {
            break;
        }
    }
    Ok(())
}

/// All rows, each read by `read`.
pub(super) fn all<T>(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = vec![];
    each(conn, operation, sql, params, |row| {
        found.push(read(row)?);
        Ok(true)
    })?;
    Ok(found)
}

/// The first row, where there is one.
pub(super) fn first<T>(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut found = None;
    each(conn, operation, sql, params, |row| {
        found = Some(read(row)?);
        Ok(false)
    })?;
    Ok(found)
}

/// Column `index` of a row.
pub(super) fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T, StoreError> {
    row.get(index).during("read a row")
}

/// A record that is kept as a JSON document in column `index`.
pub(super) fn document<T: DeserializeOwned>(
    row: &Row<'_>,
    index: usize,
    kind: &'static str,
) -> Result<T, StoreError> {
    let text = row.get_ref(index).during("read a row")?;
    let text = text.as_bytes().map_err(rusqlite::Error::from).during("read a row")?;
    serde_json::from_slice(text).map_err(|source| StoreError::Corrupt { kind, source })
}

/// The JSON document of a record.
pub(super) fn to_document<T: Serialize>(record: &T, kind: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|source| StoreError::Corrupt { kind, source })
}
