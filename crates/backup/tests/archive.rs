//! Archives of a real data directory: what comes back is what was there, and what is not whole is refused before
//! anything is written.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use runyard_backup::{BackupError, Choice, Staging, Wrapping, restore, verify, write};
use runyard_domain::release::{Launch, ReleaseState};
use runyard_domain::{
    Endpoint, EndpointId, Job, JobId, Payload, Phase, Policy, Release, Settings, Timestamp,
};
use runyard_runtime::Paths;
use runyard_store::sqlite::{Snapshot, SqliteStore};
use runyard_store::{Blobs, Command, Filter, Store, Submission};

const BUNDLE: &str = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

/// A data directory with an endpoint, a release with code, a job with a large input, logs and keys.
struct Yard {
    dir: tempfile::TempDir,
    store: SqliteStore,
    blobs: Blobs,
}

fn release(data: &Path) -> Release {
    let code = data.join("bundles").join(BUNDLE);
    let python = data.join("envs/x/bin/python").display().to_string();
    Release {
        endpoint: EndpointId::new("e"),
        number: 1,
        created_at: Timestamp(1),
        created_by: "local".into(),
        state: ReleaseState::Ready,
        handler: "handler.py".into(),
        bundle: BUNDLE.into(),
        environment: "x".into(),
        python: "3.11.2".into(),
        python_wish: runyard_domain::PythonWish::default(),
        launch: Some(Launch {
            command: vec![python, "-u".into(), code.join("handler.py").display().to_string()],
            code_dir: code.display().to_string(),
            in_place: false,
            read_dirs: vec![data.join("envs/x").display().to_string(), "/opt/other".into()],
            image: None,
            stands_for: None,
        }),
        env: [("PLACE".to_owned(), data.display().to_string())].into(),
        secure_env: [].into(),
        env_read: vec![],
        gpus: 0.into(),
        given: None,
        note: None,
        commit: None,
        took_ms: None,
    }
}

fn submit(id: &str, input: Payload) -> Command {
    let job = Job {
        id: JobId::new(id),
        endpoint: EndpointId::new("e"),
        seq: 0,
        sync: false,
        submitted_at: Timestamp(1),
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 0, ttl_ms: 60_000, low_priority: false },
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
        phase: Phase::Waiting { since: Timestamp(1) },
    };
    Command::Submit(Box::new(Submission { job, input, s3: None, idempotency_key: None }))
}

impl Yard {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = Paths::new(dir.path());
        let code = paths.bundles().join(BUNDLE).join("a folder with a long name".repeat(8));
        fs::create_dir_all(&code).expect("made");
        fs::write(code.join("handler.py"), "print()").expect("written");
        fs::create_dir_all(paths.logs().join("e")).expect("made");
        fs::write(paths.logs().join("e/w.jsonl"), "{}\n").expect("written");
        fs::create_dir_all(paths.git().join("pushed/e.git")).expect("made");
        fs::write(paths.git().join("pushed/e.git/HEAD"), "ref: refs/heads/main").expect("written");
        fs::write(paths.git().join("pushed/e.git/HEAD.lock"), "").expect("written");
        fs::create_dir_all(paths.spool()).expect("made");
        fs::write(paths.spool().join("posts"), "").expect("written");
        fs::write(paths.config(), "gpus = 1\n").expect("written");
        fs::write(paths.vault_key(), [7; 32]).expect("written");
        let blobs = Blobs::open(paths.blobs()).expect("a folder");
        let mut store = SqliteStore::open(&paths.db(), blobs.clone()).expect("a store");
        let endpoint = Endpoint::new(EndpointId::new("e"), "e".into(), Timestamp(1), Settings::default());
        let large = blobs.put("large", &vec![b'1'; 300_000]).expect("written");
        let commands = [
            Command::PutEndpoint(Box::new(endpoint)),
            Command::PutRelease(Box::new(release(dir.path()))),
            submit("small", Payload::inline("1")),
            submit("other", large),
        ];
        store.commit(Timestamp(1), &commands).expect("kept");
        Self { dir, store, blobs }
    }

    fn staging(&self, logs: bool, passphrase: Option<&str>) -> Staging {
        let wrapping = passphrase.map(|passphrase| Wrapping::new(passphrase, [3; 16]));
        let choice = Choice { logs, wrapping, nonce: [4; 24], now: 5_000, version: "1.2.3".into() };
        Staging::new(&Paths::new(self.dir.path()), &self.blobs, &choice).expect("put together")
    }

    fn archive(&self, logs: bool, passphrase: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&self.staging(logs, passphrase), &mut bytes, &mut |_| {}).expect("written");
        bytes
    }
}

