"""Lists of jobs longer than a worker asked for, with the real SDKs behind a proxy that sees every take: who gets one,
when, and what becomes of it when its worker dies.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.field import ALL, Field, each, executions
from support.proxy import CountingProxy
from support.wire import until
from support.yard import Yard

# What is known to run them.
SAFE = ("1.7.5", "1.7.12", "1.12.0")
NEW, NEXT = "1.12.0", "2.0.0rc2"
# A take and its answer pass through the proxy; what is closer together than this may have been the other way round.
BLUR_S = 0.3


@pytest.fixture(scope="module")
def proxy():
    with CountingProxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def field(binary, tools, sdks, proxy):
    yard = Yard(binary, tools)
    try:
        yield Field(yard.start(), sdks)
    finally:
        yard.close()


@pytest.fixture
def deploy(field, proxy):
    """An endpoint with `count` workers, all there, whose requests are seen."""
    wire = field.yard.wire

    def deploy(endpoint, names, count, *flags):
        field.deploy(endpoint, names, "--min", count, "--max", count, "--idle", "1h", *flags, FIELD_PROXY=proxy.address)
        until(lambda: len([w for w in wire.workers(endpoint) if w["readyAt"]]) == count, 60,
              say=lambda: wire.workers(endpoint))
        return Jobs(field, proxy, endpoint)

    yield deploy
    # Workers that were left behind would be in the way of the next test.
    for endpoint in wire.api("/endpoints")["endpoints"]:
        field.yard.cli("endpoints", "set", endpoint["name"], "--min", "0", "--max", "0")


class Jobs:
    """Jobs of one endpoint, each noting its execution."""

    def __init__(self, field, proxy, endpoint):
        self.wire, self.proxy, self.endpoint = field.yard.wire, proxy, endpoint
        self.journal = field.journal(endpoint)
        self.all = []

    def submit(self, count, seconds):
        given = {"sleep": seconds, "journal": str(self.journal)}
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: self.wire.run(self.endpoint, given), range(count)))
        self.all += found
        return found

    def done(self, jobs, limit=120):
        """All of them once they have ended, which has to be well."""
        end = time.monotonic() + limit
        found = [self.wire.wait(self.endpoint, job, max(1, end - time.monotonic())) for job in jobs]
        assert {d["status"] for d in found} == {"COMPLETED"}, [d for d in found if d["status"] != "COMPLETED"][:3]
        return found

    def once_each(self):
        ran = executions(self.journal)
        assert set(ran) == set(self.all)
        assert all(len(workers) == 1 for workers in ran.values()), ran

    def takes(self):
        """What this endpoint's workers were given."""
        mine = {w["id"] for w in self.wire.workers(self.endpoint, living=False)}
        return [seen for seen in list(self.proxy.seen) if seen.worker in mine and seen.given]

    def longest(self):
        """The most jobs beyond those asked for in one answer."""
        return max(len(seen.given) - seen.asked for seen in self.takes())


def test_lists_go_only_to_versions_that_run_them(deploy):
    def check(name):
        jobs = deploy(f"one-{name.replace('.', '-')}", [name], 1)
        # Enough to be measured, and to wait.
        jobs.done(jobs.submit(150 if name in SAFE else 15, 0.01))
        jobs.once_each()
        assert (jobs.longest() > 0) == (name in SAFE), [seen.given for seen in jobs.takes()]

    each(ALL, check)


def test_a_switch_turns_them_off(deploy):
    jobs = deploy("off", [NEW], 1, "--prefetch", "off")
    jobs.done(jobs.submit(12, 0.01))
    jobs.once_each()
    assert jobs.longest() == 0


def test_lists_in_a_mixed_endpoint(deploy):
    """The one that may gets them, the other one not, and nobody waits for a job while a list goes out."""
    jobs = deploy("mixed", [NEW, NEXT], 2)
    for count in (30, 60, 3, 60):
        jobs.done(jobs.submit(count, 0.02))
    jobs.once_each()
    sdk = {w["id"]: w["sdk"] for w in jobs.wire.workers("mixed")}
    assert sorted(sdk.values()) == [NEW, NEXT]
    takes = jobs.takes()
    lists = [seen for seen in takes if len(seen.given) > seen.asked]
    assert lists and {sdk[seen.worker] for seen in lists} == {NEW}
    every = [seen for seen in list(jobs.proxy.seen) if seen.worker in sdk and seen.verb in ("job-take", "job-take-batch")]
    for seen in lists:
        waited = [other for other in every if other.worker != seen.worker and other.at < seen.answered_at - BLUR_S
                  and (other.answered_at or seen.answered_at + 60) > seen.answered_at + BLUR_S]
        assert waited == [], f"a list of {len(seen.given)} while {waited[0].worker} waited"


def test_the_tail_of_a_killed_worker_goes_back_to_the_queue(deploy):
    jobs = deploy("killed", [NEW], 1)
    jobs.done(jobs.submit(30, 0.05))
    later = jobs.submit(60, 0.1)
    cancelled = until(lambda: ahead(jobs, later), 30, say=lambda: jobs.wire.explain("killed", later[0]))[-1]
    assert jobs.wire.ok("POST", f"/v2/killed/cancel/{cancelled}")["status"] == "CANCELLED"
    assert jobs.wire.status("killed", cancelled)["status"] == "CANCELLED", "at once, before its turn"
    tail = until(lambda: len(found := ahead(jobs, later)) > 2 and found, 30)
    [worker] = jobs.wire.workers("killed")
    os.kill(worker["pid"], signal.SIGKILL)
    done = jobs.done([job for job in later if job != cancelled])
    spent = [d["id"] for d in done if "retries" in d]
    assert len(spent) <= 1, "only the one that ran was tried again at its own cost"
    again = {job for job, workers in executions(jobs.journal).items() if len(workers) > 1}
    assert again <= set(spent), "nothing that had not begun ran twice"
    assert all(d["workerId"] != worker["id"] for d in done if d["id"] in tail[3:])


def ahead(jobs, of):
    """Those that were handed out and have not begun."""
    found = {job: jobs.wire.status(jobs.endpoint, job) for job in of}
    return [job for job, s in found.items() if s["status"] == "IN_QUEUE" and s.get("reason", {}).get("code") == "in_list"]
