//! The tables, and the steps that brought them to what they are. A step is never changed once released: a new
//! one is added at the end. `user_version` counts the steps a database has taken.

use rusqlite::{Connection, TransactionBehavior};

use super::sql::During;
use crate::StoreError;

/// Every step from an empty file to today's tables.
const STEPS: [&str; 7] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
];

/// Refuses a database that a newer program has made, before anything is changed in it.
pub(super) fn check_version(conn: &Connection) -> Result<u32, StoreError> {
    let known = STEPS.len() as u32;
    let found: u32 =
        conn.query_row("PRAGMA user_version", [], |row| row.get(0)).during("read the schema's version")?;
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(found) }
}

/// Takes the steps that are missing, in one transaction.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    const WHAT: &str = "bring the schema up to date";
    let taken = check_version(conn)? as usize;
    if taken == STEPS.len() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).during(WHAT)?;
    for step in &STEPS[taken..] {
        tx.execute_batch(step).during(WHAT)?;
    }
    tx.pragma_update(None, "user_version", STEPS.len() as u32).during(WHAT)?;
    tx.commit().during(WHAT)
}
