"""The crate `runpod-sdk` 0.8.0 as a client, in a program of its own (`rust-client/`): every operation of its queue half.
It reads strictly: a health without one of its counts, or a status that it does not know, is an error.
"""

import pytest


@pytest.fixture
def rust(clients, rust_client):
    return lambda case: clients.run([rust_client, case])


def test_runs(rust):
    seen = rust("run")
    assert seen["now"]["echo"] == {"n": [1, 2.5, None]}
    assert seen["awaited"]["echo"]["n"] == 2
    assert (seen["status"], seen["output"]["echo"]) == ("COMPLETED", {"n": 3})


def test_streams(rust):
    seen = rust("stream")
    assert seen["status"] == "COMPLETED"
    assert [piece["choices"][0]["tokens"][0] for piece in seen["pieces"]] == ["You ", "said: ", "a ", "b ", "c "]


def test_cancels(rust):
    assert rust("cancel") == {"before": "IN_QUEUE", "running": "CANCELLED", "waiting": "CANCELLED"}


def test_health_and_purge(rust):
    seen = rust("queue")
    assert (seen["full"]["jobs"]["inQueue"], seen["empty"]["jobs"]["inQueue"]) == (1, 0)
    assert seen["status"] == "CANCELLED"
    assert set(seen["full"]["workers"]) == {"idle", "initializing", "ready", "running", "throttled"}


def test_errors(rust):
    failed, nowhere, stranger, health = rust("errors")
    assert failed == "Job error: Job has no output", "all that this client says of a job that failed"
    assert "404" in nowhere and "401" in stranger and "401" in health
