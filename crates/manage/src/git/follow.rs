//! The loop that follows repositories: for each connection one task that looks at what is wanted, does one thing, and
//! looks again. It has no memory that a restart would miss.

use std::collections::HashMap;
use std::time::Duration;

use runyard_domain::ConnectionId;
use runyard_domain::git::Connection;
use runyard_engine::EngineError;
use tokio::task::{Id, JoinSet};

use super::deliver::Done;
use crate::Manage;

/// The first pause after a repository could not be read, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How long a repository that is only looked at when told is left alone.
const LEFT_ALONE: Duration = Duration::from_hours(1);

/// The pause before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Follows the repositories of all endpoints for as long as it [runs](Self::run).
pub struct Follower {
    manage: Manage,
}

impl Manage {
    /// What follows repositories; made, and not running yet.
    pub fn follower(&self) -> Follower {
        Follower { manage: self.clone() }
    }
}

impl Follower {
    /// Follows until it is dropped. What was under way then begins again at the next start.
    pub async fn run(self) {
        if let Err(error) = self.begin_again().await {
            tracing::error!(%error, "what was being built of repositories could not be taken up again");
        }
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut followed: HashMap<Id, ConnectionId> = HashMap::new();
        loop {
            match self.manage.inner.engine.reader().connections() {
                Ok(all) => {
                    let new = all.into_iter().map(|c| c.id).filter(|id| !followed.values().any(|f| f == id));
                    for id in new.collect::<Vec<_>>() {
                        let task = tasks.spawn(follow(self.manage.clone(), id.clone()));
                        followed.insert(task.id(), id);
                    }
                }
                Err(error) => tracing::warn!(%error, "the connections with repositories could not be read"),
            }
            tokio::select! {
                () = self.manage.inner.git.appeared.notified() => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let task = match ended {
                        Ok((task, ())) => task,
                        Err(error) => {
                            tracing::error!(%error, "the following of a repository panicked; it begins again");
                            tokio::time::sleep(STORE_PAUSE).await;
                            error.id()
                        }
                    };
                    if let Some(id) = followed.remove(&task) {
                        self.manage.inner.git.forget(&id);
                    }
                }
            }
        }
    }

    /// After a start: what was under way is queued, and what was fetched for it goes.
    async fn begin_again(&self) -> Result<(), EngineError> {
        let work = &self.manage.inner.git.ground.work;
        for entry in std::fs::read_dir(work).into_iter().flatten().flatten() {
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::debug!(%error, "a folder of an interrupted build is still there");
            }
        }
        let now = self.manage.inner.engine.now();
        for connection in self.manage.inner.engine.reader().connections()? {
            self.manage.change(&connection.id, |connection| connection.begin_again(now)).await?;
        }
        Ok(())
    }
}

/// Follows one repository until its connection is gone.
async fn follow(manage: Manage, id: ConnectionId) {
    let nudge = manage.inner.git.nudge_of(&id);
    let mut failures = 0;
    loop {
        let connection = match manage.connection(&id) {
            Ok(Some(connection)) => connection,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, connection.id = %id, "a connection could not be read; trying again");
                tokio::time::sleep(STORE_PAUSE).await;
                continue;
            }
        };
        let pause = match manage.step(&connection).await {
            Ok(Done::Something) => {
                failures = 0;
                Duration::ZERO
            }
            Ok(Done::Moved) => FIRST_PAUSE,
            Ok(Done::Nothing) => {
                failures = 0;
                until_next(&connection)
            }
            Err(trouble) => {
                failures += 1;
                tracing::warn!(connection.id = %id, trouble, "a repository cannot be followed; trying again");
                if let Err(error) = manage.change(&id, |c| c.trouble = Some(trouble)).await {
                    tracing::warn!(%error, connection.id = %id, "the trouble with a repository was not kept");
                }
                after(failures)
            }
        };
        tokio::select! {
            () = nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

pub(super) fn until_next(connection: &Connection) -> Duration {
    match connection.remote().map_or(0, |remote| remote.poll_s) {
        0 => LEFT_ALONE,
        seconds => Duration::from_secs(seconds.into()),
    }
}

pub(super) fn after(failures: u32) -> Duration {
    LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)))
}

impl Manage {
    /// Looks at the repository and does the first thing that is to be done.
    async fn step(&self, connection: &Connection) -> Result<Done, String> {
        self.look(connection).await?;
        let fail = |error: EngineError| error.to_string();
        let Some(connection) = self.connection(&connection.id).map_err(fail)? else {
            return Ok(Done::Something);
        };
        if let Some(preview) = connection.previews.iter().find(|preview| preview.closed) {
            self.close_preview(&connection, preview).await?;
            return Ok(Done::Something);
        }
        match connection.next_build() {
            Some(build) => self.deliver(&connection, build).await,
            None => Ok(Done::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes() {
        let pauses: Vec<u64> = (1..=8).map(|n| after(n).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(after(4_000_000_000), LONGEST_PAUSE);
    }
}
