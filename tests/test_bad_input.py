"""Bad input on every side of a real server: bodies, paths, queries, framing, archives, and what a worker may say. Each is
answered with the right error in its dialect's shape; nothing is lost, nothing is left behind, nothing grows; and
afterwards a job still goes through.

Who may call what: `crates/server/tests/routes`. The parsers one by one: `docs/fuzzing.md`.
"""

import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.hostile import BROKEN, ODD, Measure, archive, bomb, call, exchange, is_refusal, sha
from support.wire import FINAL, until
from support.yard import Yard

WORKER = Path(__file__).parent / "workers/listless.py"
FILE, FOLDER, LINK, HARD, PIPE, DEVICE = (
    tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
)
NO_JOB = "00000000-0000-4000-8000-000000000000-u1"


class Speaker:
    """The test, in the name of a worker."""

    def __init__(self, line):
        self.worker = line["worker"]
        take = urlsplit(line["take"])
        self.port = take.port
        self.base = take.path.split("/job-take/")[0]

    def path(self, verb, job=None):
        return f"{self.base}/{verb}/{self.worker}" + (f"/{job}?isStream=false" if job else "")

    def say(self, method, path, body=None, headers=None):
        status, _, answer = call(self.port, method, path, body, headers)
        return status, answer

    def take(self):
        status, body = self.say("GET", self.path("job-take") + "?job_in_progress=1")
        return json.loads(body)["id"] if status == 200 else None

    def done(self, job, body):
        return self.say("POST", self.path("job-done", job), body)[0]


@pytest.fixture(scope="module")
def yard(binary, tools):
    """A server with an endpoint without workers and two with one each."""
    yard = Yard(binary, tools, env={"RUNYARD_RATE_REQUESTS": "10000"}).start()
    try:
        yard.wire.api("/endpoints", "POST", {"name": "calm", "settings": {"workers_max": 0}})
        yield yard
    finally:
        yard.close()


def speaker(yard, folder, name):
    """Deploys an endpoint with one worker, and learns to speak for it."""
    journal = yard.root / f"{name}.journal"
    journal.touch()
    journal.chmod(0o666)
    project = folder / name
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, name, "--handler", "worker.py", "--min", 1, "--max", 1, "--idle", "1h",
                "--env", f"JOURNAL={journal}")

    def said():
        living = [w["id"] for w in yard.wire.workers(name)]
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        return [line for line in lines if line["worker"] in living]

    return Speaker(until(said, 30)[0])