fn check(archive: &[u8]) -> Result<runyard_backup::Verified, BackupError> {
    let work = tempfile::tempdir().expect("a folder");
    let checked = verify(Cursor::new(archive), work.path(), &mut |_| {});
    assert_eq!(fs::read_dir(work.path()).expect("there").count(), 0, "something is left");
    checked
}

fn put(dir: &Path, archive: &[u8]) -> PathBuf {
    let file = dir.join("backup.tar");
    fs::write(&file, archive).expect("written");
    file
}

#[test]
fn what_comes_back_is_what_was_there_at_another_place() {
    let yard = Yard::new();
    let archive = yard.archive(true, Some("open sesame"));
    let around = tempfile::tempdir().expect("a folder");
    let (file, data) = (put(around.path(), &archive), around.path().join("new"));
    let verified = check(&archive).expect("sound");
    let mut done = 0;
    let restored = restore(&file, &verified, &data, Some("open sesame"), &mut |bytes| done = bytes);
    assert!(restored.expect("restored").keys);
    assert_eq!(done, verified.manifest.bytes());
    let paths = Paths::new(&data);
    let store = SqliteStore::open(&paths.db(), Blobs::open(paths.blobs()).expect("there")).expect("a store");
    let reader = store.reader();
    assert_eq!(reader.endpoints().expect("read"), yard.store.reader().endpoints().expect("read"));
    let moved = reader.releases(&EndpointId::new("e")).expect("read");
    let real = data.canonicalize().expect("there");
    // Variables are the user's own words, and stay.
    assert_eq!(moved, [Release { env: release(yard.dir.path()).env, ..release(&real) }]);
    assert_eq!(reader.jobs(&Filter::default()).expect("read").len(), 2);
    assert_eq!(fs::read(paths.blobs().join("large")).expect("there").len(), 300_000);
    assert_eq!(fs::read(paths.vault_key()).expect("there"), [7; 32]);
    let same = |name: &str| {
        assert_eq!(fs::read(data.join(name)).ok(), fs::read(yard.dir.path().join(name)).ok(), "{name}");
    };
    for name in ["server.toml", "logs/e/w.jsonl", "git/pushed/e.git/HEAD", "spool/posts"] {
        same(name);
    }
    assert!(!paths.git().join("pushed/e.git/HEAD.lock").exists(), "a lock would stay for ever");
    let code = paths.bundles().join(BUNDLE).join("a folder with a long name".repeat(8)).join("handler.py");
    assert_eq!(fs::read_to_string(code).expect("there"), "print()");
}

#[test]
fn keys_are_closed_or_left_out() {
    let yard = Yard::new();
    let key = [7; 32];
    let holds_key = |archive: &[u8]| archive.windows(32).any(|bytes| bytes == key);
    let (without, with) = (yard.archive(false, None), yard.archive(false, Some("open sesame")));
    assert!(!holds_key(&without) && !holds_key(&with));
    let around = tempfile::tempdir().expect("a folder");
    let file = put(around.path(), &with);
    let verified = check(&with).expect("sound");
    let data = around.path().join("new");
    let refused = restore(&file, &verified, &data, Some("open barley"), &mut |_| {});
    assert!(matches!(refused, Err(BackupError::Passphrase)), "{refused:?}");
    assert!(!data.exists());
    assert!(!restore(&file, &verified, &data, None, &mut |_| {}).expect("restored").keys);
    assert!(!data.join("vault.key").exists() && !data.join("logs/e").exists());
}

