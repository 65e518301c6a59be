//! Why a job waits, and how an endpoint does, from what the fleet and the engine know at this moment.

use runyard_domain::start::{Level, Part, Usual};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, Job, Phase, ReleaseState, WaitReason, WorkerId, WorkerRecord};
use runyard_engine::Presence;
use runyard_runtime::StartPhase;

use crate::Fleet;
use crate::state::{Breaker, Managed};

/// Workers of an endpoint by what they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Not asked for a job yet.
    pub starting: u64,
    /// Ready, without a job.
    pub idle: u64,
    /// With at least one job.
    pub running: u64,
    /// On their way out.
    pub draining: u64,
    /// Wanted, but no GPU is free.
    pub throttled: u64,
    /// Failing to start.
    pub unhealthy: u64,
    /// Ids of those that are ready.
    pub ready_ids: Vec<String>,
}

/// How an endpoint does, in one word and one sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointState {
    /// `new`, `ready`, `asleep`, `starting`, `busy`, `failing`, `stopped`, `no_gpu`.
    pub word: &'static str,
    /// The sentence.
    pub sentence: String,
    /// The enumerated reason, where jobs would have to wait.
    pub reason: Option<WaitReason>,
}

/// The start of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartView {
    /// What was there when it began.
    pub level: Level,
    /// Its parts that have begun, each with how long it usually takes.
    pub parts: Vec<(Part, Option<Usual>)>,
    /// How long starts like it usually take.
    pub usual: Option<Usual>,
}

/// What was there when a worker was started, as far as it is seen yet.
fn level_of(worker: &Managed) -> Level {
    match worker.phase {
        Some(StartPhase::Pulling { .. }) => Level::Cold,
        _ => worker.record.level(),
    }
}

impl Fleet {
    /// Workers of an endpoint by what they do.
    pub fn counts(&self, id: &EndpointId) -> WorkerCounts {
        let state = self.state();
        let mut counts = WorkerCounts::default();
        for worker in state.of(id) {
            match (worker.record.state, self.presence(&worker.record.id)) {
                (WorkerState::Draining, _) => counts.draining += 1,
                (_, Some(Presence::Busy)) => counts.running += 1,
                (_, Some(Presence::Idle(_))) => {
                    counts.idle += 1;
                    counts.ready_ids.push(worker.record.id.to_string());
                }
                _ => counts.starting += 1,
            }
        }
        counts.ready_ids.sort();
        if let Some(yard) = state.yards.get(id) {
            counts.throttled = u64::from(yard.no_gpu.is_some());
            counts.unhealthy = u64::from(yard.breaker.failures > 0);
        }
        counts
    }

    /// How far the start of a worker's container is; `None` where it runs, or is none.
    pub fn start_phase(&self, worker: &WorkerId) -> Option<StartPhase> {
        self.state().workers.get(worker)?.phase
    }

