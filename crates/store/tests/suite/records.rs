//! Records of the control plane: replaced as a whole, listed in their order, pruned.

use runyard_domain::git::{Connection, Origin, Part, Target};
use runyard_domain::registry::Registry;
use runyard_domain::resource::{Kind, NetworkVolume};
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    ConnectionId, Example, Exit, FailReason, ReleaseState, Resource, ResourceId, Scaler, Timestamp,
};
use runyard_store::{Command, Reply};

use crate::bench::*;

conformance!(
    endpoints,
    releases,
    workers,
    workers_that_are_gone_are_pruned,
    keys,
    members,
    connections,
    registries,
    resources,
    examples,
    secrets,
    data_keys,
    audit_log
);

fn endpoints(b: &mut Bench) {
    assert_eq!(b.reader.endpoints().unwrap(), []);
    for (id, name) in [("e1", "zeta"), ("e2", "alpha"), ("e3", "mid")] {
        assert_eq!(b.one(Command::PutEndpoint(Box::new(endpoint(id, name)))), Reply::Nothing);
    }
    let mut changed = endpoint("e1", "beta");
    changed.serving = Some(4);
    changed.settings.scaler = Scaler::RequestCount(3);
    b.one(Command::PutEndpoint(Box::new(changed.clone())));
    assert_eq!(b.reader.endpoints().unwrap(), [endpoint("e2", "alpha"), changed, endpoint("e3", "mid")]);
}

fn releases(b: &mut Bench) {
    for number in [2, 1, 10] {
        b.one(Command::PutRelease(Box::new(release("e", number))));
    }
    b.one(Command::PutRelease(Box::new(release("other", 5))));
    let mut failed = release("e", 2);
    failed.state =
        ReleaseState::Failed { reason: FailReason::TestFailed { test: "t".into(), message: "no".into() } };
    b.one(Command::PutRelease(Box::new(failed.clone())));
    assert_eq!(b.reader.releases(&e("e")).unwrap(), [release("e", 10), failed, release("e", 1)]);
    assert_eq!(b.reader.releases(&e("nobody")).unwrap(), []);
}

fn workers(b: &mut Bench) {
    let mut gone = worker("w4", "e", 40, WorkerState::Gone);
    gone.exit = Some(Exit {
        code: None,
        signal: Some(9),
        out_of_memory: false,
        last_lines: vec!["x".into()],
        fault: None,
    });
    gone.ended_at = Some(Timestamp(50));
    for record in [
        worker("w1", "e", 10, WorkerState::Starting),
        worker("w2", "e", 20, WorkerState::Ready),
        worker("w3", "other", 30, WorkerState::Draining),
        worker("w5", "e", 20, WorkerState::Ready),
        worker("w4", "e", 40, WorkerState::Ready),
        gone.clone(),
    ] {
        b.one(Command::PutWorker(Box::new(record)));
    }
    let ids = |list: Vec<runyard_domain::WorkerRecord>| -> Vec<String> {
        list.into_iter().map(|record| record.id.to_string()).collect()
    };
    assert_eq!(ids(b.reader.workers(None, 9).unwrap()), ["w3", "w5", "w2", "w1", "w4"]);
    assert_eq!(ids(b.reader.workers(Some(&e("e")), 9).unwrap()), ["w5", "w2", "w1", "w4"]);
    assert_eq!(ids(b.reader.workers(Some(&e("e")), 2).unwrap()), ["w5", "w2"]);
    assert_eq!(b.reader.worker(&w("w4")).unwrap(), Some(gone));
    assert_eq!(b.reader.worker(&w("nobody")).unwrap(), None);
}

fn workers_that_are_gone_are_pruned(b: &mut Bench) {
    let put = |n: i64, endpoint: &str, state| {
        Command::PutWorker(Box::new(worker(&format!("{endpoint}-{n:03}"), endpoint, n, state)))
    };
    let mut commands: Vec<Command> = (0..250).map(|n| put(n, "e", WorkerState::Gone)).collect();
    commands.push(put(0, "live", WorkerState::Ready));
    commands.push(put(999, "e", WorkerState::Ready));
    commands.push(put(1, "other", WorkerState::Gone));
    b.all(&commands);
    let of_e = b.reader.workers(Some(&e("e")), 999).unwrap();
    assert_eq!(of_e.len(), 201);
    assert_eq!(of_e[0].id, w("e-999"));
    assert_eq!((&of_e[1].id, &of_e[200].id), (&w("e-249"), &w("e-050")));
    assert_eq!(b.reader.workers(None, 999).unwrap().len(), 203);
}

