//! One decision at a time, and whole rollouts against chance.

use proptest::prelude::*;

use super::*;
use crate::{EndpointId, Settings, WorkerId};

fn rolling(goal: u32) -> Rollout {
    Rollout { to: 2, from: vec![1], started_at: Timestamp(0), goal, stage: Stage::Rolling }
}

fn seen(id: &str, doing: Doing) -> Seen {
    Seen { id: WorkerId::new(id), doing }
}

fn settings(surge: Portion, max_unavailable: Portion) -> Settings {
    let rollout = RolloutSettings { surge, max_unavailable, ..RolloutSettings::default() };
    Settings { rollout, ..Settings::default() }
}

fn steps(rollout: &Rollout, settings: &Settings, view: &View) -> Vec<Step> {
    decide(rollout, settings, view, Timestamp(1_000)).steps
}

fn drained(ids: &[&str]) -> Step {
    Step::Drain(ids.iter().map(|id| WorkerId::new(*id)).collect())
}

fn health(ended: u64, failed: u64) -> Health {
    Health { ended, failed, failed_starts: 0 }
}

#[test]
fn a_ready_worker_takes_the_place_of_one_and_the_next_one_starts() {
    let busy = ["a", "b", "c"].map(|id| seen(id, Doing::Works)).to_vec();
    let view = View { old: busy.clone(), new: vec![seen("n", Doing::Works)], need: 60, ..View::default() };
    assert_eq!(steps(&rolling(3), &Settings::default(), &view), [drained(&["a"]), Step::Start(1)]);
    let starting = View { new: vec![seen("n", Doing::Starts)], ..view };
    assert_eq!(steps(&rolling(3), &Settings::default(), &starting), [], "until it is ready nobody goes");
}

#[test]
fn idle_workers_go_first_and_at_once_where_nobody_needs_them() {
    let old = vec![
        seen("busy", Doing::Works),
        seen("new", Doing::Idle(Timestamp(9))),
        seen("old", Doing::Idle(Timestamp(1))),
    ];
    let view = View {
        old,
        new: vec![seen("n", Doing::Idle(Timestamp(5)))],
        need: 1,
        need_new: 1,
        ..View::default()
    };
    assert_eq!(steps(&rolling(3), &Settings::default(), &view), [drained(&["old", "new", "busy"])]);
    let needed = Settings { workers_min: 3, ..Settings::default() };
    assert_eq!(steps(&rolling(3), &needed, &view), [drained(&["old"]), Step::Start(1)]);
}

#[test]
fn workers_that_start_with_the_old_release_go_at_once() {
    let old = vec![seen("works", Doing::Works), seen("starts", Doing::Starts)];
    let view = View { old, need: 2, ..View::default() };
    assert_eq!(steps(&rolling(2), &Settings::default(), &view), [drained(&["starts"]), Step::Start(2)]);
}

#[test]
fn where_no_room_is_one_makes_it() {
    let old = ["a", "b"].map(|id| seen(id, Doing::Works)).to_vec();
    let view = View { old, need: 2, in_place: 1, ..View::default() };
    let none = settings(Portion::Workers(0), Portion::Workers(0));
    assert_eq!(steps(&rolling(2), &none, &view), [drained(&["a"]), Step::Start(1)]);
    let waits = View { old: view.old[1..].to_vec(), new: vec![seen("n", Doing::Starts)], leaving: 1, ..view };
    assert_eq!(steps(&rolling(2), &none, &waits), [], "one at a time");
}

#[test]
fn it_is_over_when_the_last_old_worker_is_gone() {
    let view =
        View { new: vec![seen("n", Doing::Works)], leaving: 1, need: 2, need_new: 1, ..View::default() };
    assert_eq!(steps(&rolling(1), &Settings::default(), &view), []);
    let gone = View { leaving: 0, ..view };
    assert_eq!(steps(&rolling(1), &Settings::default(), &gone), [Step::Replaced]);
    let watched = Rollout { stage: Stage::Watched, ..rolling(1) };
    let decision = decide(&watched, &Settings::default(), &gone, Timestamp(1_000));
    assert_eq!((decision.steps, decision.look_again), (vec![], Some(Timestamp(600_000))));
    let late = decide(&watched, &Settings::default(), &gone, Timestamp(600_000));
    assert_eq!(late.steps, [Step::Finish]);
}

