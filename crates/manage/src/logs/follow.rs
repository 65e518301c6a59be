//! Logs as they come. A follower that takes its lines slower than they come holds up nobody: what it misses is counted.

use std::time::Duration;

use runyard_logs::{Query as LogQuery, Reader, Record};
use runyard_runtime::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;

use super::blocking;
use crate::problem::Problem;

/// What comes within so long is read at once.
const TOGETHER: Duration = Duration::from_millis(20);

/// What is followed, and how.
pub(crate) struct Follow {
    /// Where it is read.
    pub(crate) reader: Reader,
    /// What is looked for.
    pub(crate) queries: Vec<LogQuery>,
    /// Only what comes is wanted, not what is there.
    pub(crate) skip_first: bool,
    /// Nothing more can come.
    pub(crate) ends: bool,
}

/// Sends what is there, then looks again whenever a worker printed something. `show` makes of a record what is sent, or
/// leaves it out.
pub(crate) async fn follow<T>(
    what: Follow,
    mut events: Receiver<Event>,
    sender: mpsc::Sender<T>,
    show: impl Fn(&Record) -> Option<T>,
) {
    let Follow { reader, queries, mut skip_first, ends } = what;
    let mut tails: Vec<_> = queries.into_iter().map(|query| reader.follow(query)).collect();
    loop {
        let polled = blocking(move || {
            let (mut records, mut more) = (Vec::new(), false);
            for tail in &mut tails {
                let polled = tail.poll().map_err(|error| Problem::internal(&error))?;
                records.extend(polled.records);
                more |= polled.more;
            }
            records.sort_by(|a, b| (a.at, &a.worker, a.seq).cmp(&(b.at, &b.worker, b.seq)));
            Ok((tails, records, more))
        });
        let Ok((back, records, more)) = polled.await else { return };
        tails = back;
        if !std::mem::take(&mut skip_first) {
            for shown in records.iter().filter_map(&show) {
                if sender.send(shown).await.is_err() {
                    return;
                }
            }
        }
        if ends {
            return;
        }
        if more {
            continue;
        }
        tokio::select! {
            more = output(&mut events) => if !more { return },
            () = sender.closed() => return,
        }
    }
}

/// Waits until something was printed, and a moment longer; answers whether there is still something to wait for.
async fn output(events: &mut Receiver<Event>) -> bool {
    if matches!(events.recv().await, Err(RecvError::Closed)) {
        return false;
    }
    tokio::time::sleep(TOGETHER).await;
    loop {
        match events.try_recv() {
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            // Where the events are at their end, a last look comes first.
            Err(TryRecvError::Empty | TryRecvError::Closed) => return true,
        }
    }
}