@pytest.fixture(scope="module")
def two(yard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listless")
    return speaker(yard, folder, "one"), speaker(yard, folder, "two")


@pytest.fixture
def measured(yard):
    """Whatever a test sends, the server is what it was before, and works."""
    before = Measure(yard)
    yield
    before.check()
    job = yard.wire.run("calm", {"still": "here"})
    assert yard.wire.status("calm", job)["status"] == "IN_QUEUE"
    assert yard.wire.ok("POST", f"/v2/calm/cancel/{job}")["status"] == "CANCELLED"


def ask(yard, method, path, body=None, **headers):
    headers = {"authorization": yard.key(), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return call(yard.port, method, path, body, headers)


def refused(yard, method, path, body=None, codes=(400,), **headers):
    """The call is refused with one of these statuses, in its shape."""
    status, _, answer = ask(yard, method, path, body, **headers)
    assert status in codes, f"{method} {path[:200]} {body and body[:100]}: {status} {answer[:300]}"
    return is_refusal(path, status, answer)


# The job API.


@pytest.mark.parametrize("what", BROKEN)
def test_a_body_that_is_no_submission(yard, measured, what):
    for operation in ("run", "runsync", "openai/v1/chat/completions"):
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", "x"):
            refused(yard, "POST", f"/v2/calm/{operation}", BROKEN[what], content_type=kind)


def test_fields_of_wrong_types(yard, measured):
    fields = ["webhook", "policy", "s3Config", "policy.executionTimeout", "policy.ttl", "policy.lowPriority"]
    allowed = {"webhook": [None], "policy": [None, {}], "s3Config": [None, {}], "policy.lowPriority": [None, True]}
    for field in fields:
        outer, _, inner = field.partition(".")
        for value in ODD:
            good = any(value == fine and type(value) is type(fine) for fine in allowed.get(field, [None]))
            if good or (field in ("policy", "s3Config") and isinstance(value, dict)):
                continue
            body = {"input": 1, outer: {inner: value} if inner else value}
            answer = refused(yard, "POST", "/v2/calm/run", json.dumps(body).encode())
            assert answer["code"] == "invalid" and field in answer["error"], answer
    missing = refused(yard, "POST", "/v2/calm/run", b'{"Input": 1, "inputs": 2}')
    assert "no 'input'" in missing["error"]
    for url in ("ftp://h/", "http://", "http://h:99999/", "javascript:x", "http://a b/", "//h/x", "file:///etc/passwd"):
        refused(yard, "POST", "/v2/calm/run", json.dumps({"input": 1, "webhook": url}).encode())


def test_equal_keys_count_once(yard):
    body = b'{"input": 1, "policy": {"ttl": 1}, "input": {"a": 1, "a": 2}, "policy": null}'
    status, _, answer = ask(yard, "POST", "/v2/calm/run", body)
    assert status == 200, answer
    job = yard.wire.job(json.loads(answer)["id"])
    assert job["input"] == {"a": 2}
    yard.wire.ok("POST", f"/v2/calm/cancel/{job['id']}")


PATHS = [
    "/v2/%2e%2e/run", "/v2/../api/v1/keys", "/v2/%00/run", "/v2/%ff%fe/run", "/v2/calm/", "/v2//run", "/v2/calm/run/",
    "/v2/calm/status/%00", "/v2/calm/status/..%2f..%2fetc%2fpasswd", "/v2/calm/status/%2e%2e", "/v2/calm/status/%",
    "/v2/calm/status/" + "x" * 6000, "/v2/" + "x" * 6000 + "/health", "/v2/calm/cancel/%0d%0aset-cookie:x",
    f"/v2/calm/status/{NO_JOB}", "/v2/calm/openai", "/v2/calm%2frun", "/v2/CALM/health", "/v2/calm/RUN",
    "/api/v1/jobs/%00", "/api/v1/jobs/%ff", "/api/v1/jobs/" + "x" * 6000, f"/api/v1/jobs/{NO_JOB}/why",
    "/api/v1/endpoints/%2e%2e", "/api/v1/endpoints/..%2fkeys", "/api/v1/endpoints/%ff", "/api/v1/bundles/%2e%2e%2fdb",
    "/api/v1/bundles/" + "A" * 64, "/api/v1/bundles/" + "0" * 63, "/api/v1/nope", "/api/v1/", "/api/v1/logs?worker=../../x",
    "/api/v1/logs?job=%00", "/api/v1/logs?level=loud", "/api/v1/logs?limit=x", "/api/v1/logs?since=1e99",
    "/api/v1/logs?build=-1", "/api/v1/logs?follow=maybe", "/api/v1/jobs?limit=-1", "/api/v1/jobs?cursor=../x",
    "/api/v1/jobs?status=DONE", "/api/v1/jobs?since=x", "/api/v1/jobs?endpoint=%00", "/api/v1/workers?endpoint=nope",
    "/v2/calm/requests?limit=x", "/v2/calm/requests?before=../x", "/", "/etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "/w/x/v2/calm/job-take/w", "/w/%00/v2/calm/ping/w", "/agent/give-back", "/health?" + "a=b&" * 1500,
]


def test_paths_and_queries_that_lead_nowhere(yard, measured):
    calls = [(method, path) for path in PATHS for method in ("GET", "POST", "DELETE")]
    calls = [call for call in calls if call[1] != "/"]  # A browser is led to the sign-in there.
    codes = (400, 401, 403, 404, 405)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda call: refused(yard, *call, b'{"input":1}', codes=codes), calls))


