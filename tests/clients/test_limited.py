"""Clients that ask more often than they may: 429 with `Retry-After`, which those that retry obey by themselves."""

import pytest

from clients.conftest import HERE


@pytest.fixture
def limited(service):
    """Sets the rate of a group of operations of an endpoint for one test."""
    changed = []

    def limit(endpoint, group, rate):
        changed.append((endpoint, group))
        service.cli("endpoints", "set", endpoint, "--rate", f"{group}={rate}")

    yield limit
    for endpoint, group in changed:
        service.cli("endpoints", "set", endpoint, "--rate", f"{group}=default")


def test_the_python_client_waits_as_it_is_told(clients, sdk_python, limited):
    limited("parked", "status", 20)
    seen = clients.run([sdk_python, HERE / "programs/python_client.py", "polls"])
    assert seen["states"] == ["IN_QUEUE"] * 22
    assert seen["took"] > 0.9, "the last ones had to wait"


def test_the_javascript_client_is_told(clients, limited):
    limited("parked", "status", 20)
    seen = clients.node("sdk.mjs", "limited")
    refused = [answer for answer in seen if "status" in answer]
    assert refused and {answer["status"] for answer in refused} == {429}
    assert refused[0]["data"]["code"] == "rate_limited"


def test_openais_client_waits_as_it_is_told(clients, environment, limited):
    limited("vllm", "openai", 20)
    seen = clients.python(environment("openai", "openai==3.54.0"), "openai_client.py", "limited")
    assert seen["answers"] == [["parrot-1"]] * 22
    assert (seen["refused"]["error"], seen["refused"]["status"], seen["refused"]["type"]) == (
        "RateLimitError", 429, "rate_limit_error",
    )
