//! How many workers an endpoint should have, decided from one view of it. The fleet asks when something
//! changed, and once more at the moment this page names; it never polls.
//!
//! Sources: RunPod's documented rules for QUEUE_DELAY and REQUEST_COUNT. Where they are silent: each overdue
//! job asks for one more worker, minus the workers that are starting already, so that a burst starts what it
//! needs at once and no storm follows it.

use crate::{Scaler, Settings, Timestamp};

/// Jobs of one endpoint as the scaler sees them. Low-priority jobs and tests are not counted as waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// When each waiting job entered the queue, oldest first. May be cut at `workers_max × concurrency`.
    pub waiting_since: Vec<Timestamp>,
    /// How many wait in all.
    pub waiting: u64,
    /// Low-priority jobs that wait: they never add a worker, but keep one that is there.
    pub waiting_low: u64,
    /// How many run.
    pub running: u64,
}

/// Workers of one endpoint as the scaler sees them, of the release that serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supply {
    /// Workers that have not asked for a job yet.
    pub starting: u32,
    /// Workers that run at least one job.
    pub busy: u32,
    /// Since when each idle worker has been idle, longest first.
    pub idle_since: Vec<Timestamp>,
}

/// What to do now, and when to look again if nothing changes before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Workers to start.
    pub start: u32,
    /// Idle workers to stop, longest idle first.
    pub stop_idle: u32,
    /// Workers above `workers_max`, to be drained: starting ones first, then busy ones.
    pub drain: u32,
    /// When the clock alone may change this plan.
    pub look_again: Option<Timestamp>,
}

/// The plan for one endpoint.
pub fn plan(settings: &Settings, demand: &Demand, supply: &Supply, now: Timestamp) -> Plan {
    let have = supply.starting + supply.busy + supply.idle_since.len() as u32;
    let (wanted, delay_look) = wanted(settings, demand, supply, now);
    let wanted = wanted.clamp(settings.workers_min, settings.workers_max);
    if have > settings.workers_max {
        let surplus = have - settings.workers_max;
        let stop_idle = surplus.min(supply.idle_since.len() as u32);
        return Plan { stop_idle, drain: surplus - stop_idle, ..Plan::default() };
    }
    if wanted > have {
        return Plan { start: wanted - have, look_again: delay_look, ..Plan::default() };
    }
    // What is wanted now would be started again at once if it were stopped.
    let keep = match settings.scaler {
        Scaler::RequestCount(_) => wanted,
        Scaler::QueueDelay(_) => settings.workers_min,
    };
    let (stop_idle, idle_look) = idle_to_stop(settings, demand, supply, have.saturating_sub(keep), now);
    Plan { start: 0, stop_idle, drain: 0, look_again: earliest(delay_look, idle_look) }
}

/// How many workers the scaler asks for, and when more time would raise that.
fn wanted(settings: &Settings, demand: &Demand, supply: &Supply, now: Timestamp) -> (u32, Option<Timestamp>) {
    let have = supply.starting + supply.busy + supply.idle_since.len() as u32;
    match settings.scaler {
        Scaler::RequestCount(n) => {
            let jobs = demand.waiting + demand.running;
            (jobs.div_ceil(u64::from(n.max(1))).min(u64::from(u32::MAX)) as u32, None)
        }
        Scaler::QueueDelay(seconds) => {
            if demand.waiting == 0 {
                return (0, None);
            }
            if have == 0 {
                return (1, Some(now));
            }
            let limit_ms = (seconds * 1000.0) as i64;
            let slots = settings.concurrency.max(1);
            let coming = (supply.starting + supply.idle_since.len() as u32) * slots;
            let uncovered = demand.waiting_since.iter().skip(coming as usize);
            let overdue = uncovered.clone().filter(|since| now.since(**since) >= limit_ms).count() as u32;
            let next = uncovered.map(|since| since.plus(limit_ms)).find(|at| *at > now);
            (have + overdue.div_ceil(slots), next)
        }
    }
}