def test_numbers_of_the_query(yard):
    job = yard.wire.run("calm", 1)
    for value in ("x", "1e400", "NaN", "--1", "0x10", "1%20", "%31", "١"):
        for path in (f"/v2/calm/status-sync/{job}?wait=", f"/v2/calm/stream/{job}?wait=", f"/v2/calm/status/{job}?ttl="):
            answer = refused(yard, "GET", path + value.replace("١", "%D9%A1"))
            assert answer["code"] == "invalid", answer
    for value in ("-1", "0", "9999", "604800001", "9223372036854775807", "99999999999999999999"):
        refused(yard, "GET", f"/v2/calm/status/{job}?ttl={value}")
    assert yard.wire.ok("POST", f"/v2/calm/cancel/{job}")["status"] == "CANCELLED"
    # What `wait` cannot be it is clamped to; the job has ended, so no answer is held.
    for value in ("-1", "0", "9223372036854775807", "1.5", "99999999999999999999", ""):
        assert ask(yard, "GET", f"/v2/calm/status-sync/{job}?wait={value}")[0] == 200
    for key in ("", "k" * 256, "a\tb", "\xff"):
        refused(yard, "POST", "/v2/calm/run", b'{"input":1}', idempotency_key=key)


# Framing.


FRAMES = {
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}   ",
    "two lengths in one": b"content-length: 5, 6\r\n\r\n{}   ",
    "a negative length": b"content-length: -1\r\n\r\n{}",
    "no number for a length": b"content-length: 0x10\r\n\r\n{}",
    "a length beyond all": b"content-length: 99999999999999999999999\r\n\r\n{}",
    "an unknown encoding": b"transfer-encoding: pigeon\r\n\r\n{}",
    "a chunk size that is none": b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond all": b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": b"transfer-encoding: chunked\r\n\r\n1\r\n{\"input\":1}\r\n0\r\n\r\n",
    "a body that breaks off": b"content-length: 100\r\n\r\n{\"input\": 1}",
    "chunks that break off": b"transfer-encoding: chunked\r\n\r\n5\r\n{\"inp",
    "no chunk": b"transfer-encoding: chunked\r\n\r\n",
    "a header without a colon": b"nonsense\r\ncontent-length: 2\r\n\r\n{}",
    "a header with a zero": b"x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "spaces before the colon": b"content-length : 2\r\n\r\n{}",
    "a folded header": b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("what", FRAMES)
def test_framing_that_lies(yard, measured, what):
    for path in ("/v2/calm/run", "/v2/calm/runsync?wait=1000", "/api/v1/endpoints", "/api/v1/bundles/" + "0" * 64):
        method = "PUT" if "bundles" in path else "POST"
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {yard.key()}\r\nconnection: close\r\n".encode()
        status, answer = exchange(yard.port, head + FRAMES[what], half_close=True)
        assert status is None or 400 <= status < 500, f"{path}: {answer[:300]}"


@pytest.mark.parametrize("sent", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://elsewhere/v2/calm/health HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n",
    b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\nhost: x\r\n\r\n",
    bytes(range(256)) * 40,
    b"\r\n" * 5000,
], ids=lambda sent: repr(sent[:20]))
def test_what_is_hardly_http(yard, measured, sent):
    status, answer = exchange(yard.port, sent, half_close=True)
    assert status is None or 400 <= status < 500 or b"OPTIONS" in sent, answer[:300]


# The management API.


CALLS = {
    ("POST", "/api/v1/endpoints"): ["name", "settings"],
    ("PATCH", "/api/v1/endpoints/calm"): ["name", "settings"],
    ("POST", "/api/v1/endpoints/calm/releases"): ["bundle", "folder", "handler", "env", "settings", "note", "create", "tests"],
    ("POST", "/api/v1/endpoints/calm/rollback"): ["to"],
    ("POST", "/api/v1/keys"): ["name", "access", "endpoints", "expiresInS"],
}


