//! What is counted with the jobs, and what is measured: by interval, in longer ones later, and in all.

use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Timestamp, WorkerId};
use runyard_metrics::{Grain, Interval, Key, Row, Subject};
use runyard_store::Command;

use crate::bench::{
    Bench, cancel, chunk, endpoint, fail, finish, j, pinned, retry, submission, submit, take, text, tried,
    webhook, worker,
};

conformance!(
    steps_of_jobs_are_counted_where_they_happen,
    bytes_are_counted_once_where_they_are_kept,
    tests_are_not_counted,
    starts_and_ends_of_workers_are_counted_once,
    tries_of_webhooks_are_counted,
    intervals_become_longer_and_go,
    a_clock_that_goes_back_counts_nothing_twice,
    a_dropped_endpoint_takes_its_series_with_it,
);

const HOUR: i64 = 3_600_000;

fn of(name: &str) -> Subject {
    Subject::Endpoint(EndpointId::new(name))
}

fn rows(bench: &Bench, subject: &Subject, grain: Grain) -> Vec<Row> {
    bench.reader.intervals(subject, grain, Timestamp(0), Timestamp(i64::MAX)).unwrap()
}

fn count(interval: &Interval, key: Key) -> u64 {
    interval.counts.get(&key).copied().unwrap_or(0)
}

fn total(bench: &Bench, subject: &Subject) -> Interval {
    let totals = bench.reader.totals().unwrap();
    totals.into_iter().find(|(of, _)| of == subject).map(|(_, total)| total).unwrap_or_default()
}

fn measured(key: Key, value: f64) -> Interval {
    let mut interval = Interval::default();
    interval.level(key, value, 10.0);
    interval
}

fn steps_of_jobs_are_counted_where_they_happen(bench: &mut Bench) {
    bench.now = 25_000;
    bench.all(&["a", "b", "c"].map(|id| submit(submission(id, 25_000))));
    bench.now = 31_000;
    bench.one(take("w", 2));
    bench.now = 33_000;
    // The last command changes nothing, and counts nothing.
    bench.all(&[finish("a", "w", None), fail("b", "w"), retry("b"), cancel("c"), cancel("c")]);
    let rows = rows(bench, &of("e"), Grain::Fine);
    let places: Vec<i64> = rows.iter().map(|row| row.at.0).collect();
    assert_eq!(places, [20_000, 30_000]);
    assert_eq!(count(&rows[0].interval, Key::JobsSubmitted), 3);
    let later = &rows[1].interval;
    for (key, expected) in [
        (Key::JobsSubmitted, 0),
        (Key::JobsCompleted, 1),
        (Key::JobsFailed, 1),
        (Key::JobsRetried, 1),
        (Key::JobsCancelled, 1),
        (Key::JobsTimedOut, 0),
    ] {
        assert_eq!(count(later, key), expected, "{key:?}");
    }
    let (delay, execution) = (&later.times[&Key::Delay], &later.times[&Key::Execution]);
    assert_eq!((delay.count(), delay.max()), (2, 6.0));
    assert_eq!((execution.count(), execution.sum()), (2, 4.0));
    let total = total(bench, &of("e"));
    assert_eq!((count(&total, Key::JobsSubmitted), count(&total, Key::JobsCompleted)), (3, 1));
}

fn bytes_are_counted_once_where_they_are_kept(bench: &mut Bench) {
    // The input of each is a text of 12 bytes. One comes twice, and one is a test.
    bench.all(&[
        submit(submission("a", 1_000)),
        submit(submission("a", 1_000)),
        submit(submission("b", 1_000)),
    ]);
    bench.one(submit(pinned(1, submission("t", 1_000))));
    bench.one(take("w", 2));
    bench.all(&[chunk("a", "w", Some(1), "12345"), chunk("a", "w", Some(1), "12345")]);
    bench.all(&[finish("a", "w", Some(text("1234567"))), finish("a", "w", Some(text("1234567")))]);
    bench.all(&[finish("b", "w", None)]);
    let total = total(bench, &of("e"));
    assert_eq!((count(&total, Key::InputBytes), count(&total, Key::OutputBytes)), (2 * 12, 5 + 7));
}