fn keys(b: &mut Bench) {
    for (id, at) in [("k2", 2), ("k1", 1), ("k3", 2)] {
        b.one(Command::PutKey(Box::new(key_record(id, at))));
    }
    let mut revoked = key_record("k1", 1);
    revoked.revoked_at = Some(Timestamp(9));
    b.one(Command::PutKey(Box::new(revoked.clone())));
    assert_eq!(b.reader.keys().unwrap(), [revoked.clone(), key_record("k2", 2), key_record("k3", 2)]);
    let used = [("k1", 20), ("k3", 21), ("gone", 22)];
    let used = used.map(|(id, at)| (runyard_domain::KeyId::new(id), Timestamp(at))).to_vec();
    b.one(Command::UseKeys(used));
    let at: Vec<_> = b.reader.keys().unwrap().into_iter().map(|key| key.used_at).collect();
    assert_eq!(at, [Some(Timestamp(20)), None, Some(Timestamp(21))]);
    assert_eq!(b.reader.keys().unwrap()[0].revoked_at, revoked.revoked_at);
}

fn secrets(b: &mut Bench) {
    for record in [secret_record("b", 1), secret_record("A", 1), secret_record("b", 2)] {
        b.one(Command::PutSecret(Box::new(record)));
    }
    assert_eq!(b.reader.secrets().unwrap(), [secret_record("A", 1), secret_record("b", 2)]);
    let names = vec!["b".to_owned(), "gone".to_owned()];
    b.one(Command::UseSecrets { names, at: Timestamp(9) });
    let used = runyard_domain::SecretRecord { used_at: Some(Timestamp(9)), ..secret_record("b", 2) };
    assert_eq!(b.reader.secret("b").unwrap(), Some(used));
    assert_eq!(b.reader.secret("a").unwrap(), None);
    b.one(Command::DropSecret("b".into()));
    b.one(Command::DropSecret("gone".into()));
    assert_eq!(b.reader.secrets().unwrap(), [secret_record("A", 1)]);
}

fn data_keys(b: &mut Bench) {
    let record = |id: &str, by: &str| runyard_domain::DataKeyRecord {
        id: id.into(),
        wrapped_by: by.into(),
        wrapped: "d3JhcHBlZA==".into(),
        created_at: Timestamp(1),
    };
    b.one(Command::PutDataKeys(vec![record("2", "old"), record("1", "old")]));
    assert_eq!(b.reader.data_keys().unwrap(), [record("1", "old"), record("2", "old")]);
    b.one(Command::PutDataKeys(vec![record("1", "new"), record("3", "new")]));
    assert_eq!(b.reader.data_keys().unwrap(), [record("1", "new"), record("2", "old"), record("3", "new")]);
}

fn connections(b: &mut Bench) {
    let (first, second) = (connection("git_1", "a"), connection("git_2", "b"));
    b.one(Command::PutConnection(Box::new(second.clone())));
    b.one(Command::PutConnection(Box::new(connection("git_0", "a"))));
    // An endpoint has one repository: a new connection takes the place of the old one.
    b.one(Command::PutConnection(Box::new(first.clone())));
    assert_eq!(b.reader.connections().unwrap(), [first.clone(), second.clone()]);
    assert_eq!(b.reader.connection(&first.id).unwrap(), Some(first.clone()));
    b.one(Command::DropConnection(first.id.clone()));
    assert_eq!(b.reader.connection(&first.id).unwrap(), None);
    b.one(Command::PutEndpoint(Box::new(endpoint("b", "b"))));
    b.one(Command::DropEndpoint(e("b")));
    assert_eq!(b.reader.connections().unwrap(), []);
}

