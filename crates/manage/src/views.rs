//! The objects of the API as JSON. One function each, so that every call shows a thing the same way.

use std::collections::{BTreeMap, HashSet};

use runyard_domain::git::Commit;
use runyard_domain::release::ReleaseState;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, Exit, FailReason, Job, KeyRecord, Outcome, Phase, Release, RunReason, Timestamp, WaitReason,
    WorkerId, WorkerRecord, secret,
};
use runyard_engine::Presence;
use runyard_fleet::StartView;
use serde_json::{Value, json};

use crate::Manage;

/// The wire's word for a job's state.
pub(crate) fn status(job: &Job) -> &'static str {
    match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => "IN_QUEUE",
        Phase::Running { .. } => "IN_PROGRESS",
        Phase::Done { outcome: Outcome::Completed, .. } => "COMPLETED",
        Phase::Done { outcome: Outcome::Failed { .. }, .. } => "FAILED",
        Phase::Done { outcome: Outcome::Cancelled { .. }, .. } => "CANCELLED",
        Phase::Done { outcome: Outcome::TimedOut { .. }, .. } => "TIMED_OUT",
    }
}

/// The parts of a job that its phase decides.
struct Life<'a> {
    started: Option<i64>,
    ended: Option<i64>,
    delay: Option<i64>,
    execution: Option<i64>,
    worker: Option<&'a str>,
    release: Option<u32>,
}

fn life(job: &Job) -> Life<'_> {
    match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
            Life { started: None, ended: None, delay: None, execution: None, worker: None, release: None }
        }
        Phase::Running { worker, release, queued_at, started } => Life {
            started: Some(started.0),
            ended: None,
            delay: Some(started.since(*queued_at)),
            execution: None,
            worker: Some(worker.as_str()),
            release: Some(*release),
        },
        Phase::Done { at, worker, release, delay_ms, execution_ms, .. } => Life {
            started: execution_ms.map(|ms| at.0 - ms),
            ended: Some(at.0),
            delay: *delay_ms,
            execution: *execution_ms,
            worker: worker.as_ref().map(WorkerId::as_str),
            release: *release,
        },
    }
}

