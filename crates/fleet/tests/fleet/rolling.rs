//! Traffic and workers on their way from one release to the next.

use runyard_domain::job::Answer;
use runyard_domain::rollout::{Portion, RolloutSettings, Stage as At};
use runyard_domain::{FailReason, JobId, ReleaseState, Settings, WorkerId};

use crate::stage::*;

/// So many workers that are always kept, each with a job.
async fn busy(stage: &Stage, count: usize) -> Vec<(WorkerId, JobId)> {
    assert_eq!(stage.running(), count);
    let mut all = Vec::new();
    for worker in stage.runtime.running() {
        stage.submit().await;
        let job = stage.take(&worker).await.remove(0);
        all.push((worker, job));
    }
    all
}

fn kept(count: u32) -> Settings {
    Settings { workers_min: count, workers_max: count, ..patient() }
}

async fn fail(stage: &Stage, worker: &WorkerId, job: &JobId) {
    let reason = FailReason::HandlerError { message: "bad".into() };
    let answer = Answer::Failure { error: "bad".into(), reason };
    assert!(stage.engine.finish(&stage.who(worker), job, answer, None).await.unwrap().is_some());
    stage.settle().await;
}

fn of_release(stage: &Stage, number: u32) -> Vec<WorkerId> {
    let mine = stage.started().into_iter().filter(|spec| spec.release == number).map(|spec| spec.id);
    mine.filter(|id| stage.runtime.running().contains(id)).collect()
}

fn serving(stage: &Stage) -> Option<u32> {
    stage.engine.endpoint_by_id(&ep()).unwrap().serving
}

fn is_draining(stage: &Stage, worker: &WorkerId) -> bool {
    stage.engine.live_worker(worker).is_none_or(|live| live.draining)
}

#[tokio::test(start_paused = true)]
async fn busy_workers_are_replaced_one_by_one_and_finish_their_jobs() {
    let stage = Stage::new(kept(3)).await;
    let old = busy(&stage, 3).await;
    for _ in 0..9 {
        stage.submit().await;
    }
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    for round in 0..3 {
        let new = of_release(&stage, 2);
        assert_eq!(new.len(), round + 1, "one beyond those that serve");
        let leaving = old.iter().filter(|(worker, _)| is_draining(&stage, worker)).count();
        assert_eq!(leaving, round, "nobody goes before another one is there");
        assert_eq!(stage.take(&new[round]).await.len(), 1);
    }
    stage.settle().await;
    assert!(old.iter().all(|(worker, _)| is_draining(&stage, worker)));
    for (worker, job) in &old {
        assert!(stage.take(worker).await.is_empty(), "it takes nothing more");
        stage.finish(worker, job).await;
        assert_eq!(stage.job(job).attempt, 1);
    }
    stage.advance(20_000).await;
    assert_eq!((stage.running(), of_release(&stage, 2).len()), (3, 3));
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert_eq!(endpoint.rollout.as_ref().map(|rollout| rollout.stage), Some(At::Watched));
    stage.advance(600_000).await;
    assert_eq!(stage.engine.endpoint_by_id(&ep()).unwrap().rollout, None);
}