@pytest.mark.parametrize("method,path", CALLS, ids=lambda part: str(part))
def test_bodies_of_the_management_api(yard, measured, method, path):
    for what, body in BROKEN.items():
        if what not in ("nothing", "deep"):  # no body is an empty object, and a deep one is JSON
            refused(yard, method, path, body)
    for field in CALLS[method, path]:
        for value in ODD:
            changes_nothing = method == "PATCH" and (value is None or value == {})
            if changes_nothing or (method, field, value) == ("PATCH", "name", "x"):
                continue
            if path.endswith("/endpoints") and field == "name" and value in ("x", 0):
                continue
            refused(yard, method, path, json.dumps({field: value}).encode(), codes=(400, 404, 409))


def test_settings_of_wrong_types(yard, measured):
    shown = yard.wire.api("/endpoints/calm")["settings"]
    for name in shown:
        for value in ODD:
            status, _, answer = ask(yard, "PATCH", "/api/v1/endpoints/calm", json.dumps({"settings": {name: value}}).encode())
            assert status in (200, 400), f"{name}={value!r}: {status} {answer[:200]}"
            if status == 400:
                is_refusal("/api/v1/endpoints/calm", status, answer)
        yard.wire.api("/endpoints/calm", "PATCH", {"settings": shown})
    assert yard.wire.api("/endpoints/calm")["settings"] == shown


def test_names_that_no_variable_can_have(yard, measured):
    body = archive(("handler.py", FILE, b"1"))
    ask(yard, "PUT", f"/api/v1/bundles/{sha(body)}", body)
    for name, value in (("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")):
        request = {"bundle": sha(body), "env": {name: value}, "create": True}
        refused(yard, "POST", "/api/v1/endpoints/fresh/releases", json.dumps(request).encode())
    shutil.rmtree(yard.data / "bundles" / sha(body))


# Bundles.


ARCHIVES = {
    "up": archive(("../x", FILE, b"1")),
    "up inside": archive(("a/../../x", FILE, b"1")),
    "absolute": archive(("/tmp/x", FILE, b"1")),
    "a link": archive(("d", LINK, "/tmp"), ("d/x", FILE, b"1")),
    "a hard link": archive(("d", HARD, "/etc/passwd")),
    "a pipe": archive(("p", PIPE, b"")),
    "a device": archive(("c", DEVICE, b"")),
    "twice": archive(("a", FILE, b"1"), ("./a", FILE, b"2")),
    "a file as a folder": archive(("a", FILE, b"1"), ("a/b", FILE, b"2")),
    "a long name": archive(("n" * 300, FILE, b"1")),
    "a long path": archive(("n/" * 600 + "x", FILE, b"1")),
    "too many files": archive(*((f"d{n % 100}/{n}", FILE, b"") for n in range(51_000))),
    "cut": archive(("a", FILE, os.urandom(5000)))[:-500],
    "not packed": archive(("a", FILE, b"1"), compress=False),
    "noise": BROKEN["noise"],
    "nothing": b"",
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_is_refused_leaves_nothing(yard, measured, what):
    body = ARCHIVES[what]
    answer = refused(yard, "PUT", f"/api/v1/bundles/{sha(body)}", body)
    assert answer["code"] == "invalid"
    refused(yard, "PUT", f"/api/v1/bundles/{'0' * 64}", body)
    refused(yard, "GET", f"/api/v1/bundles/{sha(body)}", codes=(404,))
    assert not Path("/tmp/x").exists()


def test_bombs_cost_no_memory(yard, measured):
    body = bomb(1024)
    assert len(body) < 2 << 20
    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: refused(yard, "PUT", f"/api/v1/bundles/{sha(body)}", body), range(4)):
            assert "times as big" in answer["detail"], answer


