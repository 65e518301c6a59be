//! The steps of a rollout: what `domain::rollout` is shown, and what becomes of its answer.

use runyard_domain::placement::Placement;
use runyard_domain::rollout::{Doing, Health, Seen, Stage, Step, Traffic, View, decide};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, Phase, Rollout, Timestamp, WorkerId};
use runyard_engine::{Deed, Presence, Tally, Trail};
use runyard_store::Filter;

use crate::state::Watch;
use crate::{Fleet, FleetError};

/// Why a worker is drained that a rollout replaces.
const REPLACED: &str = "another release serves";

impl Fleet {
    /// Takes the steps of a rollout; true where the endpoint's record changed, so that it has to be read anew.
    pub(crate) async fn roll(&self, endpoint: &Endpoint, rollout: &Rollout, now: Timestamp) -> bool {
        let view = self.view(endpoint, rollout);
        let decision = decide(rollout, &endpoint.settings, &view, now);
        let yard_at = decision.look_again.filter(|at| *at > now);
        self.look_at(&endpoint.id, yard_at);
        let mut changed = false;
        for step in decision.steps {
            match step {
                Step::Drain(workers) => {
                    for worker in workers {
                        self.drain(&worker, REPLACED, false).await;
                    }
                }
                Step::Start(count) => self.start_new(endpoint, rollout, count, now).await,
                Step::Promote | Step::Return { .. } | Step::Replaced | Step::Finish => {
                    changed = true;
                    if let Err(error) = self.turn(endpoint, rollout, &step).await {
                        tracing::error!(endpoint.id = %endpoint.id, %error, "a rollout cannot go on");
                        let again = now.plus(TURN_AGAIN_MS);
                        self.look_at(&endpoint.id, Some(again));
                        return false;
                    }
                }
            }
        }
        changed
    }

