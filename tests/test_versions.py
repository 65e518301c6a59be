"""Every worker SDK in the field: what a handler of 1.6.2, 1.7.5, 1.7.12, 1.12.0, 2.0.0rc2 or of the Rust crate does
comes out the same, and no version loses, doubles or delays a job.

One server serves the file. A test looks at all versions at the same time, and names each that failed.
"""

import json
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.field import ALL, PYTHON, RUST, Field, each, executions
from support.proxy import CountingProxy
from support.wire import until
from support.yard import Yard

# With a stop channel: these let go of a job without being replaced.
STOPPABLE = ("1.12.0", "2.0.0rc2")
# These end at once on SIGTERM, whatever they do.
UNPREPARED = ("1.6.2", RUST)
AT_ONCE = 3


@pytest.fixture(scope="module")
def field(binary, tools, sdks):
    yard = Yard(binary, tools)
    try:
        yield Field(yard.start(), sdks)
    finally:
        yard.close()


@pytest.fixture(scope="module")
def plain(field):
    """An endpoint for each SDK, with a blocking handler (the crate's always waits)."""
    return field.deploy_each("plain", ALL, "--idle", "5s")


@pytest.fixture(scope="module")
def waiting(field):
    """An endpoint for each SDK, whose handler waits and whose workers run several jobs at once."""
    return field.deploy_each("waiting", ALL, "--idle", "5s", "--concurrency", AT_ONCE, FIELD_MODE="async",
                             FIELD_CONCURRENCY=AT_ONCE, RUNPOD_WORKER_CONCURRENCY=AT_ONCE)


@pytest.fixture(scope="module")
def pieces(field):
    """An endpoint for each SDK that streams."""
    return field.deploy_each("pieces", PYTHON, "--idle", "5s", FIELD_MODE="generator")


class Crowd:
    """Jobs for an endpoint with several workers, submitted at once; each execution is in the journal."""

    def __init__(self, field, endpoint, names, inputs):
        self.wire, self.endpoint, self.names = field.yard.wire, endpoint, names
        self.journal = field.journal(endpoint)
        field.deploy(endpoint, names, "--min", len(names), "--max", len(names), "--idle", "1h")
        until(lambda: len([w for w in self.wire.workers(endpoint) if w["readyAt"]]) == len(names), 60,
              say=lambda: self.wire.workers(endpoint))
        self.given = [{"value": n, "journal": str(self.journal), **given} for n, given in enumerate(inputs)]
        with ThreadPoolExecutor(8) as pool:
            self.jobs = list(pool.map(lambda given: self.wire.run(endpoint, given), self.given))

    def check(self, limit):
        """All complete, once each; every worker had some. Returns {SDK: how many}."""
        until_then = time.monotonic() + limit
        tally = dict.fromkeys(self.names, 0)
        for job, given in zip(self.jobs, self.given):
            done = self.wire.wait(self.endpoint, job, max(1, until_then - time.monotonic()))
            assert done["status"] == "COMPLETED" and done["output"]["value"] == given["value"], done
            assert "retries" not in done, done
            tally[done["output"]["sdk"]] += 1
        ran = executions(self.journal)
        assert set(ran) == set(self.jobs)
        assert {job: workers for job, workers in ran.items() if len(workers) > 1} == {}, "some ran more than once"
        health = self.wire.ok("GET", f"/v2/{self.endpoint}/health")["jobs"]
        assert (health["completed"], health["failed"], health["retried"]) == (len(self.jobs), 0, 0), health
        assert all(tally.values()), tally
        return tally


@pytest.fixture(scope="module")
def everybody(field):
    """All SDKs in one endpoint, with some hundred jobs. Tests that wait for clocks let it work meanwhile."""
    return Crowd(field, "everybody", ALL, [{"sleep": n % 5 / 10} for n in range(300)])


@pytest.fixture(scope="module")
def two(field):
    """The newest SDK and the one to come, with short and long jobs."""
    return Crowd(field, "two", STOPPABLE, [{"sleep": 0.01}] * 50 + [{"sleep": 1.2}] * 50)


@pytest.fixture
def journal(field, request):
    return field.journal(request.node.originalname)


@pytest.fixture
def wire(field):
    return field.yard.wire


def running(wire, endpoint, job, limit=30):
    return until(lambda: (s := wire.status(endpoint, job))["status"] == "IN_PROGRESS" and s, limit,
                 say=lambda: wire.explain(endpoint, job))