def test_large_uploads_at_once_are_no_memory(yard, measured):
    body = os.urandom(40 << 20)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: refused(yard, "PUT", f"/api/v1/bundles/{'0' * 64}", body), range(4)))


def test_code_that_is_a_trap(yard, measured, project):
    """Requirements that name the whole machine, sources and test requests that are made to be read slowly."""
    project.mkdir()
    stars = "".join(f"from m{n} import *\n" for n in range(20_000))
    (project / "handler.py").write_text(stars + "x " * 300_000)
    (project / "requirements.txt").write_text("/\n-e /etc\n../..\n/dev/zero\n")
    (project / ".runpod").mkdir()
    (project / ".runpod/tests.json").write_text('{"tests": ' + "[" * 100_000)
    done = yard.deploy(project, "calm", code=3)
    assert done.code == 3
    for bundle in set((yard.data / "bundles").iterdir()):
        if (bundle / "requirements.txt").exists():
            shutil.rmtree(bundle)


# Workers.


NO_RESULTS = {what: body for what, body in BROKEN.items() if what != "deep"}


def test_posts_that_are_no_results_fail_their_job_and_no_other(yard, two):
    one, _ = two
    untouched = yard.wire.run("two", 0)
    for what, body in NO_RESULTS.items():
        job = yard.wire.run("one", {"what": what})
        assert one.take() == job
        assert one.done(job, body) == 200
        end = yard.wire.wait("one", job)
        assert end["status"] == "FAILED", (what, end)
        assert yard.wire.job(job)["reason"]["code"] == "result_rejected", what
    assert yard.wire.status("two", untouched)["status"] == "IN_QUEUE"
    yard.wire.ok("POST", f"/v2/two/cancel/{untouched}")


def test_values_of_wrong_types_are_results_or_failures(yard, two):
    one, _ = two
    for value in ODD:
        for field in ("output", "error", "status", "stopPod"):
            if (field, value) == ("stopPod", True):
                continue  # that asks for another worker
            job = yard.wire.run("one", 1)
            assert one.take() == job
            assert one.done(job, json.dumps({"output": 7, field: value}).encode()) == 200
            end = yard.wire.wait("one", job)
            failed = field == "error" and value not in (None, "")
            assert end["status"] == ("FAILED" if failed else "COMPLETED"), (field, value, end)
            assert not failed or isinstance(end["error"], str), end


def test_a_worker_cannot_touch_what_is_not_its_own(yard, two):
    one, other = two
    mine, waiting = yard.wire.run("one", 1), yard.wire.run("one", 2)
    assert one.take() == mine
    foreign = yard.wire.run("two", 3)
    attempts = []
    for job in (mine, waiting, foreign, NO_JOB, "%2e%2e", "x" * 500, "%00", "..%2f..%2fx"):
        for verb in ("job-done", "job-stream"):
            attempts.append(("POST", other.path(verb, job), b'{"output": "stolen"}'))
    swapped = other.base.replace(other.base.split("/")[-1], one.base.split("/")[-1])
    attempts += [
        ("POST", f"{swapped}/job-done/{one.worker}/{mine}", b'{"output": "stolen"}'),
        ("POST", f"{other.base}/job-done/{one.worker}/{mine}", b'{"output": "stolen"}'),
        ("GET", f"{other.base}/job-take/{one.worker}?job_in_progress=0", None),
        ("GET", f"{other.base}/ping/{one.worker}?job_id={mine}&status=unhealthy&reason=x", None),
        ("POST", f"/w/nope/v2/one/job-done/{one.worker}/{mine}", b'{"output": "stolen"}'),
        ("POST", f"/v2/one/job-done/{one.worker}/{mine}", b'{"output": "stolen"}'),
        ("POST", "/agent/give-back", json.dumps({"worker": one.worker, "jobs": [mine]}).encode()),
        ("GET", "/workers", None),
        ("POST", "/shutdown", b"{}"),
    ]
    with ThreadPoolExecutor(16) as threads:
        for (method, path, _), (status, body) in zip(attempts, threads.map(lambda a: other.say(*a), attempts)):
            assert status in (200, 400, 401, 403, 404), f"{method} {path}: {status}"
            assert status == 200 or json.loads(body)["error"], (path, body)
    assert yard.wire.status("one", mine)["status"] == "IN_PROGRESS"
    assert [yard.wire.status(*job)["status"] for job in (("one", waiting), ("two", foreign))] == ["IN_QUEUE"] * 2
    assert one.done(mine, b'{"output": "mine"}') == 200
    assert yard.wire.wait("one", mine)["output"] == "mine"
    for endpoint, job in (("one", waiting), ("two", foreign)):
        yard.wire.ok("POST", f"/v2/{endpoint}/cancel/{job}")


