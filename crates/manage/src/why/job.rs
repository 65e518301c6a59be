//! Why a job waits, how it runs, and how it ended.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::delivery::{DeliveryState, Heard};
use runyard_domain::reason::{RunReason, SILENT_MS, seconds};
use runyard_domain::{Endpoint, Exit, Job, Outcome, Phase, WaitReason, WorkerId};
use serde_json::{Value, json};

use super::{Cause, Subject, answer, removed};
use crate::auth::Auth;
use crate::problem::Problem;
use crate::{Manage, views};

pub(crate) async fn job(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let now = manage.inner.engine.now();
    let found = manage.inner.engine.endpoint_by_id(&job.endpoint);
    let endpoint: &Endpoint = &found.unwrap_or_else(|| Arc::new(removed(&job.endpoint, now)));
    let mut subject = Subject { job: Some(job.id.clone()), ran: job.attempt > 0, ..Subject::default() };
    let mut causes = vec![manage.cause_of(&job, &mut subject).await];
    let mut like = None;
    if let Phase::Done { outcome: Outcome::Failed { reason, .. } | Outcome::TimedOut { reason }, .. } =
        &job.phase
        && job.pinned.is_none()
    {
        let group = manage.group_of(endpoint, reason)?;
        subject.back_to = manage.way_back(endpoint, group.as_ref());
        like = group.map(|group| manage.like(endpoint, &group)).transpose()?;
    }
    let mut hints = manage.hints(&causes[0].code, endpoint, &subject);
    if causes[0].code == "no_release" {
        causes.extend(manage.failed_release(endpoint)?);
    }
    if matches!(causes[0].code.as_str(), "all_busy" | "in_list") {
        causes.extend(manage.held_up(&job, endpoint).await);
    }
    causes.extend(lost_attempts(&manage, &job)?);
    if let Some(cause) = failed_webhook(&manage, &job)? {
        let more = manage.hints(&cause.code, endpoint, &subject);
        hints.splice(0..0, more);
        causes.push(cause);
    }
    let about = format!("job {} of {}", job.id, endpoint.name);
    let mut reply = answer(&about, views::status(&job), &causes, &hints);
    if let Phase::Draft { since } | Phase::Waiting { since } | Phase::Held { queued_at: since, .. } =
        job.phase
    {
        reply.0["waitingMs"] = json!(now.since(since));
    }
    if let Some(like) = like {
        reply.0["like"] = like;
    }
    Ok(reply)
}

impl Manage {
    async fn cause_of(&self, job: &Job, subject: &mut Subject) -> Cause {
        let now = self.inner.engine.now();
        match &job.phase {
            Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
                let reason = self.inner.fleet.waiting(job);
                subject.of_wait(&reason);
                Cause {
                    code: reason.code().into(),
                    sentence: reason.sentence(now),
                    last_lines: reason.last_lines().to_vec(),
                }
            }
            Phase::Running { worker, .. } => {
                subject.worker = Some(worker.clone());
                let reason = self.running(job, self.is_halted(worker).await);
                let (code, sentence) =
                    reason.map_or(("running", String::new()), |reason| (reason.code(), reason.sentence()));
                Cause::plain(code, sentence)
            }
            Phase::Done { outcome: Outcome::Completed, execution_ms, .. } => {
                let took = execution_ms.map_or_else(String::new, |ms| format!(" after {}", seconds(ms)));
                Cause::plain("completed", format!("it completed{took}"))
            }
            Phase::Done { outcome: Outcome::Cancelled { by }, .. } => {
                Cause::plain("cancelled", format!("it was {}", self.inner.engine.cancelled_by(by)))
            }
            Phase::Done {
                outcome: Outcome::Failed { reason, .. } | Outcome::TimedOut { reason },
                worker,
                ..
            } => {
                subject.worker.clone_from(worker);
                Cause::failure(reason, reason.sentence())
            }
        }
    }

    /// How a job runs; `None` where it does not.
    pub(crate) fn running(&self, job: &Job, is_halted: bool) -> Option<RunReason> {
        let Phase::Running { worker, started, .. } = &job.phase else { return None };
        let now = self.inner.engine.now();
        let for_ms = now.since(*started);
        let live = self.inner.engine.live_worker(worker);
        let silent_ms = live.as_ref().map_or(0, |live| now.since(live.heard_at));
        let worker = worker.to_string();
        Some(match live {
            _ if is_halted => RunReason::Halted { worker, for_ms, silent_ms },
            Some(live) if live.pings && silent_ms > SILENT_MS => {
                RunReason::Silent { worker, for_ms, silent_ms }
            }
            _ => RunReason::Running { worker, for_ms },
        })
    }

    async fn is_halted(&self, worker: &WorkerId) -> bool {
        self.halted().await.contains(worker)
    }

    /// Workers whose processes are stopped, or whose containers are paused.
    async fn halted(&self) -> HashSet<WorkerId> {
        let seen = self.inner.fleet.runtime().list().await.unwrap_or_default();
        seen.into_iter().filter(|seen| seen.halted && seen.ended_at.is_none()).map(|seen| seen.id).collect()
    }

    /// The same, where one of these jobs runs: else nobody needs to be asked.
    pub(crate) async fn halted_of(&self, jobs: &[Job]) -> HashSet<WorkerId> {
        let runs = |job: &Job| matches!(job.phase, Phase::Running { .. });
        if jobs.iter().any(runs) { self.halted().await } else { HashSet::new() }
    }

    /// Workers that have jobs of this endpoint and do nothing.
    async fn held_up(&self, job: &Job, endpoint: &Endpoint) -> Vec<Cause> {
        let halted = self.halted().await;
        let workers = self.inner.fleet.workers();
        let own = workers.iter().filter(|record| record.endpoint == endpoint.id);
        let mut causes = Vec::new();
        for record in own {
            for (id, _) in self.inner.engine.held_by(&record.id) {
                let Ok(Some(other)) = self.inner.engine.job(&id) else { continue };
                let reason = self.running(&other, halted.contains(&record.id));
                if let Some(reason @ (RunReason::Halted { .. } | RunReason::Silent { .. })) = reason
                    && other.id != job.id
                {
                    causes.push(Cause::plain(
                        reason.code(),
                        format!("job {}: {}", other.id, reason.sentence()),
                    ));
                }
            }
        }
        causes.truncate(10);
        causes
    }
}