/// Idle workers whose time is over, at most `spare` and never those that waiting jobs need.
fn idle_to_stop(
    settings: &Settings,
    demand: &Demand,
    supply: &Supply,
    spare: u32,
    now: Timestamp,
) -> (u32, Option<Timestamp>) {
    let needed = (demand.waiting + demand.waiting_low).min(u64::from(u32::MAX)) as u32;
    let stoppable = spare.min((supply.idle_since.len() as u32).saturating_sub(needed)) as usize;
    let limit_ms = i64::from(settings.idle_timeout_s) * 1000;
    let candidates = &supply.idle_since[..stoppable];
    let over = candidates.iter().filter(|since| now.since(**since) >= limit_ms).count();
    (over as u32, candidates.get(over).map(|since| since.plus(limit_ms)))
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(since: &[i64]) -> Demand {
        Demand {
            waiting_since: since.iter().map(|t| Timestamp(*t)).collect(),
            waiting: since.len() as u64,
            ..Demand::default()
        }
    }

    #[test]
    fn the_first_job_starts_a_worker_at_once() {
        let p = plan(&Settings::default(), &waiting(&[100]), &Supply::default(), Timestamp(100));
        assert_eq!(p.start, 1);
    }

    #[test]
    fn a_job_that_waits_too_long_adds_one_and_only_one() {
        let busy = Supply { busy: 1, ..Supply::default() };
        let early = plan(&Settings::default(), &waiting(&[100]), &busy, Timestamp(4_099));
        assert_eq!((early.start, early.look_again), (0, Some(Timestamp(4_100))));
        let late = plan(&Settings::default(), &waiting(&[100]), &busy, Timestamp(4_100));
        assert_eq!(late.start, 1);
        let starting = Supply { busy: 1, starting: 1, ..Supply::default() };
        assert_eq!(plan(&Settings::default(), &waiting(&[100]), &starting, Timestamp(9_000)).start, 0);
    }

    #[test]
    fn request_count_divides_and_rounds_up() {
        let settings = Settings { scaler: Scaler::RequestCount(4), workers_max: 10, ..Settings::default() };
        let demand = Demand { waiting: 5, running: 4, ..Demand::default() };
        assert_eq!(plan(&settings, &demand, &Supply::default(), Timestamp(0)).start, 3);
    }

    #[test]
    fn request_count_keeps_the_idle_workers_that_it_asks_for() {
        let settings = Settings { scaler: Scaler::RequestCount(1), ..Settings::default() };
        let demand = Demand { running: 2, ..Demand::default() };
        let supply = Supply { busy: 1, idle_since: vec![Timestamp(0)], ..Supply::default() };
        assert_eq!(plan(&settings, &demand, &supply, Timestamp(60_000)), Plan::default());
    }

    #[test]
    fn idle_workers_stop_after_their_time_down_to_the_minimum() {
        let settings = Settings { workers_min: 1, ..Settings::default() };
        let supply = Supply { idle_since: vec![Timestamp(0), Timestamp(10)], ..Supply::default() };
        let p = plan(&settings, &Demand::default(), &supply, Timestamp(4_999));
        assert_eq!((p.stop_idle, p.look_again), (0, Some(Timestamp(5_000))));
        assert_eq!(plan(&settings, &Demand::default(), &supply, Timestamp(9_999)).stop_idle, 1);
    }

    #[test]
    fn lowering_the_maximum_drains() {
        let settings = Settings { workers_max: 1, ..Settings::default() };
        let supply = Supply { busy: 2, idle_since: vec![Timestamp(0)], ..Supply::default() };
        let p = plan(&settings, &Demand::default(), &supply, Timestamp(1));
        assert_eq!((p.stop_idle, p.drain), (1, 1));
    }

    proptest! {
        #[test]
        fn plans_stay_within_bounds(
            min in 0u32..5, extra in 0u32..5, starting in 0u32..5, busy in 0u32..5, idle in 0usize..5,
            jobs in 0usize..20, age in 0i64..20_000, count in any::<bool>(),
        ) {
            let settings = Settings {
                workers_min: min,
                workers_max: min + extra,
                scaler: if count { Scaler::RequestCount(2) } else { Scaler::QueueDelay(4.0) },
                ..Settings::default()
            };
            let supply = Supply { starting, busy, idle_since: vec![Timestamp(0); idle] };
            let have = starting + busy + idle as u32;
            let p = plan(&settings, &waiting(&vec![0; jobs]), &supply, Timestamp(age));
            prop_assert!(have + p.start <= settings.workers_max.max(have));
            prop_assert!(p.start == 0 || p.stop_idle + p.drain == 0);
            let after = have - p.stop_idle - p.drain;
            prop_assert!(p.stop_idle + p.drain == 0 || after >= settings.workers_min);
            let again = Supply { starting: starting + p.start, ..supply };
            if p.start > 0 && age < 4_000 {
                let q = plan(&settings, &waiting(&vec![0; jobs]), &again, Timestamp(age));
                prop_assert_eq!(q.start, 0, "the same view twice starts no storm");
            }
        }
    }
}