def gone(wire, endpoint, worker, limit=40):
    """The record of a worker once it has ended."""
    def look():
        return next((w for w in wire.workers(endpoint, living=False) if w["id"] == worker and w["state"] == "gone"), None)

    return until(look, limit, say=lambda: wire.workers(endpoint, living=False))


# What handlers answer.


@pytest.mark.parametrize("value", [{"a": [1, {"b": None}], "c": "ü\u2028"}, "", 0, None], ids=json.dumps)
def test_what_a_handler_returns(wire, plain, value):
    def check(name):
        done = wire.do(plain[name], {"value": value})
        assert done["status"] == "COMPLETED" and done["output"] == {"value": value, "sdk": name}, done
        # The Rust worker holds its result back until its next poll is answered.
        assert done["executionTime"] < 5_000, done

    each(ALL, check)


def test_errors_and_exceptions(wire, plain):
    def check(name):
        done = wire.do(plain[name], {"error": "too much mauve"})
        assert (done["status"], done["error"], done["reason"]["code"]) == ("FAILED", "too much mauve", "handler_error"), done
        done = wire.do(plain[name], {"raise": "no more mauve"})
        assert done["status"] == "FAILED" and "no more mauve" in done["error"] and "retries" not in done, done
        if name in PYTHON:
            assert done["reason"]["code"] == "handler_exception", done
            assert "ValueError: no more mauve" in done["reason"]["message"], done

    each(ALL, check)


def test_a_crash_is_tried_again_and_the_worker_replaced(wire, plain, journal):
    def check(name):
        done = wire.do(plain[name], {"exit": 3, "journal": str(journal)}, limit=90)
        assert (done["status"], done["reason"]["code"], done["retries"]) == ("FAILED", "worker_lost", 1), done
        assert "code 3" in done["reason"]["message"], done
        ran = [line for line in journal.read_text().splitlines() if done["id"] in line]
        assert len(ran) == len(set(ran)) == 2, "it ran once on each of two workers"
        assert wire.do(plain[name], {"value": 1}, limit=60)["status"] == "COMPLETED"

    each(ALL, check)


def test_refresh_worker(wire, plain):
    def check(name):
        first = wire.do(plain[name], {"value": 1, "refresh": True})
        assert first["status"] == "COMPLETED" and first["output"]["value"] == 1, first
        second = wire.do(plain[name], {"value": 2}, limit=60)
        assert second["workerId"] != first["workerId"], second
        assert "fresh worker" in gone(wire, plain[name], first["workerId"])["stopCause"]

    each(PYTHON, check)


def test_progress(wire, plain):
    def check(name):
        updates = [{"step": n} for n in range(4)]
        job = wire.run(plain[name], {"progress": updates, "value": "done"})
        seen = []

        def look():
            answer = wire.status(plain[name], job)
            if answer["status"] == "IN_PROGRESS" and "output" in answer and answer["output"] not in seen:
                seen.append(answer["output"])
            return answer["status"] == "COMPLETED" and answer

        assert until(look, 40, say=lambda: wire.explain(plain[name], job))["output"] == {"value": "done", "sdk": name}
        assert seen and all(value in updates for value in seen), seen

    each(PYTHON, check)


def test_streams(wire, pieces):
    def check(name):
        wanted = [{"piece": n} for n in range(5)] + [{"value": "end", "sdk": name}]
        job = wire.run(pieces[name], {"stream": 5, "value": "end"})
        chunks, status = wire.stream_all(pieces[name], job, limit=60)
        assert (chunks, status) == (wanted, "COMPLETED")
        assert wire.status(pieces[name], job)["output"] == wanted

    each(PYTHON, check)


def test_an_exception_in_the_middle_of_a_stream(wire, pieces):
    def check(name):
        job = wire.run(pieces[name], {"stream": 2, "raise": "no third"})
        chunks, status = wire.stream_all(pieces[name], job, limit=60)
        assert chunks[:2] == [{"piece": 0}, {"piece": 1}] and status == "FAILED", (chunks, status)
        assert "no third" in wire.status(pieces[name], job)["error"]

    each(PYTHON, check)


# Time.