impl Manage {
    /// `Job`; `halted` are the workers that are stopped.
    pub(crate) fn job(&self, job: &Job, halted: &HashSet<WorkerId>) -> Value {
        let life = life(job);
        let name = self.inner.engine.endpoint_by_id(&job.endpoint).map(|e| e.name.clone());
        let mut view = json!({
            "id": job.id.as_str(),
            "endpoint": job.endpoint.as_str(),
            "endpointName": name,
            "status": status(job),
            "submittedAt": job.submitted_at.0,
            "submittedBy": job.submitted_by,
            "startedAt": life.started,
            "endedAt": life.ended,
            "delayMs": life.delay,
            "executionMs": life.execution,
            "attempt": job.attempt,
            "retries": job.losses,
            "worker": life.worker,
            "release": life.release,
            "sdk": life.worker.and_then(|id| self.sdk_of(id)),
            "test": job.pinned.is_some(),
            "webhook": job.webhook,
        });
        if let Some(reason) = self.reason_of(job, halted) {
            view["reason"] = reason;
        }
        match &job.phase {
            Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
                if let Some(place) = self.inner.engine.place(&job.id) {
                    view["queue"] = json!({"position": place.position});
                }
            }
            Phase::Done { outcome: Outcome::Failed { error, .. }, .. } => view["error"] = json!(error),
            _ => {}
        }
        view
    }

    fn sdk_of(&self, worker: &str) -> Option<String> {
        let id = WorkerId::new(worker);
        let live = self.inner.engine.live_worker(&id).and_then(|live| live.sdk);
        live.or_else(|| self.inner.engine.reader().worker(&id).ok().flatten()?.sdk)
    }

    fn reason_of(&self, job: &Job, halted: &HashSet<WorkerId>) -> Option<Value> {
        match &job.phase {
            Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
                let reason = self.inner.fleet.waiting(job);
                let mut view =
                    json!({"code": reason.code(), "message": reason.sentence(self.inner.engine.now())});
                if let WaitReason::Starting { usual: Some(usual), .. } = reason {
                    view["usualMs"] = json!(usual.ms);
                    view["usualStarts"] = json!(usual.starts);
                }
                Some(view)
            }
            Phase::Running { worker, .. } => {
                let reason = self.running(job, halted.contains(worker));
                let reason = reason.filter(|reason| !matches!(reason, RunReason::Running { .. }))?;
                Some(json!({"code": reason.code(), "message": reason.sentence()}))
            }
            Phase::Done {
                outcome: Outcome::Failed { reason, .. } | Outcome::TimedOut { reason }, ..
            } => Some(fail_reason(reason)),
            Phase::Done { outcome: Outcome::Cancelled { by }, .. } => {
                Some(json!({"code": "cancelled", "message": self.inner.engine.cancelled_by(by)}))
            }
            Phase::Done { .. } => None,
        }
    }

    /// `Endpoint`.
    pub(crate) fn endpoint_view(&self, endpoint: &Endpoint) -> Result<Value, crate::Problem> {
        let state = self.inner.fleet.endpoint_state(endpoint);
        let workers = self.inner.fleet.counts(&endpoint.id);
        let jobs = self.inner.engine.reader().counts(&endpoint.id)?;
        Ok(json!({
            "id": endpoint.id.as_str(),
            "name": endpoint.name,
            "createdAt": endpoint.created_at.0,
            "url": format!("{}/v2/{}", self.inner.info.url, endpoint.name),
            "serving": endpoint.serving,
            "settings": endpoint.settings,
            "state": state.word,
            "stateMessage": state.sentence,
            "rollout": self.rollout_view(endpoint),
            "managed": endpoint.managed.as_ref().map(|managed| {
                json!({
                    "by": managed.by, "at": managed.at.0, "release": managed.release,
                    "container": managed.container,
                })
            }),
            "workers": {
                "starting": workers.starting, "idle": workers.idle,
                "running": workers.running, "draining": workers.draining,
            },
            "jobs": {
                "waiting": jobs.waiting, "running": jobs.running, "completed": jobs.completed,
                "failed": jobs.failed, "cancelled": jobs.cancelled, "retried": jobs.retried,
            },
        }))
    }

    /// What a worker is doing, and since when it has been idle, in milliseconds since the epoch.
    pub(crate) fn state_of(&self, record: &WorkerRecord) -> (&'static str, Option<i64>) {
        let presence = self.inner.engine.live_worker(&record.id).map(|live| live.presence);
        match (record.state, presence) {
            (WorkerState::Gone, _) => ("gone", None),
            (WorkerState::Draining, _) => ("draining", None),
            (_, Some(Presence::Busy)) => ("running", None),
            (_, Some(Presence::Idle(since))) => ("idle", Some(since.0)),
            _ => ("starting", None),
        }
    }

    /// `Worker`.
    pub(crate) fn worker(&self, record: &WorkerRecord) -> Value {
        let name = self.inner.engine.endpoint_by_id(&record.endpoint).map(|e| e.name.clone());
        let live = self.inner.engine.live_worker(&record.id);
        let held = self.inner.engine.held_by(&record.id);
        let jobs: Vec<&str> = held.iter().map(|(id, _)| id.as_str()).collect();
        let (state, idle_since) = self.state_of(record);
        json!({
            "id": record.id.as_str(),
            "endpoint": record.endpoint.as_str(),
            "endpointName": name,
            "release": record.release,
            "state": state,
            "cause": record.cause,
            "gpus": record.gpus,
            "gpuType": self.inner.fleet.gpu_of(record).map(|gpu| &gpu.name),
            "pid": record.pid,
            "sdk": live.and_then(|l| l.sdk).or_else(|| record.sdk.clone()),
            "jobs": jobs,
            "createdAt": record.created_at.0,
            "startedAt": record.started_at.map(|t| t.0),
            "readyAt": record.ready_at.map(|t| t.0),
            "start": self.start(record),
            "idleSince": idle_since,
            "endedAt": record.ended_at.map(|t| t.0),
            "exit": record.exit.as_ref().map(exit),
            "stopCause": record.stop_cause,
        })
    }
}