fn registries(b: &mut Bench) {
    let named = |name: &str, sealed: &str| Registry {
        name: name.into(),
        server: "ghcr.io".into(),
        username: "me".into(),
        created_at: Timestamp(1),
        created_by: "local".into(),
        sealed: sealed.into(),
    };
    b.one(Command::PutRegistry(Box::new(named("two", "b2xk"))));
    b.one(Command::PutRegistry(Box::new(named("one", "c2VhbGVk"))));
    b.one(Command::PutRegistry(Box::new(named("two", "bmV3"))));
    assert_eq!(b.reader.registries().unwrap(), [named("one", "c2VhbGVk"), named("two", "bmV3")]);
    b.one(Command::DropRegistry("one".into()));
    b.one(Command::DropRegistry("none".into()));
    assert_eq!(b.reader.registries().unwrap(), [named("two", "bmV3")]);
}

fn resources(b: &mut Bench) {
    let keys = Kind::SshKeys { keys: vec!["ssh-ed25519 AAAA me".into()] };
    let volume = Kind::NetworkVolume(NetworkVolume { size_gb: 10, data_center: "L".into(), fast: true });
    let record = |id: &str, name: &str, kind: &Kind| Resource {
        id: ResourceId::new(id),
        name: name.into(),
        created_at: Timestamp(1),
        kind: kind.clone(),
    };
    b.one(Command::PutResource(Box::new(record("v2", "models", &volume))));
    b.one(Command::PutResource(Box::new(record("v1", "old", &volume))));
    b.one(Command::PutResource(Box::new(record("k", "", &keys))));
    b.one(Command::PutResource(Box::new(record("v1", "new", &volume))));
    let all = [record("k", "", &keys), record("v1", "new", &volume), record("v2", "models", &volume)];
    assert_eq!(b.reader.resources().unwrap(), all);
    assert_eq!(b.reader.resource(&all[1].id).unwrap().as_ref(), Some(&all[1]));
    b.one(Command::DropResource(all[1].id.clone()));
    b.one(Command::DropResource(all[1].id.clone()));
    assert_eq!(b.reader.resource(&all[1].id).unwrap(), None);
    assert_eq!(b.reader.resources().unwrap().len(), 2);
}

fn examples(b: &mut Bench) {
    let example = |endpoint: &str, name: &str, input: &str| Example {
        endpoint: e(endpoint),
        name: name.into(),
        input: input.into(),
        updated_at: Timestamp(1),
        by: "local".into(),
    };
    for (endpoint, name, input) in
        [("a", "zwei", "{}"), ("a", "eins", "[1]"), ("b", "zwei", "2"), ("a", "zwei", "{\"x\": 1.0}")]
    {
        b.one(Command::PutExample(Box::new(example(endpoint, name, input))));
    }
    let of_a = [example("a", "eins", "[1]"), example("a", "zwei", "{\"x\": 1.0}")];
    assert_eq!(b.reader.examples(&e("a")).unwrap(), of_a);
    b.one(Command::DropExample(e("a"), "eins".into()));
    b.one(Command::DropExample(e("a"), "none".into()));
    assert_eq!(b.reader.examples(&e("a")).unwrap(), of_a[1..]);
    b.one(Command::DropEndpoint(e("a")));
    assert_eq!(b.reader.examples(&e("a")).unwrap(), []);
    assert_eq!(b.reader.examples(&e("b")).unwrap(), [example("b", "zwei", "2")]);
}

fn connection(id: &str, endpoint: &str) -> Connection {
    let mut connection = Connection {
        id: ConnectionId::new(id),
        endpoint: e(endpoint),
        created_at: Timestamp(1),
        created_by: "local".into(),
        origin: Origin::Pushed,
        part: Part::default(),
        secrets: Some("c2VhbGVk".into()),
        previews: vec![],
        builds: vec![],
        trouble: None,
    };
    connection.want(Target::Main, "c0ffee", "refs/heads/main", Timestamp(2));
    connection.want(Target::Main, "decade", "refs/heads/main", Timestamp(3));
    connection
}