    /// Why a waiting job is not running yet.
    pub fn waiting(&self, job: &Job) -> WaitReason {
        if let Phase::Draft { .. } = &job.phase {
            return WaitReason::InDraft;
        }
        if let Phase::Held { worker, .. } = &job.phase {
            let place = self.inner.engine.place(&job.id);
            let ahead = place.map_or(0, |place| place.position - 1);
            let usual_ms = place.and_then(|place| place.usual_ms);
            // Where the job that runs takes longer than usual, what is usual says nothing.
            let now = self.now();
            let late = |usual: i64| {
                let leases = self.inner.engine.leases(worker);
                leases.iter().any(|lease| lease.started && now.since(lease.since) > usual.max(1_000))
            };
            let eta_ms = usual_ms.filter(|usual| !late(*usual)).map(|usual| usual * (ahead as i64 + 1));
            return WaitReason::InList { worker: worker.to_string(), ahead, eta_ms };
        }
        if self.inner.engine.is_draining() {
            return WaitReason::ServerDraining;
        }
        let Some(endpoint) = self.inner.engine.endpoint_by_id(&job.endpoint) else {
            return WaitReason::NoRelease;
        };
        if job.pinned.or(endpoint.serving).is_none() {
            return WaitReason::NoRelease;
        }
        if endpoint.settings.workers_max == 0 && job.pinned.is_none() {
            return WaitReason::NoWorkerAllowed;
        }
        let place = self.inner.engine.place(&job.id);
        let position = place.map_or(1, |p| p.position);
        let takes = |number: u32| match job.pinned {
            Some(pinned) => pinned == number,
            None => endpoint.serves(number),
        };
        let eligible = |w: &&Managed| takes(w.record.release) && w.record.state != WorkerState::Draining;
        let state = self.state();
        let workers: Vec<&Managed> = state.of(&job.endpoint).filter(eligible).collect();
        let idle = workers.iter().filter(|w| {
            matches!(self.presence(&w.record.id), Some(Presence::Idle(_)))
                && !job.lost_by.contains(&w.record.id)
        });
        let idle = idle.count() as u32;
        if u64::from(idle) >= position {
            return WaitReason::AboutToBeTaken;
        }
        let busy =
            workers.iter().filter(|w| self.presence(&w.record.id) == Some(Presence::Busy)).count() as u32;
        if let Some(starting) = self.starting(&workers, state.yards.get(&job.endpoint))
            && (busy == 0 || position <= 1)
        {
            return starting;
        }
        let max = endpoint.settings.workers_max;
        // Those that are idle still are about to take what stands before this one.
        if busy > 0 || (idle > 0 && idle >= max) {
            let workers = busy + idle;
            let eta_ms = place.and_then(|p| p.usual_ms).map(|usual| {
                let slots = i64::from(workers * endpoint.settings.concurrency.max(1)).max(1);
                usual * (position as i64).div_euclid(slots).max(1)
            });
            return WaitReason::AllBusy { workers, max, position, eta_ms };
        }
        let now = self.now();
        let yard = state.yards.get(&job.endpoint);
        let crashing = yard.map(|y| &y.crashes).filter(|crashes| crashes.is_open(now));
        if let Some(reason) = yard.and_then(|y| failing(&y.breaker)).or_else(|| failing(crashing?)) {
            return reason;
        }
        if let Some(reason) = yard.and_then(|y| y.no_gpu.clone()) {
            return reason;
        }
        if job.policy.low_priority && job.pinned.is_none() {
            return WaitReason::LowPriority;
        }
        let look_at = yard.and_then(|y| y.look_at);
        WaitReason::ScalerWaits { in_ms: look_at.map_or(0, |at| at.since(now)) }
    }

    fn starting(&self, workers: &[&Managed], yard: Option<&crate::state::Yard>) -> Option<WaitReason> {
        let now = self.now();
        let first = workers
            .iter()
            .filter(|w| w.record.state == WorkerState::Starting && !w.start_timed_out)
            .min_by_key(|w| w.record.created_at)?;
        if let Some(reason) = yard.and_then(|y| failing(&y.breaker)) {
            return Some(reason);
        }
        let phase = match first.phase {
            Some(phase) => phase.words(),
            None if first.record.started_at.is_some() => "load".to_owned(),
            None => "process".to_owned(),
        };
        let record = &first.record;
        let part = record.start_parts(first.phase.is_some()).pop()?;
        let level = level_of(first);
        let usual = |step| yard.and_then(|yard| yard.starts.usual(step, record.release, level));
        Some(WaitReason::Starting {
            worker: record.id.to_string(),
            phase,
            phase_ms: now.since(part.from),
            phase_usual: usual(Some(part.step)),
            for_ms: now.since(record.created_at),
            usual: usual(None),
        })
    }

