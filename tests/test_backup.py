"""Backups: made while the server runs and works, refused where they are not whole, and restored at another place to a
server with the same endpoints, keys, jobs and results."""

import json
import shutil

import pytest

from support.load import Load
from support.wire import until
from support.yard import Yard
from test_kill import WORKER, pads, steady

WORKERS = 2
PHRASE = {"RUNYARD_BACKUP_PASSPHRASE": "correct horse battery"}


def deploy(yard, project):
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, "syn", "--handler", "worker.py", "--min", WORKERS, "--max", WORKERS, "--idle", "1h")
    until(lambda: steady(yard, "syn", WORKERS), 30, say=lambda: yard.wire.workers("syn"))


@pytest.fixture
def working(make_yard, project, journal):
    """A server with an endpoint that works and one that is parked."""
    yard = make_yard().start()
    deploy(yard, project)
    yard.wire.api("/endpoints", "POST", {"name": "parked", "settings": {"workers_max": 0}})
    return yard


def given(journal, number):
    return {"number": number, "ms": 1, "pad": pads(number), "journal": str(journal)}


def backup(yard, *flags, env=None):
    """Where the backup is, and what is said of it."""
    done = yard.cli("backup", "create", yard.root, "--json", *flags, env=env)
    return done.json["file"], done


def restored(make_yard, file, *flags, env=None, like=None):
    """A server of its own of a restored backup, with the keys that its user had."""
    yard = make_yard()
    yard.data = yard.root / "somewhere/else"
    done = yard.cli("backup", "restore", file, *flags, env=env)
    (yard.home / ".config/runyard").mkdir(parents=True)
    shutil.copy(like.home / ".config/runyard/credentials.toml", yard.home / ".config/runyard/credentials.toml")
    return yard.start(), done


def shape(yard):
    """What a restored server has to have of the first one."""
    endpoints = {e["name"]: (e["id"], e["serving"], e["settings"]) for e in yard.wire.api("/endpoints")["endpoints"]}
    keys = sorted((k["id"], k["name"], k["access"]) for k in yard.wire.api("/keys")["keys"])
    releases = [(r["number"], r["state"], r["handler"]) for r in yard.wire.api("/endpoints/syn/releases")["releases"]]
    return endpoints, keys, releases


@pytest.fixture
def with_own_environments(binary, make_yard, project, journal):
    """The same, with environments in its data directory and nowhere else."""
    yard = Yard(binary)
    try:
        yard.start()
        deploy(yard, project)
        yard.wire.api("/endpoints", "POST", {"name": "parked", "settings": {"workers_max": 0}})
        yield yard
    finally:
        yard.close()


def test_a_restored_directory_serves_the_same(with_own_environments, make_yard, journal):
    working = with_own_environments
    jobs = [working.wire.run("syn", given(journal, number)) for number in (1, 2, 97)]
    done = {job: working.wire.wait("syn", job) for job in jobs}
    waiting = working.wire.run("parked", {"large": "x" * 400_000})
    reader = working.cli("keys", "create", "--name", "reader", "--access", "read").out.strip()
    before = shape(working)
    file, said = backup(working, "--logs", env=PHRASE)
    assert said.json["keys"] and said.json["logs"], said
    working.stop()
    working.end_agent()
    shutil.rmtree(working.data / "envs")

    yard, said = restored(make_yard, file, env=PHRASE, like=working)
    assert said.out.strip() == str(yard.data) and "syn #1" in said.err, said
    assert shape(yard) == before
    for job, answer in done.items():
        assert yard.wire.status("syn", job) == answer
    assert yard.wire.status("parked", waiting)["status"] == "IN_QUEUE"
    assert len(yard.wire.job(waiting)["input"]["large"]) == 400_000
    assert yard.wire.call("GET", "/api/v1/endpoints", headers={"authorization": reader})[0] == 200
    until(lambda: steady(yard, "syn", WORKERS), 60, say=lambda: yard.wire.workers("syn"))
    after = yard.wire.do("syn", given(journal, 3))
    assert after["status"] == "COMPLETED" and after["output"] == {"number": 3, "pad": pads(3)}, after
    logs = yard.wire.api("/logs?endpoint=syn&limit=5000")["records"]
    assert any(record["worker"] == done[jobs[0]]["workerId"] for record in logs), "logs came along"
    for name in ("vault.key", "webhook.secret", "server.toml"):
        assert (yard.data / name).read_bytes() == (working.data / name).read_bytes(), name