def test_jobs_at_once(wire, waiting):
    """As many as the worker asks for, never more."""
    def check(name):
        jobs = [wire.run(waiting[name], {"sleep": 1, "value": n}) for n in range(3 * AT_ONCE)]
        most = 0

        def look():
            nonlocal most
            tally = wire.ok("GET", f"/v2/{waiting[name]}/health")["jobs"]
            most = max(most, tally["inProgress"])
            return tally["inQueue"] == tally["inProgress"] == 0

        until(look, 60, say=lambda: wire.explain(waiting[name], jobs[-1]))
        done = [wire.wait(waiting[name], job) for job in jobs]
        assert [d["output"]["value"] for d in done] == list(range(3 * AT_ONCE))
        assert len({d["workerId"] for d in done}) == 1
        # These ask for as many as they run at once also with jobs running, so that they hold more.
        allowed = 2 * AT_ONCE if name in ("1.6.2", "1.7.5") else AT_ONCE
        assert 1 < most <= allowed, f"{most} at once"

    each(ALL, check)


def test_a_long_job_is_not_taken_for_forgotten(wire, waiting, journal, everybody, two):
    """Beside it other jobs come and go, so that its worker asks again and again while it runs."""
    def check(name):
        job = wire.run(waiting[name], {"sleep": 14, "journal": str(journal)})
        running(wire, waiting[name], job)
        while wire.status(waiting[name], job)["status"] == "IN_PROGRESS":
            assert wire.do(waiting[name], {"sleep": 0.3})["status"] == "COMPLETED"
        done = wire.wait(waiting[name], job)
        assert done["status"] == "COMPLETED" and done["executionTime"] >= 14_000 and "retries" not in done, done
        assert journal.read_text().count(job) == 1

    each(ALL, check)


def test_cancel(wire, waiting, plain, everybody, two):
    """Where the SDK has a stop channel the worker stays, else it is replaced, and a blocking handler's always is."""
    def check(case):
        kind, name = case
        job = wire.run(kind[name], {"sleep": 60})
        worker = running(wire, kind[name], job)["workerId"]
        assert wire.ok("POST", f"/v2/{kind[name]}/cancel/{job}")["status"] == "CANCELLED"
        after = wire.do(kind[name], {"value": 1}, limit=60)
        assert after["status"] == "COMPLETED"
        stays = kind is waiting and name in STOPPABLE
        # Where several run at once another worker may be there already, or the old one in its grace.
        if stays or kind is plain:
            assert (after["workerId"] == worker) == stays, after
        else:
            gone(wire, kind[name], worker)
        done = wire.status(kind[name], job)
        assert done["status"] == "CANCELLED" and "output" not in done, done

    cases = [(kind, name) for kind in (waiting, plain) for name in ALL]
    each(cases, check)


def test_execution_timeout(wire, plain, everybody, two):
    def check(name):
        job = wire.run(plain[name], {"sleep": 60}, policy={"executionTimeout": 5000})
        worker = running(wire, plain[name], job)["workerId"]
        done = wire.wait(plain[name], job, 30)
        assert done["reason"]["code"] == "execution_timeout" and 4900 <= done["executionTime"] <= 9000, done
        after = wire.do(plain[name], {"value": 1}, limit=60)
        assert after["status"] == "COMPLETED" and after["workerId"] != worker
        assert wire.status(plain[name], job) == done, "a late answer changes nothing"

    each(ALL, check)


def test_sigterm(wire, plain):
    """A worker that has to go ends what it does, and then itself, within its grace."""
    def check(name):
        job = wire.run(plain[name], {"sleep": 3, "value": "to the end"})
        worker = running(wire, plain[name], job)["workerId"]
        wire.ok("POST", f"/api/v1/endpoints/{plain[name]}/restart")
        done = wire.wait(plain[name], job, 60)
        assert done["status"] == "COMPLETED" and done["output"]["value"] == "to the end", done
        assert (done["workerId"], wire.job(job)["attempt"]) == (worker, 1), done
        check_end(gone(wire, plain[name], worker), name)

        idle = wire.do(plain[name], {"value": 1}, limit=60)["workerId"]
        wire.ok("POST", f"/api/v1/endpoints/{plain[name]}/restart")
        check_end(gone(wire, plain[name], idle), name)

    def check_end(record, name):
        ended = {"signal": 15} if name in UNPREPARED else {"code": 0}
        assert ended.items() <= record["exit"].items(), record

    each(ALL, check)


# Together.


def test_all_versions_in_one_endpoint(everybody):
    tally = everybody.check(120)
    print(f"jobs by SDK: {tally}")


def test_short_and_long_jobs_on_two_versions(two):
    """Acceptance: submitted at once, all complete once each."""
    tally = two.check(240)
    print(f"jobs by SDK: {tally}")