def test_noise_from_a_worker(yard, two, measured):
    """Methods, queries, versions, reports: answered or refused, and the worker is what it was."""
    one, _ = two
    before = yard.wire.workers("one")
    said = [
        ("GET", one.path("job-take-batch") + "?batch_size=99999999999999999999&job_in_progress=1", None),
        ("GET", one.path("job-take-batch") + "?batch_size=-1&job_in_progress=1", None),
        ("GET", one.path("ping") + "?job_id=" + ",".join(["x" * 90, "../..", "%00", ""]) * 50, None),
        ("GET", one.path("ping") + "?runpod_version=%1b%5b31m" + "9" * 3000, None),
        ("GET", one.path("ping") + "?%ff=%fe&==&&&", None),
        ("POST", one.path("job-take"), b"{}"),
        ("DELETE", one.path("job-done", "x"), None),
        ("GET", one.path("job-done", "x"), None),
        ("GET", one.path("no-such-verb"), None),
        ("GET", one.base + "/../../../v2/one/health", None),
        ("POST", one.base + "/job%2ddone/" + one.worker + "/x", b"noise"),
    ]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda a: one.say(*a, {"user-agent": "RunPod-Python-SDK/\x1b[31m"}), said))
    for (method, path, _), (status, body) in zip(said, answers):
        assert status in (200, 204, 400, 404, 405), f"{method} {path[:200]}: {status} {body[:200]}"
    for frame in FRAMES.values():
        head = f"POST {one.path('job-done', NO_JOB)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
        status, answer = exchange(one.port, head + frame, half_close=True)
        assert status is None or status < 500, answer[:300]
    assert [w["id"] for w in yard.wire.workers("one")] == [w["id"] for w in before]


def test_posts_while_the_server_is_away(yard, two):
    """What comes meanwhile, good and bad, is brought in afterwards: each job has the end that its post means."""
    one, _ = two
    posts = {"good": b'{"output": {"kept": true}}', "noise": BROKEN["noise"], "cut": BROKEN["cut"], "empty": b""}
    jobs = {}
    for what in posts:
        jobs[what] = yard.wire.run("one", what)
        assert one.take() == jobs[what]
    yard.kill()
    for what, body in posts.items():
        assert one.done(NO_JOB, body) == 200
        assert one.done(jobs[what], body) == 200
        assert one.say("POST", one.path("job-stream", "%2e%2e"), body)[0] < 600
    yard.start()
    ends = {what: yard.wire.wait("one", job) for what, job in jobs.items()}
    assert ends["good"]["status"] == "COMPLETED" and ends["good"]["output"] == {"kept": True}
    for what in ("noise", "cut", "empty"):
        assert ends[what]["status"] == "FAILED", ends[what]
    assert all(end["status"] in FINAL for end in ends.values())
    until(lambda: not (yard.data / "spool/posts").stat().st_size, 20)
    job = yard.wire.run("one", "afterwards")
    assert one.take() == job and one.done(job, b'{"output": 1}') == 200
    assert yard.wire.wait("one", job)["output"] == 1