#[test]
fn a_cut_or_changed_archive_is_refused() {
    let archive = Yard::new().archive(false, None);
    check(&archive).expect("sound");
    // Behind the checksums only zeros follow.
    let end = archive.iter().rposition(|byte| *byte == b'}').expect("checksums") + 1;
    for cut in (0..end).step_by(end / 97) {
        let refused = check(&archive[..cut]);
        assert!(matches!(refused, Err(BackupError::Damaged(_))), "cut at {cut}: {refused:?}");
    }
    let mut same = 0;
    for at in (0..end).step_by(end / 211) {
        let mut bent = archive.clone();
        bent[at] ^= 0x20;
        match check(&bent) {
            Err(BackupError::Damaged(_) | BackupError::Newer(_)) => {}
            // Padding behind a file, and fields of a header that nobody reads.
            Ok(_) => same += 1,
            Err(other) => panic!("bent at {at}: {other}"),
        }
    }
    assert!(same < 20, "{same} changes went unseen");
}

#[test]
fn nothing_is_written_where_something_lies() {
    let yard = Yard::new();
    let archive = yard.archive(false, None);
    let around = tempfile::tempdir().expect("a folder");
    let file = put(around.path(), &archive);
    let verified = check(&archive).expect("sound");
    let refused = restore(&file, &verified, yard.dir.path(), None, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::Occupied(_))), "{refused:?}");
    let data = around.path().join("new");
    fs::create_dir(&data).expect("made");
    fs::write(&file, yard.archive(true, None)).expect("another one");
    let refused = restore(&file, &verified, &data, None, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::Damaged(_))), "{refused:?}");
    assert_eq!(fs::read_dir(&data).expect("there").count(), 0);
    assert_eq!(fs::read_dir(around.path()).expect("there").count(), 2, "something is left");
}

#[test]
fn an_archive_with_other_files_is_refused() {
    let manifest = |files: &str| {
        format!(
            r#"{{"format":1,"version":"1","schema":1,"createdAt":0,"data":"/d","logs":false,"keys":false,"files":[{files}]}}"#
        )
    };
    let database = r#"{"name":"db/runyard.db","size":0}"#;
    for (text, why) in [
        (manifest(&format!(r#"{database},{{"name":"../x","size":0}}"#)), "does not belong"),
        (manifest(&format!(r#"{database},{{"name":"blobs/../../x","size":0}}"#)), "does not belong"),
        (manifest(&format!(r#"{database},{{"name":"vault.key","size":0}}"#)), "does not belong"),
        (manifest(&format!("{database},{database}")), "twice"),
        (manifest(""), "no database"),
        (manifest(database), "ends before 'db/runyard.db'"),
        (manifest(database).replace("\"schema\":1", "\"schema\":99"), "newer runyard"),
        (manifest(database).replace("\"format\":1", "\"format\":2"), "newer runyard"),
        ("{}".to_owned(), "cannot be read"),
    ] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, "runyard-backup.json", text.as_bytes()).expect("written");
        let refused = check(&archive.into_inner().expect("whole")).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
    check(b"").expect_err("nothing");
    check(&[0; 10_240]).expect_err("zeros");
}

#[test]
fn jobs_that_end_meanwhile_keep_their_payloads_in_the_backup() {
    let mut yard = Yard::new();
    let staging = yard.staging(false, None);
    yard.store.commit(Timestamp(2), &[Command::DropEndpoint(EndpointId::new("e"))]).expect("dropped");
    assert!(!yard.blobs.dir().join("large").exists());
    let mut archive = Vec::new();
    write(&staging, &mut archive, &mut |_| {}).expect("written");
    let verified = check(&archive).expect("sound");
    assert!(verified.manifest.files.iter().any(|file| file.name == "blobs/large"));
    drop(staging);
    let left = fs::read_dir(yard.dir.path().join("backup")).expect("there").count();
    assert_eq!(left, 0, "what was put together is gone");
    let copy = Snapshot::take(&yard.dir.path().join("db"), &yard.dir.path().join("copy.db")).expect("copied");
    assert_eq!(copy.reader().endpoints().expect("read").len(), 0);
}
