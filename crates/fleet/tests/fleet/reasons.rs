//! Why a job waits and how an endpoint does, in each situation.

use runyard_domain::start::{Level, Usual};
use runyard_domain::{Endpoint, EndpointId, JobId, Settings, WaitReason};
use runyard_engine::NewJob;

use crate::stage::*;

fn said(stage: &Stage, job: &JobId) -> (&'static str, &'static str) {
    let job = stage.job(job);
    let endpoint = stage.engine.endpoint_by_id(&job.endpoint).unwrap();
    (stage.fleet.waiting(&job).code(), stage.fleet.endpoint_state(&endpoint).word)
}

#[tokio::test(start_paused = true)]
async fn before_the_first_release() {
    let stage = Stage::new(patient()).await;
    let new = Endpoint::new(EndpointId::new("new"), "new".into(), stage.engine.now(), patient());
    stage.engine.put_endpoint(new).await.unwrap();
    let job = stage.submit_as(stage.new_job("new")).await;
    assert_eq!(said(&stage, &job), ("no_release", "new"));
}

#[tokio::test(start_paused = true)]
async fn where_no_worker_is_allowed() {
    let stage = Stage::new(Settings { workers_max: 0, ..patient() }).await;
    let job = stage.submit().await;
    assert_eq!(said(&stage, &job), ("no_worker_allowed", "stopped"));
}

#[tokio::test(start_paused = true)]
async fn behind_the_job_that_the_only_worker_is_about_to_take() {
    let stage = Stage::new(Settings { workers_max: 1, ..patient() }).await;
    stage.idle_worker().await;
    let (first, second) = (stage.submit().await, stage.submit().await);
    assert_eq!(said(&stage, &first).0, "about_to_be_taken");
    let waits = stage.fleet.waiting(&stage.job(&second));
    assert!(matches!(waits, WaitReason::AllBusy { workers: 1, max: 1, position: 2, .. }), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn through_the_life_of_a_worker() {
    let stage = Stage::new(patient()).await;
    let endpoint = stage.engine.endpoint("ep").unwrap();
    assert_eq!(stage.fleet.endpoint_state(&endpoint).word, "asleep");
    let first = stage.submit().await;
    assert_eq!(said(&stage, &first), ("starting", "starting"));
    stage.advance(2_000).await;
    let WaitReason::Starting {
        worker,
        phase,
        phase_ms: 2_000,
        phase_usual: None,
        for_ms: 2_000,
        usual: None,
    } = stage.fleet.waiting(&stage.job(&first))
    else {
        panic!("starting")
    };
    assert_eq!((worker, phase.as_str()), (stage.last().to_string(), "load"));
    let second = stage.submit().await;
    let worker = stage.last();
    stage.take(&worker).await;
    assert_eq!(said(&stage, &second), ("all_busy", "busy"));
    let expected = WaitReason::AllBusy { workers: 1, max: 3, position: 1, eta_ms: None };
    assert_eq!(stage.fleet.waiting(&stage.job(&second)), expected);
    stage.advance(1_000).await;
    stage.finish(&worker, &first).await;
    assert_eq!(said(&stage, &second), ("about_to_be_taken", "ready"));
    stage.take(&worker).await;
    let third = stage.submit().await;
    let expected = WaitReason::AllBusy { workers: 1, max: 3, position: 1, eta_ms: Some(1_000) };
    assert_eq!(stage.fleet.waiting(&stage.job(&third)), expected);
    stage.finish(&worker, &second).await;
    stage.take(&worker).await;
    stage.finish(&worker, &third).await;
    assert_eq!(stage.fleet.counts(&endpoint.id).ready_ids, [worker.to_string()]);
    stage.exit(&worker, exited(1, "x")).await;
    let fourth = stage.submit().await;
    let usual = match stage.fleet.waiting(&stage.job(&fourth)) {
        WaitReason::Starting { phase_usual, usual, .. } => [phase_usual, usual],
        other => panic!("{other:?}"),
    };
    assert_eq!(usual, [Some(Usual { ms: 2_000, starts: 1 }); 2]);
    let start = stage.fleet.start_of(&stage.record(&stage.last()));
    assert_eq!((start.level, start.usual), (Level::Prepared, Some(Usual { ms: 2_000, starts: 1 })));
}

#[tokio::test(start_paused = true)]
async fn where_starts_fail() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit().await;
    stage.exit(&stage.last(), exited(1, "ImportError: torch")).await;
    assert_eq!(said(&stage, &job), ("start_failing", "failing"));
    let reason = stage.fleet.waiting(&stage.job(&job));
    assert_eq!(reason.last_lines(), ["ImportError: torch"]);
    assert_eq!(stage.fleet.counts(&ep()).unhealthy, 1);
    stage.advance(1_100).await;
    assert_eq!(said(&stage, &job), ("start_failing", "failing"), "also while the next one starts");
    stage.take(&stage.last()).await;
    assert_eq!(stage.fleet.counts(&ep()).unhealthy, 0);
    let endpoint = stage.engine.endpoint("ep").unwrap();
    assert_eq!(stage.fleet.endpoint_state(&endpoint).word, "busy");
}

#[tokio::test(start_paused = true)]
async fn where_workers_come_up_and_crash() {
    let stage = Stage::new(Settings { requeues: 5, ..patient() }).await;
    let job = stage.submit().await;
    for _ in 0..2 {
        assert_eq!(stage.take(&stage.last()).await, [job.clone()]);
        stage.exit(&stage.last(), exited(1, "boom")).await;
    }
    assert_eq!(said(&stage, &job), ("start_failing", "failing"));
    assert_eq!(stage.fleet.waiting(&stage.job(&job)).last_lines(), ["boom"]);
    stage.advance(1_100).await;
    let worker = stage.last();
    assert_eq!(stage.take(&worker).await, [job.clone()]);
    stage.finish(&worker, &job).await;
    stage.exit(&worker, exited(1, "boom")).await;
    let next = stage.submit().await;
    assert_eq!(said(&stage, &next), ("starting", "starting"), "one answer makes up for it");
}

#[tokio::test(start_paused = true)]
async fn low_priority_without_workers() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit_as(NewJob { low_priority: true, ..stage.new_job("ep") }).await;
    assert_eq!(said(&stage, &job), ("low_priority", "asleep"));
    assert!(stage.fleet.waiting(&stage.job(&job)).sentence(stage.engine.now()).contains("low priority"));
}

#[tokio::test(start_paused = true)]
async fn while_the_server_shuts_down() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit().await;
    stage.engine.close_submissions();
    assert_eq!(said(&stage, &job).0, "server_draining");
}

#[tokio::test(start_paused = true)]
async fn while_a_test_waits_for_a_gpu() {
    let one = Settings { gpus: 1.into(), ..patient() };
    let stage = Stage::with_gpus(one.clone(), 1).await;
    stage.endpoint("other", one.clone()).await;
    let (_, _) = stage.busy_worker().await;
    let (fleet, caller) = (stage.fleet.clone(), stage.caller.clone());
    let other = EndpointId::new("other");
    stage.release(&other, 2, 1, runyard_domain::ReleaseState::Testing).await;
    let tested =
        tokio::spawn(async move { fleet.test_release(&caller, &other, 2, &one, &[]).await.map(drop) });
    stage.settle().await;
    let job = stage.submit_as(stage.new_job("other")).await;
    let expected = WaitReason::NoGpuFree { asked: "1 GPU".into(), holders: vec!["ep".into()] };
    assert_eq!(stage.fleet.waiting(&stage.job(&job)), expected);
    tested.abort();
}