/// Between the write that moves traffic and its own opening, the worker that ran the tests is there already.
#[tokio::test(start_paused = true)]
async fn no_worker_is_started_beside_the_one_that_ran_the_tests() {
    let stage = Stage::new(kept(3)).await;
    let old = busy(&stage, 3).await;
    for _ in 0..9 {
        stage.submit().await;
    }
    stage.release(&ep(), 2, 0, ReleaseState::Testing).await;
    let (fleet, caller) = (stage.fleet.clone(), stage.caller.clone());
    let tested =
        tokio::spawn(async move { fleet.test_release(&caller, &ep(), 2, &kept(3), &[]).await.map(drop) });
    stage.settle().await;
    let tester = stage.last();
    assert!(stage.take(&tester).await.is_empty());
    tested.await.unwrap().unwrap();
    let now = stage.engine.now();
    stage.engine.change_endpoint(&ep(), |endpoint| endpoint.roll_to(2, 3, now)).await.unwrap();
    stage.submit().await;
    stage.settle().await;
    let there = stage.runtime.running().iter().filter(|worker| !is_draining(&stage, worker)).count();
    assert_eq!(there, 4, "one beyond those that serve");
    assert!(!is_draining(&stage, &tester), "it is the first of the new ones");
    assert_eq!(old.iter().filter(|(worker, _)| is_draining(&stage, worker)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_machine_one_goes_before_one_comes() {
    let settings = Settings { gpus: 1.into(), ..kept(2) };
    let stage = Stage::with_gpus(settings, 2).await;
    let old = busy(&stage, 2).await;
    stage.release(&ep(), 2, 1, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    let leaving = |stage: &Stage| old.iter().filter(|(worker, _)| is_draining(stage, worker)).count();
    assert_eq!((leaving(&stage), of_release(&stage, 2).len()), (1, 0));
    let (first, job) = old.iter().find(|(worker, _)| is_draining(&stage, worker)).unwrap();
    stage.finish(first, job).await;
    stage.advance(11_000).await;
    let new = of_release(&stage, 2);
    assert_eq!((leaving(&stage), new.len()), (1, 1), "the other one waits for it");
    assert!(stage.take(&new[0]).await.is_empty());
    stage.settle().await;
    assert_eq!(leaving(&stage), 2);
}

#[tokio::test(start_paused = true)]
async fn new_requests_go_to_new_workers_first() {
    let stage = Stage::new(kept(2)).await;
    let old = stage.runtime.running();
    for worker in &old {
        assert!(stage.take(worker).await.is_empty());
    }
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    let new = of_release(&stage, 2).remove(0);
    let polls: Vec<_> = [&old[0], &old[1], &new]
        .map(|worker| {
            let (engine, who) = (stage.engine.clone(), stage.who(worker));
            let hold = std::time::Duration::from_mins(1);
            let ask = runyard_engine::Ask { max: 1, hold, in_progress: false, prefetches: false, sdk: None };
            tokio::spawn(async move { engine.take(&who, ask).await })
        })
        .into_iter()
        .collect();
    stage.settle().await;
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(stage.job(&job).holder(), Some(&new));
    polls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_takes_nothing_more() {
    let stage = Stage::new(kept(2)).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    let bad = of_release(&stage, 2).remove(0);
    let job = stage.submit().await;
    assert_eq!(stage.take(&bad).await, [job.clone()]);
    let waits = stage.submit().await;
    stage.fleet.go_back(&ep(), 1, 2, "it was bad").await.unwrap();
    assert!(stage.take(&bad).await.is_empty(), "at once, before anybody looked");
    stage.finish(&bad, &job).await;
    stage.advance(20_000).await;
    assert_eq!(of_release(&stage, 2), []);
    let good = of_release(&stage, 1);
    assert_eq!(good.len(), 2);
    assert_eq!(stage.take(&good[0]).await, [waits]);
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert_eq!(endpoint.withdrawn(2).map(|gone| gone.why.as_str()), Some("it was bad"));
}

#[tokio::test(start_paused = true)]
async fn failed_starts_in_a_rollout_take_traffic_back() {
    let stage = Stage::new(kept(2)).await;
    let old = busy(&stage, 2).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    for _ in 0..3 {
        let new = of_release(&stage, 2);
        stage.exit(&new[0], exited(1, "boom")).await;
        stage.advance(10_000).await;
    }
    assert_eq!(serving(&stage), Some(1));
    assert!(old.iter().all(|(worker, _)| !is_draining(&stage, worker)), "the old ones never stopped");
    assert_eq!(of_release(&stage, 2), []);
}

#[tokio::test(start_paused = true)]
async fn errors_take_traffic_back_also_after_a_restart() {
    let rollout = RolloutSettings { error_jobs: 4, ..RolloutSettings::default() };
    let mut stage = Stage::new(Settings { rollout, ..kept(1) }).await;
    let first = busy(&stage, 1).await.remove(0);
    stage.finish(&first.0, &first.1).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    for round in 0..4 {
        let new = of_release(&stage, 2).remove(0);
        if round == 2 {
            stage.restart().await;
        }
        assert_eq!(serving(&stage), Some(2));
        let job = stage.submit().await;
        assert_eq!(stage.take(&new).await, [job.clone()]);
        fail(&stage, &new, &job).await;
    }
    assert_eq!(serving(&stage), Some(1));
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert!(endpoint.withdrawn(2).unwrap().why.contains("4 of its 4 jobs failed"), "{endpoint:?}");
    let told = runyard_domain::AuditFilter { limit: 9, ..Default::default() };
    let told = stage.engine.reader().audit(&told).unwrap();
    assert_eq!((told[0].action.as_str(), told[0].who.as_str()), ("rollout.back", "runyard"));
    assert!(told[0].changes.iter().any(|change| change.field == "serving" && change.new == 1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_goes_on_after_a_restart() {
    let mut stage = Stage::new(kept(3)).await;
    let old = busy(&stage, 3).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    let new = of_release(&stage, 2);
    stage.take(&new[0]).await;
    stage.settle().await;
    for (worker, job) in &old {
        stage.runtime.set_jobs(worker, vec![job.clone()], vec![]);
    }
    stage.restart().await;
    stage.advance(1_000).await;
    let serves = old.iter().filter(|(worker, _)| !is_draining(&stage, worker)).count();
    assert_eq!(serves, 2, "those that were not replaced yet go on");
    for (worker, job) in &old {
        stage.finish(worker, job).await;
    }
    for _ in 0..3 {
        for worker in of_release(&stage, 2) {
            stage.take(&worker).await;
        }
        stage.advance(11_000).await;
    }
    assert_eq!((stage.running(), of_release(&stage, 2).len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_canary_gets_its_share_and_then_everything() {
    let rollout = RolloutSettings { canary_jobs: 3, ..RolloutSettings::default() };
    let stage = Stage::new(Settings { rollout, ..kept(1) }).await;
    let stable = stage.runtime.running().remove(0);
    assert!(stage.take(&stable).await.is_empty());
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.canary(&ep(), 2, 25, |_| ()).await.unwrap();
    stage.settle().await;
    let canary = of_release(&stage, 2).remove(0);
    let mut shares = Vec::new();
    for _ in 0..9 {
        let job = stage.submit().await;
        let worker = if stage.take(&canary).await.is_empty() {
            assert_eq!(stage.take(&stable).await, [job.clone()]);
            &stable
        } else {
            &canary
        };
        shares.push(u32::from(worker == &canary));
        assert_eq!(serving(&stage), Some(1));
        stage.finish(worker, &job).await;
    }
    assert_eq!(shares.iter().sum::<u32>(), 3, "{shares:?}");
    assert_eq!(serving(&stage), Some(2), "it proved itself");
    stage.advance(11_000).await;
    assert_eq!(stage.runtime.running(), [canary]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_does_not_start_goes_back_and_the_others_are_not_paused() {
    let stage = Stage::new(kept(1)).await;
    let (stable, job) = busy(&stage, 1).await.remove(0);
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.canary(&ep(), 2, 10, |_| ()).await.unwrap();
    stage.settle().await;
    for _ in 0..3 {
        let canary = of_release(&stage, 2).remove(0);
        stage.exit(&canary, exited(1, "boom")).await;
        stage.advance(10_000).await;
    }
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert_eq!((endpoint.serving, &endpoint.rollout), (Some(1), &None));
    assert!(endpoint.withdrawn(2).is_some());
    assert!(!is_draining(&stage, &stable));
    stage.finish(&stable, &job).await;
    stage.exit(&stable, exited(0, "")).await;
    assert_eq!(of_release(&stage, 1).len(), 1, "the next one starts at once");
}

#[tokio::test(start_paused = true)]
async fn portions_are_kept_to() {
    let rollout = RolloutSettings {
        surge: Portion::Workers(2),
        max_unavailable: Portion::Workers(1),
        ..RolloutSettings::default()
    };
    let stage = Stage::new(Settings { rollout, ..kept(4) }).await;
    let old = busy(&stage, 4).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    assert_eq!(old.iter().filter(|(worker, _)| is_draining(&stage, worker)).count(), 1);
    assert_eq!(of_release(&stage, 2).len(), 3, "two beyond, and one for the one that is missing");
}
