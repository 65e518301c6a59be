//! Watches every commit and every process, and fails where something happens that must never: a job that two workers
//! have, two accepted results, an attempt that falls, a job back with who lost it, a result lost that its worker was
//! thanked for, two processes on one GPU, starts without a pause after failures.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard};

use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, EndpointId, FailReason, Job, JobId, Outcome, Phase, Timestamp, WorkerId, WorkerRecord,
};
use runyard_runtime::WorkerSpec;
use runyard_store::{Command, Reply};

/// One job as it was last seen.
#[derive(Debug)]
struct Seen {
    job: Job,
    /// Accepted results since it was submitted or retried.
    accepted: u32,
    /// Incarnations that it was handed to.
    leased_to: BTreeSet<WorkerId>,
    /// Incarnations that were thanked for its result since it was submitted or retried.
    answered_by: BTreeSet<WorkerId>,
}

/// One endpoint and its workers, as their records say.
#[derive(Debug)]
struct Yard {
    endpoint: Endpoint,
    changed_at: Timestamp,
    workers: BTreeMap<WorkerId, WorkerState>,
    ready: BTreeSet<WorkerId>,
    /// Starts of the serving release that failed in a row.
    failures: usize,
    failed_at: Timestamp,
}

/// The pauses after failed starts, in milliseconds.
const PAUSES_MS: [i64; 7] = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/// A change of an endpoint is not known everywhere at once: an agent that is being started holds the fleet up.
const CHANGE_MS: i64 = 60_000;

#[derive(Default)]
struct State {
    yards: BTreeMap<EndpointId, Yard>,
    jobs: BTreeMap<JobId, Seen>,
    processes: BTreeMap<WorkerId, WorkerSpec>,
    history: DefaultHasher,
}

/// The witness.
#[derive(Default)]
pub struct Witness {
    state: Mutex<State>,
    /// It prints what happens: one seed is run by hand.
    aloud: bool,
}

impl Witness {
    pub fn new() -> Self {
        Self { state: Mutex::default(), aloud: std::env::var_os("RUNYARD_SEED").is_some() }
    }

    /// Notes what happens, for who runs a seed by hand.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{}", what());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// All that was committed, as one number.
    pub fn history(&self) -> u64 {
        self.state().history.finish()
    }

    pub fn server_starts(&self) {
        self.note(|| "a server starts".to_owned());
        let mut state = self.state();
        "server".hash(&mut state.history);
        // It begins anew to count failures.
        state.yards.values_mut().for_each(|yard| yard.failures = 0);
    }

    pub fn committed(&self, now: Timestamp, commands: &[Command], replies: &[Reply]) {
        let mut state = self.state();
        // The replies follow from them.
        format!("{now:?} {commands:?}").hash(&mut state.history);
        for (command, reply) in commands.iter().zip(replies) {
            self.note(|| format!("{} {command:?} -> {reply:?}", now.0));
            match reply {
                Reply::Submitted { job, existing: false } | Reply::Job(job) => state.job(command, job),
                Reply::Taken(taken) => taken.iter().for_each(|taken| state.job(command, &taken.job)),
                Reply::Jobs(jobs) => jobs.iter().for_each(|job| state.job(command, job)),
                Reply::Forgotten(job) => drop(state.jobs.remove(job)),
                _ => {}
            }
            match command {
                Command::DropEndpoint(endpoint) => {
                    state.jobs.retain(|_, seen| seen.job.endpoint != *endpoint);
                    state.yards.remove(endpoint);
                }
                Command::PutEndpoint(endpoint) => state.endpoint(now, endpoint),
                Command::PutWorker(record) => state.worker(now, record),
                _ => {}
            }
        }
    }

    /// A worker was thanked for a job's result.
    pub fn answered(&self, worker: &WorkerId, job: &JobId) {
        self.note(|| format!("{worker} is thanked for {job}"));
        let mut state = self.state();
        if let Some(seen) = state.jobs.get_mut(job)
            && seen.job.holder() == Some(worker)
        {
            seen.answered_by.insert(worker.clone());
        }
    }

    pub fn process_begins(&self, spec: &WorkerSpec) {
        self.note(|| format!("{} begins, of {} release {}", spec.id, spec.endpoint, spec.release));
        let mut state = self.state();
        let devices = |spec: &WorkerSpec| -> BTreeSet<String> {
            let devices = spec.env["CUDA_VISIBLE_DEVICES"].split(',').filter(|device| !device.is_empty());
            devices.map(str::to_owned).collect()
        };
        for other in state.processes.values() {
            let shared: Vec<String> = devices(spec).intersection(&devices(other)).cloned().collect();
            assert!(shared.is_empty(), "{} and {} both have GPU {shared:?}", spec.id, other.id);
        }
        state.processes.insert(spec.id.clone(), spec.clone());
    }

    pub fn process_gone(&self, worker: &WorkerId) {
        self.note(|| format!("{worker} is gone"));
        self.state().processes.remove(worker);
    }
}

