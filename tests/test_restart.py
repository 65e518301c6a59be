"""The server is away for twenty seconds under load, killed or told to end, with workers of every SDK in the field:
no accepted job and no result is lost, and every webhook arrives and is recorded as delivered.

The workers go on without the server: the agent holds their polls and keeps their results until it is back.
"""

import json
import time
from collections import defaultdict

import pytest

from support.field import ALL, Field, executions
from support.load import Load
from support.wire import until
from support.yard import Yard
from test_webhooks import Receiver

AWAY_S = 20
# What runs longer than this is taken from its worker when the server is told to end.
GRACE_S = 2


class LoadWithWebhooks(Load):
    """Jobs of 0 to 3 s, each with a webhook; `first` keeps the keys of two loads on one server apart."""

    def __init__(self, yard, hook, journal, first):
        given = lambda number: {"value": number, "sleep": number % 7 / 2, "journal": str(journal)}  # noqa: E731
        super().__init__(yard, lambda number: ("everybody", given(number)), backlog=30)
        self.hook, self._number = hook, first

    def _until_acknowledged(self, endpoint, number, body):
        return super()._until_acknowledged(endpoint, number, {**body, "webhook": self.hook})


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def field(binary, tools, sdks):
    # As many tries as it takes: a receiver in this very process is slow while twelve workers start.
    yard = Yard(binary, tools, env={
        "RUNYARD_WEBHOOK_ALLOW_PRIVATE": "true", "RUNYARD_WEBHOOK_TRIES": "8", "RUNYARD_DRAIN_GRACE_S": str(GRACE_S)})
    try:
        field = Field(yard.start(), sdks)
        field.deploy("everybody", ALL, "--min", len(ALL), "--max", len(ALL), "--idle", "1h")
        yield field
    finally:
        yard.close()


def ready(yard):
    """{worker: SDK} once there is one of each."""
    def look():
        found = {w["id"]: w["sdk"] for w in yard.wire.workers("everybody") if w["readyAt"]}
        return len(found) == len(ALL) and found

    return until(look, 90, say=lambda: yard.wire.workers("everybody"))


def all_busy(yard):
    """{worker: its job} at a moment when every worker had one."""
    def look():
        held = {w["id"]: w["jobs"] for w in yard.wire.workers("everybody")}
        return len(held) == len(ALL) and all(held.values()) and {worker: jobs[0] for worker, jobs in held.items()}

    return until(look, 60, say=lambda: yard.wire.workers("everybody"))


def check(yard, load, receiver, journal, may_run_again):
    """Everything acknowledged is done, with its own output; returns the executions that were one too many."""
    ran = executions(journal)
    assert set(ran) <= set(load.acknowledged), "what ran was accepted"
    again = {}
    for job, (_, given) in load.acknowledged.items():
        end = load.seen[job]
        assert end["status"] == "COMPLETED" and end["output"]["value"] == given["value"], (end, yard.wire.why(job))
        assert end["workerId"] in ran[job] and "retries" not in end, (end, ran[job], yard.wire.job(job))
        if len(ran[job]) > 1:
            again[job] = ran[job]
            assert job in may_run_again, f"{job} ran {len(ran[job])} times: {yard.wire.job(job)}"
    check_webhooks(yard, load, receiver)
    return again


def check_webhooks(yard, load, receiver):
    """At least one for each job, all of one job under one id; the job's record says that it was delivered."""
    got, ids = defaultdict(list), defaultdict(set)

    def collect():
        while not receiver.requests.empty():
            headers, body = receiver.requests.get()
            told = json.loads(body)
            got[told["id"]].append(told)
            ids[told["id"]].add(headers["webhook-id"])
        return set(load.acknowledged) <= set(got)

    until(collect, 120, say=lambda: f"no webhook for {sorted(set(load.acknowledged) - set(got))[:5]}")
    for job, (_, given) in load.acknowledged.items():
        assert len(ids[job]) == 1, ids[job]
        for told in got[job]:
            assert (told["status"], told["output"]["value"]) == ("COMPLETED", given["value"]), told
        deliveries = until(lambda: delivered(yard, job), 30, say=lambda: yard.wire.job(job))  # noqa: B023
        assert len(deliveries) == 1 and deliveries[0]["tries"][-1]["status"] == 200, deliveries


def delivered(yard, job):
    found = yard.wire.job(job)["webhooks"]
    return found and all(delivery["state"] == "delivered" for delivery in found) and found


def test_the_server_is_killed_and_away_under_load(field, receiver):
    yard, journal = field.yard, field.journal("killed")
    workers = ready(yard)
    with LoadWithWebhooks(yard, receiver.url, journal, 0) as load:
        until(lambda: len(load.seen) > 10, 60, say=yard.server_log)
        held = all_busy(yard)
        yard.kill()
        time.sleep(AWAY_S)
        yard.start()
        done = len(load.seen)
        until(lambda: len(load.seen) > done + len(held), 60, say=yard.server_log)
        load.end()
    load.settle(120)
    assert check(yard, load, receiver, journal, may_run_again=()) == {}
    for worker, job in held.items():
        assert load.seen[job]["workerId"] == worker, f"the result of {workers[worker]} was kept: {load.seen[job]}"
        assert yard.wire.job(job)["attempt"] == 1
    assert ready(yard) == workers, "the workers outlived the server"


def test_the_server_is_ended_and_away_under_load(field, receiver):
    yard, journal = field.yard, field.journal("ended")
    ready(yard)
    with LoadWithWebhooks(yard, receiver.url, journal, 1_000_000) as load:
        until(lambda: len(load.seen) > 10, 60, say=yard.server_log)
        held = all_busy(yard)
        assert yard.stop() == 0
        ended = executions(journal)
        time.sleep(AWAY_S)
        yard.start()
        done = len(load.seen)
        until(lambda: len(load.seen) > done + len(held), 60, say=yard.server_log)
        load.end()
    load.settle(120)
    # What did not end within the grace was taken from its worker; it went back to the queue and cost nothing.
    again = check(yard, load, receiver, journal, may_run_again=set(ended))
    print(f"{len(load.acknowledged)} jobs, {len(again)} of them ran again")
    assert len(again) <= len(ALL), again