def test_a_backup_under_load_holds_all_that_was_accepted_before_it(working, make_yard, journal):
    def make(number):
        return "syn", {**given(journal, number), "ms": number * 7 % 90}

    with Load(working, make) as load:
        until(lambda: len(load.seen) > 40, 60)
        accepted, ended = dict(load.acknowledged), dict(load.seen)
        file, _ = backup(working)
        more = len(load.acknowledged)
        until(lambda: len(load.acknowledged) > more + 20, 60)
        load.end()
    load.settle(60)
    assert working.cli("backup", "verify", file, "--json").json["bytes"] > 0
    assert not list((working.data / "backup").iterdir()), "what was put together is gone"
    working.stop()
    working.end_agent()

    yard, _ = restored(make_yard, file, like=working)
    for job, answer in ended.items():
        assert yard.wire.status("syn", job) == answer, "a result that was seen is the same"
    for job, (_, sent) in accepted.items():
        answer = yard.wire.wait("syn", job, 60)
        assert answer["status"] == "COMPLETED" and answer["output"]["number"] == sent["number"], answer


def test_without_a_server_too_and_doctor_knows(working, make_yard):
    def verdict():
        checks = working.cli("doctor", "--json", code=None).json["checks"]
        return next(check for check in checks if check["check"] == "backup")

    assert verdict()["verdict"] == "warn"
    working.stop()
    file, said = backup(working)
    assert "the keys are not in it" in said.err and not said.json["keys"], said
    checked = working.cli("backup", "verify", file)
    assert "sound  yes" in checked.out, checked
    assert verdict()["verdict"] == "ok" and file in verdict()["found"]
    yard, said = restored(make_yard, file, like=working)
    assert "the keys are not there" in said.err, said
    assert {e["name"] for e in yard.wire.api("/endpoints")["endpoints"]} == {"syn", "parked"}


def test_what_cannot_be_restored_is_refused_before_anything_is_written(working, tmp_path):
    file, _ = backup(working, env=PHRASE)
    whole = open(file, "rb").read()
    to = tmp_path / "new"

    def refused(content, *flags, env=None, data=to, code=1):
        (tmp_path / "b.tar").write_bytes(content)
        kept, working.data = working.data, data
        try:
            done = working.cli("backup", "restore", tmp_path / "b.tar", *flags, code=None, env=env)
        finally:
            working.data = kept
        assert done.code == code, done
        return done.err

    bent = bytearray(whole)
    bent[len(whole) // 2] ^= 1
    assert "no sound backup" in refused(bytes(bent), env=PHRASE)
    assert "no sound backup" in refused(whole[: len(whole) // 2], env=PHRASE)
    assert "no sound backup" in refused(b"x" * 5_000, env=PHRASE)
    assert "closed with a passphrase" in refused(whole, code=2)
    assert "does not open" in refused(whole, env={"RUNYARD_BACKUP_PASSPHRASE": "wrong wrong"})
    assert not to.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["b.tar", "project"]
    assert "is not empty" in refused(whole, env=PHRASE, data=working.data)


def test_who_may(working):
    key = working.cli("keys", "create", "--name", "d", "--access", "deploy").out.strip()
    for method, path in [("POST", "/api/v1/backup"), ("GET", "/api/v1/doctor")]:
        assert working.wire.call(method, path, headers={"authorization": key})[0] == 403
    status, answer = working.wire.call("POST", "/api/v1/backup", {"logz": True})
    assert status == 400 and "logz" in answer["detail"], answer
    status, answer = working.wire.call("POST", "/api/v1/backup", {"wrapping": {"key": "", "salt": "", "memoryKib": 1, "passes": 1}})
    assert status == 400 and "wrapping" in answer["detail"], answer


def test_to_stdout(working):
    import subprocess

    done = subprocess.run([working.binary, "--data", str(working.data), "backup", "create", "-"], env=working.env,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    file = working.root / "piped.tar"
    file.write_bytes(done.stdout)
    assert json.loads(working.cli("backup", "verify", file, "--json").out)["files"] > 1
