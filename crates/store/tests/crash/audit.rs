//! What must hold of a store after any crash, whatever was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;

use runyard_domain::{Delivery, EndpointId, Job, JobId, Payload};
use runyard_store::{Blobs, Counts, Filter, Reader, Standing, Store};

use crate::child::{bytes_of, open};

/// Opens the store in `dir`, checks that it agrees with itself and with `acknowledged`, and returns its jobs.
pub fn audit(dir: &Path, acknowledged: &[String]) -> Vec<Job> {
    let (store, blobs) = open(dir);
    let reader = store.reader();
    let jobs = all_jobs(&*reader);
    agrees_with_itself(&*reader, &blobs, &jobs, dir);
    let has = |id: &str| jobs.iter().find(|job| job.id.as_str() == id);
    for line in acknowledged {
        match line.split_once(' ') {
            Some(("submitted", id)) => assert!(has(id).is_some(), "{id} was accepted and is lost"),
            Some(("taken", id)) => {
                assert!(has(id).is_some_and(|job| job.attempt > 0), "the start of {id} is lost");
            }
            Some(("finished", id)) => {
                let done = has(id).is_some_and(|job| Standing::of(job) == Standing::Completed);
                assert!(done, "the result of {id} was accepted and is lost");
                assert!(reader.output(&JobId::new(id)).unwrap().is_some(), "the output of {id} is lost");
            }
            Some(("forgotten", id)) => assert!(has(id).is_none(), "{id} was forgotten and is back"),
            _ => {}
        }
    }
    jobs
}

fn all_jobs(reader: &dyn Reader) -> Vec<Job> {
    let mut jobs: Vec<Job> = vec![];
    loop {
        let before = jobs.last().map(|job| job.id.clone());
        let page = reader.jobs(&Filter { before, limit: 1_000, ..Filter::default() }).unwrap();
        if page.is_empty() {
            return jobs;
        }
        jobs.extend(page);
    }
}

fn agrees_with_itself(reader: &dyn Reader, blobs: &Blobs, jobs: &[Job], dir: &Path) {
    let mut named = BTreeSet::new();
    for job in jobs {
        let payloads = [reader.input(&job.id).unwrap(), reader.output(&job.id).unwrap()];
        assert!(payloads[0].is_some(), "{} has no input", job.id);
        for payload in payloads.into_iter().flatten() {
            assert_eq!(blobs.read(&payload).unwrap(), bytes_of(job.id.as_str()), "{}", job.id);
            if let Payload::File { name, .. } = payload {
                named.insert(name);
            }
        }
    }
    let there: BTreeSet<String> = std::fs::read_dir(dir.join("blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, named, "files and the rows that name them");
    // The end of a job and its delivery are one transaction.
    for job in jobs {
        let ended = job.is_done() && job.webhook.is_some();
        let wanted: Vec<Delivery> = Delivery::of(job).into_iter().collect();
        assert_eq!(reader.deliveries(&job.id).unwrap(), wanted, "{}", job.id);
        assert_eq!(wanted.len(), usize::from(ended));
    }
    let count = |standing| jobs.iter().filter(|job| Standing::of(job) == standing).count() as u64;
    let counts = reader.counts(&EndpointId::new("e")).unwrap();
    // Forgotten jobs had completed too, so of these there may be more than are left.
    assert!(counts.completed >= count(Standing::Completed));
    let now = Counts { waiting: count(Standing::Waiting), running: count(Standing::Running), ..counts };
    assert_eq!(counts, now);
    let numbers: BTreeSet<u64> = jobs.iter().map(|job| job.seq).collect();
    assert_eq!(numbers.len(), jobs.len(), "two jobs with one number");
}
