//! Random batches on the model and on SQLite: every reply and every query must agree, also after a restart.

use proptest::collection::vec;
use proptest::prelude::*;
use runyard_domain::worker::WorkerState;
use runyard_domain::{BatchId, DeliveryId, JobId, KeyId, Payload, Timestamp};
use runyard_metrics::{Grain, Interval, Key, Subject};
use runyard_store::{BatchChange, Command, Filter, Standing, Which};

use crate::bench::*;

/// Payloads in files get their names when they are put, so a step says only that it wants one.
#[derive(Debug, Clone)]
struct Value {
    in_file: bool,
    size: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Submit { id: u8, endpoint: u8, low: bool, pinned: Option<u32>, key: Option<u8>, input: Value },
    Finish { id: u8, worker: u8, output: Option<Value> },
    Progress { id: u8, worker: u8, value: Value },
    Chunk { id: u8, worker: u8, number: Option<u64>, value: Value },
    MakeBatch { endpoint: u8, ids: Vec<u8>, key: Option<u8>, input: Value },
    AddToBatch { batch: u8, ids: Vec<u8>, key: Option<u8>, input: Value },
    Tried { nth: usize, status: u16, again: Option<i64> },
    Plain(Command),
}

fn value() -> impl Strategy<Value = Value> {
    (prop::bool::weighted(0.3), 0usize..40).prop_map(|(in_file, size)| Value { in_file, size })
}

fn job_id(n: u8) -> JobId {
    j(&format!("j{n}"))
}

fn worker_name(n: u8) -> String {
    format!("w{n}")
}

fn endpoint_name(n: u8) -> String {
    format!("e{n}")
}

