"""One release follows the other under load: enough workers serve at every moment, every job runs once, a release that
is bad goes back by itself, and a server that is killed in the middle goes on. The disk keeps what is needed.

The workers are `workers/synthetic.py`, which notes each execution in a journal.
"""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from support.wire import until
from test_kill import journal_of

WORKER = Path(__file__).parent / "workers/synthetic.py"


def source(project, line):
    """A project that is another bundle with each line."""
    project.mkdir(exist_ok=True)
    (project / "worker.py").write_text(f"{line}\n{WORKER.read_text()}")
    return project


def deploy(yard, project, line, *flags, **more):
    return yard.deploy(source(project, line), "syn", "--handler", "worker.py", *flags, **more)


def deploy_aside(yard, project, line, *flags):
    """A deploy that nobody waits for, whatever comes of it."""
    source(project, line)
    command = ("syn", "--handler", "worker.py", *flags)
    aside = threading.Thread(target=lambda: yard.deploy(project, *command, code=None), daemon=True)
    aside.start()
    return aside


def ready(yard, count, release=None):
    found = [w for w in yard.wire.workers("syn") if w["readyAt"] and w["state"] in ("idle", "running")]
    return len(found) == count and all(release in (None, w["release"]) for w in found) and found


def jobs(yard, journal, numbers, ms, **more):
    return [yard.wire.run("syn", {"number": n, "ms": ms, "journal": str(journal), **more}) for n in numbers]


def releases(yard):
    answer = yard.wire.api("/endpoints/syn/releases")
    return {r["number"]: r for r in answer["releases"]}, answer["rollout"]


def ran_once(yard, journal, submitted):
    for job in submitted:
        end = yard.wire.wait("syn", job, 120)
        assert end["status"] == "COMPLETED", (end, yard.wire.why(job))
    started, _ = journal_of(journal)
    for job in submitted:
        assert len(started.get(job, [])) == 1, f"{job} ran {started.get(job)}"
        assert yard.wire.job(job)["attempt"] == 1


class Watcher:
    """Looks all the time at how many workers take jobs."""

    def __init__(self, yard):
        self.yard, self.least, self.most, self.over = yard, 99, 0, False
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over:
            found = self.yard.wire.workers("syn")
            serving = sum(w["readyAt"] is not None and w["state"] in ("idle", "running") for w in found)
            # One look at all of them: a list may hold a worker that came after the look at another one that left.
            counts = self.yard.wire.api("/endpoints/syn")["workers"]
            there = counts["starting"] + counts["idle"] + counts["running"]
            self.least, self.most = min(self.least, serving), max(self.most, there)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


def test_a_deploy_rolls_over_under_load_and_a_broken_one_does_not(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 3, "--max", 3, "--idle", "1h")
    until(lambda: ready(yard, 3, 1), 30)
    submitted = jobs(yard, journal, range(60), 400)
    with Watcher(yard) as watcher:
        done = deploy(yard, project, "RELEASE = 2")
        until(lambda: ready(yard, 3, 2), 60, say=lambda: yard.wire.workers("syn"))
    assert watcher.least >= 2 and watcher.most <= 4, (watcher.least, watcher.most)
    assert "3 of 3" in done.err or "no worker of an older release is left" in done.err, done
    ran_once(yard, journal, submitted)
    releases_of_jobs = {yard.wire.job(job)["release"] for job in submitted}
    assert releases_of_jobs == {1, 2}, "both did their part"
    _, rollout = releases(yard)
    assert (rollout["workersOnLatest"], rollout["workersTotal"], rollout["percentOnLatest"]) == (3, 3, 100)

    # One that breaks at import leaves the old one serving, without a worker less.
    more = jobs(yard, journal, range(60, 90), 200)
    with Watcher(yard) as watcher:
        failed = deploy(yard, project, "import no_such_module", "--json", code=3)
    assert watcher.least >= 3, watcher.least
    assert failed.error["code"] == "start_failed" and "no_such_module" in json.dumps(failed.error), failed
    listed, _ = releases(yard)
    assert [n for n, r in listed.items() if r["serving"]] == [2] and listed[3]["state"] == "failed"
    ran_once(yard, journal, more)