impl Manage {
    /// `Start`: how a worker started, by parts, beside what is usual.
    fn start(&self, record: &WorkerRecord) -> Value {
        let StartView { level, parts, usual } = self.inner.fleet.start_of(record);
        let parts: Vec<Value> = parts
            .iter()
            .map(|(part, usual)| {
                json!({
                    "phase": part.step.word(), "from": part.from.0, "to": part.to.map(|to| to.0),
                    "usualMs": usual.map(|usual| usual.ms),
                })
            })
            .collect();
        json!({
            "level": level.word(),
            "phases": parts,
            "usualMs": usual.map(|usual| usual.ms),
            "usualStarts": usual.map(|usual| usual.starts),
        })
    }
}

fn exit(exit: &Exit) -> Value {
    json!({
        "code": exit.code, "signal": exit.signal,
        "outOfMemory": exit.out_of_memory, "fault": exit.fault.as_ref().map(|fault| fault.code()), "lastLines": exit.last_lines,
        "message": exit.sentence(),
    })
}

/// A reason of failure with the lines that go with it.
pub(crate) fn fail_reason(reason: &FailReason) -> Value {
    json!({"code": reason.code(), "message": reason.sentence(), "lastLines": reason.last_lines()})
}

/// `Release`.
pub(crate) fn release(release: &Release, serving: Option<u32>) -> Value {
    let (state, reason) = match &release.state {
        ReleaseState::Building => ("building", None),
        ReleaseState::Testing => ("testing", None),
        ReleaseState::Ready => ("ready", None),
        ReleaseState::Failed { reason } => ("failed", Some(fail_reason(reason))),
    };
    json!({
        "number": release.number,
        "state": state,
        "serving": serving == Some(release.number),
        "createdAt": release.created_at.0,
        "createdBy": release.created_by,
        "handler": release.handler,
        "image": release.launch.as_ref().and_then(|launch| launch.image.as_ref()),
        "bundle": release.bundle,
        "python": release.python,
        "pythonWish": (!release.python_wish.is_empty()).then_some(&release.python_wish),
        "env": env(release),
        "secureEnv": release.secure_env.keys().collect::<Vec<_>>(),
        "envRead": release.env_read,
        "gpus": release.gpus,
        "container": release.given.as_ref().map(|given| &given.container),
        "networkVolume": release.given.as_ref().and_then(|given| given.network_volume.as_ref()),
        "note": release.note,
        "commit": release.commit.as_ref().map(commit),
        "tookMs": release.took_ms,
        "reason": reason,
    })
}

/// The variables of a release as they are shown: of secure ones the names.
pub(crate) fn env(release: &Release) -> BTreeMap<&str, &str> {
    let plain = release.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    plain.chain(release.secure_env.keys().map(|name| (name.as_str(), secret::MASK))).collect()
}

/// `Commit`.
pub(crate) fn commit(commit: &Commit) -> Value {
    json!({
        "id": commit.id,
        "message": commit.message,
        "author": commit.author,
        "committedAt": commit.committed_at.0,
        "reference": commit.reference,
        "repository": commit.repository,
    })
}

/// `Key`.
pub(crate) fn key(record: &KeyRecord, now: Timestamp) -> Value {
    let state = match record {
        KeyRecord { revoked_at: Some(_), .. } => "revoked",
        KeyRecord { expires_at: Some(at), .. } if *at <= now => "expired",
        KeyRecord { disabled_at: Some(_), .. } => "disabled",
        _ => "valid",
    };
    json!({
        "state": state,
        "id": record.id.as_str(),
        "name": record.name,
        "access": record.access,
        "endpoints": record.endpoints,
        "rates": record.rates,
        "createdAt": record.created_at.0,
        "expiresAt": record.expires_at.map(|t| t.0),
        "revokedAt": record.revoked_at.map(|t| t.0),
        "disabledAt": record.disabled_at.map(|t| t.0),
        "usedAt": record.used_at.map(|t| t.0),
        "grants": record.grants,
        "page": record.page,
        "session": record.session.is_some(),
        "member": null,
    })
}
