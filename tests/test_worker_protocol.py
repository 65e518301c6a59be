"""The real `runpod` 1.12.0 as worker, through everything that a handler can do, good or bad, with `examples/hello`
(and small handlers where a test needs its own). One server serves the file; where a test restarts it, or needs
GPUs, it has a server of its own.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import handlers
from support.wire import until
from support.yard import Yard

ONE = ("--max", "1", "--idle", "10m")

ECHO = """
    import os, runpod
    def handler(job):
        given = job["input"]
        if isinstance(given, dict) and "env" in given:
            return {"value": os.environ.get(given["env"])}
        return {"got": given, "keys": sorted(job)}
    runpod.serverless.start({"handler": handler})
"""

# name: (folder, flags); None: the folder is written for the test
ENDPOINTS = {
    "plain": ["examples/hello", *ONE],
    "tasks": ["examples/hello", *ONE, "--env", "HELLO_MODE=async"],
    "four": ["examples/hello", *ONE, "--env", "HELLO_MODE=async", "--env", "CONCURRENCY_MODIFIER=4", "--concurrency", "4"],
    "pieces": ["examples/hello", *ONE, "--env", "HELLO_MODE=generator"],
    "apieces": ["examples/hello", *ONE, "--env", "HELLO_MODE=async_generator"],
    "whole": ["examples/hello", *ONE, "--env", "HELLO_MODE=generator", "--env", "HELLO_AGGREGATE=1"],
    "awhole": ["examples/hello", *ONE, "--env", "HELLO_MODE=async_generator", "--env", "HELLO_AGGREGATE=1"],
    "echo": [None, *ONE],
    "closed": [None, *ONE],
}


@pytest.fixture(scope="module")
def yard(binary, tools, tmp_path_factory):
    yard = Yard(binary, tools)
    echo = handlers.write(tmp_path_factory.mktemp("echo"), ECHO)
    try:
        yard.start()
        # The first makes the environment that the others use.
        names = list(ENDPOINTS)
        deploy = lambda name: yard.deploy(ENDPOINTS[name][0] or echo, name, *ENDPOINTS[name][1:])  # noqa: E731
        deploy(names[0])
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(deploy, names[1:]))
        yard.cli("endpoints", "set", "closed", "--max", "0")
        yield yard
    finally:
        yard.close()


@pytest.fixture
def wire(yard):
    return yard.wire


def running(wire, endpoint, job, limit=20):
    return until(lambda: (s := wire.status(endpoint, job))["status"] == "IN_PROGRESS" and s, limit,
                 say=lambda: wire.explain(endpoint, job))


# What comes in and goes out.


@pytest.mark.parametrize("given", [
    {"a": 1}, {}, None, [], "text", "", 0, False, 1.5, 12345678901234567890, {"deep": [[{"x": None}]]},
    {"text": "Grüße, 你好 \u2028 \\ \" \x7f", "empty": {}},
], ids=lambda given: json.dumps(given)[:30])
def test_any_input_arrives_unchanged(wire, given):
    done = wire.do("echo", given)
    assert done["status"] == "COMPLETED", done
    assert done["output"]["got"] == given and done["output"]["keys"] == ["id", "input"]


def test_large_inputs_and_outputs(wire):
    given = {"blob": "0123456789abcdef" * 300_000}
    done = wire.do("echo", given, limit=60)
    assert done["output"]["got"] == given


@pytest.mark.parametrize("value", ["text", 5, 0, False, [1, 2], {"a": {"b": []}}, "", []], ids=json.dumps)
def test_any_output_comes_back(wire, value):
    done = wire.do("plain", {"mock_return": value})
    assert done["status"] == "COMPLETED", done
    assert done.get("output", value) == value


def test_s3_config_reaches_the_worker_and_nobody_else(wire, yard):
    s3 = {"accessId": "id", "accessSecret": "very-secret-indeed", "bucketName": "b", "endpointUrl": "http://s3"}
    job = wire.run("echo", {"x": 1}, s3Config=s3)
    done = wire.wait("echo", job)
    assert done["output"]["keys"] == ["id", "input", "s3Config"]
    told = json.dumps([done, wire.job(job)]) + yard.cli("logs", "echo", "--json").out
    assert "very-secret-indeed" not in told


def test_the_times_add_up(wire):
    began = time.monotonic()
    done = wire.do("plain", {"mock_delay": 1})
    took = 1000 * (time.monotonic() - began)
    assert 1000 <= done["executionTime"] <= took + 50 and 0 <= done["delayTime"] <= took + 50, done


# Errors.


def test_an_exception_fails_the_job(wire):
    done = wire.do("plain", {"mock_error": True})
    assert done["status"] == "FAILED" and "output" not in done
    error = json.loads(done["error"])
    assert error["error_message"] == "Mock error" and "RuntimeError" in error["error_type"]
    assert error["runpod_version"] == "1.12.0"
    assert done["reason"]["code"] == "handler_exception" and "RuntimeError: Mock error" in done["reason"]["message"]
    assert "retries" not in done, "what the handler raises is its answer, not a lost worker"


def test_a_returned_error_fails_the_job(wire):
    done = wire.do("plain", {"soft_error": "too much mauve"})
    assert (done["status"], done["error"], done["reason"]["code"]) == ("FAILED", "too much mauve", "handler_error")


def test_an_error_in_the_middle_of_a_stream(wire, yard, project):
    handlers.write(project, """
        import runpod
        def handler(job):
            yield 1
            yield 2
            raise ValueError("no third")
        runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
    """)
    yard.deploy(project, "torn", *ONE)
    job = wire.run("torn", {})
    chunks, status = wire.stream_all("torn", job)
    assert (chunks[:2], status) == ([1, 2], "FAILED")
    assert "no third" in wire.status("torn", job)["error"]


def test_a_crash_is_tried_once_more_and_then_fails(wire):
    done = wire.do("plain", {"mock_crash": True}, limit=40)
    assert done["status"] == "FAILED" and done["retries"] == 1, done
    assert done["reason"]["code"] == "worker_lost" and "code 1" in done["reason"]["message"]
    found = wire.job(done["id"])
    assert found["attempt"] == 2
    # A job is settled before its worker's end is written down.
    until(lambda: sum(w["state"] == "gone" and w["exit"]["code"] == 1 for w in wire.workers("plain", living=False)) >= 2, 10)
    assert wire.do("plain", {"name": "Ada"})["output"]["greeting"] == "Hello, Ada!"


def test_a_crash_that_does_not_happen_again(wire, yard, project, journal):
    handlers.write(project, f"""
        import os, runpod
        def handler(job):
            with open({str(journal)!r}, "a+") as file:
                file.seek(0)
                if not file.read():
                    file.write("been here")
                    file.flush()
                    os._exit(9)
            return "at the second try"
        runpod.serverless.start({{"handler": handler}})
    """)
    yard.deploy(project, "second", *ONE)
    done = wire.do("second", {}, limit=40)
    assert (done["status"], done["output"], done["retries"]) == ("COMPLETED", "at the second try", 1), done


def test_a_result_that_was_never_posted(wire, yard):
    """The worker goes on as if it had answered; its next poll but one says that it knows nothing of the job."""
    yard.deploy("examples/hello", "lossy", "--max", "1", "--idle", "10m", "--requeues", "0")
    job = wire.run("lossy", {"mock_return": 1, "mock_external": {"error_job_return": True}})
    done = wire.wait("lossy", job, 50)
    assert done["status"] == "FAILED" and done["reason"]["code"] == "abandoned", done
    assert wire.do("lossy", {"name": "Ada"}, limit=40)["status"] == "COMPLETED"


def test_a_segfault_is_named(wire):
    done = wire.do("plain", {"segfault": True}, limit=40)
    assert done["status"] == "FAILED" and "SIGSEGV" in done["reason"]["message"]


# Refresh, progress, streams, logs.


def test_refresh_worker_replaces_the_worker(wire):
    first = wire.do("plain", {"mock_return": "x", "mock_refresh": True})
    assert first["status"] == "COMPLETED" and first["output"] == {"mock_return": "x"}
    second = wire.do("plain", {})
    assert second["workerId"] != first["workerId"]
    old = until(lambda: next((w for w in wire.workers("plain", living=False)
                              if w["id"] == first["workerId"] and w["state"] == "gone"), None), 30)
    assert old["exit"]["code"] == 0 and "fresh worker" in old["stopCause"], old


def test_progress_is_seen_while_it_runs_and_gone_afterwards(wire):
    updates = [{"step": n} for n in range(3)]
    job = wire.run("plain", {"mock_progress": {"updates": updates, "wait_time": 0.5}, "mock_return": "done"})
    seen = []

    def look():
        answer = wire.status("plain", job)
        if answer["status"] == "IN_PROGRESS" and "output" in answer and answer["output"] not in seen:
            seen.append(answer["output"])
        return answer["status"] == "COMPLETED" and answer

    assert until(look)["output"] == "done"
    # The SDK posts from threads, in no order; the last may be overtaken by the result.
    assert len(seen) >= 2 and all(value in updates for value in seen), seen


@pytest.mark.parametrize("endpoint", ["pieces", "apieces", "whole", "awhole"])
def test_streams(wire, endpoint):
    wanted = [{"piece": n, "of": 6} for n in range(1, 7)]
    job = wire.run(endpoint, {"stream": 6, "every": 0.15})
    first = wire.ok("GET", f"/v2/{endpoint}/stream/{job}")
    assert first["status"] in ("IN_QUEUE", "IN_PROGRESS"), "pieces come while it runs"
    chunks, status = wire.stream_all(endpoint, job)
    assert [element["output"] for element in first["stream"]] + chunks == wanted and status == "COMPLETED"
    done = wire.status(endpoint, job)
    assert done.get("output", []) == (wanted if endpoint.endswith("whole") else [])


def test_a_late_reader_gets_the_whole_stream_in_one_answer(wire):
    done = wire.do("pieces", {"stream": 40})
    answer = wire.ok("POST", f"/v2/pieces/stream/{done['id']}")
    assert answer["status"] == "COMPLETED" and len(answer["stream"]) == 40
    assert wire.ok("GET", f"/v2/pieces/stream/{done['id']}")["stream"] == []


def test_every_line_is_kept_and_found(wire, yard):
    done = wire.do("plain", {"print": 3, "stderr": "to the other side", "mock_logs": [
        "plain words", {"level": "WARN", "message": "mind the gap"}, {"level": "ERROR", "message": "mauve alarm"}]})
    job = done["id"]
    records = yard.cli("logs", "plain", "--job", job, "--json").json["records"]
    text = [record["message"] for record in records]
    for words in ("line 1 of 3", "line 3 of 3", "to the other side", "plain words", "mind the gap", "mauve alarm"):
        assert any(words in message for message in text), (words, text)
    by_text = {record["message"]: record for record in records}
    assert by_text["to the other side"]["source"] == "stderr" and by_text["line 1 of 3"]["source"] == "stdout"
    errors = yard.cli("logs", "plain", "--job", job, "--level", "error", "--json").json["records"]
    assert any("mauve alarm" in r["message"] for r in errors) and not any("plain words" in r["message"] for r in errors)
    found = yard.cli("logs", "plain", "--search", "mind the gap", "--json").json["records"]
    assert any(r["job"] == job for r in found)


def test_what_a_dying_worker_said_last_is_kept(wire, yard):
    done = wire.do("plain", {"stderr": "my last words", "exit": 7}, limit=40)
    assert done["status"] == "FAILED" and "code 7" in done["reason"]["message"]
    records = yard.cli("logs", "plain", "--job", done["id"], "--json").json["records"]
    assert len([r for r in records if r["message"] == "my last words"]) == 2, "once each try"


# Cancelling, time limits.


def test_cancel_of_an_async_handler_keeps_the_worker(wire):
    job = wire.run("tasks", {"sleep": 60})
    # At once: the SDK may not have begun the job that it took.
    worker = running(wire, "tasks", job)["workerId"]
    assert wire.ok("POST", f"/v2/tasks/cancel/{job}")["status"] == "CANCELLED"
    after = wire.do("tasks", {"name": "Ada"})
    assert after["status"] == "COMPLETED" and after["workerId"] == worker, "the SDK let go of the job"
    done = wire.status("tasks", job)
    assert done["status"] == "CANCELLED" and done["executionTime"] > 0
    assert "cancel" in wire.why(job)["sentence"]


def test_cancel_of_a_blocking_handler_replaces_the_worker(wire):
    job = wire.run("plain", {"sleep": 60})
    worker = running(wire, "plain", job)["workerId"]
    began = time.monotonic()
    assert wire.ok("POST", f"/v2/plain/cancel/{job}")["status"] == "CANCELLED"
    assert time.monotonic() - began < 2, "the client does not wait for the worker"
    after = wire.do("plain", {}, limit=40)
    assert after["status"] == "COMPLETED" and after["workerId"] != worker
    assert wire.status("plain", job)["status"] == "CANCELLED"


def test_a_result_that_comes_after_the_cancel_changes_nothing(wire):
    job = wire.run("plain", {"sleep": 1.5, "name": "late"})
    worker = running(wire, "plain", job)["workerId"]
    wire.ok("POST", f"/v2/plain/cancel/{job}")
    after = wire.do("plain", {}, limit=40)
    assert after["workerId"] == worker, "it ended within its grace, so it may stay"
    done = wire.status("plain", job)
    assert done["status"] == "CANCELLED" and "output" not in done


def test_cancel_in_the_queue(wire):
    job = wire.run("closed", {})
    assert wire.status("closed", job)["status"] == "IN_QUEUE"
    assert wire.ok("POST", f"/v2/closed/cancel/{job}") ["status"] == "CANCELLED"
    assert wire.status("closed", job)["status"] == "CANCELLED"


def test_execution_timeouts_and_time_to_live(wire):
    """Side by side, because each waits for a clock: both kinds of handler, and a job that nobody takes."""
    policy = {"executionTimeout": 5000}
    blocking = wire.run("plain", {"sleep": 60}, policy=policy)
    waiting = wire.run("tasks", {"sleep": 60}, policy=policy)
    queued = wire.run("closed", {}, policy={"ttl": 10_000})
    workers = {job: running(wire, name, job)["workerId"] for name, job in (("plain", blocking), ("tasks", waiting))}
    for name, job in (("plain", blocking), ("tasks", waiting)):
        done = wire.wait(name, job, 20)
        assert done["status"] in ("TIMED_OUT", "FAILED") and done["reason"]["code"] == "execution_timeout", done
        assert 4900 <= done["executionTime"] <= 7000
        assert "5.0 s" in wire.why(job)["sentence"]
    assert wire.do("tasks", {})["workerId"] == workers[waiting]
    assert wire.do("plain", {}, limit=40)["workerId"] != workers[blocking]
    assert wire.status("plain", blocking)["reason"]["code"] == "execution_timeout", "the late answer is not taken"
    gone = wire.wait("closed", queued, 20)
    assert gone["status"] == "TIMED_OUT" and gone["reason"]["code"] == "ttl_expired", gone


def test_ttl_ends_a_running_job(wire):
    job = wire.run("tasks", {"sleep": 60}, policy={"ttl": 10_000})
    running(wire, "tasks", job)
    done = wire.wait("tasks", job, 20)
    assert done["status"] == "TIMED_OUT" and done["reason"]["code"] == "ttl_expired"
    assert wire.do("tasks", {})["status"] == "COMPLETED"


# How many at once.


def test_a_worker_runs_as_many_jobs_as_it_asks_for(wire):
    jobs = [wire.run("four", {"sleep": 3, "name": str(n)}) for n in range(4)]
    for job in jobs:
        running(wire, "four", job)
    assert wire.ok("GET", "/v2/four/health")["jobs"]["inProgress"] == 4
    done = [wire.wait("four", job) for job in jobs]
    assert {d["status"] for d in done} == {"COMPLETED"} and len({d["workerId"] for d in done}) == 1
    assert [d["output"]["greeting"] for d in done] == [f"Hello, {n}!" for n in range(4)]


def test_cancelling_one_of_many_leaves_the_others(wire):
    jobs = [wire.run("four", {"sleep": 4, "name": str(n)}) for n in range(3)]
    worker = {running(wire, "four", job)["workerId"] for job in jobs}
    wire.ok("POST", f"/v2/four/cancel/{jobs[1]}")
    done = [wire.wait("four", job) for job in jobs]
    assert [d["status"] for d in done] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert {done[0]["workerId"], done[2]["workerId"]} == worker and "retries" not in done[0]


def test_a_waiting_job_says_its_place(wire):
    first = wire.run("plain", {"sleep": 4})
    running(wire, "plain", first)
    second, third = (wire.run("plain", {}) for _ in range(2))
    answers = [wire.status("plain", job) for job in (second, third)]
    assert [a["queue"]["position"] for a in answers] == [1, 2], answers
    assert {a["reason"]["code"] for a in answers} == {"all_busy"}, answers
    assert wire.wait("plain", third)["status"] == "COMPLETED"


def test_idle_workers_leave_and_come_back(wire, yard):
    yard.deploy("examples/hello", "naps", "--max", "1", "--idle", "1s")
    first = wire.do("naps", {})
    until(lambda: not wire.workers("naps"), 20, say=lambda: wire.workers("naps"))
    assert wire.api("/endpoints/naps")["state"] == "asleep"
    gone = next(w for w in wire.workers("naps", living=False) if w["id"] == first["workerId"])
    assert gone["exit"]["code"] == 0 and gone["stopCause"] == "it was idle"
    second = wire.do("naps", {}, limit=40)
    assert second["status"] == "COMPLETED" and second["workerId"] != first["workerId"]


def test_a_long_wait_adds_a_worker(wire, yard):
    yard.deploy("examples/hello", "grows", "--max", "2", "--idle", "10m", "--scaler", "queue-delay", "--scaler-value", "1")
    first = wire.run("grows", {"sleep": 12})
    running(wire, "grows", first)
    second = wire.run("grows", {"sleep": 1})
    assert len(wire.workers("grows")) == 1, "it waits for the delay first"
    done = wire.wait("grows", second)
    assert done["status"] == "COMPLETED" and done["delayTime"] >= 1000
    assert wire.status("grows", first)["status"] == "IN_PROGRESS", "a second worker did it meanwhile"
    assert len(wire.workers("grows")) == 2
    third = wire.run("grows", {"sleep": 3})
    fourth = wire.run("grows", {})
    assert wire.wait("grows", first)["status"] == "COMPLETED"
    for job in (third, fourth):
        assert wire.wait("grows", job)["status"] == "COMPLETED"
    assert len(wire.workers("grows", living=False)) == 2, "never more than allowed"


def test_request_count_starts_as_many_as_needed(wire, yard):
    yard.deploy("examples/hello", "counts", "--max", "3", "--idle", "10m", "--scaler", "request-count",
                "--scaler-value", "1")
    jobs = [wire.run("counts", {"sleep": 4}) for _ in range(3)]
    done = [wire.wait("counts", job, 40) for job in jobs]
    assert {d["status"] for d in done} == {"COMPLETED"} and len({d["workerId"] for d in done}) == 3


# The server's own end.


def test_sigterm_drains(make_yard):
    yard = make_yard(env={"RUNYARD_DRAIN_GRACE_S": "20"}).start()
    wire = yard.wire
    yard.deploy("examples/hello", "plain", *ONE)
    job = wire.run("plain", {"sleep": 4})
    waiting = wire.run("plain", {"name": "patient"})
    worker = running(wire, "plain", job)["workerId"]
    yard.terminate()

    def refused():
        status, answer = wire.call("POST", "/v2/plain/run", {"input": {}})
        return status == 503 and answer

    answer = until(refused, 3)
    assert answer["code"] == "draining" and answer["error"], answer
    assert wire.status("plain", job)["status"] == "IN_PROGRESS", "what runs goes on, and can be looked at"
    assert yard.server.wait(20) == 0
    yard.start()
    wire = yard.wire
    done = wire.status("plain", job)
    assert done["status"] == "COMPLETED" and wire.job(job)["attempt"] == 1
    late = wire.wait("plain", waiting)
    assert late["status"] == "COMPLETED" and late["workerId"] == worker, "the warm worker was taken over"


def test_sigterm_gives_back_what_does_not_end(make_yard, journal):
    yard = make_yard(env={"RUNYARD_DRAIN_GRACE_S": "1"}).start()
    yard.deploy("examples/hello", "plain", *ONE)
    job = yard.wire.run("plain", {"sleep": 6})
    worker = running(yard.wire, "plain", job)["workerId"]
    began = time.monotonic()
    assert yard.stop(15) == 0
    assert time.monotonic() - began < 5
    yard.start()
    done = yard.wire.wait("plain", job)
    assert done["status"] == "COMPLETED" and done["workerId"] != worker
    assert "retries" not in done, "our own end costs the job nothing"
    assert yard.wire.job(job)["attempt"] == 2


# GPUs.


def test_gpus_are_shared_and_handed_on(make_yard, tmp_path):
    yard = make_yard(gpus=1).start()
    wire = yard.wire

    def source(version):
        return handlers.write(tmp_path / f"v{version}", f"""
            import os, time, runpod
            def handler(job):
                time.sleep(job["input"].get("sleep", 0))
                return {{"devices": os.environ["CUDA_VISIBLE_DEVICES"], "version": {version}}}
            runpod.serverless.start({{"handler": handler}})
        """)

    flags = ("--gpus", 1, "--max", 2, "--idle", "10m")
    yard.deploy(source(1), "first", *flags)
    assert wire.do("first", {})["output"] == {"devices": "0", "version": 1}
    # Its idle worker yields to the test of another endpoint.
    yard.deploy(source(1), "second", *flags)
    assert not wire.workers("first")

    job = wire.run("second", {"sleep": 6})
    running(wire, "second", job)
    waits = wire.run("first", {})
    answer = until(lambda: (s := wire.status("first", waits)).get("reason", {}).get("code") == "no_gpu_free" and s, 5,
                   say=lambda: wire.status("first", waits))
    assert "second" in answer["reason"]["message"], answer
    assert "second" in wire.why(waits)["sentence"]
    assert wire.api("/endpoints/first")["state"] == "no_gpu"
    done = wire.wait("first", waits, 40)
    assert done["output"]["devices"] == "0", done
    assert wire.wait("second", job)["status"] == "COMPLETED", "the busy worker was not disturbed"

    # A rollout on a full machine replaces the worker.
    yard.deploy(source(2), "first", *flags, limit=60)
    assert wire.do("first", {})["output"]["version"] == 2
    assert [w["release"] for w in wire.workers("first")] == [2]

    failed = yard.deploy(source(1), "vast", "--gpus", 2, code=None)
    assert failed.code and "2 GPUs" in failed.err and "has 1" in failed.err, failed


def test_without_gpus_none_is_seen(wire):
    assert wire.do("echo", {"env": "CUDA_VISIBLE_DEVICES"})["output"] == {"value": ""}
