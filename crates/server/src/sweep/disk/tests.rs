//! A scratch layout, with ages.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use runyard_domain::Timestamp;

use super::*;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// Far from the present, so that nothing depends on it.
const NOW: u64 = 100 * 365 * DAY;

struct Scratch {
    dir: tempfile::TempDir,
    root: Root,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root {
            logs: dir.path().join("logs"),
            bundles: dir.path().join("bundles"),
            envs: dir.path().join("envs"),
            work: dir.path().join("work"),
            cache: dir.path().join("cache"),
        };
        Self { dir, root }
    }

    /// A folder (its name ends in a slash) or a file, of an age in seconds.
    fn put(&self, name: &str, age: u64) {
        let path = self.dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path.join("inside")).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
        }
        self.age(name, age);
    }

    fn age(&self, name: &str, age: u64) {
        let at = UNIX_EPOCH + Duration::from_secs(NOW - age);
        File::open(self.dir.path().join(name)).unwrap().set_modified(at).unwrap();
    }

    fn left(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        for folder in ["logs/a", "logs/gone", "bundles", "envs", "work", "cache"] {
            for entry in entries(&self.dir.path().join(folder)) {
                left.insert(format!("{folder}/{}", name(&entry)));
            }
        }
        left
    }
}

fn digest(letter: char) -> String {
    letter.to_string().repeat(64)
}

fn known() -> Known {
    let worker = |name: &str, ended: Option<u64>| {
        (WorkerId::new(name), ended.map(|age| Timestamp(((NOW - age) * 1000) as i64)))
    };
    Known {
        now: Timestamp((NOW * 1000) as i64),
        wall: Timestamp((NOW * 1000) as i64),
        endpoints: HashMap::from([(EndpointId::new("a"), HashSet::from([1]))]),
        bundles: HashSet::from([digest('a'), String::new()]),
        environments: HashSet::from([digest('a'), String::new()]),
        workers: HashMap::from([
            worker("running", None),
            worker("recent", Some(DAY)),
            worker("old", Some(15 * DAY)),
            worker("spooled", Some(15 * DAY)),
        ]),
        observed: HashSet::from([WorkerId::new("running"), WorkerId::new("spooled")]),
        strangers: false,
    }
}

/// What is there in every test: the flag says whether it stays.
fn fill(scratch: &Scratch) -> BTreeSet<String> {
    let (a, b, c, d) = (digest('a'), digest('b'), digest('c'), digest('d'));
    let things = [
        ("logs/a/running.jsonl".to_owned(), 30 * DAY, true),
        ("logs/a/recent.jsonl".to_owned(), DAY, true),
        ("logs/a/old.jsonl".to_owned(), 15 * DAY, false),
        ("logs/a/spooled.jsonl".to_owned(), 15 * DAY, true),
        ("logs/a/pruned.jsonl".to_owned(), 2 * HOUR, false),
        ("logs/a/just-made.jsonl".to_owned(), 60, true),
        ("logs/a/build-1.jsonl".to_owned(), 30 * DAY, true),
        ("logs/a/build-2.jsonl".to_owned(), 2 * HOUR, false),
        ("logs/a/notes.txt".to_owned(), 30 * DAY, true),
        ("logs/gone/w.jsonl".to_owned(), 2 * HOUR, false),
        (format!("bundles/{a}/"), 30 * DAY, true),
        (format!("bundles/{b}/"), 2 * HOUR, false),
        (format!("bundles/{c}/"), 60, true),
        ("bundles/somebodys/".to_owned(), 30 * DAY, true),
        ("bundles/.unpacking-x/".to_owned(), 2 * HOUR, false),
        ("bundles/.unpacking-y/".to_owned(), 60, true),
        (format!("envs/{a}/"), 30 * DAY, true),
        (format!("envs/{a}.lock"), 30 * DAY, true),
        (format!("envs/{b}/"), 8 * DAY, false),
        (format!("envs/{b}.lock"), 8 * DAY, false),
        (format!("envs/{c}/"), 6 * DAY, true),
        (format!("envs/{c}.lock"), 30 * DAY, true),
        (format!("envs/{d}.lock"), 2 * HOUR, false),
        (format!("envs/{REMOVING}{a}/"), 60, false),
        ("work/running/".to_owned(), 30 * DAY, true),
        ("work/spooled/".to_owned(), 30 * DAY, true),
        ("work/unknown/".to_owned(), 2 * HOUR, false),
        ("work/starting/".to_owned(), 60, true),
        ("cache/home-x/".to_owned(), 2 * DAY, false),
        ("cache/home-y/".to_owned(), 2 * HOUR, true),
        ("cache/own/".to_owned(), 30 * DAY, true),
    ];
    for (name, age, _) in &things {
        scratch.put(name, *age);
    }
    let stays = things.iter().filter(|(_, _, stays)| *stays);
    stays.map(|(name, _, _)| name.trim_end_matches('/').to_owned()).collect()
}

#[test]
fn only_what_nobody_needs_goes() {
    let scratch = Scratch::new();
    let stays = fill(&scratch);
    let swept = clear(&scratch.root, &known());
    assert_eq!(scratch.left(), stays);
    assert_eq!(swept, Swept { logs: 4, bundles: 1, environments: 1, left_behind: 5 });
    assert_eq!(clear(&scratch.root, &known()), Swept::default());
    assert!(!scratch.root.logs.join("gone").exists());
}

#[test]
fn code_stays_while_a_worker_runs_that_nobody_knows() {
    let scratch = Scratch::new();
    fill(&scratch);
    let swept = clear(&scratch.root, &Known { strangers: true, ..known() });
    assert_eq!((swept.bundles, swept.environments), (0, 0));
    assert!(scratch.left().contains(&format!("envs/{}", digest('b'))));
}

#[test]
fn an_environment_in_use_stays() {
    let scratch = Scratch::new();
    let (b, e) = (digest('b'), digest('e'));
    // One was used yesterday, one is held by somebody.
    for hash in [&b, &e] {
        scratch.put(&format!("envs/{hash}/.last-used"), if *hash == b { DAY } else { 30 * DAY });
        scratch.age(&format!("envs/{hash}"), 30 * DAY);
    }
    let held: PathBuf = scratch.root.envs.join(format!("{e}.lock"));
    let lock = File::create(held).unwrap();
    lock.lock().unwrap();
    assert_eq!(clear(&scratch.root, &known()).environments, 0);
    drop(lock);
    assert_eq!(clear(&scratch.root, &known()).environments, 1);
    assert!(scratch.root.envs.join(b).exists() && !scratch.root.envs.join(e).exists());
}

#[test]
fn a_token_goes_when_nothing_of_its_worker_can_come() {
    let known = known();
    for (worker, ended) in [("running", false), ("spooled", false), ("recent", true), ("pruned", true)] {
        assert_eq!(known.has_ended(&WorkerId::new(worker)), ended, "{worker}");
    }
}
