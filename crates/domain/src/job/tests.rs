//! Properties of the job machine under random commands, and the cases that people ask about by name.

use proptest::prelude::*;

use super::*;

fn job() -> Job {
    Job {
        id: JobId::new("j"),
        endpoint: EndpointId::new("e"),
        seq: 1,
        sync: false,
        submitted_at: Timestamp(0),
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 5_000, ttl_ms: 60_000, low_priority: false },
        expires_at: Timestamp(60_000),
        requeues: 1,
        retention_ms: 1_000,
        pinned: None,
        batch: None,
        webhook: None,
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
        attempts: vec![],
        phase: Phase::Waiting { since: Timestamp(0) },
    }
}

fn w(n: u8) -> WorkerId {
    WorkerId::new(format!("w{n}"))
}

fn lost(spends: bool) -> Loss {
    Loss { reason: FailReason::WorkerLost { exit: None, attempts: 0 }, spends }
}

fn commands() -> impl Strategy<Value = Command> {
    let worker = 0u8..4;
    prop_oneof![
        3 => worker.clone().prop_map(|n| Command::Start { worker: w(n), release: 1 }),
        2 => worker.clone().prop_map(|n| Command::Hold { worker: w(n), release: 1 }),
        2 => worker.clone().prop_map(|n| Command::Begin { worker: w(n) }),
        1 => worker.clone().prop_map(|n| Command::CallBack { worker: w(n) }),
        3 => worker.clone().prop_map(|n| Command::Finish { worker: w(n), answer: Answer::Success, posted: None }),
        1 => worker.clone().prop_map(|n| Command::Finish {
            worker: w(n),
            answer: Answer::Failure {
                error: "x".into(),
                reason: FailReason::HandlerError { message: "x".into() }
            },
            posted: None,
        }),
        2 => (worker.clone(), any::<bool>())
            .prop_map(|(n, spends)| Command::Lose { worker: w(n), loss: lost(spends) }),
        1 => worker.prop_map(|n| Command::GiveBack { worker: w(n) }),
        1 => Just(Command::Cancel { by: "me".into() }),
        1 => Just(Command::Expire),
        1 => (2u64..99).prop_map(|seq| Command::Retry { seq }),
        1 => (10_000i64..90_000).prop_map(|ttl_ms| Command::SetTtl { ttl_ms }),
    ]
}

proptest! {
    #[test]
    fn random_commands_keep_the_promises(steps in proptest::collection::vec((commands(), 0i64..4_000), 1..60)) {
        let mut job = job();
        let mut now = Timestamp(0);
        let mut accepted_since_queued = 0u32;
        for (command, pass) in steps {
            now = now.plus(pass);
            let before = job.clone();
            match decide(&job, &command, now) {
                Err(_) => continue,
                Ok(next) => job = next,
            }
            if let Command::Retry { .. } = command {
                accepted_since_queued = 0;
            }
            if let Command::Finish { worker, .. } = &command {
                accepted_since_queued += 1;
                prop_assert!(before.holder() == Some(worker) || before.lost_by.contains(worker));
            }
            prop_assert!(accepted_since_queued <= 1, "two results accepted");
            if let Command::Start { worker, .. } = &command {
                prop_assert!(!before.lost_by.contains(worker), "back to an incarnation that lost it");
                prop_assert!(matches!(before.phase, Phase::Waiting { .. }), "two leases at once");
                prop_assert_eq!(job.attempt, before.attempt + 1);
            }
            if let Command::Hold { worker, .. } = &command {
                prop_assert!(!before.lost_by.contains(worker), "back to an incarnation that lost it");
                prop_assert!(matches!(before.phase, Phase::Waiting { .. }), "two leases at once");
            }
            if let Phase::Held { .. } = before.phase {
                let began = match &command {
                    Command::Begin { .. } => true,
                    Command::Finish { worker, .. } => before.holder() == Some(worker),
                    _ => false,
                };
                prop_assert_eq!(job.attempt > before.attempt, began, "only a start is an attempt: {:?}", command);
                prop_assert_eq!(job.losses, before.losses, "what never started loses nothing");
            }
            if !matches!(command, Command::GiveBack { .. }) {
                prop_assert!(job.attempt >= before.attempt, "attempts only rise");
            }
            prop_assert!(job.losses <= job.requeues);
            if before.is_done() {
                prop_assert!(matches!(command, Command::Retry { .. }), "only a retry reopens: {command:?}");
            }
        }
    }
}

fn run(job: &Job, command: &Command, at: i64) -> Job {
    decide(job, command, Timestamp(at)).expect("the command is allowed here")
}

#[test]
fn one_requeue_then_failure() {
    let a = run(&job(), &Command::Start { worker: w(1), release: 1 }, 10);
    let b = run(&a, &Command::Lose { worker: w(1), loss: lost(true) }, 20);
    assert!(matches!(b.phase, Phase::Waiting { .. }));
    assert_eq!(decide(&b, &Command::Start { worker: w(1), release: 1 }, Timestamp(21)), Err(Refusal::Fenced));
    let c = run(&b, &Command::Start { worker: w(2), release: 1 }, 30);
    let d = run(&c, &Command::Lose { worker: w(2), loss: lost(true) }, 40);
    let Phase::Done { outcome: Outcome::Failed { error, .. }, .. } = &d.phase else { panic!("{d:?}") };
    assert!(error.contains("after 2 attempts"), "{error}");
}

