//! A scratch layout, with ages.

use std::fs::{self, File};
use std::time::UNIX_EPOCH;

use super::files::{REMOVING, entries, name};
use super::*;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// Far from the present, so that nothing depends on it.
const NOW: u64 = 100 * 365 * DAY;

struct Scratch {
    dir: tempfile::TempDir,
}

const KEEP: Keep = Keep {
    releases: KeepRules { newest: 1, age_ms: 0 },
    cache_bytes: 0,
    logs_days: 14,
    logs_bytes: 1 << 20,
    build_cache_bytes: 0,
};

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn clear(&self, known: &Known, is_asked: bool) -> BTreeMap<&'static str, usize> {
        let accounts = accounts::all(&Paths::new(self.dir.path()), KEEP, Vec::new());
        let swept = house::clear(&accounts, &Look::new(known, is_asked)).into_iter();
        swept.filter(|a| !a.items.is_empty()).map(|a| (a.kind, a.items.len())).collect()
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
        for folder in ["logs/a", "logs/short", "logs/long", "logs/gone", "bundles", "envs", "work", "cache"] {
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
        endpoints: ["a", "short", "long"].map(|id| (EndpointId::new(id), HashSet::from([1]))).into(),
        logs: HashMap::from([
            (EndpointId::new("short"), Duration::from_secs(HOUR)),
            (EndpointId::new("long"), Duration::from_secs(90 * DAY)),
        ]),
        bundles: kept(),
        environments: kept(),
        workers: HashMap::from([
            worker("running", None),
            worker("recent", Some(DAY)),
            worker("old", Some(15 * DAY)),
            worker("over", Some(2 * HOUR)),
            worker("fresh", Some(HOUR / 2)),
            worker("spooled", Some(15 * DAY)),
        ]),
        observed: HashSet::from([WorkerId::new("running"), WorkerId::new("spooled")]),
        ..Known::default()
    }
}

fn kept() -> HashMap<String, String> {
    HashMap::from([(digest('a'), "a #1 serves".to_owned()), (String::new(), String::new())])
}

