"""OpenAI's own clients for Python and JavaScript on `/openai/v1`, against a worker that behaves as worker-vllm does."""

import pytest

from clients.conftest import HERE
from support.wire import until

OPENAI = "openai==3.54.0"
SAID = ["You ", "said: ", "good ", "morning ", "to ", "you "]
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.fixture
def python(clients, environment):
    interpreter = environment("openai", OPENAI)
    return lambda case, **more: clients.python(interpreter, "openai_client.py", case, **more)


@pytest.fixture
def javascript(clients):
    return lambda case: clients.node("openai.mjs", case)


@pytest.fixture(params=["python", "javascript"])
def either(request):
    return request.getfixturevalue(request.param)


def test_a_whole_answer(either):
    seen = either("whole")
    assert seen["text"] == "You said: good morning to you"
    assert seen["usage"] == USAGE and seen["id"]


def test_a_streamed_answer(either):
    seen = either("streamed")
    assert seen == {"pieces": SAID, "finish": "stop", "usage": USAGE}


def test_the_javascript_helper_for_streams(javascript):
    assert javascript("helper") == "".join(SAID)


def test_models(python, javascript):
    assert javascript("models") == ["parrot-1"]
    seen = python("models")
    assert seen["list"] == ["parrot-1"]
    assert (seen["one"]["error"], seen["one"]["status"]) == ("NotFoundError", 404)


def test_completions_and_embeddings(python):
    seen = python("completions")
    assert seen == {"whole": "You said: one two", "streamed": ["You ", "said: ", "one ", "two "]}
    assert python("embeddings") == [0.0, 0.5, 1.0]


def test_errors_in_python(python):
    seen = python("errors")
    kinds = {name: (error["error"], error.get("status"), str(error["code"])) for name, error in seen.items()}
    assert kinds == {
        "model": ("NotFoundError", 404, "404"),
        "model_streamed": ("NotFoundError", 404, "404"),
        "length": ("BadRequestError", 400, "400"),
        "crash": ("InternalServerError", 500, "handler_exception"),
        "breaks": ("APIError", None, "500"),
        "route": ("NotFoundError", 404, "404"),
        "stranger": ("AuthenticationError", 401, "unauthorized"),
        "stranger_streamed": ("AuthenticationError", 401, "unauthorized"),
        "nowhere": ("NotFoundError", 404, "endpoint_not_found"),
    }
    assert "`gone` does not exist" in seen["model"]["message"]
    assert seen["model"]["type"] == "NotFoundError" == seen["model_streamed"]["type"]
    assert "It's too long" in seen["length"]["message"], "the worker's own words, quotes and all"
    assert "the engine is gone" in seen["crash"]["message"]
    assert "illegal memory access" in seen["breaks"]["message"]
    assert all(error["request_id"] for error in seen.values() if "status" in error)


def test_errors_in_javascript(javascript):
    seen = javascript("errors")
    kinds = {name: (error["error"], error.get("status")) for name, error in seen.items()}
    assert kinds == {
        "model": ("NotFoundError", 404), "modelStreamed": ("NotFoundError", 404), "breaks": ("APIError", None),
        "crash": ("InternalServerError", 500), "stranger": ("AuthenticationError", 401),
    }
    assert "`gone` does not exist" in seen["model"]["message"] and seen["model"]["type"] == "NotFoundError"
    assert "illegal memory access" in seen["breaks"]["message"]
    assert seen["stranger"]["code"] == "unauthorized" and seen["stranger"]["requestID"]


def test_twenty_at_once(python):
    assert python("tasks") == [f"You said: {n}" for n in range(20)]


def test_who_goes_away_cancels_the_job(python, service):
    newest = lambda: service.wire.ok("GET", "/v2/vllm/requests?limit=2")["requests"]  # noqa: E731
    seen = python("leaves")
    assert seen["first"] == "You "
    assert seen["impatient"]["error"] == "APITimeoutError"
    until(lambda: [job["status"] for job in newest()] == ["CANCELLED"] * 2, 20, say=newest)


def test_who_goes_away_does_not_disturb_others(python, service):
    """The SDK lets go of a cancelled job in a moment and says nothing; its worker goes on with what else it runs."""
    long = service.wire.run("vllm", {"prompt": " ".join("abcdefghij"), "every": 0.6})
    python("leaves")
    done = service.wire.wait("vllm", long)
    assert done["status"] == "COMPLETED" and "retries" not in done
    assert [worker["state"] for worker in service.wire.workers("vllm")] != ["draining"]
    assert service.wire.do("vllm", {"prompt": "a"})["workerId"] == done["workerId"]


def test_the_client_tries_again_by_itself(clients, service, environment):
    """With its retries, the client does not notice that the server is away for a while."""
    interpreter = environment("openai", OPENAI)
    service.kill()
    try:
        process = clients.start([interpreter, HERE / "programs/openai_retries.py"])
        assert process.stdout.readline().strip() == "tries again"
    finally:
        service.start()
    assert clients.finish(process)["text"] == "You said: good morning to you"