fn tests_are_not_counted(bench: &mut Bench) {
    bench.all(&[submit(pinned(1, submission("t", 1_000))), cancel("t")]);
    assert_eq!(rows(bench, &of("e"), Grain::Fine), []);
}

fn starts_and_ends_of_workers_are_counted_once(bench: &mut Bench) {
    let mut record = worker("w1", "e", 1_000, WorkerState::Starting);
    bench.one(Command::PutWorker(Box::new(record.clone())));
    record.started_at = Some(Timestamp(1_200));
    record.ready_at = Some(Timestamp(3_000));
    record.state = WorkerState::Ready;
    bench.one(Command::PutWorker(Box::new(record.clone())));
    bench.one(Command::PutWorker(Box::new(record.clone())));
    record.state = WorkerState::Gone;
    bench.one(Command::PutWorker(Box::new(record.clone())));
    bench.one(Command::PutWorker(Box::new(record)));
    let early = worker("w2", "e", 1_000, WorkerState::Gone);
    bench.one(Command::PutWorker(Box::new(early)));
    let total = total(bench, &of("e"));
    for (key, expected) in
        [(Key::StartsReady, 1), (Key::WorkersCrashed, 1), (Key::WorkersStopped, 0), (Key::StartsFailed, 1)]
    {
        assert_eq!(count(&total, key), expected, "{key:?}");
    }
    let sum = |key: Key| total.times.get(&key).map(|times| (times.count(), times.sum()));
    assert_eq!(sum(Key::Start), Some((1, 2.0)));
    assert_eq!((sum(Key::StartLaunch), sum(Key::StartLoad)), (Some((1, 0.2)), Some((1, 1.8))));
}

fn tries_of_webhooks_are_counted(bench: &mut Bench) {
    bench.all(&[submit(webhook("https://example.com/", submission("a", 1_000))), cancel("a")]);
    let delivery = bench.reader.deliveries(&j("a")).unwrap().remove(0).id;
    bench.one(tried(&delivery, 1_000, 500, Some(Timestamp(2_000))));
    // The last try finds it settled.
    bench.all(&[tried(&delivery, 2_000, 200, None), tried(&delivery, 3_000, 200, None)]);
    let total = total(bench, &of("e"));
    let counts =
        [Key::WebhooksFailed, Key::WebhooksDelivered, Key::WebhooksGivenUp].map(|key| count(&total, key));
    assert_eq!(counts, [1, 1, 0]);
}