#[test]
fn errors_beyond_the_margin_take_traffic_back() {
    let go = |old: Health, new: Health, stage: Stage| {
        let rollout = Rollout { stage, ..rolling(3) };
        let view = View { old_health: old, new_health: new, ..View::default() };
        let found = steps(&rollout, &Settings::default(), &view);
        matches!(found[..], [Step::Return { .. }])
    };
    for stage in [Stage::Rolling, Stage::Watched, Stage::Canary { percent: 10 }] {
        assert!(go(health(100, 2), health(10, 3), stage), "28 points above");
        assert!(!go(health(100, 2), health(9, 9), stage), "too few to say");
        assert!(!go(health(100, 50), health(10, 7), stage), "within the margin of an old release as bad");
        assert!(go(health(0, 0), Health { failed_starts: 3, ..Health::default() }, stage));
        assert!(!go(health(0, 0), Health { failed_starts: 2, ..Health::default() }, stage));
    }
    let forced = Rollout { from: Vec::new(), ..rolling(3) };
    let view = View { new_health: health(10, 10), ..View::default() };
    assert_eq!(
        steps(&forced, &Settings::default(), &view),
        [Step::Replaced],
        "there is nothing to go back to"
    );
}

#[test]
fn a_canary_is_judged_in_the_end_by_what_there_is() {
    let canary = Rollout { stage: Stage::Canary { percent: 10 }, ..rolling(0) };
    let view = |ended, failed| View {
        old: ["a", "b"].map(|id| seen(id, Doing::Works)).to_vec(),
        new: vec![seen("n", Doing::Works)],
        new_health: health(ended, failed),
        ..View::default()
    };
    let at = |view: &View, now, jobs| {
        let limits = RolloutSettings { canary_jobs: jobs, ..RolloutSettings::default() };
        decide(&canary, &Settings { rollout: limits, ..Settings::default() }, view, Timestamp(now))
    };
    let waits = at(&view(5, 0), 1_000, 6);
    assert_eq!((waits.steps, waits.look_again), (vec![], Some(Timestamp(600_000))));
    assert_eq!(at(&view(5, 0), 600_000, 0).steps, [Step::Promote]);
    assert_eq!(at(&view(5, 0), 1_000, 5).steps, [Step::Promote]);
    assert!(matches!(at(&view(5, 4), 1_000, 5).steps[..], [Step::Return { .. }]));
    assert_eq!(at(&view(0, 0), 600_000, 0).steps, [Step::Promote], "nobody asked it anything");
}

#[test]
fn canaries_are_a_share_of_the_workers_and_sleep_with_them() {
    let canary = Rollout { stage: Stage::Canary { percent: 10 }, ..rolling(0) };
    let many = |n: u32| (0..n).map(|n| seen(&format!("o{n}"), Doing::Works)).collect::<Vec<_>>();
    let go = |view: &View| decide(&canary, &Settings::default(), view, Timestamp(10_000));
    assert_eq!(go(&View { old: many(2), need: 1, ..View::default() }).steps, [Step::Start(1)]);
    assert_eq!(go(&View { old: many(11), need: 1, ..View::default() }).steps, [Step::Start(2)]);
    let asleep = View { new: vec![seen("n", Doing::Idle(Timestamp(4_000)))], ..View::default() };
    assert_eq!(go(&asleep).steps, [drained(&["n"])]);
    let soon = View { new: vec![seen("n", Doing::Idle(Timestamp(6_000)))], ..View::default() };
    assert_eq!(go(&soon).look_again, Some(Timestamp(11_000)));
}

#[test]
fn portions_are_written_as_they_are_read() {
    for (text, json) in [("25%", "\"25%\""), ("2", "2"), ("0", "0")] {
        let portion: Portion = text.parse().expect("valid");
        assert_eq!(portion.to_string(), text);
        assert_eq!(serde_json::to_string(&portion).expect("plain"), json);
        assert_eq!(serde_json::from_str::<Portion>(json).expect("valid"), portion);
    }
    for wrong in ["", "x", "101%", "-1", "2.5"] {
        assert!(wrong.parse::<Portion>().is_err(), "{wrong}");
    }
    assert_eq!((Portion::Percent(25).up(3), Portion::Percent(25).down(3)), (1, 0));
}