    /// The scaler's deadline or this one, whichever comes first.
    fn look_at(&self, id: &EndpointId, at: Option<Timestamp>) {
        let mut state = self.state();
        let look_at = &mut state.yard(id).look_at;
        *look_at = match (*look_at, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    async fn start_new(&self, endpoint: &Endpoint, rollout: &Rollout, count: u32, now: Timestamp) {
        let started = match rollout.stage {
            Stage::Canary { .. } => self.start_canaries(endpoint, rollout.to, count, now).await,
            _ => self.start_some(endpoint, rollout.to, count, "rollout", now).await,
        };
        if started > 0 {
            self.nudge(&endpoint.id);
        }
    }

    /// Canaries are started one after the other where they fail, and what they do says nothing of the others.
    async fn start_canaries(&self, endpoint: &Endpoint, number: u32, count: u32, now: Timestamp) -> u32 {
        let mut started = 0;
        while started < count {
            let paused = {
                let mut state = self.state();
                let canary = &state.yard(&endpoint.id).canary;
                canary.retry_at.filter(|at| *at > now)
            };
            if let Some(until) = paused {
                self.look_at(&endpoint.id, Some(until));
                break;
            }
            match self.start_placed(endpoint, number, "canary", false).await {
                Ok(Some(_)) => started += 1,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(endpoint.id = %endpoint.id, %error, "a canary could not be started");
                    self.look_at(&endpoint.id, Some(now.plus(TURN_AGAIN_MS)));
                    break;
                }
            }
        }
        started
    }

    /// A step that moves traffic or ends the rollout.
    async fn turn(&self, endpoint: &Endpoint, rollout: &Rollout, step: &Step) -> Result<(), FleetError> {
        let (id, number) = (&endpoint.id, rollout.to);
        match step {
            Step::Promote => {
                tracing::info!(endpoint.id = %id, release = number, "a canary proved itself");
                by_itself("rollout.promote").scope(self.promote(id, number)).await?;
            }
            Step::Return { why } => {
                let back = match rollout.stage {
                    Stage::Canary { .. } => endpoint.serving,
                    _ => rollout.from.first().copied(),
                };
                let back = back.unwrap_or(number);
                tracing::warn!(endpoint.id = %id, from = number, to = back, why, "traffic goes back");
                let returned = by_itself("rollout.back").scope(self.go_back(id, back, number, why)).await;
                if let Err(error) = returned {
                    tracing::error!(endpoint.id = %id, %error, "there is nothing to go back to");
                    self.set_stage(id, number, None).await?;
                }
            }
            Step::Replaced => self.set_stage(id, number, Some(Stage::Watched)).await?,
            _ => self.set_stage(id, number, None).await?,
        }
        self.inner.workers_changed.notify_waiters();
        Ok(())
    }

    async fn set_stage(&self, id: &EndpointId, number: u32, stage: Option<Stage>) -> Result<(), FleetError> {
        let change = |endpoint: &mut Endpoint| {
            if let Some(rollout) = endpoint.rollout.as_mut().filter(|rollout| rollout.to == number) {
                match stage {
                    Some(stage) => rollout.stage = stage,
                    None => endpoint.rollout = None,
                }
            }
        };
        self.inner.engine.change_endpoint(id, change).await?;
        if stage.is_none() {
            self.state().yard(id).watch = None;
        }
        Ok(())
    }

    fn view(&self, endpoint: &Endpoint, rollout: &Rollout) -> View {
        let id = &endpoint.id;
        let (old_health, new_health) = self.healths(endpoint, rollout);
        let demand = self.inner.engine.snapshot(id, 1).demand;
        let slots = u64::from(endpoint.settings.concurrency.max(1));
        let mut view = View { old_health, new_health, ..View::default() };
        let mut leaving_jobs = 0;
        let is_canary = rollout.canary_percent().is_some();
        {
            let state = self.state();
            // The worker that ran the tests counts as soon as its release gets traffic, or another one is started for it.
            for worker in state.of(id).filter(|w| !w.test || w.record.release == rollout.to) {
                let (number, id) = (worker.record.release, &worker.record.id);
                if worker.record.state == WorkerState::Draining {
                    view.leaving += u32::from(number != rollout.to);
                    leaving_jobs += self.inner.engine.held_by(id).len() as u64;
                    continue;
                }
                let doing = match self.presence(id) {
                    Some(Presence::Busy) => Doing::Works,
                    Some(Presence::Idle(since)) => Doing::Idle(since),
                    Some(Presence::Starting) | None => Doing::Starts,
                };
                let seen = Seen { id: id.clone(), doing };
                match endpoint.traffic(number) {
                    _ if number == rollout.to => view.new.push(seen),
                    Traffic::All => view.old.push(seen),
                    _ => view.leaving += 1,
                }
            }
        }
        let count = |jobs: u64| jobs.div_ceil(slots).min(u64::from(u32::MAX)) as u32;
        let jobs = demand.waiting + demand.waiting_low + demand.running;
        view.need = count(jobs);
        view.need_new = count(jobs.saturating_sub(leaving_jobs));
        if !is_canary && !view.old.is_empty() {
            view.in_place = self.in_place(endpoint, rollout);
        }
        view
    }

    /// How many old workers have to go before a new one has a GPU.
    fn in_place(&self, endpoint: &Endpoint, rollout: &Rollout) -> u32 {
        let wanted = self.gpus_of(endpoint, rollout.to);
        if wanted.is_none() || !matches!(self.placement(endpoint, &wanted), Placement::Full { .. }) {
            return 0;
        }
        let fit: Vec<u32> = wanted.groups(self.gpus()).concat();
        let state = self.state();
        let old = state.of(&endpoint.id).filter(|w| rollout.from.contains(&w.record.release));
        let held = old.map(|w| w.record.gpus.iter().filter(|gpu| fit.contains(gpu)).count() as u32).max();
        held.filter(|held| *held > 0).map_or(0, |held| wanted.count().div_ceil(held))
    }

    /// How the release before and the one that comes do.
    fn healths(&self, endpoint: &Endpoint, rollout: &Rollout) -> (Health, Health) {
        let id = &endpoint.id;
        let Some(before) = rollout.from.first().copied() else { return <(Health, Health)>::default() };
        let known = self.state().yard(id).watch.as_ref().is_some_and(|watch| watch.is_of(rollout));
        if !known {
            let watch = self.watch(id, rollout, before);
            self.state().yard(id).watch = Some(watch);
        }
        let mut state = self.state();
        let yard = state.yard(id);
        let starts = if rollout.canary_percent().is_some() { &yard.canary } else { &yard.breaker };
        let failed_starts = starts.last.as_ref().filter(|last| last.its_fault).map_or(0, |_| starts.failures);
        let crashed = |number: u32| {
            let crashes = yard.crashed.get(&number).copied().unwrap_or(0);
            Health { ended: crashes, failed: crashes, failed_starts: 0 }
        };
        let Some(watch) = &yard.watch else { return <(Health, Health)>::default() };
        let live = |number: u32, since: Tally| {
            let now = self.inner.engine.tally(id, number);
            let (ended, failed) =
                (now.ended.saturating_sub(since.ended), now.failed.saturating_sub(since.failed));
            Health { ended, failed, failed_starts: 0 }
        };
        let old = watch.old.with(live(before, watch.old_since)).with(crashed(before));
        let new = watch.new.with(live(rollout.to, watch.new_since)).with(crashed(rollout.to));
        (old, Health { failed_starts, ..new })
    }

    /// What is known of both releases at this moment, from the newest jobs in the store.
    fn watch(&self, id: &EndpointId, rollout: &Rollout, before: u32) -> Watch {
        let engine = &self.inner.engine;
        let (mut old, mut new) = (Tally::default(), Tally::default());
        let filter = Filter { endpoint: Some(id.clone()), limit: 1_000, ..Filter::default() };
        for job in engine.reader().jobs(&filter).unwrap_or_default() {
            let Phase::Done { at, outcome, release: Some(release), .. } = &job.phase else { continue };
            if job.pinned.is_some() {
                continue;
            }
            if *release == before {
                old.note(outcome);
            } else if *release == rollout.to && *at >= rollout.started_at {
                new.note(outcome);
            }
        }
        let health = |tally: Tally| Health { ended: tally.ended, failed: tally.failed, failed_starts: 0 };
        Watch {
            to: rollout.to,
            started_at: rollout.started_at,
            old: health(old),
            new: health(new),
            old_since: engine.tally(id, before),
            new_since: engine.tally(id, rollout.to),
        }
    }

    /// Workers of releases that get nothing any more, tests apart: idle ones at once, busy ones after their job (a
    /// draining worker finishes what it has).
    pub(crate) async fn drain_outdated(&self, endpoint: &Endpoint) {
        let outdated: Vec<WorkerId> = self
            .state()
            .of(&endpoint.id)
            .filter(|w| !w.test && w.record.state != WorkerState::Draining)
            .filter(|w| endpoint.traffic(w.record.release) == Traffic::Nothing)
            .map(|w| w.record.id.clone())
            .collect();
        for worker in outdated {
            self.drain(&worker, REPLACED, false).await;
        }
    }
}

/// What the audit log tells of a rollout that goes its way.
fn by_itself(action: &str) -> Trail {
    let (who, action) = ("runyard".to_owned(), action.to_owned());
    Trail::new(Deed { who, action, quiet: true, ..Deed::default() })
}

/// After a step that could not be written (the disk is full), the next try.
const TURN_AGAIN_MS: i64 = 2_000;
