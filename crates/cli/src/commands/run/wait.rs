//! Waiting for a job through long polls, and saying meanwhile why it is not done. A server that is away (a
//! restart) ends no waiting: the job is safe in its store, so the poll is tried again for a while.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::client::{Call, ClientError, Reply, path};
use crate::commands::run::Submitted;
use crate::commands::status::place;
use crate::output::{Live, Ui};
use crate::views::{JobAnswer, is_final, text_of};

/// How long a server may be away before waiting gives up.
const ABSENCE: Duration = Duration::from_mins(1);

/// How long to leave a server alone that is away, or that did not hold a poll.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the job will not change any more; returns its last answer.
pub async fn until_done(job: &Submitted<'_>, ui: Ui) -> anyhow::Result<Reply> {
    // Where somebody watches, polls are short, so that the reason on the screen is fresh.
    let hold = if ui.err_terminal { Duration::from_secs(2) } else { Duration::from_secs(20) };
    let mut live = Live::new(ui);
    let mut patience = Patience::default();
    loop {
        let asked = Instant::now();
        match poll(job, "status-sync", hold).await {
            Ok(reply) => {
                patience = Patience::default();
                let answer: JobAnswer = reply.parse()?;
                if is_final(&answer.status) {
                    return Ok(reply);
                }
                live.set(&saying(&answer));
            }
            Err(e) => {
                patience.spend(e)?;
                live.set("the server is away; the job is kept");
            }
        }
        if asked.elapsed() < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One long poll of the job: `status-sync` or `stream`.
pub async fn poll(job: &Submitted<'_>, what: &str, hold: Duration) -> Result<Reply, ClientError> {
    let wait = ("wait", Some(hold.as_millis().to_string()));
    let path = path::query(&path::jobs_of(job.endpoint, &[what, job.id]), &[wait]);
    job.client.send(Call::new(Method::GET, path).timeout(hold + Duration::from_secs(30))).await
}

/// How long errors in a row are borne.
#[derive(Default)]
pub struct Patience(Option<Instant>);

impl Patience {
    /// Bears an error that a restart explains; returns any other, and one that comes when the time is up.
    pub fn spend(&mut self, error: ClientError) -> Result<(), ClientError> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if error.is_absence() && since.elapsed() < ABSENCE { Ok(()) } else { Err(error) }
    }
}

/// What happens now, for the live line.
fn saying(answer: &JobAnswer) -> String {
    let reason = answer.reason.as_ref().map(|r| r.message.as_str());
    if answer.status == "IN_QUEUE" {
        let place = answer.queue.as_ref().map(place).filter(|p| !p.is_empty());
        return format!(
            "queued: {}",
            reason.map(str::to_owned).or(place).unwrap_or_else(|| "waiting".to_owned())
        );
    }
    let progress = answer.output.as_deref().map(text_of);
    let phase = progress.or_else(|| answer.phase.clone());
    phase.map_or_else(|| "running".to_owned(), |phase| format!("running: {phase}"))
}
