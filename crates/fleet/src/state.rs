//! What the fleet knows: its workers, each endpoint's breaker, and the deadlines that it has to keep.

use std::collections::{BTreeMap, BTreeSet};

use runyard_domain::job::Loss;
use runyard_domain::placement::Held;
use runyard_domain::rollout::Health;
use runyard_domain::start::Starts;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    EndpointId, Exit, FlashBoot, JobId, Rollout, Timestamp, WaitReason, WorkerId, WorkerRecord,
};
use runyard_engine::Tally;
use runyard_runtime::StartPhase;

/// One worker that is not gone.
#[derive(Debug, Clone)]
pub(crate) struct Managed {
    pub(crate) record: WorkerRecord,
    /// When it was ordered, or its image was there, by the clock that stands still while the machine sleeps: its time
    /// to start counts from then.
    pub(crate) began: Timestamp,
    /// When it is killed if it is still there, by the same clock.
    pub(crate) kill_at: Option<Timestamp>,
    /// It drains to stop what it runs: without other jobs it is killed without a grace.
    pub(crate) at_once: bool,
    /// It drains, and was told to end because it runs nothing any more.
    pub(crate) told_to_end: bool,
    /// Its start failed below it: that says nothing of its release.
    pub(crate) not_its_fault: bool,
    /// Why it could not be started.
    pub(crate) launch_failed: Option<String>,
    /// Why it says that it is not fit to work.
    pub(crate) unfit: Option<String>,
    /// Whether its end was our wish: what it held then costs its jobs nothing.
    pub(crate) wanted_gone: bool,
    /// Whether its start took longer than allowed.
    pub(crate) start_timed_out: bool,
    /// It belongs to the test of a release that does not serve yet.
    pub(crate) test: bool,
    /// What the deploy asks for whose release is tested, until then; else the endpoint's setting holds.
    pub(crate) start_timeout_s: Option<u32>,
    /// Whether the runtime has it; until then `list` does not know it.
    pub(crate) launched: bool,
    /// How far the start of its container is.
    pub(crate) phase: Option<StartPhase>,
}

/// Failed starts of an endpoint's serving release.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker {
    pub(crate) failures: u32,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) last: Option<Failure>,
}

/// How the last start failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) timed_out: bool,
    pub(crate) unset_env: Vec<String>,
    /// Whether it says something of the release.
    pub(crate) its_fault: bool,
}

/// Pauses between failed starts, in milliseconds; the last one repeats.
const BACKOFF_MS: [i64; 7] = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/// How many of them are used after crashes.
const CRASH_BACKOFFS: usize = 4;

impl Breaker {
    /// Notes a failed start and says when the next one may be tried.
    pub(crate) fn fail(&mut self, failure: Failure, now: Timestamp) {
        let pause = BACKOFF_MS[(self.failures as usize).min(BACKOFF_MS.len() - 1)];
        self.note(failure, now.plus(pause));
    }

    /// Notes a worker that asked for jobs and ended without answering any. The first is replaced at once, and
    /// the pauses stay short: jobs that kill their workers stand before jobs that do not.
    pub(crate) fn crash(&mut self, failure: Failure, now: Timestamp) {
        let pause = match self.failures as usize {
            0 => 0,
            n => BACKOFF_MS[(n - 1).min(CRASH_BACKOFFS - 1)],
        };
        self.note(failure, now.plus(pause));
    }

    fn note(&mut self, failure: Failure, retry_at: Timestamp) {
        self.failures += 1;
        self.retry_at = Some(retry_at);
        self.last = Some(failure);
    }

    /// Whether starts are paused now.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }
}

/// One endpoint as the fleet sees it.
#[derive(Debug, Default)]
pub(crate) struct Yard {
    pub(crate) breaker: Breaker,
    /// Workers in a row that asked for jobs and ended without answering any.
    pub(crate) crashes: Breaker,
    /// Failed starts of a canary.
    pub(crate) canary: Breaker,
    /// Workers that ended by themselves while they took jobs, by release.
    pub(crate) crashed: BTreeMap<u32, u64>,
    /// How the releases of a rollout did before this server looked.
    pub(crate) watch: Option<Watch>,
    /// Starts that came up.
    pub(crate) starts: Starts,
    /// Why no GPU could be had at the last try.
    pub(crate) no_gpu: Option<WaitReason>,
    /// When to look again.
    pub(crate) look_at: Option<Timestamp>,
}

/// What a rollout's releases did before their tallies were read first.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) to: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) old: Health,
    pub(crate) new: Health,
    pub(crate) old_since: Tally,
    pub(crate) new_since: Tally,
}

