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
        webhook: None,
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
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
        3 => worker.clone().prop_map(|n| Command::Finish { worker: w(n), answer: Answer::Success }),
        1 => worker.clone().prop_map(|n| Command::Finish {
            worker: w(n),
            answer: Answer::Failure {
                error: "x".into(),
                reason: FailReason::HandlerError { message: "x".into() }
            }
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
    let d = run(&c, &Command::Finish { worker: w(1), answer: Answer::Success }, 40);
    assert!(matches!(d.phase, Phase::Done { outcome: Outcome::Completed, .. }));
    let again = decide(&d, &Command::Finish { worker: w(2), answer: Answer::Success }, Timestamp(50));
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
    let failed = run(&taken, &Command::Finish { worker: w(1), answer: failure }, 20);
    let again = run(&failed, &Command::Retry { seq: 2 }, 30);
    run(&again, &Command::Start { worker: w(1), release: 1 }, 40);

    let overdue = run(&taken, &Command::Expire, 5_010);
    let again = run(&overdue, &Command::Retry { seq: 2 }, 6_000);
    let start = Command::Start { worker: w(1), release: 1 };
    assert_eq!(decide(&again, &start, Timestamp(6_001)), Err(Refusal::Fenced));
}