# How often workers ask.

LOOKED_FOR_S = 4
# Requests of one worker in that time: its polls, what follows on an answer, a ping a second. A spinning one has thousands.
MOST = 8 * LOOKED_FOR_S


@pytest.fixture(scope="module")
def counted(field):
    """All SDKs in one endpoint behind a counting proxy, pinging each second: (endpoint, proxy)."""
    with CountingProxy() as proxy:
        field.deploy("counted", ALL, "--min", len(ALL), "--max", len(ALL), "--idle", "1h",
                     FIELD_PROXY=proxy.address, RUNPOD_PING_INTERVAL=1000)
        yield "counted", proxy
        # They could not be told to end without it.
        field.yard.cli("endpoints", "set", "counted", "--min", "0", "--max", "0")
        until(lambda: not field.yard.wire.workers("counted"), 40)


def crew(wire, endpoint):
    """{worker: pid} once each SDK has its worker, and all are idle."""
    def look():
        found = wire.workers(endpoint)
        return len(found) == len(ALL) and all(w["state"] == "idle" for w in found) and {w["id"]: w["pid"] for w in found}

    return until(look, 90, say=lambda: wire.workers(endpoint))


def test_nobody_spins(wire, counted):
    endpoint, proxy = counted
    workers = crew(wire, endpoint)
    bends = {
        "idle": lambda path: path,
        "refused": lambda path: re.sub(r"^/w/[^/]+", "/w/nobody", path),
        "taken for another": lambda path: re.sub(r"(/job-[a-z]+/)[^/?]+", r"\1somebody", path),
        "on a route that is none": lambda path: re.sub(r"/job-(take|stop)", "/job-none", path),
    }
    most = {}
    for name, bend in bends.items():
        proxy.bend = bend
        proxy.cut()
        began = time.monotonic()
        time.sleep(LOOKED_FOR_S)
        tally = Counter(seen.worker for seen in proxy.since(began))
        assert set(tally) <= set(workers), tally
        assert len(tally) == len(workers), f"{name}: some did not ask at all: {tally}"
        most[name] = max(tally.values())
        assert most[name] <= MOST, (name, tally, Counter(seen.path for seen in proxy.since(began)).most_common(3))
    print(f"most requests of one worker in {LOOKED_FOR_S} s: {most}")
    proxy.bend = bends["idle"]
    proxy.cut()
    jobs = [wire.run(endpoint, {"sleep": 1}) for _ in ALL]
    assert {wire.wait(endpoint, job, 60)["status"] for job in jobs} == {"COMPLETED"}


def test_a_killed_worker_pings_no_more(wire, counted):
    """From 1.7.11 on a process of its own pings, which would live on and name the dead worker's job for ever."""
    endpoint, proxy = counted
    before = crew(wire, endpoint)
    holders = {}
    while len(holders) < len(before):
        job = wire.run(endpoint, {"sleep": 60})
        holders[job] = running(wire, endpoint, job)["workerId"]
        time.sleep(0.5)  # the Rust worker asks for one more, for a moment
    assert set(holders.values()) == set(before), "each has one"
    for job, worker in holders.items():
        until(lambda: any(s.worker == worker and job in s.jobs for s in list(proxy.seen)), 20,  # noqa: B023
              say=f"{worker} never pinged with its job")
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for worker in before:
        gone(wire, endpoint, worker)
    dead = time.monotonic()
    marks = {f"RUNPOD_POD_ID={worker}".encode() for worker in before}
    assert {pid: line for pid, line in living(marks).items()} == {}
    after = {job: until(lambda: other(wire, endpoint, job, worker), 60, say=lambda: wire.explain(endpoint, job))  # noqa: B023
             for job, worker in holders.items()}
    assert set(after.values()).isdisjoint(before)
    late = [seen.path for seen in proxy.since(dead + 0.5) if seen.worker in before]
    assert late == []
    for job in holders:
        wire.ok("POST", f"/v2/{endpoint}/cancel/{job}")


def other(wire, endpoint, job, worker):
    """Who runs a job, once that is not `worker`."""
    found = wire.status(endpoint, job)
    return found["status"] == "IN_PROGRESS" and found["workerId"] != worker and found["workerId"]


def living(marks):
    """Processes with one of these in their environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and any(mark in (folder / "environ").read_bytes() for mark in marks):
                found[folder.name] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found