#[test]
fn traffic_follows_the_record() {
    let mut endpoint = Endpoint::new(EndpointId::new("e"), "e".into(), Timestamp(0), Settings::default());
    endpoint.roll_to(1, 0, Timestamp(1));
    assert_eq!((endpoint.serving, &endpoint.rollout), (Some(1), &None), "the first one replaces nobody");
    endpoint.try_canary(2, 10, Timestamp(2));
    assert_eq!([1, 2].map(|n| endpoint.traffic(n)), [Traffic::All, Traffic::Share(10)]);
    endpoint.roll_to(2, 3, Timestamp(3));
    assert_eq!([1, 2].map(|n| endpoint.traffic(n)), [Traffic::All, Traffic::All]);
    endpoint.roll_to(3, 3, Timestamp(4));
    assert_eq!(endpoint.rollout.as_ref().map(|r| r.from.clone()), Some(vec![2, 1]));
    assert!([1, 2, 3].iter().all(|n| endpoint.serves(*n)), "nobody stops before it is replaced");
    endpoint.go_back(2, 3, "it was bad", 3, Timestamp(5));
    assert_eq!([1, 2, 3].map(|n| endpoint.traffic(n)), [Traffic::Nothing, Traffic::All, Traffic::Nothing]);
    assert_eq!(endpoint.withdrawn(3).map(|gone| gone.why.as_str()), Some("it was bad"));
    endpoint.roll_to(3, 3, Timestamp(6));
    assert_eq!(endpoint.withdrawn(3), None, "it got another try");
}

/// A machine with workers that start, work and end as chance has it.
#[derive(Debug, Clone)]
struct World {
    view: View,
    leaving: Vec<WorkerId>,
    room: u32,
    next: u32,
}

impl World {
    fn total(&self) -> u32 {
        (self.view.old.len() + self.view.new.len()) as u32
    }

    fn serving(&self) -> u32 {
        let asked = |seen: &&Seen| seen.doing != Doing::Starts;
        self.view.old.iter().chain(&self.view.new).filter(asked).count() as u32
    }

    fn take(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Drain(ids) => {
                    self.view.old.retain(|seen| !ids.contains(&seen.id));
                    self.leaving.extend(ids.iter().cloned());
                }
                Step::Start(n) => {
                    for _ in 0..*n {
                        if self.total() + self.leaving.len() as u32 >= self.room {
                            break;
                        }
                        self.next += 1;
                        self.view.new.push(seen(&format!("n{}", self.next), Doing::Starts));
                    }
                }
                _ => {}
            }
        }
        self.view.leaving = self.leaving.len() as u32;
        let full = self.total() + self.view.leaving >= self.room;
        self.view.in_place = u32::from(full && self.leaving.is_empty());
    }
}

proptest! {
    #[test]
    fn enough_serve_at_every_moment_and_it_ends(
        old in 1u32..9, surge in 0u32..4, missing in 0u32..4, percent in any::<bool>(), spare_room in 0u32..3,
        tested in any::<bool>(), chance in proptest::collection::vec(0u32..100, 400),
    ) {
        let portion = |n: u32| if percent { Portion::Percent(n * 25) } else { Portion::Workers(n) };
        let settings = Settings { workers_max: 20, ..settings(portion(surge), portion(missing)) };
        let rollout = rolling(old);
        let mut world = World {
            view: View { need: 100, need_new: 100, ..View::default() },
            leaving: Vec::new(), room: old + spare_room, next: 0,
        };
        world.view.old = (0..old).map(|n| seen(&format!("o{n}"), Doing::Works)).collect();
        if tested && spare_room > 0 {
            world.view.new.push(seen("n0", Doing::Idle(Timestamp(0))));
        }
        let limits = &settings.rollout;
        let most = (old + limits.surge.up(old).max(1)).max(world.total());
        // Where there is room for one more, nobody has to make it.
        let missing = limits.max_unavailable.down(old).max(u32::from(spare_room == 0));
        let mut over = false;
        world.take(&[]);
        for (at, roll) in chance.iter().enumerate() {
            let found = decide(&rollout, &settings, &world.view, Timestamp(at as i64)).steps;
            over = found == [Step::Replaced];
            if over {
                break;
            }
            world.take(&found);
            prop_assert!(world.serving() + missing >= old, "{world:?}");
            prop_assert!(world.total() <= most, "{world:?}");
            // Something happens: a worker is ready, or one that drains is gone.
            if *roll < 50 && !world.leaving.is_empty() {
                world.leaving.swap_remove(*roll as usize % world.leaving.len());
            } else if let Some(seen) = world.view.new.iter_mut().find(|seen| seen.doing == Doing::Starts) {
                seen.doing = Doing::Idle(Timestamp(at as i64));
            } else if !world.leaving.is_empty() {
                world.leaving.swap_remove(0);
            }
            world.take(&[]);
        }
        prop_assert!(over, "it never ends: {world:?}");
    }
}
