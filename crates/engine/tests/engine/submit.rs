//! New jobs: what they inherit, what is refused, what the same key returns.

use runyard_domain::{Access, Endpoint, EndpointId, Scaler, Settings};
use runyard_engine::{EngineError, NewJob};
use runyard_vault::KeyRequest;

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn a_job_inherits_what_it_does_not_say() {
    let stage = Stage::new().await;
    let settings = Settings {
        execution_timeout_ms: 7_000,
        ttl_ms: 90_000,
        requeues: 3,
        retention_ms: 5_000,
        scaler: Scaler::RequestCount(2),
        ..Settings::default()
    };
    stage.endpoint(settings, 1).await;
    let plain = stage.job(&stage.submit().await);
    assert_eq!((plain.policy.execution_timeout_ms, plain.policy.ttl_ms), (7_000, 90_000));
    assert_eq!((plain.requeues, plain.retention_ms), (3, 5_000));
    assert_eq!(plain.expires_at, plain.submitted_at.plus(90_000));
    let said = NewJob {
        execution_timeout_ms: Some(0),
        ttl_ms: Some(10_000),
        low_priority: true,
        sync: true,
        ..stage.new_job()
    };
    let said = stage.job(&stage.submit_as(said).await);
    assert_eq!((said.policy.execution_timeout_ms, said.policy.ttl_ms), (0, 10_000));
    assert!(said.policy.low_priority && said.id.as_str().starts_with("sync-"));
    assert!(said.seq > plain.seq);
}

#[tokio::test(start_paused = true)]
async fn a_test_is_not_tried_again_on_another_worker() {
    let stage = Stage::new().await;
    let test = NewJob { pinned: Some(2), ..stage.new_job() };
    assert_eq!(stage.job(&stage.submit_as(test).await).requeues, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_returns_the_first_job() {
    let stage = Stage::new().await;
    let keyed = |key: &str| NewJob { idempotency_key: Some(key.into()), ..stage.new_job() };
    let first = stage.engine.submit(&stage.caller, keyed("k")).await.unwrap();
    let again = stage.engine.submit(&stage.caller, keyed("k")).await.unwrap();
    let other = stage.engine.submit(&stage.caller, keyed("l")).await.unwrap();
    assert!(!first.existing && again.existing && !other.existing);
    assert_eq!(first.job.id, again.job.id);
    assert_ne!(first.job.id, other.job.id);
    assert_eq!(stage.engine.snapshot(&ep(), 10).demand.waiting, 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_returns_the_first_job_whatever_refuses_new_ones() {
    let stage = Stage::new().await;
    stage.endpoint(Settings { queue_limit: 1, ..Settings::default() }, 1).await;
    let keyed = |key: &str| NewJob { idempotency_key: Some(key.into()), ..stage.new_job() };
    stage.faults.hold_commits(true);
    let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), keyed("k"));
    let first = tokio::spawn(async move { engine.submit(&caller, new).await.unwrap().job.id });
    yields().await;
    let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), keyed("k"));
    let again = tokio::spawn(async move { engine.submit(&caller, new).await.unwrap() });
    yields().await;
    stage.faults.hold_commits(false);
    let (first, again) = (first.await.unwrap(), again.await.unwrap());
    assert_eq!((again.job.id, again.existing), (first.clone(), true), "also while that is being written");
    let full = stage.engine.submit(&stage.caller, keyed("l")).await;
    assert!(matches!(full, Err(EngineError::QueueFull { waiting: 1, limit: 1, .. })), "{full:?}");
    stage.engine.close_submissions();
    assert_eq!(stage.engine.submit(&stage.caller, keyed("k")).await.unwrap().job.id, first);
    assert!(matches!(stage.engine.submit(&stage.caller, keyed("l")).await, Err(EngineError::Draining)));
}

#[tokio::test(start_paused = true)]
async fn what_a_key_may_not_is_refused() {
    let stage = Stage::new().await;
    let request =
        KeyRequest { name: "reader".into(), access: Access::Read, endpoints: vec![ep()], expires_at: None };
    let (record, key) = stage.vault.make_key(request);
    stage.engine.put_key(record).await.unwrap();
    let reader = stage.vault.key_caller(&key).unwrap();
    let refused = stage.engine.submit(&reader, stage.new_job()).await;
    assert!(matches!(refused, Err(EngineError::Denied(_))));
    let job = stage.submit().await;
    assert!(matches!(stage.engine.cancel(&reader, &job).await, Err(EngineError::Denied(_))));
    assert!(matches!(stage.engine.purge(&reader, &ep()).await, Err(EngineError::Denied(_))));
    assert!(stage.is_waiting(&job));
}

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_takes_no_job_and_those_that_wait_for_one_are_woken() {
    let stage = Stage::new().await;
    let new = stage.new_job();
    let job = stage.submit().await;
    let waiter = stage.engine.waiter(&job);
    let changed = waiter.changed();
    tokio::pin!(changed);
    stage.engine.drop_endpoint(&ep()).await.unwrap();
    changed.await;
    assert!(stage.engine.job(&job).unwrap().is_none());
    let refused = stage.engine.submit(&stage.caller, new).await;
    assert!(matches!(refused, Err(EngineError::NoSuchEndpoint(_))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_shuts_down_takes_no_job_and_hands_none_out() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let running = stage.running(&stage.worker("v", 1)).await;
    let waiting = stage.submit().await;
    stage.engine.close_submissions();
    let refused = stage.engine.submit(&stage.caller, stage.new_job()).await;
    assert!(matches!(refused, Err(EngineError::Draining)));
    assert!(stage.take(&worker, 1).await.is_empty());
    let poll = stage.poll(&worker);
    stage.advance(19_000).await;
    assert!(!poll.is_finished());
    stage.advance(1_000).await;
    assert!(ids(answered(poll).await).is_empty());
    assert!(stage.finish(&stage.token("v", 1), &running).await.is_some(), "results are still taken");
    assert!(stage.is_waiting(&waiting));
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_found_by_id_and_name() {
    let stage = Stage::new().await;
    let other = Endpoint::new(EndpointId::new("e2"), "other".into(), stage.engine.now(), Settings::default());
    stage.engine.put_endpoint(other).await.unwrap();
    assert_eq!(stage.engine.endpoint("other").unwrap().id, EndpointId::new("e2"));
    assert_eq!(stage.engine.endpoint("e2").unwrap().name, "other");
    assert!(stage.engine.endpoint("nobody").is_none());
    assert_eq!(stage.engine.endpoints().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn exactly_as_many_jobs_wait_as_may() {
    let stage = Stage::new().await;
    stage.endpoint(Settings { queue_limit: 3, ..Settings::default() }, 1).await;
    let mut submits = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
        submits.spawn(async move { engine.submit(&caller, new).await });
    }
    let all = submits.join_all().await;
    let refused: Vec<_> = all.iter().filter_map(|submitted| submitted.as_ref().err()).collect();
    assert_eq!(refused.len(), 5);
    for error in refused {
        assert!(matches!(error, EngineError::QueueFull { limit: 3, .. }), "{error}");
        assert!(error.to_string().contains("queue_limit is 3"), "{error}");
    }
    // A test of a release is not refused, and a place that is free again is given again.
    stage.submit_as(NewJob { pinned: Some(2), ..stage.new_job() }).await;
    stage.engine.purge(&stage.caller, &ep()).await.unwrap();
    stage.submit().await;
    stage.endpoint(Settings { queue_limit: 0, ..Settings::default() }, 1).await;
    for _ in 0..5 {
        stage.submit().await;
    }
}
