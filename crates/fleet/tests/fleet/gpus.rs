//! GPUs: who gets which, who yields, and what is said where none is free.

use runyard_domain::gpu::{Gpu, Inventory};
use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, Settings, WaitReason};
use runyard_engine::NewJob;
use runyard_runtime::{RuntimeError, Whose};

use crate::stage::*;

fn one_gpu() -> Settings {
    Settings { gpus: 1.into(), ..patient() }
}

async fn two_endpoints(gpus: u32, settings: Settings) -> Stage {
    let stage = Stage::with_gpus(settings.clone(), gpus).await;
    stage.endpoint("other", settings).await;
    stage.settle().await;
    stage
}

#[tokio::test(start_paused = true)]
async fn each_worker_has_gpus_of_its_own() {
    let stage = Stage::with_gpus(Settings { workers_min: 3, ..one_gpu() }, 3).await;
    let mut devices: Vec<_> =
        stage.started().iter().map(|spec| spec.env["CUDA_VISIBLE_DEVICES"].clone()).collect();
    devices.sort();
    assert_eq!(devices, ["0", "1", "2"]);
    assert_eq!(stage.started()[0].env["RUNPOD_GPU_COUNT"], "1");
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_elsewhere_yields() {
    let stage = two_endpoints(1, one_gpu()).await;
    let worker = stage.idle_worker().await;
    stage.submit_as(stage.new_job("other")).await;
    assert!(!stage.runtime.running().contains(&worker));
    assert_eq!((stage.starts(), stage.running()), (2, 1));
    assert_eq!(stage.started()[1].endpoint, EndpointId::new("other"));
    assert_eq!(stage.record(&worker).stop_cause.as_deref(), Some("its GPU is needed by another endpoint"));
}

#[tokio::test(start_paused = true)]
async fn a_busy_worker_does_not_yield_and_is_named() {
    let stage = two_endpoints(1, one_gpu()).await;
    let (job, worker) = stage.busy_worker().await;
    let waits = stage.submit_as(stage.new_job("other")).await;
    stage.advance(60_000).await;
    let reason = stage.fleet.waiting(&stage.job(&waits));
    assert_eq!(reason, WaitReason::NoGpuFree { asked: "1 GPU".into(), holders: vec!["ep".into()] });
    let other = stage.engine.endpoint("other").unwrap();
    assert_eq!(stage.fleet.endpoint_state(&other).word, "no_gpu");
    assert_eq!(stage.fleet.counts(&other.id).throttled, 1);
    stage.finish(&worker, &job).await;
    stage.advance(100).await;
    assert_eq!(stage.started().last().unwrap().endpoint, other.id, "as soon as it is idle");
    assert_eq!(stage.take(&stage.last()).await, [waits]);
}

#[tokio::test(start_paused = true)]
async fn the_minimum_of_another_endpoint_does_not_yield() {
    let stage = Stage::with_gpus(Settings { workers_min: 1, ..one_gpu() }, 1).await;
    let worker = stage.last();
    stage.take(&worker).await;
    stage.endpoint("other", one_gpu()).await;
    let waits = stage.submit_as(stage.new_job("other")).await;
    stage.advance(30_000).await;
    assert_eq!(stage.runtime.running(), [worker]);
    assert_eq!(stage.fleet.waiting(&stage.job(&waits)).code(), "no_gpu_free");
}

#[tokio::test(start_paused = true)]
async fn more_gpus_than_there_are_never_match() {
    let stage = Stage::with_gpus(Settings { gpus: 2.into(), ..patient() }, 1).await;
    let job = stage.submit().await;
    stage.advance(1_000).await;
    let reason = stage.fleet.waiting(&stage.job(&job));
    assert_eq!(reason, WaitReason::NoGpuMatches { asked: "2 GPUs".into(), there: "1 × GPU".into() });
    assert_eq!(stage.starts(), 0);
}

#[tokio::test(start_paused = true)]
async fn as_many_yield_as_are_needed() {
    let stage = Stage::with_gpus(Settings { workers_min: 3, ..one_gpu() }, 3).await;
    for worker in stage.runtime.running() {
        stage.take(&worker).await;
    }
    stage.settings(one_gpu()).await;
    stage.endpoint("other", Settings { gpus: 2.into(), ..patient() }).await;
    let job = stage.submit_as(stage.new_job("other")).await;
    stage.advance(100).await;
    assert_eq!((stage.starts(), stage.running()), (4, 2), "two of three made room");
    assert_eq!(stage.take(&stage.last()).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_yields_no_more_than_it_can_spare() {
    let stage = Stage::with_gpus(Settings { workers_min: 2, ..one_gpu() }, 2).await;
    for worker in stage.runtime.running() {
        stage.take(&worker).await;
    }
    stage.settings(Settings { workers_min: 1, ..one_gpu() }).await;
    stage.endpoint("other", Settings { gpus: 2.into(), ..patient() }).await;
    let waits = stage.submit_as(stage.new_job("other")).await;
    stage.advance(5_000).await;
    assert_eq!((stage.starts(), stage.running()), (2, 2), "one of two would not be enough");
    assert_eq!(stage.fleet.waiting(&stage.job(&waits)).code(), "no_gpu_free");
}

/// The runtime's answer to a start can be lost while the worker runs.
#[tokio::test(start_paused = true)]
async fn a_worker_whose_start_only_seems_to_have_failed_keeps_its_gpu_until_it_is_gone() {
    let stage = Stage::with_gpus(one_gpu(), 1).await;
    stage.runtime.ignore_kill(true);
    stage.runtime.lose_answer(RuntimeError {
        operation: "start a worker".into(),
        message: "no answer within 30 s".into(),
        whose: Whose::Engine,
        retryable: true,
    });
    let job = stage.submit().await;
    let worker = stage.last();
    stage.advance(20_000).await;
    assert_eq!((stage.starts(), stage.running()), (1, 1), "nobody else gets its GPU");
    stage.exit(&worker, runyard_runtime::fake::exit(None, Some(9))).await;
    let WaitReason::StartFailing { times: 1, exit, .. } = stage.fleet.waiting(&stage.job(&job)) else {
        panic!("its start failed")
    };
    assert!(exit.last_lines[0].contains("no answer within 30 s"), "{exit:?}");
    stage.runtime.ignore_kill(false);
    stage.advance(2_000).await;
    assert_eq!((stage.starts(), stage.running()), (2, 1));
}

/// The one worker had the job before and does not get it again; there is no GPU for another beside it.
#[tokio::test(start_paused = true)]
async fn a_worker_goes_for_a_job_that_only_another_may_take() {
    let stage = Stage::with_gpus(Settings { workers_min: 1, ..one_gpu() }, 1).await;
    let worker = stage.last();
    let limited = NewJob { execution_timeout_ms: Some(5_000), ..stage.new_job("ep") };
    let job = stage.submit_as(limited).await;
    assert_eq!(stage.take(&worker).await, [job.clone()]);
    stage.advance(5_000).await;
    let late = stage.engine.finish(&stage.who(&worker), &job, Answer::Success, None).await;
    assert!(late.unwrap().is_none(), "it let go of it");
    stage.engine.retry(&stage.caller, &job).await.unwrap();
    stage.advance(1_000).await;
    assert_eq!(stage.starts(), 2);
    assert_eq!(stage.take(&stage.last()).await, [job]);
}

fn machine(text: &str) -> Vec<Gpu> {
    match text.parse() {
        Ok(Inventory::These(gpus)) => gpus,
        other => panic!("{other:?}"),
    }
}

fn wants(gpus: &str) -> Settings {
    Settings { gpus: gpus.parse().unwrap(), ..patient() }
}

#[tokio::test(start_paused = true)]
async fn the_first_type_that_is_free_is_taken() {
    let settings = Settings { workers_min: 3, ..wants("rtx4090,24GB") };
    let stage = Stage::with_machine(settings, machine("1xL4,1xRTX 4090,2xA40")).await;
    let given: Vec<(String, String)> = stage
        .started()
        .iter()
        .map(|spec| (spec.env["CUDA_VISIBLE_DEVICES"].clone(), spec.env["RUNPOD_GPU_NAME"].clone()))
        .collect();
    let expected = [("1", "NVIDIA+GeForce+RTX+4090"), ("0", "NVIDIA+L4"), ("2", "NVIDIA+A40")];
    assert_eq!(given, expected.map(|(index, name)| (index.to_owned(), name.to_owned())));
    assert_eq!(stage.started()[0].env["RUNPOD_GPU_SIZE"], "ADA_24");
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_type_that_is_asked_for_is_named() {
    let stage = Stage::with_machine(wants("a40"), machine("1xA40,1xL4")).await;
    stage.endpoint("other", wants("l4")).await;
    stage.busy_worker().await;
    let waits = stage.submit_as(stage.new_job("other")).await;
    stage.advance(100).await;
    assert_eq!(stage.starts(), 2, "each has its own");
    let third = stage.submit_as(stage.new_job("other")).await;
    stage.take(&stage.last()).await;
    stage.advance(60_000).await;
    let reason = stage.fleet.waiting(&stage.job(&third));
    assert_eq!(reason.code(), "all_busy", "{waits} runs");
    stage.endpoint("big", wants("2x24GB")).await;
    let never = stage.submit_as(stage.new_job("big")).await;
    stage.advance(1_000).await;
    let there = "1 × NVIDIA A40 (48 GB), 1 × NVIDIA L4 (24 GB)".to_owned();
    let expected = WaitReason::NoGpuMatches { asked: "2 of 24GB".to_owned(), there };
    assert_eq!(stage.fleet.waiting(&stage.job(&never)), expected);
    stage.endpoint("same", wants("a40,h100")).await;
    let waits = stage.submit_as(stage.new_job("same")).await;
    stage.advance(1_000).await;
    let asked = "1 of a40 or h100".to_owned();
    let expected = WaitReason::NoGpuFree { asked, holders: vec!["ep".to_owned()] };
    assert_eq!(stage.fleet.waiting(&stage.job(&waits)), expected);
}
