"""The acceptance of the first journey, item by item, as a user goes through it.

1. `runyard dev examples/hello --once --json`, and what is found of it afterwards.
2. `runyard up`, `deploy examples/text-to-image`, `curl`, progress, `kill -9` under a running job.
3. An unmodified program with `runpod.Endpoint` and its asyncio sisters.
4. Handlers that are broken in every way: `deploy` exits with 3 and the worker's own words, the old release goes
   on serving; an endpoint that breaks later says why; `rollback`.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import missing
from support import handlers, png
from support.wire import FINAL, until
from support.yard import REPOSITORY, Yard

BANNER = "--- Starting Serverless Worker |  Version 1.12.0 ---"
YEAR = "the year two zero two six"


# 1. One command.


def test_dev_once_and_what_is_found_afterwards(make_yard):
    yard = make_yard()
    seen = yard.cli("dev", "examples/hello", "--once", "--json", limit=180).json
    assert seen["status"] == "COMPLETED" and seen["sdk"] == "1.12.0"
    assert seen["output"]["greeting"] == "Hello, Ada!"
    assert not yard.processes(), "dev ends with everything it started"

    jobs = yard.cli("jobs", "--json").json["jobs"]
    assert [(j["id"], j["status"], j["worker"]) for j in jobs] == [(seen["id"], "COMPLETED", seen["worker"])]
    records = yard.cli("logs", "dev", "--json").json["records"]
    banner = [r for r in records if BANNER in r["message"]]
    assert [r["worker"] for r in banner] == [seen["worker"]]
    assert BANNER in yard.cli("logs", "dev", "--worker", seen["worker"]).out
    of_job = yard.cli("logs", "dev", "--job", seen["id"], "--json").json["records"]
    assert any("Started" in r["message"] for r in of_job), of_job


def test_dev_once_ends_with_the_jobs_outcome(make_yard, project):
    yard = make_yard()
    handlers.write(project, """
        import runpod
        def handler(job):
            raise ValueError("no such colour")
        runpod.serverless.start({"handler": handler})
    """, test_input__json='{"input": {"colour": "mauve"}}')
    done = yard.cli("dev", project, "--once", "--json", code=3, limit=180)
    assert done.json["status"] == "FAILED" and "no such colour" in done.json["error"]
    assert done.json["reason"]["code"] == "handler_exception"
    assert not yard.processes()


# 2. Pictures.


@pytest.fixture(scope="module")
def pictures(binary, tools):
    """A server with the endpoints t2i and words (a generator)."""
    yard = Yard(binary, tools)
    try:
        yard.start()
        done = yard.deploy("examples/text-to-image", "t2i", "--idle", "10m", "--max", "1")
        assert "t2i" in done.out + done.err
        yard.deploy("examples/hello", "words", "--idle", "10m", "--max", "1", "--env", "HELLO_MODE=generator")
        yield yard
    finally:
        yard.close()


def curl(yard, path, body):
    """The call of the acceptance, with the bare key."""
    if not shutil.which("curl"):
        missing("curl is not installed")
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "-H", f"authorization: {yard.key()}",
         "-H", "content-type: application/json", "-d", json.dumps(body), f"http://127.0.0.1:{yard.port}{path}"],
        capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout)


def test_curl_gets_a_picture_and_another_seed_another(pictures):
    found = []
    for seed in (1, 2, 1):
        answer = curl(pictures, "/v2/t2i/runsync", {"input": {"prompt": YEAR, "seed": seed}})
        assert answer["status"] == "COMPLETED", answer
        assert answer["output"]["statusCode"] == 200
        found.append(base64.b64decode(answer["output"]["body"], validate=True))
    assert len({png.size(picture) for picture in found}) == 1
    assert found[0] != found[1] and found[0] == found[2]


def test_polling_shows_progress_and_the_key_works_both_ways(pictures):
    given = {"prompt": "one", "seed": 1, "steps": 20, "delay": 0.1}
    job = pictures.wire.run("t2i", given, headers={"authorization": f"Bearer {pictures.key()}"})
    steps, status = [], None
    deadline = time.monotonic() + 40
    while status not in FINAL and time.monotonic() < deadline:
        answer = pictures.wire.status("t2i", job)
        status = answer["status"]
        if status == "IN_PROGRESS" and "output" in answer:
            steps.append(answer["output"]["step"])
            assert answer["output"]["of"] == 20
        time.sleep(0.05)
    assert status == "COMPLETED"
    assert steps == sorted(steps) and len(set(steps)) >= 5, steps
    png.size(base64.b64decode(answer["output"]["body"]))


def test_kill_9_under_a_running_job(pictures):
    wire = pictures.wire
    job = wire.run("t2i", {"prompt": YEAR, "seed": 3, "steps": 40, "delay": 0.1})
    before = until(lambda: (s := wire.status("t2i", job))["status"] == "IN_PROGRESS" and s.get("output") and s)
    pictures.kill()
    pictures.start()
    after = pictures.wire.status("t2i", job)
    assert after["status"] == "IN_PROGRESS", after
    done = pictures.wire.wait("t2i", job)
    assert done["status"] == "COMPLETED", done
    assert done["workerId"] == before["workerId"], "the worker outlived the server"
    assert "retries" not in done and pictures.wire.job(job)["attempt"] == 1
    png.size(base64.b64decode(done["output"]["body"]))


def test_kill_9_while_the_worker_finishes_without_a_server(pictures):
    wire = pictures.wire
    job = wire.run("t2i", {"prompt": YEAR, "seed": 4, "steps": 20, "delay": 0.1})
    until(lambda: wire.status("t2i", job)["status"] == "IN_PROGRESS")
    worker = wire.status("t2i", job)["workerId"]
    pictures.kill()
    # The result arrives while nobody but the agent is there.
    posts = pictures.data / "spool/posts"
    size = posts.stat().st_size
    try:
        until(lambda: posts.stat().st_size > size, 30)
    finally:
        pictures.start()
    done = pictures.wire.wait("t2i", job)
    assert done["status"] == "COMPLETED" and done["workerId"] == worker, done
    assert pictures.wire.job(job)["attempt"] == 1
    png.size(base64.b64decode(done["output"]["body"]))


# 3. The SDK as client.


def test_an_unmodified_program(pictures, sdk_python):
    env = {**pictures.env, "RUNPOD_ENDPOINT_BASE_URL": f"http://127.0.0.1:{pictures.port}/v2",
           "MY_KEY": pictures.key()}
    program = Path(__file__).parent / "programs/endpoint_client.py"
    done = subprocess.run([sdk_python, program, "t2i", "words"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["version"] == "1.12.0"

    threads = seen["threads"]
    assert threads["run_sync"]["statusCode"] == 200
    assert threads["run"]["status"] == "COMPLETED"
    assert threads["run"]["output"]["body"] != threads["run_sync"]["body"]
    for answer in (threads["run_sync"], threads["run"]["output"], seen["asyncio"]["run"]["output"]):
        png.size(base64.b64decode(answer["body"]))
    assert threads["stream_of_a_plain_handler"] == []
    assert threads["stream"] == [{"piece": n, "of": 5} for n in range(1, 6)]
    assert threads["health"]["jobs"]["inProgress"] == 1 and threads["health"]["jobs"]["inQueue"] == 3
    assert threads["health"]["workers"]["running"] == 1
    assert threads["purge_queue"] == {"removed": 3, "status": "completed"}
    assert threads["purged"] == ["CANCELLED"] * 3
    assert threads["before_cancel"] == "IN_PROGRESS"
    assert threads["cancel"]["status"] == "CANCELLED" and threads["after_cancel"] == "CANCELLED"

    tasks = seen["asyncio"]
    assert tasks["run"]["status"] == "COMPLETED"
    assert tasks["stream"] == [{"piece": n, "of": 4} for n in range(1, 5)]
    assert tasks["status"] == "IN_PROGRESS"
    assert tasks["cancel"]["status"] == "CANCELLED" and tasks["after_cancel"] == "CANCELLED"
    assert "RuntimeError" in seen["refused"] and "401" in seen["refused"], seen["refused"]


# 4. Broken handlers.

GOOD = """
    import runpod
    def handler(job):
        return {"version": 1}
    runpod.serverless.start({"handler": handler})