fn which(ids: &[u8]) -> Which {
    match ids {
        [] => Which::All,
        ids => Which::Jobs(ids.iter().map(|n| job_id(*n)).collect()),
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let (id, worker, endpoint) = (0u8..12, 0u8..4, 0u8..2);
    let one = id.clone();
    let submit = (
        (id.clone(), endpoint.clone(), any::<bool>(), prop::option::weighted(0.2, 1u32..3)),
        (prop::option::weighted(0.2, 0u8..3), value()),
    )
        .prop_map(|((id, endpoint, low, pinned), (key, input))| Step::Submit {
            id,
            endpoint,
            low,
            pinned,
            key,
            input,
        });
    let many = (0usize..4, prop_oneof![3 => Just(0), 2 => 1usize..5]);
    let take = (endpoint.clone(), worker.clone(), 1u32..3, prop::bool::weighted(0.2), many).prop_map(
        |(endpoint, worker, release, pinned_only, (max, ahead))| Command::Take {
            endpoint: e(&endpoint_name(endpoint)),
            worker: w(&worker_name(worker)),
            release,
            pinned_only,
            max,
            ahead,
        },
    );
    let held = (worker.clone(), vec(id.clone(), 0..3), prop::bool::ANY);
    prop_oneof![
        6 => submit,
        6 => take.prop_map(Step::Plain),
        3 => (id.clone(), worker.clone()).prop_map(|(id, worker)| {
            Step::Plain(Command::Begin { job: job_id(id), worker: w(&worker_name(worker)) })
        }),
        1 => worker.clone().prop_map(|n| Step::Plain(Command::CallBack { worker: w(&worker_name(n)) })),
        5 => (id.clone(), worker.clone(), prop::option::of(value()))
            .prop_map(|(id, worker, output)| Step::Finish { id, worker, output }),
        2 => (id.clone(), worker.clone())
            .prop_map(|(id, worker)| Step::Plain(fail(job_id(id).as_str(), &worker_name(worker)))),
        2 => (id.clone(), worker.clone(), value())
            .prop_map(|(id, worker, value)| Step::Progress { id, worker, value }),
        5 => (id.clone(), worker.clone(), prop::option::of(0u64..6), value())
            .prop_map(|(id, worker, number, value)| Step::Chunk { id, worker, number, value }),
        4 => (0usize..4, prop::sample::select(vec![200, 500]), prop::option::of(0i64..9_000))
            .prop_map(|(nth, status, again)| Step::Tried { nth, status, again }),
        2 => (id.clone(), 0u64..4).prop_map(|(id, upto)| Step::Plain(delivered(job_id(id).as_str(), upto))),
        3 => held.clone().prop_map(|(worker, ids, spends)| {
            Step::Plain(lose(&worker_name(worker), which(&ids), spends))
        }),
        1 => held.prop_map(|(worker, ids, _)| Step::Plain(give_back(&worker_name(worker), which(&ids)))),
        1 => id.clone().prop_map(|id| Step::Plain(cancel(job_id(id).as_str()))),
        2 => id.clone().prop_map(|id| Step::Plain(retry(job_id(id).as_str()))),
        3 => id.prop_map(|id| Step::Plain(expire(job_id(id).as_str()))),
        1 => (one, 1i64..90_000).prop_map(|(id, ttl_ms)| Step::Plain(Command::SetTtl { job: job_id(id), ttl_ms })),
        3 => (endpoint.clone(), vec(0u8..12, 0..4), prop::option::weighted(0.2, 0u8..3), value())
            .prop_map(|(endpoint, ids, key, input)| Step::MakeBatch { endpoint, ids, key, input }),
        2 => (0u8..BATCHES, vec(0u8..12, 0..4), prop::option::weighted(0.2, 0u8..3), value())
            .prop_map(|(batch, ids, key, input)| Step::AddToBatch { batch, ids, key, input }),
        6 => batches().prop_map(Step::Plain),
        1 => records(endpoint, worker).prop_map(Step::Plain),
    ]
}

/// So many batches are made in a run.
const BATCHES: u8 = 6;

fn batch_id(n: u8) -> BatchId {
    BatchId::new(format!("b{n}"))
}

fn batches() -> impl Strategy<Value = Command> {
    let (batch, job) = (0u8..BATCHES, 0u8..12);
    prop_oneof![
        4 => batch.clone().prop_map(|n| Command::FinalizeBatch(batch_id(n))),
        1 => batch.clone().prop_map(|n| Command::CancelBatch { batch: batch_id(n), by: "me".into() }),
        1 => (batch.clone(), prop::option::of("[a-z]{1,3}")).prop_map(|(n, name)| Command::ChangeBatch {
            batch: batch_id(n),
            change: BatchChange::Rename(name)
        }),
        2 => (batch.clone(), job).prop_map(|(n, job)| Command::ChangeBatch {
            batch: batch_id(n),
            change: BatchChange::Remove(job_id(job))
        }),
        3 => batch.prop_map(|n| Command::ExpireBatch(batch_id(n))),
    ]
}

fn records(
    endpoint: impl Strategy<Value = u8> + Clone + 'static,
    worker_id: impl Strategy<Value = u8> + 'static,
) -> impl Strategy<Value = Command> {
    let e1 = endpoint.clone();
    let (e2, e3, e4) = (endpoint.clone(), endpoint.clone(), endpoint.clone());
    let states = prop::sample::select(vec![WorkerState::Starting, WorkerState::Ready, WorkerState::Gone]);
    prop_oneof![
        1 => endpoint.prop_map(|n| Command::DropEndpoint(e(&endpoint_name(n)))),
        1 => e1.prop_map(|n| Command::Purge { endpoint: e(&endpoint_name(n)), by: "p".into() }),
        1 => (e2, 0u8..3).prop_map(|(n, name)| {
            Command::PutEndpoint(Box::new(endpoint_record(n, name)))
        }),
        1 => (e3, 1u32..4).prop_map(|(n, number)| Command::PutRelease(Box::new(release(&endpoint_name(n), number)))),
        2 => (worker_id, e4, 0i64..4, states).prop_map(|(n, endpoint, at, state)| {
            Command::PutWorker(Box::new(worker(&worker_name(n), &endpoint_name(endpoint), at, state)))
        }),
        1 => (0u8..3, 0i64..4).prop_map(|(n, at)| Command::PutKey(Box::new(key_record(&format!("k{n}"), at)))),
        1 => (0u8..3, 1u32..4).prop_map(|(n, version)| Command::PutSecret(Box::new(secret_record(&format!("s{n}"), version)))),
        1 => (0u8..3, 0i64..9).prop_map(|(n, at)| Command::UseSecrets { names: vec![format!("s{n}")], at: Timestamp(at) }),
        1 => (0u8..3).prop_map(|n| Command::DropSecret(format!("s{n}"))),
        4 => (0u8..2, 0u8..9).prop_map(|(n, value)| Command::Measure(measured(n, value))),
        1 => (0u8..3, 0i64..9).prop_map(|(n, at)| Command::UseKeys(vec![(KeyId::new(format!("k{n}")), Timestamp(at))])),
    ]
}

fn measured(endpoint: u8, value: u8) -> Vec<(Subject, Interval)> {
    let mut interval = Interval::default();
    interval.level(Key::QueueWaiting, f64::from(value), 10.0);
    interval.count(Key::WriterCommands, u64::from(value));
    vec![(subject(endpoint), interval.clone()), (Subject::Server, interval)]
}

fn subject(endpoint: u8) -> Subject {
    Subject::Endpoint(e(&endpoint_name(endpoint)))
}

fn endpoint_record(n: u8, name: u8) -> runyard_domain::Endpoint {
    endpoint(&endpoint_name(n), &format!("name{name}"))
}

/// Turns a step into a command. The n-th payload file of a run has the same name on both benches.
fn command(b: &Bench, step: &Step, files: &mut u32) -> Command {
    let mut make = |value: &Value| -> Payload {
        let bytes = "x".repeat(value.size);
        if !value.in_file {
            return text(&bytes);
        }
        *files += 1;
        b.blobs.put(&format!("f{files}"), bytes.as_bytes()).unwrap()
    };
    match step.clone() {
        Step::Submit { id, endpoint, low: is_low, pinned: release, key, input } => {
            let mut made = of(&endpoint_name(endpoint), submission(job_id(id).as_str(), b.now));
            made.job.policy.low_priority = is_low;
            made.job.pinned = release;
            made.idempotency_key = key.map(|key| format!("key{key}"));
            made.input = make(&input);
            made.job.webhook = (input.size % 2 == 0).then(|| format!("http://h{}/", input.size % 4));
            made.s3 = (input.size % 3 == 0).then(|| text("sealed"));
            submit(made)
        }
        Step::Finish { id, worker, output } => {
            finish(job_id(id).as_str(), &worker_name(worker), output.as_ref().map(make))
        }
        Step::Progress { id, worker, value } => {
            progress(job_id(id).as_str(), &worker_name(worker), make(&value))
        }
        Step::Chunk { id, worker, number, value } => {
            Command::Chunk { job: job_id(id), worker: w(&worker_name(worker)), number, value: make(&value) }
        }
        Step::MakeBatch { endpoint, ids, key, input } => {
            let Some(n) = (0..BATCHES).find(|n| b.reader.batch(&batch_id(*n)).unwrap().is_none()) else {
                return Command::ExpireBatch(batch_id(0));
            };
            let made = batch(&format!("b{n}"), &endpoint_name(endpoint), b.now);
            let request = |id: &u8| request(job_id(*id).as_str(), &made, b.now, make(&input));
            let requests = ids.iter().map(request).collect();
            let idempotency_key = key.map(|key| format!("key{key}"));
            Command::MakeBatch { batch: Box::new(made), requests, idempotency_key }
        }
        Step::AddToBatch { batch, ids, key, input } => {
            let id = batch_id(batch);
            let Some((found, _)) = b.reader.batch(&id).unwrap() else { return Command::ExpireBatch(id) };
            let request = |id: &u8| request(job_id(*id).as_str(), &found, b.now, make(&input));
            let requests = ids.iter().map(request).collect();
            Command::AddToBatch { batch: id, requests, idempotency_key: key.map(|key| format!("key{key}")) }
        }
        Step::Tried { nth, status, again } => {
            let pending = b.reader.pending_deliveries(&[], nth + 1).unwrap();
            let id = pending.last().map_or_else(|| DeliveryId::new("msg_none"), |d| d.id.clone());
            tried(&id, b.now, status, again.map(|ms| Timestamp(b.now + ms)))
        }
        Step::Plain(command) => command,
    }
}

/// Everything that can be asked, as one text.
fn picture(b: &Bench) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let r = &b.reader;
    for n in 0..12 {
        let id = job_id(n);
        writeln!(out, "{:?}", r.job(&id).unwrap()).unwrap();
        let single =
            (r.input(&id).unwrap(), r.s3(&id).unwrap(), r.output(&id).unwrap(), r.progress(&id).unwrap());
        writeln!(
            out,
            "{single:?} {:?} {:?}",
            r.undelivered(&id, 20).unwrap(),
            r.undelivered(&id, 999).unwrap()
        )
        .unwrap();
        writeln!(out, "{:?}", r.deliveries(&id).unwrap()).unwrap();
    }
    let standings = [
        None,
        Some(Standing::Draft),
        Some(Standing::Waiting),
        Some(Standing::Running),
        Some(Standing::Completed),
        Some(Standing::Failed),
        Some(Standing::Cancelled),
        Some(Standing::TimedOut),
    ];
    for endpoint in [None, Some(e("e0")), Some(e("e1"))] {
        for standing in standings {
            let ago = |ms: i64| Some(Timestamp(b.now - ms));
            let all = || Filter { endpoint: endpoint.clone(), standing, limit: 5, ..Filter::default() };
            for filter in [
                all(),
                Filter { since: ago(3_000), ..all() },
                Filter { until: ago(2_000), no_tests: true, ..all() },
                Filter { before: Some(job_id(3)), ..all() },
                Filter { ended_since: ago(3_000), ..all() },
                Filter { ended_since: ago(9_000), ended_until: ago(2_000), before: Some(job_id(3)), ..all() },
            ] {
                writeln!(out, "{filter:?} {:?}", b.listed(&filter)).unwrap();
            }
        }
        writeln!(out, "{:?}", r.workers(endpoint.as_ref(), 3).unwrap()).unwrap();
        if let Some(endpoint) = &endpoint {
            writeln!(out, "{:?} {:?}", r.counts(endpoint).unwrap(), r.releases(endpoint).unwrap()).unwrap();
            writeln!(out, "{:?}", r.failures(endpoint).unwrap()).unwrap();
        }
    }
    writeln!(out, "{:?} {:?}", r.live().unwrap(), r.due(Timestamp(b.now), 4).unwrap()).unwrap();
    writeln!(out, "{:?} {:?} {:?}", r.next_due().unwrap(), r.endpoints().unwrap(), r.keys().unwrap())
        .unwrap();
    writeln!(out, "{:?}", r.secrets().unwrap()).unwrap();
    for without in [vec![], vec!["h0".to_owned()]] {
        writeln!(out, "{:?}", r.pending_deliveries(&without, 5).unwrap()).unwrap();
    }
    for n in 0..BATCHES {
        let jobs = r.batch_jobs(&batch_id(n), 1, 3).unwrap();
        writeln!(out, "{:?} {jobs:?}", r.batch(&batch_id(n)).unwrap()).unwrap();
    }
    let of_one = r.batches(&e("e0"), 1, 2).unwrap();
    writeln!(out, "{of_one:?} {:?}", r.due_batches(Timestamp(b.now), 9).unwrap()).unwrap();
    writeln!(out, "{:?} {:?}", b.files(), r.totals().unwrap()).unwrap();
    for (subject, grain) in
        [(subject(0), Grain::Fine), (subject(1), Grain::Minute), (Subject::Server, Grain::Coarse)]
    {
        let rows = r.intervals(&subject, grain, Timestamp(b.now - 40_000), Timestamp(b.now + 1)).unwrap();
        writeln!(out, "{rows:?}").unwrap();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_agrees_with_the_model(batches in vec((vec(steps(), 1..12), 0i64..9_000), 1..14)) {
        let (mut model, mut sqlite) = (Bench::memory(), Bench::sqlite());
        let (mut of_model, mut of_sqlite) = (0, 0);
        for (steps, pass) in &batches {
            model.now += pass;
            sqlite.now += pass;
            let commands: Vec<Command> = steps.iter().map(|s| command(&model, s, &mut of_model)).collect();
            let wanted = model.all(&commands);
            let commands: Vec<Command> = steps.iter().map(|s| command(&sqlite, s, &mut of_sqlite)).collect();
            prop_assert_eq!(sqlite.all(&commands), wanted);
            prop_assert_eq!(picture(&sqlite), picture(&model));
        }
        prop_assert_eq!(picture(&sqlite.reopen()), picture(&model));
    }
}
