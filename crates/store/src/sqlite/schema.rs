//! The tables, and the steps that brought them to what they are. A step is never changed once released: a new
//! one is added at the end. `user_version` counts the steps a database has taken.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::snapshot;
use super::sql::During;
use crate::StoreError;

/// Every step from an empty file to today's tables.
const STEPS: [&str; 14] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
    include_str!("schema/13.sql"),
    include_str!("schema/14.sql"),
];

/// The number of the newest schema.
pub(super) fn newest() -> u32 {
    STEPS.len() as u32
}

/// Refuses a database that a newer program has made, before anything is changed in it.
pub(super) fn check_version(conn: &Connection) -> Result<u32, StoreError> {
    let known = STEPS.len() as u32;
    let found: u32 =
        conn.query_row("PRAGMA user_version", [], |row| row.get(0)).during("read the schema's version")?;
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(found) }
}

/// Takes the steps that are missing, in one transaction; a database in `dir` that has taken some is copied before.
pub(super) fn migrate(conn: &mut Connection, dir: &Path) -> Result<(), StoreError> {
    const WHAT: &str = "bring the schema up to date";
    let taken = check_version(conn)? as usize;
    if taken == STEPS.len() {
        return Ok(());
    }
    if taken > 0 {
        snapshot::keep_before(conn, dir, taken as u32)?;
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).during(WHAT)?;
    for step in &STEPS[taken..] {
        tx.execute_batch(step).during(WHAT)?;
    }
    tx.pragma_update(None, "user_version", STEPS.len() as u32).during(WHAT)?;
    tx.commit().during(WHAT)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

    use super::*;
    use crate::sqlite::{Snapshot, SqliteStore};
    use crate::{Blobs, Store as _};

    /// A database that has taken `steps` steps.
    fn made_by_an_older_program(dir: &Path, steps: usize) {
        std::fs::create_dir_all(dir).unwrap();
        let conn = Connection::open(dir.join("runyard.db")).unwrap();
        for step in &STEPS[..steps] {
            conn.execute_batch(step).unwrap();
        }
        conn.pragma_update(None, "user_version", steps as u32).unwrap();
    }

    #[test]
    fn an_older_database_is_kept_as_it_was_before_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        made_by_an_older_program(&db, STEPS.len() - 1);
        std::fs::write(db.join("before-schema-1.db"), "of an earlier upgrade").unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let store = SqliteStore::open(&db, blobs.clone()).unwrap();
        assert_eq!(store.reader().endpoints().unwrap().len(), 0);
        drop(store);
        let kept = db.join(format!("before-schema-{}.db", STEPS.len()));
        assert_eq!(Snapshot::open(&kept).unwrap().schema().unwrap() as usize, STEPS.len() - 1);
        assert!(!db.join("before-schema-1.db").exists(), "one is kept");
        std::fs::remove_file(&kept).unwrap();
        drop(SqliteStore::open(&db, blobs).unwrap());
        assert!(!kept.exists(), "nothing was changed the second time");
    }

    #[test]
    fn a_new_database_and_one_of_a_newer_program_are_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (db, blobs) = (dir.path().join("db"), Blobs::open(dir.path().join("blobs")).unwrap());
        drop(SqliteStore::open(&db, blobs.clone()).unwrap());
        let conn = Connection::open(db.join("runyard.db")).unwrap();
        conn.pragma_update(None, "user_version", STEPS.len() as u32 + 1).unwrap();
        drop(conn);
        let refused = SqliteStore::open(&db, blobs).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { .. }), "{refused}");
        assert!(refused.to_string().contains("upgrade runyard"), "{refused}");
        let copies = std::fs::read_dir(&db).unwrap().flatten();
        assert_eq!(copies.filter(|f| f.file_name().to_string_lossy().starts_with("before")).count(), 0);
    }
}
