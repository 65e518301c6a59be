//! The embedded store: one SQLite database in WAL mode with full sync. A batch of commands is one transaction
//! on the one writing connection; queries run beside it on read-only connections; checkpoints run on a thread
//! of their own.
//!
//! Where things are: `schema` the tables, `write` one file per kind of command, `read` the queries,
//! `rows` jobs and payloads as rows, `metrics` queries of series, `snapshot` copies of it, `checkpoint` the thread that keeps the WAL short.

mod batches;
mod checkpoint;
mod metrics;
mod quota;
mod read;
mod rows;
mod schema;
mod snapshot;
mod sql;
#[cfg(test)]
mod tests;
mod write;

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runyard_domain::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::blobs::{file_error, make_dir};
use crate::{Blobs, Command, Reader, Reply, Store, StoreError, crash};
use checkpoint::Checkpoints;
use read::Readers;
pub use snapshot::{Snapshot, newest_schema};
use sql::{Break, During};

/// How many records of workers that are gone are kept per endpoint, newest first.
pub const GONE_WORKERS_KEPT: usize = 200;

/// The WAL is grown to this size at the start: overwriting a file that is there syncs about twice as fast as
/// appending to one. It keeps its size until the store is closed.
const WAL_BYTES: usize = checkpoint::LONG_PAGES * 4096;

thread_local! {
    /// Pages in the WAL after this thread's last commit. SQLite's hook takes no closure, so it lands here.
    static WAL_PAGES: Cell<usize> = const { Cell::new(0) };
}

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SqliteStore {
    checkpoints: Checkpoints,
    readers: Arc<Readers>,
    /// Closed after all others, and so the one that moves the WAL into the database at the end.
    conn: Connection,
    next_seq: u64,
    current: write::Current,
    dir: PathBuf,
    blobs: Blobs,
    /// An input or output error of the disk: after it nothing is known of what is durable, so nothing more is
    /// accepted.
    broken: Option<Break>,
    /// Held until everything above is closed: two stores on one folder would sweep each other's files.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in `dir` and makes it where it is missing. Brings an older schema up to date, and
    /// removes files of `blobs` that no row names. Fails if another process has it open.
    pub fn open(dir: &Path, blobs: Blobs) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let lock = lock(&dir.join("store.lock"))?;
        let path = dir.join("runyard.db");
        let mut conn = Connection::open(&path).during("open the database")?;
        schema::check_version(&conn)?;
        prepare_writer(&conn).during("configure the database")?;
        schema::migrate(&mut conn, dir)?;
        let next_seq = write::next_seq(&conn)?;
        let swept = blobs.sweep(&rows::files(&conn)?)?;
        if swept > 0 {
            tracing::info!(files = swept, "removed payload files that were written and never committed");
        }
        if let Err(error) = grow_wal(&conn, &dir.join("runyard.db-wal")) {
            tracing::warn!(%error, "the write-ahead log could not be grown; commits will be slower");
        }
        let checkpoints = Checkpoints::start(&path, blobs.reserve())?;
        let readers = Arc::new(Readers::new(path));
        let dir = dir.to_owned();
        let current = write::Current::default();
        Ok(Self { checkpoints, readers, conn, next_seq, current, dir, blobs, broken: None, _lock: lock })
    }

    fn transact(
        &mut self,
        now: Timestamp,
        commands: &[Command],
    ) -> Result<(Vec<Reply>, HashSet<String>), StoreError> {
        let tx =
            self.conn.transaction_with_behavior(TransactionBehavior::Immediate).during("begin a batch")?;
        let mut batch = write::Batch::new(&tx, now, self.next_seq, &mut self.current);
        let replies = commands.iter().map(|c| batch.apply(c)).collect::<Result<_, _>>()?;
        let end = batch.end()?;
        crash::point("before-commit");
        tx.commit().during("commit a batch")?;
        crash::point("after-commit");
        self.next_seq = end.next_seq;
        Ok((replies, end.unnamed))
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        if self.broken.is_none() {
            self.broken = self.checkpoints.failure();
        }
        if let Some(broken) = &self.broken {
            return Err(broken.error());
        }
        WAL_PAGES.set(0);
        let done = self.transact(now, commands);
        if done.is_err() {
            self.current.forget();
        }
        let (replies, unnamed) = match done {
            Ok(done) => done,
            Err(StoreError::Database { source, .. }) if quota::is_over(&self.dir, &source) => {
                return Err(StoreError::DiskFull);
            }
            Err(error) => {
                self.broken = Break::of(&error);
                if self.broken.is_some() {
                    // What is in the WAL stays there as it is: the next start reads what is whole.
                    let _ = leave_wal_at_close(&self.conn);
                }
                return Err(error);
            }
        };
        if !unnamed.is_empty() {
            crash::point("before-unlink");
            self.blobs.unlink_all(unnamed);
        }
        self.checkpoints.after_commit(&self.conn, WAL_PAGES.get());
        Ok(replies)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.readers) as Arc<dyn Reader>
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.close_idle();
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(|source| file_error("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process has this store open: stop it first, or use another data folder";
            Err(file_error("lock", path, io::Error::new(io::ErrorKind::ResourceBusy, why)))
        }
        Err(TryLockError::Error(source)) => Err(file_error("lock", path, source)),
    }
}

fn prepare_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.wal_hook(Some(|_, pages| {
        WAL_PAGES.set(pages as usize);
        Ok(())
    }));
    Ok(())
}

/// Empties the WAL, then fills the file with zeros. SQLite reads a WAL up to the first frame whose checksum
/// fails, so zeros are an empty WAL to it. Nobody else has the database open at this point.
fn grow_wal(conn: &Connection, path: &Path) -> io::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(io::Error::other)?;
    let mut wal = File::options().write(true).open(path)?;
    if wal.metadata()?.len() == 0 {
        wal.write_all(&vec![0; WAL_BYTES])?;
        wal.sync_all()?;
    }
    Ok(())
}

/// Keeps the last connection to be closed from moving the WAL into the database.
fn leave_wal_at_close(conn: &Connection) -> rusqlite::Result<bool> {
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
}

/// A connection that only reads.
fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "cache_size", -4_096)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Whether the error says that there is no room: for rows, or for the index of the WAL (the file `-shm`), whose
/// growth has a code of its own.
fn is_disk_full(error: &rusqlite::Error) -> bool {
    let Some(code) = error.sqlite_error() else { return false };
    code.code == ErrorCode::DiskFull || code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

/// Whether the error says that the disk itself fails, as opposed to being full.
fn is_disk_failure(error: &rusqlite::Error) -> bool {
    !is_disk_full(error)
        && matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt))
}