impl State {
    fn endpoint(&mut self, now: Timestamp, endpoint: &Endpoint) {
        let endpoint = endpoint.clone();
        if let Some(yard) = self.yards.get_mut(&endpoint.id) {
            if yard.endpoint.serving != endpoint.serving || yard.endpoint.promoted_at != endpoint.promoted_at
            {
                yard.failures = 0;
            }
            (yard.endpoint, yard.changed_at) = (endpoint, now);
            return;
        }
        let yard = Yard {
            changed_at: now,
            workers: BTreeMap::new(),
            ready: BTreeSet::new(),
            failures: 0,
            failed_at: now,
            endpoint,
        };
        self.yards.insert(yard.endpoint.id.clone(), yard);
    }

    /// There are never more workers than allowed, and none begins before the pause after failures is over.
    fn worker(&mut self, now: Timestamp, record: &WorkerRecord) {
        let Some(yard) = self.yards.get_mut(&record.endpoint) else { return };
        if yard.endpoint.serving != Some(record.release) {
            yard.workers.remove(&record.id);
            return;
        }
        let before = yard.workers.insert(record.id.clone(), record.state);
        if record.ready_at.is_some() && yard.ready.insert(record.id.clone()) {
            yard.failures = 0;
        }
        match record.state {
            WorkerState::Starting if before.is_none() && record.cause != "test" => {
                let stays = |state: &WorkerState| matches!(state, WorkerState::Starting | WorkerState::Ready);
                let have = yard.workers.values().filter(|state| stays(state)).count();
                let most = yard.endpoint.settings.workers_max as usize;
                let settled = record.created_at.since(yard.changed_at) > CHANGE_MS;
                assert!(!settled || have <= most, "{have} workers of {most}: {:?}", yard.workers);
                // What began before the failure was known is no fault.
                if yard.failures > 0 && record.created_at > yard.failed_at {
                    let pause = PAUSES_MS[(yard.failures - 1).min(PAUSES_MS.len() - 1)];
                    let until = yard.failed_at.plus(pause);
                    assert!(
                        record.created_at >= until,
                        "{} started {} ms early after {} failures",
                        record.id,
                        until.since(record.created_at),
                        yard.failures
                    );
                }
            }
            WorkerState::Gone if before == Some(WorkerState::Starting) => {
                let timed_out =
                    record.stop_cause.as_ref().is_some_and(|cause| cause.contains("start timeout"));
                let failed = record.ready_at.is_none() && record.exit.is_some();
                if failed && (timed_out || record.stop_cause.is_none()) && record.cause != "test" {
                    yard.failures += 1;
                    yard.failed_at = now;
                }
            }
            _ => {}
        }
    }

    fn job(&mut self, command: &Command, job: &Job) {
        let Some(seen) = self.jobs.get_mut(&job.id) else {
            assert!(matches!(command, Command::Submit(_)), "{} came from nowhere: {command:?}", job.id);
            let seen = Seen {
                job: job.clone(),
                accepted: 0,
                leased_to: BTreeSet::new(),
                answered_by: BTreeSet::new(),
            };
            self.jobs.insert(job.id.clone(), seen);
            return;
        };
        let before = std::mem::replace(&mut seen.job, job.clone());
        match command {
            Command::GiveBack { .. } => {
                assert!(
                    job.attempt + 1 >= before.attempt,
                    "{}: {} fell to {}",
                    job.id,
                    before.attempt,
                    job.attempt
                );
            }
            _ => assert!(
                job.attempt >= before.attempt,
                "{}: {} fell to {}",
                job.id,
                before.attempt,
                job.attempt
            ),
        }
        match command {
            Command::Take { worker, .. } => {
                assert!(matches!(before.phase, Phase::Waiting { .. }), "{} was not free: {before:?}", job.id);
                assert!(!before.lost_by.contains(worker), "{} is back with {worker}", job.id);
                assert_eq!(job.holder(), Some(worker));
                seen.leased_to.insert(worker.clone());
            }
            Command::Finish { worker, .. } => {
                assert!(!before.is_done(), "{} was done before", job.id);
                assert!(seen.leased_to.contains(worker), "{} was never with {worker}", job.id);
                seen.accepted += 1;
                assert_eq!(seen.accepted, 1, "{} has two results", job.id);
            }
            Command::Retry { .. } => {
                seen.accepted = 0;
                seen.answered_by.clear();
            }
            Command::Lose { worker, .. } => {
                let lost = seen.answered_by.contains(worker) && before.holder() == Some(worker);
                assert!(!lost, "{worker} was thanked for {} and lost it: {job:?}", job.id);
            }
            _ => {}
        }
        if let Phase::Done { outcome: Outcome::Failed { reason, .. }, .. } = &job.phase {
            let lost = matches!(reason, FailReason::WorkerLost { .. } | FailReason::Abandoned { .. });
            assert!(!lost || job.losses >= job.requeues, "{} was given up early: {job:?}", job.id);
        }
    }
}
