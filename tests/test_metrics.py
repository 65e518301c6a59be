"""What is counted equals what is there, also after a kill; a GPU's series follows its load; Prometheus' own parser reads
`/metrics`, which opens to keys and to this machine alone.
"""

import time
from collections import Counter

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from support import handlers
from support.wire import Wire, until

HANDLER = """
import time
import runpod

def handler(job):
    given = job["input"]
    time.sleep(given.get("sleep", 0))
    if given.get("fail"):
        raise ValueError("told to fail")
    return given

runpod.serverless.start({"handler": handler})
"""
OUTCOMES = {
    "jobs_completed": "COMPLETED", "jobs_failed": "FAILED", "jobs_cancelled": "CANCELLED", "jobs_timed_out": "TIMED_OUT",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return handlers.write(tmp_path_factory.mktemp("metrics") / "work", HANDLER)


@pytest.fixture
def gpu_yard(make_yard, folder):
    """A yard with a fake GPU, and an endpoint that uses it."""
    yard = make_yard(gpus=1).start()
    yard.deploy(folder, "work", "--max", "1", "--gpus", "1", "--idle", "10m")
    return yard


def series(yard, query):
    """Series by name over a range."""
    answer = yard.wire.api(f"/metrics?{query}")
    return {one["name"]: one for one in answer["series"]}, answer


def scraped(yard, accept="text/plain", key=None, **headers):
    """(status, text) of `/metrics` without a key, or with one."""
    return Wire(yard.port, key).call("GET", "/metrics", headers={"accept": accept, **headers})


def value(yard, series, **labels):
    """One series of `/metrics`; None where it is not there."""
    _, text = scraped(yard)
    for family in families(text):
        for sample in family.samples:
            if sample.name == series and labels.items() <= sample.labels.items():
                return sample.value
    return None


def compare(yard, since):
    """The counts of everything since `since` equal the list of jobs, in the store and on `/metrics`."""
    jobs = yard.wire.api("/jobs?endpoint=work&limit=1000")["jobs"]
    listed = Counter(job["status"] for job in jobs)
    found, answer = series(yard, f"endpoint=work&since={since}")
    assert answer["since"] <= since and len(answer["at"]) == len(found["jobs_completed"]["count"]), answer
    for name, status in OUTCOMES.items():
        assert found[name]["whole"]["count"] == listed[status], (name, listed, found[name])
        assert sum(found[name]["count"]) == listed[status]
        outcome = name.removeprefix("jobs_")
        assert value(yard, "runyard_jobs_ended_total", name="work", outcome=outcome) == listed[status]
    assert found["jobs_submitted"]["whole"]["count"] == len(jobs)
    ran = [job for job in jobs if job["endedAt"] is not None and job["executionMs"] is not None]
    assert found["execution"]["whole"]["count"] == len(ran)
    assert value(yard, "runyard_job_execution_seconds_count", name="work") == len(ran)
    return listed


def test_counts_equal_the_jobs_list_also_after_a_kill(gpu_yard):
    yard, since = gpu_yard, int(time.time() * 1000)
    for given in [{}, {"n": 1}, {"n": 2}, {"fail": True}]:
        yard.wire.do("work", given)
    first = yard.wire.run("work", {"sleep": 60})
    until(lambda: yard.wire.status("work", first)["status"] == "IN_PROGRESS", 20)
    second = yard.wire.run("work", {})
    yard.cli("cancel", second)
    assert compare(yard, since) == {"COMPLETED": 3, "FAILED": 1, "CANCELLED": 1, "IN_PROGRESS": 1}
    yard.kill()
    yard.start()
    assert compare(yard, since)["COMPLETED"] == 3
    yard.cli("cancel", first)
    yard.wire.do("work", {"n": 3})
    assert compare(yard, since) == {"COMPLETED": 4, "FAILED": 1, "CANCELLED": 2}
    found, _ = series(yard, f"endpoint=work&since={since}")
    assert found["starts_ready"]["whole"]["count"] >= 1
    start = found["start"]["whole"]
    parts = found["start_launch"]["whole"]["sum"] + found["start_load"]["whole"]["sum"]
    assert start["sum"] == pytest.approx(parts, abs=0.01) and start["p50"] > 0


def test_a_gpus_series_follows_its_load_and_survives_a_restart(gpu_yard):
    yard = gpu_yard
    until(lambda: value(yard, "runyard_gpu_use_ratio", gpu="0") == 0.0, 20)
    at_rest = value(yard, "runyard_gpu_power_watts", gpu="0")
    job = yard.wire.run("work", {"sleep": 60})
    until(lambda: (value(yard, "runyard_gpu_use_ratio", gpu="0") or 0) > 0.5, 30)
    assert value(yard, "runyard_gpu_power_watts", gpu="0") > at_rest
    until(lambda: value(yard, "runyard_endpoint_gpu_use_ratio", name="work") > 0.5, 10)
    until(lambda: (value(yard, "runyard_worker_memory_bytes", name="work") or 0) > 0, 40)

    def stored():
        found, _ = series(yard, "gpu=0&series=device_use,device_temperature")
        return (found["device_use"]["whole"]["max"] or 0) > 0.5 and found
    kept = until(stored, 40)
    assert kept["device_temperature"]["whole"]["max"] > 34
    of_endpoint = until(lambda: series(yard, "endpoint=work")[0]["gpu_use"]["whole"]["max"], 20)
    assert of_endpoint > 0.5
    worker = yard.wire.workers("work")[0]["id"]
    yard.cli("cancel", job)
    until(lambda: value(yard, "runyard_gpu_use_ratio", gpu="0") == 0.0, 30)
    yard.stop()
    yard.start()
    assert stored(), "a restart keeps what was measured"
    found, answer = series(yard, f"worker={worker}&series=worker_memory")
    assert answer["worker"] == worker and found["worker_memory"]["whole"]["max"] > 0
    server, _ = series(yard, "series=writer_commit,server_memory")
    assert server["server_memory"]["whole"]["max"] > 0 and server["writer_commit"]["whole"]["count"] > 0


def test_prometheus_reads_it_in_both_formats(gpu_yard):
    yard = gpu_yard
    yard.wire.do("work", {})
    until(lambda: value(yard, "runyard_server_memory_bytes"), 30)
    status, text = scraped(yard)
    assert status == 200
    found = {family.name: family for family in families(text)}
    status, text = scraped(yard, accept="application/openmetrics-text; version=1.0.0")
    assert status == 200 and text.endswith("# EOF\n")
    opened = {family.name: family for family in open_families(text)}
    assert found.keys() == opened.keys()
    for name, family in found.items():
        assert family.type == opened[name].type and family.documentation, name
    delay = opened["runyard_job_delay_seconds"]
    assert (delay.type, delay.unit) == ("histogram", "seconds")
    counts = [s.value for s in delay.samples if s.name.endswith("_bucket") and s.labels["le"] == "+Inf"]
    assert counts == [1]


def test_outsiders_are_refused(make_yard, folder):
    yard = make_yard().start()
    yard.deploy(folder, "work", "--max", "1")
    yard.deploy(folder, "other", "--max", "1")
    assert scraped(yard)[0] == 200
    for headers in [
        {"host": "runyard.example.com"},
        {"x-forwarded-for": "203.0.113.7"},
        {"origin": "https://evil.example"},
        {"authorization": "Bearer ry_unknown"},
    ]:
        status, answer = scraped(yard, **headers)
        assert status == 401 and answer["code"] == "unauthorized", (headers, answer)
    key = yard.cli("keys", "create", "--access", "read", "--endpoint", "work").out.strip()
    status, text = scraped(yard, key=f"Bearer {key}", host="runyard.example.com")
    assert status == 200 and 'name="work"' in text
    assert 'name="other"' not in text and "runyard_server_" not in text
    assert yard.wire.call("GET", "/api/v1/metrics?endpoint=none")[0] == 404
    restricted = Wire(yard.port, f"Bearer {key}")
    assert restricted.call("GET", "/api/v1/metrics")[0] == 403
    assert restricted.call("GET", "/api/v1/metrics?endpoint=work")[0] == 200
    yard.stop()
    yard.more_env["RUNYARD_METRICS_LOOPBACK"] = "false"
    yard.start()
    assert scraped(yard)[0] == 401 and scraped(yard, key=f"Bearer {yard.key()}")[0] == 200


def test_the_command_line_shows_the_same(gpu_yard):
    yard = gpu_yard
    yard.wire.do("work", {})
    shown = yard.cli("metrics", "work").out
    assert "SERIES" in shown and "jobs_completed" in shown and "█" in shown, shown
    assert "jobs_failed" not in shown and "jobs_failed" in yard.cli("metrics", "work", "--all").out
    answer = yard.cli("metrics", "work", "--series", "jobs_completed,delay", "--json").json
    assert [one["name"] for one in answer["series"]] == ["jobs_completed", "delay"]
    assert answer["series"][0]["whole"] == {"count": 1}
    worker = yard.wire.workers("work")[0]["id"]
    assert yard.cli("metrics", "--worker", worker[:8], "--json").json["worker"] == worker
    for arguments, said in [
        (["work", "--series", "nonsense"], "there is no series 'nonsense'"),
        (["work", "--since", "60d"], "nothing is kept for longer than 30 days"),
        (["work", "--since", "5h", "--step", "10s"], "ask for longer steps"),
        (["nowhere"], "nowhere"),
    ]:
        refused = yard.cli("metrics", *arguments, code=None)
        assert refused.code != 0 and said in refused.err, refused
