//! Checkpoints beside the writer: a thread with a connection of its own copies committed pages from the WAL
//! into the database whenever the WAL has grown. Such a checkpoint never waits for the writer nor blocks it.
//! Since the writer goes on meanwhile, the WAL may never be copied to its end; when it has become long, the
//! writer copies the rest itself, which lets the next commit start the WAL anew.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::sql::{Break, During};
use super::{is_disk_failure, is_disk_full, leave_wal_at_close, quota};
use crate::blobs::file_error;
use crate::{Reserve, StoreError};

/// From this many pages in the WAL on, the thread works after each commit.
const NUDGE_PAGES: usize = 2_048;
/// From this many on, the writer finishes the work.
pub(super) const LONG_PAGES: usize = 2 * NUDGE_PAGES;

/// The thread and the way to wake it. Dropping it ends the thread and waits for that.
#[derive(Debug)]
pub(super) struct Checkpoints {
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    room: Room,
    failure: Arc<Mutex<Option<Break>>>,
}

/// Where the database lies, and what is kept for it there.
#[derive(Debug, Clone)]
struct Room {
    dir: PathBuf,
    reserve: Reserve,
}

impl Checkpoints {
    pub(super) fn start(path: &Path, reserve: &Reserve) -> Result<Self, StoreError> {
        let conn = Connection::open(path).during("open the database for checkpoints")?;
        conn.busy_timeout(Duration::ZERO)
            .and_then(|()| conn.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| leave_wal_at_close(&conn))
            .during("configure the checkpoints")?;
        let failure = Arc::default();
        let (nudge, nudges) = sync_channel(1);
        let dir = path.parent().unwrap_or(path).to_owned();
        let room = Room { dir, reserve: reserve.clone() };
        let (shared, given) = (Arc::clone(&failure), room.clone());
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || work(&conn, &nudges, &shared, &given))
            .map_err(|source| file_error("start the checkpoint thread of", path, source))?;
        Ok(Self { nudge: Some(nudge), thread: Some(thread), room, failure })
    }

    /// What the writer does after a commit that left `pages` pages in the WAL.
    pub(super) fn after_commit(&self, writer: &Connection, pages: usize) {
        if pages >= LONG_PAGES {
            checkpoint(writer, &self.failure, &self.room);
        } else if let (NUDGE_PAGES.., Some(nudge)) = (pages, &self.nudge) {
            // Full: the thread has not even begun with the last nudge. Gone: `failure` says why.
            let _ = nudge.try_send(());
        }
    }

    /// The failure that ended the checkpoints, if one did.
    pub(super) fn failure(&self) -> Option<Break> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn work(conn: &Connection, nudges: &Receiver<()>, failure: &Mutex<Option<Break>>, room: &Room) {
    while nudges.recv().is_ok() {
        if !checkpoint(conn, failure, room) {
            return;
        }
    }
}

/// Copies what can be copied without waiting. After a failure of the disk the pages in the database are in
/// doubt while the WAL still has them, so there must be no further checkpoint: says whether there may be. Where the
/// disk is full the database grows into the reserve: a WAL that is never copied would need more of it.
fn checkpoint(conn: &Connection, failure: &Mutex<Option<Break>>, room: &Room) -> bool {
    let result = conn
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
        .and_then(|mut statement| statement.query_row([], |_| Ok(())));
    let is_full = |error: &rusqlite::Error| is_disk_full(error) || quota::is_over(&room.dir, error);
    match result {
        Ok(()) => true,
        Err(error) if is_full(&error) && room.reserve.give(0) => checkpoint(conn, failure, room),
        Err(error) if is_disk_failure(&error) && !is_full(&error) => {
            tracing::error!(%error, "a checkpoint failed; the store accepts nothing more");
            let operation = "move the write-ahead log into the database";
            let kept = Break::of(&StoreError::Database { operation, source: error });
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a checkpoint did not succeed; the next one tries again");
            true
        }
    }
}
