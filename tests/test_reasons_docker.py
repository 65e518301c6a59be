"""Reasons of containers: paused, out of memory, and starts by what was there: an image that is pulled, or not."""

import re

import pytest

from support.wire import until
from test_docker import HELLO, name_of
from test_reasons import Told
from test_registries import add, drop, make_registry, private  # noqa: F401


@pytest.fixture
def yard(make_yard, engine):
    """A server that knows the engine."""
    return make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()


def test_paused_and_too_large_containers_are_named(yard, engine):
    yard.deploy(HELLO, "dh", "--idle", "10m", "--max", "1", "--memory", "200m", "--requeues", "0")
    job = yard.wire.run("dh", {"sleep": 60})
    until(lambda: yard.wire.job(job)["status"] == "IN_PROGRESS", 30)
    [container] = engine.containers(data=name_of(yard))
    assert engine.call("POST", f"/containers/{container['Id']}/pause")[0] == 204
    until(lambda: yard.wire.why(job)["code"] == "halted", 10)
    Told(yard, job).says("halted", "container is paused").tries(f"runyard cancel {job}")
    assert engine.call("POST", f"/containers/{container['Id']}/unpause")[0] == 204
    until(lambda: yard.wire.why(job)["code"] == "running", 10)
    yard.cli("cancel", job)
    job = yard.wire.do("dh", {"oom": 400 << 20}, 90)["id"]
    Told(yard, job).says("out_of_memory", "killed for using too much memory").tries("runyard workers stats dh")


def test_a_start_that_pulls_is_cold_and_one_that_does_not_is_prepared(yard, engine, make_registry, private):  # noqa: F811
    registry = make_registry()
    name = private(registry)
    add(yard, "mine", registry)
    yard.cli("deploy", "--image", name, "--name", "w", "--idle", "1s", "--max", "1", limit=180)
    yard.wire.do("w", {}, 60)
    release = yard.wire.api("/endpoints/w/releases")["releases"][0]
    until(lambda: not engine.containers(data=name_of(yard)), 30)
    drop(engine, release["image"]["id"])
    job = yard.wire.do("w", {}, 90)["id"]
    workers = yard.wire.workers("w", living=False)
    [cold] = [worker for worker in workers if worker["start"]["level"] == "cold"]
    assert cold["id"] == yard.wire.job(job)["worker"], workers
    assert [part["phase"] for part in cold["start"]["phases"]] == ["image", "launch", "load"], cold
    names = [span["name"] for span in yard.wire.api(f"/jobs/{job}/timeline")["spans"]]
    assert names == ["submitted", "queued", "worker.schedule", "worker.image", "worker.launch", "worker.load", "run", "result.upload"], names
    found = {one["name"]: one["whole"] for one in yard.wire.api("/metrics?endpoint=w")["series"]}
    assert found["start_cold"]["count"] == 1 and found["start_prepared"]["count"] == len(workers) - 1, found
    assert found["start_image"]["count"] == len(workers), found
    assert re.search(r"worker: image +·*█", yard.cli("why", job).out)