def test_busy_workers_finish_their_jobs_and_take_nothing_more(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 2, "--max", 2, "--idle", "1h")
    until(lambda: ready(yard, 2, 1), 30)
    gate = Path(journal).parent / "gate"
    held = jobs(yard, journal, range(2), 0, until=str(gate))
    until(lambda: all(yard.wire.job(j)["status"] == "IN_PROGRESS" for j in held), 20)
    yard.cli("endpoints", "set", "syn", "--max-unavailable", 0)
    deploy(yard, project, "RELEASE = 2", limit=60)
    after = jobs(yard, journal, range(2, 8), 50)
    for job in after:
        assert yard.wire.wait("syn", job)["status"] == "COMPLETED"
        assert yard.wire.job(job)["release"] == 2, "new requests go to new workers"
    assert [yard.wire.job(j)["status"] for j in held] == ["IN_PROGRESS"] * 2
    gate.touch()
    ran_once(yard, journal, held + after)
    until(lambda: ready(yard, 2, 2) and len(yard.wire.workers("syn")) == 2, 30)


def test_a_rollback_takes_everything_from_the_release_at_once(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 2, "--max", 2, "--idle", "1h")
    deploy(yard, project, "RELEASE = 2")
    until(lambda: ready(yard, 2, 2), 30)
    shown = yard.cli("diff", "syn").out
    assert "#1 → #2" in shown and "~ worker.py" in shown, shown
    submitted = jobs(yard, journal, range(40), 300)
    until(lambda: any(yard.wire.job(j)["status"] == "IN_PROGRESS" for j in submitted), 20)
    yard.cli("rollback", "syn")
    moment = time.time() * 1000
    ran_once(yard, journal, submitted)
    late = [j for j in submitted if (yard.wire.job(j)["startedAt"] or 0) > moment]
    assert late and {yard.wire.job(j)["release"] for j in late} == {1}
    listed, _ = releases(yard)
    assert listed[2]["withdrawn"]["why"].startswith("rolled back by"), listed[2]
    assert "returned" in yard.cli("releases", "syn").out
    yard.cli("promote", "syn", "--to", 2)
    until(lambda: ready(yard, 2, 2), 30)


def test_a_canary_gets_its_share_and_is_promoted_by_its_jobs(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 2, "--max", 2, "--idle", "1h")
    until(lambda: ready(yard, 2, 1), 30)
    said = deploy(yard, project, "RELEASE = 2", "--canary", 20, "--canary-jobs", 8)
    assert "20 % of the jobs" in said.out, said
    submitted = jobs(yard, journal, range(30), 60)
    ran_once(yard, journal, submitted)
    shares = [yard.wire.job(j)["release"] for j in submitted]
    assert 5 <= shares.count(2) <= 8, shares
    listed, rollout = releases(yard)
    assert listed[2]["canary"] and not listed[2]["serving"] and rollout["stage"] == "canary", (listed, rollout)
    submitted = jobs(yard, journal, range(30, 60), 60)
    until(lambda: releases(yard)[0][2]["serving"], 30, say=lambda: releases(yard))
    until(lambda: ready(yard, 2, 2), 30)
    ran_once(yard, journal, submitted)


def test_a_canary_that_fails_its_jobs_goes_back(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 2, "--max", 2, "--idle", "1h")
    until(lambda: ready(yard, 2, 1), 30)
    deploy(yard, project, "RELEASE = 2", "--env", "FAIL=1", "--canary", 50, "--error-jobs", 5, "--error-margin", 30)
    submitted = jobs(yard, journal, range(40), 50)
    until(lambda: releases(yard)[0][2].get("withdrawn"), 30, say=lambda: releases(yard))
    listed, rollout = releases(yard)
    assert listed[1]["serving"] and not rollout["inProgress"]
    assert "jobs failed" in listed[2]["withdrawn"]["why"], listed[2]
    ends = [yard.wire.wait("syn", job) for job in submitted]
    failed = [e for e in ends if e["status"] == "FAILED"]
    assert 5 <= len(failed) <= 8, "no more than it took to see it"
    until(lambda: all(w["release"] == 1 for w in yard.wire.workers("syn")), 20)


def test_a_release_whose_errors_rise_after_its_deploy_goes_back(yard, project, journal):
    deploy(yard, project, "RELEASE = 1", "--min", 2, "--max", 2, "--idle", "1h")
    until(lambda: ready(yard, 2, 1), 30)
    ran_once(yard, journal, jobs(yard, journal, range(10), 10))
    deploy(yard, project, "RELEASE = 2", "--env", "FAIL=1")
    submitted = jobs(yard, journal, range(30), 30)
    until(lambda: releases(yard)[0][1]["serving"], 60, say=lambda: releases(yard))
    listed, _ = releases(yard)
    assert "before it 0 %" in listed[2]["withdrawn"]["why"], listed[2]
    ends = [yard.wire.wait("syn", job)["status"] for job in submitted]
    assert 10 <= ends.count("FAILED") <= 14, ends


