"""RunPod's Python clients over plain HTTP while the server goes and comes: 1.12.0, sync and asyncio (its operations are
in test_acceptance.py), and every operation of 2.0.0rc2's queue client.
"""

import subprocess

import pytest

from clients.conftest import HERE
from support.wire import until


@pytest.fixture
def program(clients, sdk_python):
    """Starts a case of 1.12.0 and waits for its first word."""
    started = []

    def start(case, word):
        process = subprocess.Popen(
            [sdk_python, HERE / "programs/python_client.py", case], env=clients.env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        started.append(process)
        said = process.stdout.readline().strip()
        assert said == word, process.stderr.read() if said == "" else said
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_submission_that_nobody_hears_is_tried_again(program, clients, service):
    service.kill()
    try:
        process = program("submits_to_nobody", "submits")
    finally:
        service.start()
    assert clients.finish(process)["echo"] == {"n": 1}


def test_a_wait_outlives_the_server(program, clients, service):
    process = program("waits", "waits")
    service.kill()
    service.start()
    seen = clients.finish(process)
    assert seen["status"] == "COMPLETED" and seen["output"]["echo"]["n"] == 2


def test_a_stream_outlives_the_server(program, clients, service):
    process = program("streams", "streams")
    service.kill()
    service.start()
    said = ["You", "said:", *"abcdefghijkl"]
    seen = clients.finish(process)
    assert sorted(set(seen), key=seen.index) == said, "every piece, in order"
    assert len(seen) <= len(said) + 3, "and few of them twice"


def test_a_held_request_is_answered_when_the_server_ends(program, clients, service):
    process = program("waits_in_one_request", "waits")
    running(service)
    service.stop()
    service.start()
    assert clients.finish(process)["echo"]["n"] == 3


def test_a_lost_request_is_no_lost_job(program, clients, service):
    process = program("loses_its_request", "waits")
    job = running(service)
    service.kill()
    service.start()
    assert clients.finish(process) == {"error": "ConnectionError"}
    assert service.wire.wait("tasks", job)["status"] == "COMPLETED"


def running(service):
    """The one job that runs, once it does."""

    def look():
        jobs = service.wire.ok("GET", "/v2/tasks/requests?limit=1")["requests"]
        return [job["id"] for job in jobs if job["status"] == "IN_PROGRESS"]

    return until(look)[0]


def test_the_asyncio_client(program, clients, service):
    service.kill()
    try:
        process = program("with_tasks", "submits")
        assert process.stdout.readline().strip() == "refused"
    finally:
        service.start()
    process.stdin.write("go on\n")
    process.stdin.close()
    process.stdin = None
    seen = clients.finish(process)
    assert seen["refused"] and seen["output"]["echo"] == {"n": 1}
    assert seen["nowhere"]["code"] == "endpoint_not_found"
    assert seen["purge"]["status"] == "completed"


@pytest.fixture
def two(clients, environment):
    interpreter = environment("runpod-2", "runpod==2.0.0rc2")
    return lambda case: clients.python(interpreter, "python2_client.py", case)


def test_2_runs_and_waits(two):
    seen = two("operations")
    assert seen["first"] == "IN_QUEUE" and seen["last"] == "COMPLETED"
    assert seen["result"]["echo"] == {"n": 1}
    assert seen["invoked"]["echo"] == {"n": 2}
    assert seen["raw"]["status"] == "COMPLETED"
    for name in ("failed", "soft"):
        assert seen[name]["error"] == "RemoteExecutionError" and "not today" in seen[name]["message"]


def test_2_cancels(two):
    assert two("cancels") == {"cancelled": "CANCELLED", "later": "CANCELLED"}


def test_2_retries_jobs(two):
    seen = two("retries_jobs")
    assert (seen["failed"], seen["again"], seen["done"], seen["id"]) == ("RemoteExecutionError", "IN_QUEUE", "FAILED", True)
    assert (seen["refused"]["error"], seen["refused"]["status"]) == ("ClientResponseError", 400)


def test_2_streams(two):
    seen = two("streams")
    assert "".join(seen["pieces"]) == "You said: a b c d "
    assert seen["asked"] <= 20, "the server holds a poll that has nothing"
    assert seen["broken"]["error"] == "RemoteExecutionError"


def test_2_outlives_the_server(clients, environment, service):
    interpreter = environment("runpod-2", "runpod==2.0.0rc2")
    process = clients.start([interpreter, HERE / "programs/python2_client.py", "waits"])
    assert process.stdout.readline().strip() == "waits"
    service.kill()
    service.start()
    seen = clients.finish(process)
    assert seen["status"] == "COMPLETED"


def test_2_sends_options(two):
    seen = two("options")
    assert seen["first"]["status"] == "IN_QUEUE" == seen["later"]["status"]


def test_2_keeps_the_class_endpoint(two):
    seen = two("endpoint")
    assert seen["output"]["echo"] == {"n": 1} and seen["sync"]["echo"] == {"n": 2}
    assert [piece["choices"][0]["tokens"][0] for piece in seen["stream"]] == ["You ", "said: ", "a ", "b "]
    assert seen["health"]["jobs"]["inQueue"] == 1 and seen["cancel"]["status"] == "CANCELLED"


def test_2_is_told_that_its_key_is_wrong(two):
    seen = two("refused")
    assert (seen["run"]["status"], seen["status"]["status"]) == (401, 401)
