"""curl as in RunPod's own examples, with the bare key, on every operation; and what a browser sees of the API."""

import json
import shutil
import subprocess

import pytest

from conftest import missing
from support.wire import FINAL, until

ORIGIN = "https://app.example.com"
NOBODY = "00000000-0000-4000-8000-000000000000-u1"


class Answer:
    """Status, headers and body of one answer."""

    def __init__(self, out):
        head, _, self.text = out.partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    def __repr__(self):
        return f"{self.status} {self.headers} {self.text}"

    @property
    def json(self):
        return json.loads(self.text)


@pytest.fixture
def curl(service):
    if not shutil.which("curl"):
        missing("curl is not installed")

    def curl(path, *arguments, key=service.key()):
        command = ["curl", "-sS", "-i", "--max-time", "60", f"http://127.0.0.1:{service.port}/v2{path}", *arguments]
        if key:
            command += ["-H", f"authorization: {key}"]
        return Answer(subprocess.run(command, capture_output=True, check=True).stdout.decode())

    return curl


def body(**fields):
    """A JSON body as curl's arguments."""
    return ["-H", "content-type: application/json", "-d", json.dumps(fields)]


def test_every_operation_with_the_bare_key(curl):
    answer = curl("/tasks/run", *body(input={"n": 1}))
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] and list(answer.json) == ["id", "status"]
    job = answer.json["id"]
    done = curl(f"/tasks/status-sync/{job}?wait=20000").json
    assert done["status"] == "COMPLETED"
    assert curl(f"/tasks/status/{job}").json == done == curl(f"/tasks/status/{job}", "-X", "POST").json
    # RunPod's Go client and others read with POST.
    assert curl(f"/tasks/status-sync/{job}?wait=1000", "-X", "POST").json == done
    for method in ("GET", "POST"):
        assert curl(f"/tasks/stream/{job}", "-X", method).json == {"status": "COMPLETED", "stream": []}
    assert curl("/tasks/runsync?wait=1000", *body(input={"n": 2})).json["output"]["echo"] == {"n": 2}
    assert set(curl("/tasks/metrics").json) == {"readyWorkers", "workers"}
    assert job in {seen["id"] for seen in curl("/tasks/requests?limit=20").json["requests"]}

    waiting = curl("/parked/run", *body(input=None)).json["id"]
    assert curl(f"/parked/stream/{waiting}?wait=1000").json == {"status": "IN_QUEUE", "stream": []}
    assert curl(f"/parked/cancel/{waiting}", "-X", "POST").json == {"id": waiting, "status": "CANCELLED"}
    failed = curl("/tasks/runsync", *body(input={"fail": "x"})).json
    assert failed["status"] == "FAILED"
    assert curl(f"/tasks/retry/{failed['id']}", "-X", "POST").json == {"id": failed["id"], "status": "IN_QUEUE"}
    assert curl("/parked/purge-queue", "-X", "POST").json["status"] == "completed"
    assert curl("/parked/health").json["jobs"]["inQueue"] == 0


def test_keys_in_every_spelling(curl, service):
    key = service.key()
    for spelling in (key, f"Bearer {key}", f"bearer {key}", f"BEARER  {key}"):
        assert curl("/tasks/health", key=spelling).status == 200, spelling
    for wrong in ("", "nobody", f"Basic {key}", f"{key}x", key.upper()):
        answer = curl("/tasks/health", key=wrong)
        assert answer.status == 401, wrong
        expected = "invalid api key" if wrong else "no token provided"
        assert (answer.json["status"], answer.json["title"], answer.json["detail"]) == (401, "Unauthorized", expected)


def test_streams_of_the_openai_route_are_not_held_back(service, curl):
    """The first event is there long before the last."""
    asked = {"model": "parrot-1", "stream": True, "user": "slow", "messages": [{"role": "user", "content": "hi"}]}
    url = f"http://127.0.0.1:{service.port}/v2/vllm/openai/v1/chat/completions"
    process = subprocess.Popen(
        ["curl", "-sN", "--max-time", "60", url, "-H", f"authorization: {service.key()}", *body(**asked)],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        first = process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "You "
    newest = lambda: service.wire.ok("GET", "/v2/vllm/requests?limit=1")["requests"][0]  # noqa: E731
    until(lambda: newest()["status"] in FINAL, say=newest)
    assert newest()["status"] == "CANCELLED"


# A page of another origin that holds a key.

PREFLIGHTS = [
    ("POST", "/tasks/run"), ("POST", "/tasks/runsync"), ("GET", f"/tasks/status/{NOBODY}"),
    ("POST", f"/tasks/cancel/{NOBODY}"), ("GET", f"/tasks/stream/{NOBODY}"), ("POST", "/nowhere/run"),
    ("POST", "/vllm/openai/v1/chat/completions"), ("GET", "/tasks/no-such-operation"),
]


@pytest.mark.parametrize(("method", "path"), PREFLIGHTS)
def test_a_preflight_needs_no_key(curl, method, path):
    asked = "authorization,content-type,x-stainless-lang"
    answer = curl(path, "-X", "OPTIONS", "-H", f"origin: {ORIGIN}", "-H", f"access-control-request-method: {method}",
                  "-H", f"access-control-request-headers: {asked}", key=None)
    assert answer.status in (200, 204), answer
    assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
    assert method in answer.headers["access-control-allow-methods"]
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert set(asked.split(",")) <= allowed
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(("path", "status", "arguments"), [
    ("/tasks/health", 200, []),
    ("/tasks/runsync", 200, body(input={})),
    ("/vllm/openai/v1/models", 200, []),
    ("/tasks/run", 400, ["-d", '{"input": 1,}']),
    ("/tasks/run", 400, ["-d", "@/dev/null"]),
    ("/nowhere/health", 404, []),
    (f"/tasks/status/{NOBODY}", 404, []),
    ("/tasks/no-such-operation", 404, []),
    ("/tasks/run", 405, []),
])
def test_a_page_can_read_every_answer(curl, path, status, arguments):
    answer = curl(path, "-H", f"origin: {ORIGIN}", *arguments)
    assert answer.status == status, answer
    assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    if status >= 400:
        assert isinstance(answer.json["error"], str) and answer.json["code"] and answer.json["requestId"]


def test_a_page_can_read_that_its_key_is_wrong(curl):
    for path in ("/tasks/health", "/vllm/openai/v1/models"):
        answer = curl(path, "-H", f"origin: {ORIGIN}", key="nobody")
        assert answer.status == 401 and answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


def test_a_body_that_is_too_large_says_so_as_runpod_does(curl, tmp_path):
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"input": "x" * (10 << 20)}))
    sent = ["-H", "content-type: application/json", "-H", "expect:", "--data-binary", f"@{large}"]
    answer = curl("/tasks/run", *sent)
    assert (answer.status, answer.text) == (400, "exceeded max body size of 10MiB")
    synced = curl("/parked/runsync?wait=1000", *sent)
    assert synced.status == 200 and "IN_QUEUE" in synced.text, "runsync takes 20 MB"