    /// The start of a worker by its parts, each with how long it usually takes, and the whole start.
    pub fn start_of(&self, record: &WorkerRecord) -> StartView {
        let release = self.release(&record.endpoint, record.release);
        let launch = release.as_ref().and_then(|release| release.launch.as_ref());
        let has_image = launch.is_some_and(|launch| launch.image.is_some());
        let state = self.state();
        let level = state.workers.get(&record.id).map_or_else(|| record.level(), level_of);
        let starts = state.yards.get(&record.endpoint).map(|yard| &yard.starts);
        let usual = |step| starts.and_then(|starts| starts.usual(step, record.release, level));
        let parts = record.start_parts(has_image);
        StartView {
            level,
            parts: parts.into_iter().map(|part| (part, usual(Some(part.step)))).collect(),
            usual: usual(None),
        }
    }

    /// The worker of an endpoint that has been starting longest, which takes what waits.
    pub fn first_starting(&self, endpoint: &EndpointId) -> Option<WorkerRecord> {
        let state = self.state();
        let starting = state.of(endpoint).filter(|w| w.record.state == WorkerState::Starting && !w.test);
        starting.min_by_key(|w| w.record.created_at).map(|w| w.record.clone())
    }

    /// The release that served before, where it could again: where a rollback goes.
    pub fn may_go_back_to(&self, endpoint: &Endpoint) -> Option<u32> {
        let previous = endpoint.previous?;
        let ready = |number| {
            let release = self.release(&endpoint.id, number);
            release.is_some_and(|release| release.state == ReleaseState::Ready && release.launch.is_some())
        };
        (endpoint.serving != Some(previous) && ready(previous)).then_some(previous)
    }

    /// How an endpoint does.
    pub fn endpoint_state(&self, endpoint: &Endpoint) -> EndpointState {
        let counts = self.counts(&endpoint.id);
        let now = self.now();
        let have = counts.idle + counts.running + counts.starting;
        let (failure, no_gpu) = {
            let state = self.state();
            let yard = state.yards.get(&endpoint.id);
            let crashing = yard.map(|y| &y.crashes).filter(|crashes| have == 0 && crashes.is_open(now));
            let failure = yard.and_then(|y| failing(&y.breaker)).or_else(|| failing(crashing?));
            (failure, yard.and_then(|y| y.no_gpu.clone()))
        };
        let said = |word, sentence: String| EndpointState { word, sentence, reason: None };
        let waits = |word, reason: WaitReason| EndpointState {
            word,
            sentence: reason.sentence(now),
            reason: Some(reason),
        };
        if endpoint.serving.is_none() {
            return waits("new", WaitReason::NoRelease);
        }
        if endpoint.settings.workers_max == 0 {
            return waits("stopped", WaitReason::NoWorkerAllowed);
        }
        if let Some(reason) = failure {
            return waits("failing", reason);
        }
        match (no_gpu, counts.idle, counts.running, counts.starting) {
            (Some(reason), _, _, _) if have == 0 => waits("no_gpu", reason),
            (_, 0, 0, 0) => said("asleep", "no worker runs and none is needed".to_owned()),
            (_, 0, 0, n) => said("starting", format!("{n} {} starting", plural(n))),
            (_, 0, 1, _) => said("busy", "the one worker is busy".to_owned()),
            (_, 0, n, _) => said("busy", format!("all {n} workers are busy")),
            (_, n, _, _) => said("ready", format!("{n} {} ready", plural(n))),
        }
    }
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "worker" } else { "workers" }
}

fn failing(breaker: &Breaker) -> Option<WaitReason> {
    let failure = breaker.last.as_ref()?;
    let (times, retry_at) = (breaker.failures, breaker.retry_at?);
    let (exit, unset_env) = (failure.exit.clone(), failure.unset_env.clone());
    if exit.code == Some(0) && !failure.timed_out {
        return Some(WaitReason::ExitedBeforeAsking { times, retry_at, unset_env });
    }
    Some(WaitReason::StartFailing { times, retry_at, exit, timed_out: failure.timed_out, unset_env })
}
