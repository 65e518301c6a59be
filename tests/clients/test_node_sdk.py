"""The npm package `runpod-sdk` 1.1.2, unmodified, through every operation that it has."""

import pytest


@pytest.fixture
def sdk(clients):
    return lambda case: clients.node("sdk.mjs", case)


def test_run_and_status(sdk):
    seen = sdk("run")
    assert set(seen["accepted"]) == {"id", "status"} and seen["accepted"]["status"] == "IN_QUEUE"
    done = seen["done"]
    assert done["output"]["echo"] == {"n": [1, 2.5, None], "ключ": "значение"}
    assert done["started"] and done["completed"] and done["succeeded"]
    for name in ("delayTime", "executionTime"):
        assert isinstance(done[name], int) and done[name] >= 0, done
    assert done["workerId"] and "retries" not in done and "error" not in done


def test_run_sync(sdk):
    seen = sdk("runSync")
    assert seen["done"]["status"] == "COMPLETED" and seen["done"]["output"]["text"] == "You said: hi"
    failed = seen["failed"]
    assert failed["status"] == "FAILED" and failed["completed"] and not failed["succeeded"]
    assert "ValueError" in failed["error"] and "output" not in failed


def test_run_sync_that_waits_too_short_goes_on(sdk):
    seen = sdk("runSyncLonger")
    assert seen["done"]["status"] in ("IN_PROGRESS", "COMPLETED") and seen["waited"] >= 1000
    assert seen["later"]["status"] == "COMPLETED" and seen["later"]["succeeded"]


def test_status_sync(sdk):
    seen = sdk("statusSync")
    assert seen["done"]["status"] == "COMPLETED" and seen["done"]["output"]["echo"]["n"] == 1
    assert seen["waiting"]["status"] == "IN_QUEUE" and not seen["waiting"]["completed"]


def test_progress_is_the_output_of_a_running_job(sdk):
    assert sdk("progress") == ['"one"', '{"step":2}']


def words(chunks):
    return "".join(chunk["output"]["choices"][0]["tokens"][0] for chunk in chunks)


def test_stream(sdk):
    seen = sdk("stream")
    assert words(seen["long"]) == "You said: a b c d e f "
    assert all(set(chunk) == {"output"} for chunk in seen["long"])
    assert words(seen["ended"]) == "You said: x y ", "an ended job's terminal answer has all that remains"
    assert [{"output": value} for value in seen["output"]] == seen["ended"]
    assert words(seen["broken"]) == "You said: "
    assert seen["brokenStatus"]["status"] == "FAILED" and "the engine is gone" in seen["brokenStatus"]["error"]
    assert seen["plain"] == []


def test_cancel(sdk):
    seen = sdk("cancel")
    assert seen["running"]["status"] == "CANCELLED" == seen["runningLater"]["status"]
    assert seen["runningLater"]["completed"] and not seen["runningLater"]["succeeded"]
    assert seen["stream"] == []
    assert seen["waiting"]["status"] == "CANCELLED" and "executionTime" not in seen["waiting"]
    assert seen["done"]["status"] == "COMPLETED" == seen["doneLater"]["status"]


def test_health_and_purge(sdk):
    seen = sdk("queue")
    jobs, workers = seen["health"]["jobs"], seen["health"]["workers"]
    assert jobs["inQueue"] == 4 and jobs["inProgress"] == 0
    assert set(jobs) == {"completed", "failed", "inProgress", "inQueue", "retried"}
    assert workers == dict.fromkeys(("idle", "initializing", "ready", "running", "throttled", "unhealthy"), 0)
    assert seen["purged"] == {"removed": 4, "status": "completed"}
    assert seen["states"] == ["CANCELLED"] * 4


def test_the_whole_request(sdk, service):
    seen = sdk("options")
    assert seen["seen"]["status"] == "IN_QUEUE" and "s3Config" not in seen["seen"]
    assert seen["bad"]["status"] == 400 and "policy.ttl" in seen["bad"]["data"]["error"]


def test_errors(sdk):
    seen = sdk("errors")
    expected = {
        "stranger": 401, "strangerHealth": 401, "nowhere": 404, "nowhereHealth": 404, "missing": 404,
        "missingSync": 404, "missingStream": 404, "missingCancel": 404, "noInput": 400,
    }
    assert {name: seen[name]["status"] for name in expected} == expected
    assert seen["stranger"]["data"]["detail"] == "invalid api key"
    assert "input" in seen["noInput"]["data"]["error"]
    soft = seen["softError"]
    assert (soft["status"], soft["error"]) == ("FAILED", "not today")
    assert seen["raised"]["status"] == "FAILED" and "not today" in seen["raised"]["error"]