@pytest.mark.parametrize("moment", ["building", "rolling"])
def test_a_server_killed_in_mid_rollout_goes_on_or_returns(make_yard, project, journal, moment):
    yard = make_yard().start()
    deploy(yard, project, "RELEASE = 1", "--min", 3, "--max", 3, "--idle", "1h")
    until(lambda: ready(yard, 3, 1), 30)
    submitted = jobs(yard, journal, range(40), 300)
    deploying = deploy_aside(yard, project, "RELEASE = 2")

    def reached():
        listed, rollout = releases(yard)
        if moment == "building":
            return 2 in listed and listed[2]["state"] in ("building", "testing")
        return rollout.get("stage") == "rolling"

    until(reached, 30, every=0.01, say=lambda: releases(yard))
    yard.kill()
    deploying.join(60)
    yard.start()
    expected = 1 if moment == "building" else 2
    until(lambda: ready(yard, 3, expected), 60, say=lambda: yard.wire.workers("syn"))
    ran_once(yard, journal, submitted)
    listed, _ = releases(yard)
    assert [n for n, r in listed.items() if r["serving"]] == [expected]
    until(lambda: len(yard.wire.workers("syn")) == 3, 30, say=lambda: yard.wire.workers("syn"))
    left = {w["id"] for w in yard.wire.workers("syn")}
    until(lambda: set(os.listdir(yard.data / "work")) == left, 30, say=lambda: os.listdir(yard.data / "work"))
    assert not [n for n in os.listdir(yard.data / "cache") if n.startswith("home-")]
    assert not [n for n in os.listdir(yard.data / "bundles") if n.startswith(".")]


def age(path, seconds):
    """As if it had lain there for so long."""
    at = time.time() - seconds
    for name in (path, *(p for p in path.glob(".last-used"))):
        os.utime(name, (at, at))


def test_the_disk_is_accounted_and_pruned_but_never_under_a_worker(make_yard, project, journal):
    yard = make_yard(env={"RUNYARD_KEEP_RELEASES": "1", "RUNYARD_KEEP_RELEASES_DAYS": "0"})
    # Of its own: what it prunes is not others'.
    (yard.data / "envs").unlink()
    yard.start()
    deploy(yard, project, "RELEASE = 1", "--min", 1, "--max", 1, "--idle", "1h")
    gate = Path(journal).parent / "gate"
    held = jobs(yard, journal, [0], 0, until=str(gate))
    until(lambda: yard.wire.job(held[0])["status"] == "IN_PROGRESS", 20)
    for number in (2, 3, 4):
        # Each watches for a while how the busy worker of the first does not end.
        deploy_aside(yard, project, f"RELEASE = {number}", "--watch", 0)
        until(lambda: number in releases(yard)[0] and releases(yard)[0][number]["serving"], 30)  # noqa: B023
    listed, _ = releases(yard)
    for bundle in (yard.data / "bundles").iterdir():
        age(bundle, 2 * 3600)
    half = yard.data / "envs" / ("f" * 64)
    half.mkdir()
    age(half, 2 * 3600)
    shown = yard.wire.api("/disk")
    kinds = {account["kind"]: account for account in shown["accounts"]}
    assert {"environments", "bundles", "caches", "logs", "jobs"} <= set(kinds), kinds
    bundles = {i["name"]: i for i in kinds["bundles"]["items"]}
    goes = {number: bundles[release["bundle"]]["goes"] for number, release in listed.items()}
    assert goes == {1: False, 2: True, 3: False, 4: False}, (goes, bundles)
    assert "its workers run" in bundles[listed[1]["bundle"]]["why"]
    table = yard.cli("disk").out
    assert "bundles" in table and "prune" in table, table

    dry = yard.cli("disk", "prune", "--dry-run", "--json").json
    assert dry["dryRun"] and dry["goesBytes"] > 0 and (yard.data / "bundles" / listed[2]["bundle"]).exists()
    pruned = yard.cli("disk", "prune", "--json").json
    names = {i["name"] for account in pruned["accounts"] for i in account["items"]}
    assert {listed[2]["bundle"], "f" * 64} <= names, names
    assert not (yard.data / "bundles" / listed[2]["bundle"]).exists() and not half.exists()
    assert (yard.data / "bundles" / listed[1]["bundle"]).exists(), "a worker runs from it"

    gone = yard.cli("rollback", "syn", "--to", 2, "--json", code=1)
    assert "no longer kept" in json.dumps(gone.error), gone.error
    gate.touch()
    ran_once(yard, journal, held)
    until(lambda: ready(yard, 1, 4) and len(yard.wire.workers("syn")) == 1, 30)
    pruned = yard.cli("disk", "prune", "--json").json
    assert not (yard.data / "bundles" / listed[1]["bundle"]).exists()
    yard.cli("rollback", "syn")
    until(lambda: ready(yard, 1, 3), 30)