impl Watch {
    /// Whether it belongs to this rollout.
    pub(crate) fn is_of(&self, rollout: &Rollout) -> bool {
        (self.to, self.started_at) == (rollout.to, rollout.started_at)
    }
}

impl Yard {
    /// Until when no worker is started, if now is before it.
    pub(crate) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let pauses = [&self.breaker, &self.crashes].into_iter().filter(|breaker| breaker.is_open(now));
        pauses.filter_map(|breaker| breaker.retry_at).max()
    }
}

/// Jobs of a worker that is gone, which the store could not take back yet.
#[derive(Debug)]
pub(crate) struct Unsettled {
    pub(crate) worker: WorkerId,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) loss: Loss,
}

/// How a worker that ran tests ended, until its test has been told.
#[derive(Debug)]
pub(crate) struct EndedTest {
    pub(crate) exit: Option<Exit>,
    pub(crate) timed_out: bool,
}

/// A look at whether a worker has let go of a job.
#[derive(Debug)]
pub(crate) struct StopCheck {
    /// By the clock that stands still while the machine sleeps.
    pub(crate) at: Timestamp,
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    /// There is no other after it.
    pub(crate) last: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) workers: BTreeMap<WorkerId, Managed>,
    pub(crate) yards: BTreeMap<EndpointId, Yard>,
    pub(crate) dirty: BTreeSet<EndpointId>,
    /// When to see whether a worker has let go of a job.
    pub(crate) stop_checks: Vec<StopCheck>,
    /// Releases under test that wait for a GPU: others do not take it from them.
    pub(crate) tests_waiting: u32,
    pub(crate) runtime_dirty: bool,
    /// When to ask the runtime again, where it had not settled everything.
    pub(crate) look_at_runtime: Option<Timestamp>,
    /// Jobs to give back, and when to try again.
    pub(crate) unsettled: Vec<Unsettled>,
    pub(crate) settle_at: Option<Timestamp>,
    /// Workers under test that ended.
    pub(crate) ended_tests: BTreeMap<WorkerId, EndedTest>,
    pub(crate) closed: bool,
}

impl State {
    /// The endpoint's entry.
    pub(crate) fn yard(&mut self, endpoint: &EndpointId) -> &mut Yard {
        self.yards.entry(endpoint.clone()).or_default()
    }

    /// Endpoints that wait for a GPU.
    pub(crate) fn waiting_for_gpus(&self) -> Vec<EndpointId> {
        self.yards.iter().filter(|(_, yard)| yard.no_gpu.is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// Workers of an endpoint.
    pub(crate) fn of<'a>(&'a self, endpoint: &'a EndpointId) -> impl Iterator<Item = &'a Managed> + 'a {
        self.workers.values().filter(move |w| w.record.endpoint == *endpoint)
    }

    /// Who holds which GPUs. `spares` says how many workers an endpoint could do without: those that have been
    /// idle longest.
    pub(crate) fn held(
        &self,
        idle_since: impl Fn(&WorkerId) -> Option<Timestamp>,
        flash_boot: impl Fn(&EndpointId) -> FlashBoot,
        mut spares: BTreeMap<EndpointId, u32>,
    ) -> Vec<Held> {
        let gpu_workers = self.workers.values().filter(|w| !w.record.gpus.is_empty());
        let mut all: Vec<(&Managed, Held)> = gpu_workers
            .map(|w| {
                let held = Held {
                    worker: w.record.id.clone(),
                    endpoint: w.record.endpoint.clone(),
                    gpus: w.record.gpus.clone(),
                    idle_since: idle_since(&w.record.id),
                    spare: false,
                    flash_boot: flash_boot(&w.record.endpoint),
                    leaving: w.record.state == WorkerState::Draining,
                };
                (w, held)
            })
            .collect();
        all.sort_by_key(|(_, held)| held.idle_since);
        for (w, held) in
            all.iter_mut().filter(|(w, held)| held.idle_since.is_some() && !held.leaving && !w.test)
        {
            let left = spares.entry(w.record.endpoint.clone()).or_insert(u32::MAX);
            held.spare = *left > 0;
            *left = left.saturating_sub(1);
        }
        all.into_iter().map(|(_, held)| held).collect()
    }

    /// When to look at something again.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        let looks = self.yards.values().filter_map(|y| y.look_at);
        looks.chain(self.look_at_runtime).chain(self.settle_at).min()
    }

    /// When a worker's time is over, by the clock that stands still while the machine sleeps.
    pub(crate) fn next_end(
        &self,
        start_deadline: impl Fn(&Managed) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let kills = self.workers.values().filter_map(|w| w.kill_at);
        let starts = self.workers.values().filter_map(start_deadline);
        let checks = self.stop_checks.iter().map(|check| check.at);
        kills.chain(starts).chain(checks).min()
    }
}