fn intervals_become_longer_and_go(bench: &mut Bench) {
    bench.one(Command::PutEndpoint(Box::new(endpoint("e", "e"))));
    let (subject, server) = (of("e"), Subject::Server);
    let worker = Subject::Worker(EndpointId::new("e"), WorkerId::new("w"));
    for minute in 0..25 {
        for (place, seconds) in [5, 25].into_iter().enumerate() {
            bench.now = minute * 60_000 + seconds * 1_000;
            bench.one(submit(submission(&format!("j{minute}-{place}"), bench.now)));
            bench.one(Command::Measure(vec![
                (subject.clone(), measured(Key::QueueWaiting, minute as f64)),
                (worker.clone(), measured(Key::WorkerCpu, 0.5)),
                (server.clone(), measured(Key::ServerFiles, 9.0)),
            ]));
        }
    }
    let sum = |grain: Grain| {
        let rows = rows(bench, &subject, grain);
        rows.iter().map(|row| count(&row.interval, Key::JobsSubmitted)).sum::<u64>()
    };
    assert_eq!(Grain::ALL.map(sum), [50, 50, 50], "whatever is asked for, nothing is counted twice");
    let coarse = rows(bench, &subject, Grain::Coarse);
    let shape: Vec<(i64, Grain)> = coarse.iter().map(|row| (row.at.0 / 60_000, row.grain)).collect();
    assert_eq!(shape[..2], [(0, Grain::Coarse), (10, Grain::Coarse)]);
    assert_eq!(shape[2], (20, Grain::Minute));
    let level = coarse[1].interval.levels[&Key::QueueWaiting];
    assert_eq!((level.max, level.last, level.seconds), (19.0, 19.0, 200.0));
    assert_eq!(count(&total(bench, &subject), Key::JobsSubmitted), 50);
    // Two days later only the longest are left, and of the worker nothing.
    bench.now += 49 * HOUR;
    bench.one(Command::Measure(vec![]));
    assert_eq!(rows(bench, &subject, Grain::Fine), []);
    let left = rows(bench, &subject, Grain::Coarse);
    assert!(left.len() == 3 && left.iter().all(|row| row.grain == Grain::Coarse), "{left:?}");
    assert_eq!(rows(bench, &worker, Grain::Coarse), []);
    bench.now += 30 * 24 * HOUR;
    bench.one(Command::Measure(vec![]));
    assert_eq!(rows(bench, &subject, Grain::Coarse), []);
    assert_eq!(count(&total(bench, &subject), Key::JobsSubmitted), 50, "what was ever counted stays");
}

fn a_clock_that_goes_back_counts_nothing_twice(bench: &mut Bench) {
    bench.now = 10 * HOUR;
    bench.one(submit(submission("a", 1_000)));
    bench.one(Command::Measure(vec![]));
    bench.now = 10 * HOUR + 600_000;
    bench.one(Command::Measure(vec![]));
    bench.now = 9 * HOUR;
    bench.one(submit(submission("b", 1_000)));
    bench.one(Command::Measure(vec![]));
    bench.now = 10 * HOUR + 660_000;
    bench.one(Command::Measure(vec![]));
    let sum = |grain: Grain| {
        let rows = rows(bench, &of("e"), grain);
        rows.iter().map(|row| count(&row.interval, Key::JobsSubmitted)).sum::<u64>()
    };
    assert_eq!(Grain::ALL.map(sum), [2, 2, 2]);
}

fn a_dropped_endpoint_takes_its_series_with_it(bench: &mut Bench) {
    let worker = Subject::Worker(EndpointId::new("e"), WorkerId::new("w"));
    bench.all(&[submit(submission("a", 1_000)), submit(crate::bench::of("e-2", submission("b", 1_000)))]);
    bench.one(Command::Measure(vec![(worker.clone(), measured(Key::WorkerCpu, 1.0))]));
    bench.all(&[submit(submission("c", 1_000)), Command::DropEndpoint(EndpointId::new("e"))]);
    for subject in [&of("e"), &worker] {
        assert_eq!(rows(bench, subject, Grain::Fine), [], "{subject}");
    }
    assert_eq!(rows(bench, &of("e-2"), Grain::Fine).len(), 1);
    let subjects: Vec<Subject> = bench.reader.totals().unwrap().into_iter().map(|(of, _)| of).collect();
    assert_eq!(subjects, [of("e-2")]);
}

#[test]
fn what_was_counted_survives_a_restart() {
    let mut bench = Bench::sqlite();
    bench.now = 65_000;
    bench.one(submit(submission("a", 1_000)));
    bench.one(Command::Measure(vec![]));
    let mut bench = bench.reopen();
    bench.now = 66_000;
    bench.one(submit(submission("b", 1_000)));
    let rows = rows(&bench, &of("e"), Grain::Fine);
    assert_eq!((rows.len(), count(&rows[0].interval, Key::JobsSubmitted)), (1, 2));
    assert_eq!(count(&total(&bench, &of("e")), Key::JobsSubmitted), 2);
}
