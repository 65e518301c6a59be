"""`kill -9` at random moments under load: what was accepted is done, once, and nothing is left behind.

- The server, again and again, with workers that start at once (`workers/synthetic.py`): no acknowledged job is
  lost, none runs twice, no result changes, and the workers are at the end the very processes that they were.
- The server with real SDK workers: the same.
- The agent: its workers die with it and jobs may run again, but every job ends, with one result.

`RUNYARD_SEED` repeats the moments, `RUNYARD_KILLS`, `RUNYARD_SDK_KILLS`, `RUNYARD_AGENT_KILLS` set how often.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from support.load import Load, journal_of, shorten
from support.wire import until

WORKER = Path(__file__).parent / "workers/synthetic.py"
WORKERS = 3


def times(name, usual):
    return int(os.environ.get(name, usual))


def deploy_synthetic(yard, project, *flags):
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, "syn", "--handler", "worker.py", "--min", WORKERS, "--max", WORKERS, "--idle", "1h", *flags)
    return until(lambda: steady(yard, "syn", WORKERS), 30, say=lambda: yard.wire.workers("syn"))


def steady(yard, endpoint, count):
    """{worker: pid} once there are exactly `count` that came up."""
    found = yard.wire.workers(endpoint)
    return len(found) == count and all(w["readyAt"] for w in found) and {w["id"]: w["pid"] for w in found}


def pads(number):
    """Some outputs are large enough to lie in files."""
    return "x" * (300_000 if number % 97 == 0 else number % 50)


def check_jobs(yard, load, journal, attempts_may_rise):
    """Everything acknowledged is done once, with the right output; returns how many ran more than once."""
    if not attempts_may_rise:
        # A worker notes what it was answered a moment after the answer.
        until(lambda: set(load.acknowledged) <= set(journal_of(journal)[1]), 20)
    started, answered = journal_of(journal)
    unknown = set(started) - set(load.acknowledged)
    assert not unknown, f"jobs ran that nobody got an acknowledgement for, and it was asked for until it came: {unknown}"
    again = 0
    for job, (_, given) in load.acknowledged.items():
        end = load.seen[job]
        assert end["status"] == "COMPLETED", (end, yard.wire.why(job), started.get(job), answered.get(job))
        assert end["output"] == {"number": given["number"], "pad": given["pad"]}, shorten(end)
        assert end["workerId"] in started[job]
        assert len(set(started[job])) == len(started[job]), f"one worker got {job} twice: {started[job]}"
        again += len(started[job]) > 1
        if not attempts_may_rise:
            assert len(started[job]) == 1, f"{job} ran {len(started[job])} times: {yard.wire.job(job)}"
            assert answered.get(job) == ["200"], (job, answered.get(job))
    tally = yard.wire.ok("GET", "/v2/syn/health")["jobs"]
    assert tally["completed"] == len(load.acknowledged) and tally["failed"] == 0, tally
    assert tally["inQueue"] == tally["inProgress"] == 0, tally
    return again


def test_the_server_is_killed_under_load(make_yard, project, journal, seed):
    moments, kills = random.Random(seed), times("RUNYARD_KILLS", 200)
    yard = make_yard().start()
    before = deploy_synthetic(yard, project)

    def make(number):
        return "syn", {"number": number, "ms": number * 7 % 90, "pad": pads(number), "journal": str(journal)}

    slowest = 0.0
    with Load(yard, make) as load:
        for _ in range(kills):
            time.sleep(moments.uniform(0.0, 0.5))
            yard.kill()
            began = time.monotonic()
            yard.start()
            slowest = max(slowest, time.monotonic() - began)
        load.end()
    load.settle(120)
    print(f"{kills} kills, {len(load.acknowledged)} jobs, slowest start {slowest:.2f} s")
    assert len(load.acknowledged) > kills, "there was load"
    check_jobs(yard, load, journal, attempts_may_rise=False)
    for job in random.Random(seed).sample(sorted(load.acknowledged), min(300, len(load.acknowledged))):
        found = yard.wire.job(job)
        assert (found["attempt"], found["retries"]) == (1, 0), found
    assert steady(yard, "syn", WORKERS) == before, "the workers outlived every server"
    # `close` checks that nothing is left.


def test_the_server_is_killed_with_sdk_workers(make_yard, seed):
    moments, kills = random.Random(seed), times("RUNYARD_SDK_KILLS", 10)
    yard = make_yard().start()
    flags = ("--min", 1, "--max", 1, "--idle", "1h")
    yard.deploy("examples/hello", "plain", *flags)
    yard.deploy("examples/hello", "many", *flags, "--concurrency", 4,
                "--env", "HELLO_MODE=async", "--env", "CONCURRENCY_MODIFIER=4")
    yard.deploy("examples/hello", "pieces", *flags, "--env", "HELLO_MODE=generator", "--env", "HELLO_AGGREGATE=1")
    before = {name: until(lambda: steady(yard, name, 1), 30) for name in ("plain", "many", "pieces")}

    def make(number):
        name = ("plain", "many", "pieces", "many")[number % 4]
        given = {"name": f"job {number}", "sleep": number % 5 / 4}
        if name == "pieces":
            given = {"stream": 4, "every": 0.2}
        return name, given

    with Load(yard, make, backlog=12) as load:
        for _ in range(kills):
            time.sleep(moments.uniform(0.2, 2.5))
            yard.kill()
            time.sleep(moments.uniform(0.0, 1.5))
            yard.start()
        load.end()
    load.settle(90)
    print(f"{kills} kills, {len(load.acknowledged)} jobs")
    for job, (name, given) in load.acknowledged.items():
        end = load.seen[job]
        assert end["status"] == "COMPLETED", (end, yard.wire.why(job))
        if name == "pieces":
            assert end["output"] == [{"piece": n, "of": 4} for n in range(1, 5)], end
        else:
            assert end["output"]["greeting"] == f"Hello, {given['name']}!", end
        found = yard.wire.job(job)
        assert (found["attempt"], found["retries"]) == (1, 0), found
    assert {name: steady(yard, name, 1) for name in before} == before


def test_the_agent_is_killed_under_load(make_yard, project, journal, seed):
    moments, kills = random.Random(seed), times("RUNYARD_AGENT_KILLS", 20)
    yard = make_yard().start()
    deploy_synthetic(yard, project)

    def make(number):
        return "syn", {"number": number, "ms": number * 13 % 150, "pad": pads(number), "journal": str(journal)}

    killed = set()
    with Load(yard, make) as load:
        for _ in range(kills):
            # Up to the load, not only up to the process: something has to be there to be lost.
            done = len(load.seen)
            until(lambda: len(load.seen) > done, 60, say=yard.server_log)
            time.sleep(moments.uniform(0.0, 0.6))
            pid = yard.agent_pid()
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            until(lambda: agent_pid(yard) not in killed | {None}, 30, say=yard.server_log)
        load.end()
    load.settle(120)
    again = check_jobs(yard, load, journal, attempts_may_rise=True)
    print(f"{kills} kills, {len(load.acknowledged)} jobs, {again} of them ran again")
    ids = until(lambda: steady(yard, "syn", WORKERS), 30, say=lambda: yard.wire.workers("syn"))
    running = {pid for pid, line in yard.processes().items() if "worker.py" in line}
    log = yard.server_log()[-6000:] + (yard.data / "agent.log").read_text()[-3000:]
    assert running == set(ids.values()), f"workers of dead agents are gone; {ids}, {running}\n{log}"


def test_server_and_agent_are_killed_together(make_yard, project, journal, seed):
    """Power loss, as far as processes see it."""
    moments = random.Random(seed)
    yard = make_yard().start()
    deploy_synthetic(yard, project)

    def make(number):
        return "syn", {"number": number, "ms": number * 13 % 150, "pad": pads(number), "journal": str(journal)}

    with Load(yard, make) as load:
        for _ in range(times("RUNYARD_AGENT_KILLS", 20) // 2):
            done = len(load.seen)
            until(lambda: len(load.seen) > done, 60, say=yard.server_log)
            time.sleep(moments.uniform(0.0, 0.6))
            pid = yard.agent_pid()
            yard.kill()
            os.kill(pid, signal.SIGKILL)
            yard.start()
        load.end()
    load.settle(120)
    again = check_jobs(yard, load, journal, attempts_may_rise=True)
    print(f"{len(load.acknowledged)} jobs, {again} of them ran again")


def agent_pid(yard):
    try:
        return yard.agent_pid()
    except (OSError, ValueError, IndexError):
        return None