"""

BROKEN = {
    "raises at import": ("""
        import runpod
        print("loading the weights of mauve-7b", flush=True)
        raise RuntimeError("the weights of mauve-7b are torn")
    """, [], ["RuntimeError: the weights of mauve-7b are torn"], "start_failed"),
    "raises by a missing module": ("""
        import runpod
        import a_module_that_nobody_has
        runpod.serverless.start({"handler": lambda job: 1})
    """, [], ["No module named 'a_module_that_nobody_has'"], "start_failed"),
    "exits with 0 at once": ("""
        import runpod, sys
        print("nothing to do here", flush=True)
        sys.exit(0)
        runpod.serverless.start({"handler": lambda job: 1})
    """, [], ["nothing to do here", "code 0", "before it asked for a job"], "start_failed"),
    "exits with 3 at once": ("""
        import os, runpod
        print("leaving with three", flush=True)
        os._exit(3)
        runpod.serverless.start({"handler": lambda job: 1})
    """, [], ["leaving with three", "code 3"], "start_failed"),
    "segfaults": ("""
        import ctypes, runpod
        print("reading address zero", flush=True)
        ctypes.string_at(0)
        runpod.serverless.start({"handler": lambda job: 1})
    """, [], ["reading address zero", "SIGSEGV"], "start_failed"),
    "never calls start": ("""
        import runpod
        def main():
            runpod.serverless.start({"handler": lambda job: 1})
        print("defined main, called nothing", flush=True)
    """, [], ["defined main, called nothing", "before it asked for a job"], "start_failed"),
    "sleeps before start": ("""
        import time, runpod
        print("about to sleep for ever", flush=True)
        time.sleep(100000)
        runpod.serverless.start({"handler": lambda job: 1})
    """, ["--start-timeout", "4"], ["about to sleep for ever", "never asked for a job"], "start_failed"),
    "fails its test": ("""
        import runpod
        def handler(job):
            raise KeyError("colour")
        runpod.serverless.start({"handler": handler})
    """, [], ["KeyError", "colour"], "test_failed"),
    "crashes in its test": ("""
        import os, runpod
        def handler(job):
            print("crashing on purpose", flush=True)
            os._exit(5)
        runpod.serverless.start({"handler": handler})
    """, [], ["crashing on purpose", "code 5"], "worker_lost"),
}


@pytest.fixture(scope="module")
def fragile(binary, tools, tmp_path_factory):
    """A server with the endpoint fragile, whose release 1 is good."""
    yard = Yard(binary, tools)
    try:
        yard.start()
        folder = handlers.write(tmp_path_factory.mktemp("good"), GOOD)
        yard.deploy(folder, "fragile", "--idle", "10m", "--max", "1")
        yield yard
    finally:
        yard.close()


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_handler_is_not_promoted(fragile, project, how):
    source, flags, words, code = BROKEN[how]
    before = fragile.wire.api("/endpoints/fragile")
    handlers.write(project, source, test_input__json='{"input": {"x": 1}}')
    done = fragile.deploy(project, "fragile", *flags, code=3)
    for word in words:
        assert word in done.err + done.out, done
    release = fragile.wire.api("/endpoints/fragile/releases")["releases"][0]
    assert release["state"] == "failed" and release["reason"]["code"] == code, release
    after = fragile.wire.api("/endpoints/fragile")
    assert after["serving"] == before["serving"] == 1
    assert fragile.wire.do("fragile", {})["output"] == {"version": 1}
    # Settings of a failed deploy are not left behind.
    assert after["settings"] == before["settings"]
    # Nothing of the failed release goes on running.
    until(lambda: all(w["release"] == 1 for w in fragile.wire.workers("fragile")))


def test_dual_mode_without_its_variable(fragile):
    done = fragile.deploy("examples/dual-mode", "dual", code=3)
    assert "pod: running the handler once" in done.err, done
    assert "MODE_TO_RUN" in done.err, "the variable that its source reads is named"
    assert fragile.wire.api("/endpoints/dual")["serving"] is None
    status, answer = fragile.wire.call("POST", "/v2/dual/run", {"input": {}})
    if status == 200:
        assert fragile.wire.why(answer["id"])["code"] == "no_release"
    fragile.deploy("examples/dual-mode", "dual", "--env", "MODE_TO_RUN=serverless")
    assert fragile.wire.do("dual", {"prompt": "one two"})["output"]["words"] == 2


def test_json_of_a_failed_deploy(fragile, project):
    source, _, words, _ = BROKEN["raises at import"]
    handlers.write(project, source)
    done = fragile.cli("deploy", project, "--name", "fragile", "--json", code=3)
    last = done.lines[-1]
    assert last["done"] and not last["ok"] and last["serving"] == 1
    assert words[0] in last["reason"]["lastLines"]


def one_sentence(text):
    assert text and "\n" not in text and len(text) < 600, text
    return text


def test_why_names_what_broke_later(fragile, project, tmp_path):
    file = Path("/tmp") / f"runyard-test-{os.getpid()}.weights"
    file.write_text("42")
    file.chmod(0o644)
    try:
        handlers.write(project, f"""
            import runpod
            weights = int(open({str(file)!r}).read())
            runpod.serverless.start({{"handler": lambda job: weights}})
        """)
        fragile.deploy(project, "later", "--idle", "10m")
        assert fragile.wire.do("later", {})["output"] == 42
    finally:
        file.unlink()
    fragile.cli("endpoints", "restart", "later")
    job = fragile.wire.run("later", {})
    until(lambda: fragile.wire.why(job)["code"] == "start_failing", 30, say=lambda: fragile.wire.why(job))
    why = fragile.cli("why", job, "--json").json
    sentence = one_sentence(why["sentence"])
    assert "FileNotFoundError" in sentence and file.name in sentence, why
    assert any("FileNotFoundError" in line for line in why["causes"][0]["lastLines"]), why
    assert sentence.split("; next try")[0] in fragile.cli("why", job).out
    assert "FileNotFoundError" in fragile.cli("why", "later").out
    assert fragile.wire.api("/endpoints/later")["state"] == "failing"
    assert fragile.wire.status("later", job)["reason"]["code"] == "start_failing"
    # Once it is mended the job is done, without anybody's help.
    file.write_text("43")
    file.chmod(0o644)
    try:
        assert fragile.wire.wait("later", job, 45)["output"] == 43
    finally:
        file.unlink()


def test_why_of_jobs_that_failed(fragile):
    fragile.deploy("examples/hello", "hello", "--idle", "10m", "--max", "1")
    raised = fragile.wire.do("hello", {"fail": "out of mauve"})
    assert raised["status"] == "FAILED"
    sentence = one_sentence(fragile.cli("why", raised["id"], "--json").json["sentence"])
    assert "RuntimeError: out of mauve" in sentence and "handler.py:" in sentence
    soft = fragile.wire.do("hello", {"soft_error": "no such prompt"})
    assert (soft["status"], soft["error"]) == ("FAILED", "no such prompt")
    assert "no such prompt" in one_sentence(fragile.wire.why(soft["id"])["sentence"])
    lost = fragile.wire.do("hello", {"segfault": True}, limit=40)
    assert lost["status"] == "FAILED" and lost["retries"] == 1, lost
    assert "SIGSEGV" in one_sentence(fragile.wire.why(lost["id"])["sentence"])


def test_why_of_an_endpoint_that_may_have_no_worker(fragile):
    fragile.cli("endpoints", "create", "asleep", "--max", "0")
    fragile.deploy("examples/hello", "asleep", "--max", "1")
    fragile.cli("endpoints", "set", "asleep", "--max", "0")
    job = fragile.wire.run("asleep", {})
    why = fragile.wire.why(job)
    assert why["code"] == "no_worker_allowed" and "workers_max" in one_sentence(why["sentence"])
    assert fragile.cli("cancel", job).code == 0
    assert "cancel" in one_sentence(fragile.wire.why(job)["sentence"])


def test_rollback(fragile, project):
    for version in (1, 2):
        handlers.write(project, f"""
            import runpod
            runpod.serverless.start({{"handler": lambda job: {{"version": {version}}}}})
        """)
        fragile.deploy(project, "moving", "--idle", "10m")
        assert fragile.wire.do("moving", {})["output"] == {"version": version}
    fragile.cli("rollback", "moving", limit=60)
    assert fragile.wire.do("moving", {})["output"] == {"version": 1}
    assert fragile.wire.api("/endpoints/moving")["serving"] == 1
    fragile.cli("rollback", "moving", "--to", "2", limit=60)
    assert fragile.wire.do("moving", {})["output"] == {"version": 2}
    until(lambda: {w["release"] for w in fragile.wire.workers("moving")} == {2})