/// What is there in every test: the flag says whether it stays.
fn fill(scratch: &Scratch) -> BTreeSet<String> {
    let (a, b, c, d) = (digest('a'), digest('b'), digest('c'), digest('d'));
    let things = [
        ("logs/a/running.jsonl".to_owned(), 30 * DAY, true),
        ("logs/a/recent.jsonl".to_owned(), DAY, true),
        ("logs/a/old.jsonl".to_owned(), 15 * DAY, false),
        ("logs/short/over.jsonl".to_owned(), 2 * HOUR, false),
        ("logs/short/fresh.jsonl".to_owned(), HOUR / 2 + 120, true),
        ("logs/long/old.jsonl".to_owned(), 16 * DAY, true),
        ("logs/a/spooled.jsonl".to_owned(), 15 * DAY, true),
        ("logs/a/running.000000000001.seg".to_owned(), 15 * DAY, false),
        ("logs/a/running.000000000900.seg".to_owned(), 13 * DAY, true),
        ("logs/a/running.000000000990.part".to_owned(), 12 * DAY, true),
        ("logs/a/pruned.000000000001.seg".to_owned(), 2 * HOUR, true),
        ("logs/a/pruned-long-ago.000000000001.seg".to_owned(), 15 * DAY, false),
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

/// Environments that were made to their end.
fn finish(scratch: &Scratch, letters: &[char]) {
    for letter in letters {
        let name = format!("envs/{}", digest(*letter));
        let age = File::open(scratch.dir.path().join(&name)).unwrap().metadata().unwrap().modified().unwrap();
        fs::write(scratch.dir.path().join(&name).join(".complete"), "{}").unwrap();
        File::open(scratch.dir.path().join(&name)).unwrap().set_modified(age).unwrap();
    }
}

#[test]
fn only_what_nobody_needs_goes() {
    let scratch = Scratch::new();
    let stays = fill(&scratch);
    finish(&scratch, &['a', 'b', 'c']);
    let swept = scratch.clear(&known(), false);
    assert_eq!(scratch.left(), stays);
    let expected = [("logs", 7), ("bundles", 1), ("environments", 1), ("left behind", 5)];
    assert_eq!(swept, BTreeMap::from(expected));
    assert_eq!(scratch.clear(&known(), false), BTreeMap::new());
    assert!(!scratch.dir.path().join("logs/gone").exists());
}

#[test]
fn whoever_asks_for_room_does_not_wait_a_week() {
    let scratch = Scratch::new();
    fill(&scratch);
    finish(&scratch, &['a', 'b', 'c']);
    assert_eq!(scratch.clear(&known(), true)["environments"], 2);
    assert!(scratch.left().contains(&format!("envs/{}", digest('a'))));
}

#[test]
fn what_is_shown_to_go_is_what_goes() {
    let scratch = Scratch::new();
    fill(&scratch);
    finish(&scratch, &['a', 'b', 'c']);
    let (accounts, known) = (accounts::all(&Paths::new(scratch.dir.path()), KEEP, Vec::new()), known());
    let names = |accounts: &[DiskAccount]| -> BTreeSet<String> {
        let items = accounts.iter().flat_map(|account| &account.items).filter(|item| item.goes);
        items.map(|item| item.name.clone()).collect()
    };
    let shown = house::usage(&accounts, &Look::new(&known, true));
    let gone = house::clear(&accounts, &Look::new(&known, true));
    assert_eq!(names(&shown), names(&gone));
    let bytes = |kind: &str| {
        shown.iter().find(|a| a.kind == kind).unwrap().items.iter().map(|item| item.bytes).sum::<u64>()
    };
    assert!(bytes("logs") > 0 && bytes("bundles") > 0);
}

#[test]
fn code_stays_while_a_worker_runs_that_nobody_knows() {
    let scratch = Scratch::new();
    fill(&scratch);
    finish(&scratch, &['a', 'b', 'c']);
    let swept = scratch.clear(&Known { strangers: true, ..known() }, true);
    assert_eq!((swept.get("bundles"), swept.get("environments")), (None, None));
    assert!(scratch.left().contains(&format!("envs/{}", digest('b'))));
}

#[test]
fn an_environment_in_use_stays() {
    let scratch = Scratch::new();
    let (b, e) = (digest('b'), digest('e'));
    // One was used yesterday, one is held by somebody.
    for hash in [&b, &e] {
        scratch.put(&format!("envs/{hash}/.last-used"), if *hash == b { DAY } else { 30 * DAY });
        scratch.put(&format!("envs/{hash}/.complete"), 30 * DAY);
        scratch.age(&format!("envs/{hash}"), 30 * DAY);
    }
    let held = scratch.dir.path().join(format!("envs/{e}.lock"));
    let lock = File::create(held).unwrap();
    lock.lock().unwrap();
    assert_eq!(scratch.clear(&known(), false).get("environments"), None);
    drop(lock);
    assert_eq!(scratch.clear(&known(), false).get("environments"), Some(&1));
    let envs = scratch.dir.path().join("envs");
    assert!(envs.join(b).exists() && !envs.join(e).exists());
}

#[test]
fn what_a_killed_server_left_half_made_goes_at_the_next_start() {
    let scratch = Scratch::new();
    let (a, e) = (digest('a'), digest('e'));
    // The release whose deploy was cut off may name its environment.
    for name in
        [format!("envs/{a}/"), format!("envs/{e}/"), "cache/home-x/".into(), "bundles/.unpacking-x/".into()]
    {
        scratch.put(&name, 60);
    }
    scratch.put("work/gone/", 60);
    scratch.put("work/running/", 60);
    assert_eq!(scratch.clear(&known(), false), BTreeMap::new(), "this server may be making them");
    let started = Timestamp(((NOW - 10) * 1000) as i64);
    let swept = scratch.clear(&Known { started, ..known() }, false);
    assert_eq!(swept, BTreeMap::from([("environments", 2), ("left behind", 3)]));
    assert_eq!(scratch.left(), BTreeSet::from(["work/running".to_owned()]));
}

#[test]
fn caches_are_emptied_the_longest_unused_first_and_never_under_a_build() {
    let scratch = Scratch::new();
    for (name, age) in [("cache/5001/uv/", 9 * DAY), ("cache/5002/uv/", DAY)] {
        scratch.put(name, age);
        fs::write(scratch.dir.path().join(name).join("inside/wheel"), vec![7; 1 << 20]).unwrap();
        scratch.age(&format!("{name}inside"), age);
        scratch.age(name, age);
        scratch.age(name.trim_end_matches("uv/"), age);
    }
    let accounts = |mib: u64| {
        accounts::all(&Paths::new(scratch.dir.path()), Keep { cache_bytes: mib << 20, ..KEEP }, Vec::new())
    };
    let gone = |mib: u64| {
        let swept = house::clear(&accounts(mib), &Look::new(&known(), false)).into_iter();
        swept.flat_map(|account| account.items).map(|item| item.name).collect::<Vec<_>>()
    };
    assert_eq!(gone(3), Vec::<String>::new());
    let build = File::create(scratch.dir.path().join("cache/in-use")).unwrap();
    build.lock_shared().unwrap();
    assert_eq!(gone(2), Vec::<String>::new());
    drop(build);
    assert_eq!(gone(2), ["5001"]);
    assert_eq!(gone(1), ["5002"], "one that is too large alone goes, too");
}

#[test]
fn a_token_goes_when_nothing_of_its_worker_can_come() {
    let known = known();
    for (worker, ended) in [("running", false), ("spooled", false), ("recent", true), ("pruned", true)] {
        assert_eq!(known.has_ended(&WorkerId::new(worker)), ended, "{worker}");
    }
}
