"""Another version takes the place of a server under load: no connection is refused, no job is lost, no worker ends,
and the agent is replaced once none of its workers is left. The other version is this one with another number in it."""

import shutil
import signal
import threading

import pytest

from support.load import Load
from support.wire import until
from test_kill import WORKER, check_jobs, pads, steady

WORKERS = 3
OLD, NEW = b"0.1.0", b"0.1.9"


@pytest.fixture
def newer(binary, tmp_path):
    """The binary, saying that it is another version."""
    content = binary.read_bytes()
    assert OLD in content
    program = tmp_path / "runyard-new"
    program.write_bytes(content.replace(OLD, NEW))
    program.chmod(0o755)
    return program


@pytest.fixture
def working(make_yard, binary, project, journal):
    """A server with a program of its own, and an endpoint that works."""
    yard = make_yard()
    yard.binary = str(shutil.copy2(binary, yard.root / "runyard"))
    yard.start()
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, "syn", "--handler", "worker.py", "--min", WORKERS, "--max", WORKERS, "--idle", "1h")
    until(lambda: steady(yard, "syn", WORKERS), 30, say=lambda: yard.wire.workers("syn"))
    return yard


def version(yard):
    return yard.wire.api("/info")["version"]


def agent_version(yard):
    return yard.agent_call("GET", "/info")["version"]


class Knocking:
    """Asks again and again on new connections: each has to be answered, however long it takes."""

    def __init__(self, yard):
        self.yard, self.answers, self.wrong, self.end = yard, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.knock, daemon=True)

    def knock(self):
        while not self.end.is_set():
            try:
                status, answer = self.yard.wire.call("GET", "/healthz", timeout=60)
            except OSError as error:
                self.wrong.append(repr(error))
                continue
            self.answers += status == 200
            if status != 200:
                self.wrong.append((status, answer))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(60)


def test_an_upgrade_under_load_loses_nothing_and_ends_nobody(working, newer, journal):
    before = steady(working, "syn", WORKERS)
    pid = working.server.pid

    def make(number):
        return "syn", {"number": number, "ms": number * 7 % 90, "pad": pads(number), "journal": str(journal)}

    checked = working.cli("upgrade", newer, "--check", "--json").json
    assert (checked["from"], checked["to"], checked["workers"], checked["done"]) == ("0.1.0", "0.1.9", WORKERS, False)
    with Load(working, make) as load, Knocking(working) as knocking:
        until(lambda: len(load.seen) > 30, 60)
        done = working.cli("upgrade", newer)
        assert done.out.strip() == "0.1.9 serves", done
        assert version(working) == "0.1.9" and working.server.pid == pid and working.server.poll() is None
        more = len(load.seen)
        until(lambda: len(load.seen) > more + 30, 60)
        load.end()
    load.settle(60)
    assert knocking.answers > 0 and not knocking.wrong, knocking.wrong[:5]
    check_jobs(working, load, journal, attempts_may_rise=False)
    assert steady(working, "syn", WORKERS) == before, "the same processes as before"

    # The agent is the old one as long as they live.
    assert agent_version(working) == "0.1.0"
    checks = {c["check"]: c for c in working.cli("doctor", "--json", code=None).json["checks"]}
    assert checks["agent-version"]["verdict"] == "warn", checks["agent-version"]
    working.wire.api("/endpoints/syn", "PATCH", {"settings": {"workers_min": 0, "workers_max": 0}})
    until(lambda: not working.wire.workers("syn"), 40, say=lambda: working.wire.workers("syn"))
    until(lambda: not working.agent_call("GET", "/workers"), 40)
    working.wire.api("/endpoints/syn", "PATCH", {"settings": {"workers_max": 1}})
    after = working.wire.do("syn", make(9_999_999)[1], limit=60)
    assert after["status"] == "COMPLETED" and agent_version(working) == "0.1.9"
    assert (working.root / "runyard.old").read_bytes().count(OLD) > 0


def test_who_waits_for_a_result_is_answered(working, newer, journal, tmp_path):
    gate, answers = journal.parent / "gate", []
    body = {"input": {"number": 1, "ms": 1, "pad": "", "journal": str(journal), "until": str(gate)}}
    waiting = threading.Thread(target=lambda: answers.append(working.wire.call("POST", "/v2/syn/runsync", body)))
    waiting.start()
    until(lambda: working.wire.ok("GET", "/v2/syn/health")["jobs"]["inProgress"] == 1, 30)
    working.cli("upgrade", newer)
    waiting.join(30)
    (status, answer), = answers
    assert status == 200 and answer["status"] == "IN_PROGRESS", answer
    gate.touch()
    done = working.wire.wait("syn", answer["id"])
    assert done["status"] == "COMPLETED" and working.wire.job(answer["id"])["attempt"] == 1, done


def test_what_cannot_take_over_is_refused(working, tmp_path):
    before, content = steady(working, "syn", WORKERS), open(working.binary, "rb").read()
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho '{}'\n")
    other.chmod(0o755)
    assert "no runyard that could take over" in working.cli("upgrade", other, code=1).err
    older = tmp_path / "older"
    older.write_text("#!/bin/sh\necho '{\"name\":\"runyard\",\"version\":\"0.0.9\",\"schema\":1}'\n")
    older.chmod(0o755)
    refused = working.cli("upgrade", older, code=2)
    assert "there is no way back" in refused.err, refused
    assert open(working.binary, "rb").read() == content and steady(working, "syn", WORKERS) == before


def test_a_program_that_cannot_be_started_leaves_the_old_one_serving(working):
    started = working.wire.api("/info")["startedAt"]
    shutil.move(working.binary, working.binary + ".away")
    working.server.send_signal(signal.SIGUSR2)
    until(lambda: working.wire.call("GET", "/api/v1/info")[1]["startedAt"] != started, 30)
    assert version(working) == "0.1.0" and "going on as before" in working.server_log()
    assert steady(working, "syn", WORKERS)
    shutil.move(working.binary + ".away", working.binary)


def test_a_server_that_does_not_run_has_nothing_to_swap(working, newer):
    working.stop()
    refused = working.cli("upgrade", newer, code=5)
    assert "no server runs on" in refused.err, refused