impl Subject {
    /// Takes what the commands need from why a job waits.
    pub(super) fn of_wait(&mut self, reason: &WaitReason) {
        match reason {
            WaitReason::Starting { worker, .. } => self.worker = Some(WorkerId::new(worker.clone())),
            WaitReason::StartFailing { exit: Exit { fault: Some(fault), .. }, .. } => {
                self.secret = fault.secret().map(str::to_owned);
            }
            _ => {}
        }
    }
}

/// How the workers ended that lost the job before.
fn lost_attempts(manage: &Manage, job: &Job) -> Result<Vec<Cause>, Problem> {
    const LOST: [&str; 4] = ["worker_lost", "out_of_memory", "cuda_out_of_memory", "abandoned"];
    let mut causes = Vec::new();
    for attempt in job.attempts.iter().filter(|attempt| LOST.contains(&attempt.code.as_str())) {
        let how = if attempt.code == "abandoned" {
            // Its end came later, and was ours.
            "asked for another job without ever answering this one".to_owned()
        } else {
            let record = manage.inner.engine.reader().worker(&attempt.worker)?;
            let exit = record.and_then(|record| record.exit);
            exit.map_or("was lost with its agent".to_owned(), |exit| exit.sentence())
        };
        let sentence = format!("an attempt was lost: worker {} {how}", attempt.worker);
        causes.push(Cause::plain(&attempt.code, sentence));
    }
    Ok(causes)
}

/// What became of the job's last webhook, where it was not taken.
fn failed_webhook(manage: &Manage, job: &Job) -> Result<Option<Cause>, Problem> {
    let deliveries = manage.inner.engine.reader().deliveries(&job.id)?;
    let Some(delivery) = deliveries.last() else { return Ok(None) };
    let now = manage.inner.engine.now();
    let next = match delivery.state {
        DeliveryState::Pending { next_at } if delivery.tried > 0 => {
            format!("it is tried again in {}", seconds(next_at.since(now).max(0)))
        }
        DeliveryState::GivenUp { .. } => "it is not tried any more".to_owned(),
        _ => return Ok(None),
    };
    let heard = match delivery.tries.last().map(|tried| &tried.heard) {
        Some(Heard::Status(status)) => format!("answered {status}"),
        Some(Heard::Error(error)) => format!("was not reached: {error}"),
        None => "was not asked yet".to_owned(),
    };
    let times = if delivery.tried == 1 { "once".to_owned() } else { format!("{} times", delivery.tried) };
    let sentence = format!("its webhook failed {times}: {} {heard}; {next}", delivery.url);
    Ok(Some(Cause::plain("webhook_failed", sentence)))
}
