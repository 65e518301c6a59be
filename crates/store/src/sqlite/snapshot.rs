//! Copies of the database as it is at one moment, made beside whoever writes it: for backups, and before a new
//! program changes its tables.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::read::Readers;
use super::sql::During;
use super::{open_reader, rows, schema};
use crate::blobs::file_error;
use crate::{Reader, StoreError};

/// How copies from before a change of the tables are called, without the number of the schema they are of.
const BEFORE: &str = "before-schema-";

/// A copy of a database, or any other one that nobody writes.
#[derive(Debug)]
pub struct Snapshot {
    readers: Arc<Readers>,
    conn: Connection,
}

impl Snapshot {
    /// Copies the database in the store's folder `dir` to the new file `to`. Needs as much room as the database.
    pub fn take(dir: &Path, to: &Path) -> Result<Self, StoreError> {
        let conn = open_reader(&dir.join("runyard.db")).during("open the database for a copy")?;
        copy(&conn, to)?;
        Self::open(to)
    }

    /// Opens a database file to be looked at. Fails where a newer program made it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = open_reader(path).during("open a copy of the database")?;
        schema::check_version(&conn)?;
        Ok(Self { readers: Arc::new(Readers::new(path.to_owned())), conn })
    }

    /// How many steps its schema has taken.
    pub fn schema(&self) -> Result<u32, StoreError> {
        schema::check_version(&self.conn)
    }

    /// The payload files that its rows name.
    pub fn files(&self) -> Result<HashSet<String>, StoreError> {
        rows::files(&self.conn)
    }

    /// Its queries. An older schema may lack what they ask for.
    pub fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.readers) as Arc<dyn Reader>
    }

    /// What SQLite finds wrong with it; `None` where all is well. Reads the whole database.
    pub fn damage(&self) -> Result<Option<String>, StoreError> {
        let found: String = self
            .conn
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .during("check a copy of the database")?;
        Ok((found != "ok").then_some(found))
    }
}

/// The newest schema that this program knows.
pub fn newest_schema() -> u32 {
    schema::newest()
}

fn copy(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let to = to.to_str().ok_or_else(|| {
        let why = "the path is not UTF-8, as SQLite needs it";
        file_error("copy the database to", to, std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
    })?;
    conn.execute("VACUUM INTO ?1", [to]).during("copy the database")?;
    Ok(())
}

/// Keeps a copy of a database that is about to be changed, in place of the one kept before.
pub(super) fn keep_before(conn: &Connection, dir: &Path, taken: u32) -> Result<(), StoreError> {
    let kept = dir.join(format!("{BEFORE}{}.db", schema::newest()));
    let temporary = dir.join("before-schema.tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file_error("remove", &temporary, error));
        }
        _ => {}
    }
    copy(conn, &temporary)?;
    let moved = File::open(&temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, &kept))
        .and_then(|()| File::open(dir)?.sync_all());
    moved.map_err(|source| file_error("write", &kept, source))?;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_older = entry.file_name().to_str().is_some_and(|name| name.starts_with(BEFORE));
        if is_older && entry.path() != kept {
            let _ = fs::remove_file(entry.path());
        }
    }
    tracing::info!(
        from = taken,
        to = schema::newest(),
        kept = %kept.display(),
        "The database is brought up to date; it is kept as it was"
    );
    Ok(())
}