fn members(b: &mut Bench) {
    use runyard_domain::{KeyId, Member, MemberId, Role};

    let member = |id: &str, at: i64| Member {
        id: MemberId::new(id),
        name: "Ann".into(),
        email: format!("{id}@example.com"),
        role: Role::Dev,
        created_at: Timestamp(at),
        created_by: "local".into(),
        disabled_at: None,
        signed_in_at: None,
        subject: None,
    };
    for (id, at) in [("a", 30), ("c", 10), ("b", 20)] {
        b.one(Command::PutMember(Box::new(member(id, at))));
        b.one(Command::PutKey(Box::new(key_record(id, at))));
    }
    let disabled = Member { disabled_at: Some(Timestamp(9)), role: Role::Admin, ..member("b", 20) };
    b.one(Command::PutMember(Box::new(disabled.clone())));
    assert_eq!(b.reader.members().unwrap(), [member("c", 10), disabled.clone(), member("a", 30)]);
    b.one(Command::DropMember(MemberId::new("c")));
    b.one(Command::DropMember(MemberId::new("c")));
    assert_eq!(b.reader.members().unwrap(), [disabled, member("a", 30)]);
    b.one(Command::DropKeys(vec![KeyId::new("a"), KeyId::new("none"), KeyId::new("c")]));
    assert_eq!(b.reader.keys().unwrap(), [key_record("b", 20)]);
}

fn audit_log(b: &mut Bench) {
    use runyard_domain::audit::{FieldChange, KEPT_MS, MOST};
    use runyard_domain::{AuditFilter, AuditRecord};

    let record = |at: i64, endpoint: Option<&str>| AuditRecord {
        seq: 0,
        at: Timestamp(at),
        who: "k1".into(),
        who_name: Some("ci".into()),
        member: None,
        from: Some("10.0.0.1".into()),
        action: "endpoint.change".into(),
        endpoint: endpoint.map(e),
        endpoint_name: None,
        subject: None,
        changes: vec![FieldChange { field: "a".into(), old: 1.into(), new: "x".into() }],
    };
    let put = |at, endpoint| Command::PutAudit(Box::new(record(at, endpoint)));
    let listed = |b: &Bench, filter: AuditFilter| -> Vec<u64> {
        b.reader.audit(&filter).unwrap().into_iter().map(|record| record.seq).collect()
    };
    let all = AuditFilter { limit: 99, ..AuditFilter::default() };
    for (at, endpoint) in [(10, Some("e")), (20, None), (30, Some("f")), (40, Some("e"))] {
        assert_eq!(b.one(put(at, endpoint)), Reply::Nothing);
    }
    assert_eq!(b.reader.audit(&all).unwrap()[0], AuditRecord { seq: 4, ..record(40, Some("e")) });
    assert_eq!(listed(b, AuditFilter { endpoint: Some(e("e")), ..all.clone() }), [4, 1]);
    assert_eq!(listed(b, AuditFilter { since: Some(Timestamp(20)), ..all.clone() }), [4, 3, 2]);
    assert_eq!(listed(b, AuditFilter { before: Some(3), limit: 1, ..AuditFilter::default() }), [2]);
    let of = |who: &str| AuditFilter { who: Some(who.into()), ..all.clone() };
    assert_eq!((listed(b, of("ci")).len(), listed(b, of("k1")).len(), listed(b, of("k")).len()), (4, 4, 0));
    let action =
        |action: &str| AuditFilter { action: Some(action.into()), until: Some(Timestamp(20)), ..all.clone() };
    assert_eq!((listed(b, action("endpoint")), listed(b, action("end"))), (vec![1], vec![]));
    // A record goes with what it tells of: what is refused is not told.
    let recorded = |command| {
        let record = Box::new(record(40, Some("e")));
        Command::Recorded { command: Box::new(command), record }
    };
    assert_eq!(b.one(recorded(Command::DropRegistry("none".into()))), Reply::Nothing);
    assert!(matches!(b.one(recorded(cancel("none"))), Reply::Refused(_)));
    assert_eq!(listed(b, all.clone()), [5, 4, 3, 2, 1]);
    // What is older than it is kept for goes, and what is too much.
    b.one(put(20 + KEPT_MS, None));
    assert_eq!(listed(b, all.clone()), [6, 5, 4, 3, 2]);
    let many: Vec<Command> = (0..MOST).map(|_| put(20 + KEPT_MS, None)).collect();
    b.all(&many);
    let kept = listed(b, AuditFilter { limit: usize::MAX, ..AuditFilter::default() });
    assert_eq!((kept.len() as u64, kept.last()), (MOST, Some(&7)));
}