#[test]
fn a_late_result_of_a_lost_worker_counts_once() {
    let a = run(&job(), &Command::Start { worker: w(1), release: 1 }, 10);
    let b = run(&a, &Command::Lose { worker: w(1), loss: lost(true) }, 20);
    let c = run(&b, &Command::Start { worker: w(2), release: 1 }, 30);
    let d = run(&c, &Command::Finish { worker: w(1), answer: Answer::Success, posted: None }, 40);
    assert!(matches!(d.phase, Phase::Done { outcome: Outcome::Completed, .. }));
    let again =
        decide(&d, &Command::Finish { worker: w(2), answer: Answer::Success, posted: None }, Timestamp(50));
    assert_eq!(again, Err(Refusal::AlreadyDone));
}

#[test]
fn time_limits_name_themselves() {
    let running = run(&job(), &Command::Start { worker: w(1), release: 1 }, 1_000);
    assert_eq!(running.due_at(), Timestamp(6_000));
    let done = run(&running, &Command::Expire, 6_000);
    assert!(matches!(
        done.phase,
        Phase::Done { outcome: Outcome::TimedOut { reason: FailReason::ExecutionTimeout { .. } }, .. }
    ));
    let done = run(&job(), &Command::Expire, 60_000);
    assert!(matches!(
        done.phase,
        Phase::Done { outcome: Outcome::TimedOut { reason: FailReason::TtlExpired { .. } }, .. }
    ));
    assert_eq!(decide(&job(), &Command::Expire, Timestamp(59_999)), Err(Refusal::NotDue));
}

#[test]
fn what_was_never_delivered_costs_nothing() {
    let a = run(&job(), &Command::Start { worker: w(1), release: 1 }, 10);
    let b = run(&a, &Command::GiveBack { worker: w(1) }, 20);
    assert_eq!(b, job());
}

#[test]
fn a_test_request_runs_only_on_its_release() {
    let pinned = Job { pinned: Some(2), ..job() };
    let start = Command::Start { worker: w(1), release: 1 };
    assert_eq!(decide(&pinned, &start, Timestamp(1)), Err(Refusal::OtherRelease));
}

#[test]
fn a_retry_may_go_to_the_worker_that_answered_and_not_to_one_that_never_let_go() {
    let failure =
        Answer::Failure { error: "x".into(), reason: FailReason::HandlerError { message: "x".into() } };
    let taken = run(&job(), &Command::Start { worker: w(1), release: 1 }, 10);
    let failed = run(&taken, &Command::Finish { worker: w(1), answer: failure, posted: None }, 20);
    let again = run(&failed, &Command::Retry { seq: 2 }, 30);
    run(&again, &Command::Start { worker: w(1), release: 1 }, 40);

    let overdue = run(&taken, &Command::Expire, 5_010);
    let again = run(&overdue, &Command::Retry { seq: 2 }, 6_000);
    let start = Command::Start { worker: w(1), release: 1 };
    assert_eq!(decide(&again, &start, Timestamp(6_001)), Err(Refusal::Fenced));
}

#[test]
fn in_a_list_the_clock_starts_when_the_job_before_is_done() {
    let held = run(&job(), &Command::Hold { worker: w(1), release: 1 }, 1_000);
    assert_eq!((held.attempt, held.due_at()), (0, Timestamp(60_000)), "only its time to live runs");
    assert_eq!(decide(&held, &Command::Expire, Timestamp(59_999)), Err(Refusal::NotDue));
    let begun = run(&held, &Command::Begin { worker: w(1) }, 40_000);
    assert_eq!((begun.attempt, begun.due_at()), (1, Timestamp(45_000)));
    let done = run(&begun, &Command::Finish { worker: w(1), answer: Answer::Success, posted: None }, 40_700);
    let Phase::Done { delay_ms, execution_ms, .. } = done.phase else { panic!("{done:?}") };
    assert_eq!((delay_ms, execution_ms), (Some(40_000), Some(700)));
}

#[test]
fn what_a_lost_worker_had_not_started_costs_nothing() {
    let held = run(&job(), &Command::Hold { worker: w(1), release: 1 }, 1_000);
    for command in [Command::Lose { worker: w(1), loss: lost(true) }, Command::CallBack { worker: w(1) }] {
        let back = run(&held, &command, 9_000);
        assert_eq!((back.attempt, back.losses), (0, 0));
        assert_eq!(back.phase, Phase::Waiting { since: Timestamp(0) }, "it waited all the time");
        let again = decide(&back, &Command::Hold { worker: w(1), release: 1 }, Timestamp(9_001));
        assert_eq!(again, Err(Refusal::Fenced), "the worker may run it all the same");
    }
    let stranger = decide(&held, &Command::CallBack { worker: w(2) }, Timestamp(9_000));
    assert_eq!(stranger, Err(Refusal::NotHeld));
}

#[test]
fn a_cancelled_job_of_a_list_never_ran() {
    let held = run(&job(), &Command::Hold { worker: w(1), release: 1 }, 1_000);
    let done = run(&held, &Command::Cancel { by: "me".into() }, 2_000);
    let Phase::Done { worker, delay_ms, execution_ms, .. } = &done.phase else { panic!("{done:?}") };
    assert_eq!((worker, delay_ms, execution_ms), (&Some(w(1)), &None, &None));
    let late = decide(
        &done,
        &Command::Finish { worker: w(1), answer: Answer::Success, posted: None },
        Timestamp(3_000),
    );
    assert_eq!(late, Err(Refusal::AlreadyDone), "its result is dropped");
}

#[test]
fn an_answer_to_a_job_that_nobody_saw_start_counts() {
    let held = run(&job(), &Command::Hold { worker: w(1), release: 1 }, 1_000);
    let done = run(&held, &Command::Finish { worker: w(1), answer: Answer::Success, posted: None }, 2_000);
    assert_eq!((done.attempt, done.is_done()), (1, true));
    assert_eq!(done.lost_by, vec![], "it let go of the job by answering it");
}
