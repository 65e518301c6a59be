//! What a rollout does next, from one view of it. The fleet asks whenever something changed, and once more at the
//! moment that is named.
//!
//! Workers are replaced so that never more than `max_unavailable` of those that are needed are missing and never
//! more than `surge` are there beyond them: starting workers of the old release go first, then idle ones, the
//! longest idle first, then busy ones, which finish their jobs. Needed are as many as have something to do, up to
//! those that were there, and never fewer than `workers_min`. Those on their way out count as gone.

use super::{Health, Rollout, RolloutSettings, Stage};
use crate::{Settings, Timestamp, WorkerId};

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It has not asked for a job yet.
    Starts,
    /// It has had nothing to do since then.
    Idle(Timestamp),
    /// It has jobs.
    Works,
}

/// A worker that is not on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The incarnation.
    pub id: WorkerId,
    /// What it does.
    pub doing: Doing,
}

/// One endpoint in a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Workers of the releases before.
    pub old: Vec<Seen>,
    /// Workers of the release that comes.
    pub new: Vec<Seen>,
    /// Workers of other releases that finish their last jobs.
    pub leaving: u32,
    /// How many workers there is something to do for.
    pub need: u32,
    /// The same without what leaving workers do.
    pub need_new: u32,
    /// How many old workers have to go before one new one has room; 0 where it has.
    pub in_place: u32,
    /// How the release before does.
    pub old_health: Health,
    /// How the release that comes does.
    pub new_health: Health,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Workers of the release that comes are started.
    Start(u32),
    /// These workers take nothing more.
    Drain(Vec<WorkerId>),
    /// The canary proved itself.
    Promote,
    /// Traffic goes back.
    Return {
        /// Why, as a sentence.
        why: String,
    },
    /// Every old worker is gone.
    Replaced,
    /// The rollout is over.
    Finish,
}

/// What to do now, and when to look again if nothing changes before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// When the clock alone may change them.
    pub look_again: Option<Timestamp>,
}

impl Decision {
    fn only(step: Step) -> Self {
        Self { steps: vec![step], look_again: None }
    }
}

/// What the rollout of an endpoint with these settings does next.
pub fn decide(rollout: &Rollout, settings: &Settings, view: &View, now: Timestamp) -> Decision {
    let limits = &settings.rollout;
    if !rollout.from.is_empty()
        && let Some(why) = why_return(limits, limits.error_jobs, view)
    {
        return Decision::only(Step::Return { why });
    }
    let ends_at = rollout.ends_at(limits);
    let is_over = ends_at.is_some_and(|at| at <= now);
    match rollout.stage {
        Stage::Canary { percent } => {
            let enough = limits.canary_jobs > 0 && view.new_health.ended >= u64::from(limits.canary_jobs);
            if is_over || enough {
                // It is judged by what there is.
                let why = why_return(limits, limits.error_jobs.min(1), view);
                return Decision::only(why.map_or(Step::Promote, |why| Step::Return { why }));
            }
            let mut decision = keep_canaries(settings, percent, view, now);
            decision.look_again = earliest(decision.look_again, ends_at);
            decision
        }
        Stage::Rolling => {
            let steps = replace(rollout, settings, view);
            Decision { steps, look_again: None }
        }
        Stage::Watched if is_over || rollout.from.is_empty() => Decision::only(Step::Finish),
        Stage::Watched => Decision { steps: Vec::new(), look_again: ends_at },
    }
}

/// Why traffic should go back, where it should; errors count from `least` jobs on.
fn why_return(limits: &RolloutSettings, least: u32, view: &View) -> Option<String> {
    let (old, new) = (&view.old_health, &view.new_health);
    if limits.failed_starts > 0 && new.failed_starts >= limits.failed_starts {
        return Some(format!("its workers failed to start {} times in a row", new.failed_starts));
    }
    if least == 0 || new.ended < u64::from(least) {
        return None;
    }
    let (old_percent, new_percent) = (old.error_percent(), new.error_percent());
    (new_percent > old_percent + f64::from(limits.error_margin)).then(|| {
        format!(
            "{} of its {} jobs failed ({new_percent:.0} %, before it {old_percent:.0} %)",
            new.failed, new.ended
        )
    })
}

/// As many canaries as their share of workers says, at least one; none where nothing is to do.
fn keep_canaries(settings: &Settings, percent: u32, view: &View, now: Timestamp) -> Decision {
    let have = view.new.len() as u32;
    let wanted = match (view.old.len() as u32, view.need) {
        (0, 0) => 0,
        (stable, _) => (stable * percent).div_ceil(100).max(1),
    };
    if have < wanted {
        return Decision { steps: vec![Step::Start(wanted - have)], look_again: None };
    }
    let limit_ms = i64::from(settings.idle_timeout_s) * 1000;
    let idle: Vec<(Timestamp, &Seen)> = idle_first(&view.new)
        .into_iter()
        .filter_map(|seen| match seen.doing {
            Doing::Idle(since) => Some((since.plus(limit_ms), seen)),
            _ => None,
        })
        .take((have - wanted) as usize)
        .collect();
    let over = idle.iter().filter(|(at, _)| *at <= now).map(|(_, seen)| seen.id.clone()).collect::<Vec<_>>();
    let look_again = idle.iter().map(|(at, _)| *at).find(|at| *at > now);
    let steps = if over.is_empty() { Vec::new() } else { vec![Step::Drain(over)] };
    Decision { steps, look_again }
}

fn replace(rollout: &Rollout, settings: &Settings, view: &View) -> Vec<Step> {
    let limits = &settings.rollout;
    let need = if view.old.is_empty() { view.need_new } else { view.need };
    let target = need.min(rollout.goal).max(settings.workers_min).min(settings.workers_max);
    let unavailable = limits.max_unavailable.down(target);
    let forced = unavailable == 0 && view.in_place == 0;
    let surge = limits.surge.up(target).max(u32::from(forced));
    let asked = |seen: &&Seen| seen.doing != Doing::Starts;
    let (ready, starting): (Vec<&Seen>, Vec<&Seen>) = idle_first(&view.old).into_iter().partition(asked);
    let ready_new = view.new.iter().filter(asked).count() as u32;
    let beyond =
        |missing: u32| (ready.len() as u32 + ready_new).saturating_sub(target.saturating_sub(missing));
    let mut spare = beyond(unavailable);
    let is_stuck = spare == 0 && view.leaving == 0 && ready_new == view.new.len() as u32;
    if is_stuck && view.in_place > unavailable {
        spare = beyond(view.in_place);
    }
    let going: Vec<_> =
        starting.iter().chain(ready.iter().take(spare as usize)).map(|seen| seen.id.clone()).collect();
    let stays = (view.old.len() - going.len()) as u32;
    let new = view.new.len() as u32;
    let start = target.saturating_sub(new).min((target + surge).saturating_sub(stays + new));
    if view.old.is_empty() && view.leaving == 0 && start == 0 {
        return vec![Step::Replaced];
    }
    let mut steps = Vec::new();
    if !going.is_empty() {
        steps.push(Step::Drain(going));
    }
    if start > 0 {
        steps.push(Step::Start(start));
    }
    steps
}

/// Idle ones first, the longest idle of them first; then those that work.
fn idle_first(workers: &[Seen]) -> Vec<&Seen> {
    let mut sorted: Vec<&Seen> = workers.iter().collect();
    sorted.sort_by_key(|seen| match seen.doing {
        Doing::Idle(since) => (0, since),
        Doing::Works => (1, Timestamp(0)),
        Doing::Starts => (2, Timestamp(0)),
    });
    sorted
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
