"""Reasons: situations that are made for real, each told by API, command line and console in the same words.

- Why a job waits, runs without getting anywhere, or failed; who cancelled it; what became of its webhook.
- Failures by kind, with count and first release, also after a kill; the rollback that ends them.
- Waterfalls by attempts; starts with what is usual; `runyard top`.
"""

import html
import json
import os
import re
import signal
import time
import urllib.parse
from pathlib import Path

import pytest

from support import handlers
from support.wire import Wire, until
from support.yard import free_port

HANDLER = """
import os, signal, sys, time

if os.path.exists(os.environ.get("FLAG", "/nowhere")):
    print("the weights are broken", flush=True)
    sys.exit(3)
time.sleep(float(os.environ.get("LOAD", "0")))
import runpod

SHORT = ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.65 GiB of which 1.10 GiB is free.")


def handler(job):
    given = job["input"]
    print("began", given.get("name"), flush=True)
    time.sleep(given.get("sleep", 0))
    if "raise" in given:
        raise ValueError(given["raise"])
    if given.get("cuda"):
        raise RuntimeError(SHORT)
    if "signal" in given:
        os.kill(os.getpid(), given["signal"])
    if "exit" in given:
        print("no way on", flush=True)
        os._exit(given["exit"])
    if "bytes" in given:
        return {"picture": b"raw"}
    return "x" * given.get("size", 1)


runpod.serverless.start({"handler": handler})
"""


class Told:
    """What API, command line and console say of a job."""

    def __init__(self, yard, job):
        self.api = yard.wire.why(job)
        self.cli = yard.cli("why", job).out
        self.page = page(yard, f"/jobs/{job}")
        self.all = [json.dumps(self.api, ensure_ascii=False), self.cli, self.page]

    def says(self, code, *facts):
        """All three say these facts, which are expressions."""
        assert self.api["code"] == code, self.api
        for fact in facts:
            for said in self.all:
                assert re.search(fact, said), f"{fact!r} is not in:\n{said}"
        return self

    def tries(self, *commands):
        """All three say what to do."""
        for command in commands:
            assert command in self.api["hints"], self.api["hints"]
            assert f"try    {command}" in self.cli, self.cli
            assert f"<code>{command}</code>" in self.page, self.page
        return self


def page(yard, path):
    """A page of the console, as text without marks of HTML entities."""
    form = urllib.parse.urlencode({"key": yard.key(), "next": "/"})
    status, _, headers = yard.wire.whole("POST", "/sign-in", form, {"content-type": "application/x-www-form-urlencoded"})
    assert status == 303, status
    cookies = "; ".join(cookie.split(";")[0] for cookie in headers.get_all("set-cookie"))
    status, text = Wire(yard.port, None).call("GET", path, headers={"cookie": cookies})
    assert status == 200, f"{path}: {status} {text}"
    return html.unescape(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return handlers.write(tmp_path_factory.mktemp("reasons") / "chores", HANDLER)


@pytest.fixture(scope="module")
def house(shared_yard, folder):
    """A yard whose endpoint `chores` runs one job at a time and loses none twice."""
    shared_yard.deploy(folder, "chores", "--max", "1", "--idle", "10m", "--requeues", "0", "--max-output", "2KB")
    return shared_yard


def test_handlers_that_raise_are_told_with_their_line(house):
    line = HANDLER.strip().splitlines().index('        raise ValueError(given["raise"])') + 1
    job = house.wire.do("chores", {"raise": "no model is called <b>"})["id"]
    told = Told(house, job).says("handler_exception", rf"ValueError: no model is called <b> \(handler\.py:{line}\)")
    told.tries(f"runyard logs --job {job} --context 50", f"runyard retry {job}")
    job = house.wire.do("chores", {"cuda": True})["id"]
    told = Told(house, job).says("cuda_out_of_memory", r"CUDA out of memory: tried 2\.50 GiB, 1\.10 GiB free of 23\.65 GiB \(handler\.py:\d+\)")
    told.tries("runyard gpus")


def test_what_why_and_logs_print_is_what_the_page_shows(house):
    job = house.wire.do("chores", {"raise": "told alike", "name": "the-same-lines"})["id"]
    told = Told(house, job)
    assert told.api["sentence"] in told.cli and told.api["sentence"] in told.page
    lines = [record["message"] for record in house.cli("logs", "--job", job, "--jsonl").lines]
    assert any("the-same-lines" in line for line in lines), lines
    for line in lines:
        # What the SDK wraps in JSON is shown as what it says; the whole of it is there where it is opened.
        said = json.loads(line)["message"] if line.startswith('{"requestId"') else line
        if said.startswith("{") and "error_traceback" in said:
            said = json.loads(said)["error_traceback"]
            printed = house.cli("logs", "--job", job).out
            assert all(part in printed for part in said.strip().splitlines()), "the report is among the job's lines"
        assert said.strip() in told.page, line
    shown = re.findall(r'<span class="m">(.*?)</span></li>', told.page, re.S)
    assert len(shown) == len(lines), (shown, lines)


@pytest.mark.parametrize(("given", "code", "fact"), [
    ({"exit": 7}, "worker_lost", r"the worker exited with code 7 while it ran the job, after 1 attempt; it last said: no way on"),
    ({"signal": 11}, "worker_lost", r"the worker was killed by signal 11 \(SIGSEGV\) while it ran the job, after 1 attempt"),
    ({"size": 5_000}, "result_rejected", r"the worker's result was rejected: .*5,?0\d\d"),
    ({"bytes": 1}, "result_rejected",
     r"the worker's result was rejected: its SDK could not send it: Object of type bytes is not JSON serializable"),
    ({"raise": ""}, "handler_exception", r"ValueError \(handler\.py:\d+\)"),
    ({"raise": "one\n  File \"x.py\", line 9\nthree " + "z" * 100_000}, "handler_exception",
     r"ValueError: one File \"?.*x\.py.*, line 9 three z{300,400}… \(handler\.py:\d+\)"),
])
def test_workers_that_die_and_results_that_are_refused(house, given, code, fact):
    job = house.wire.do("chores", given, 60)["id"]
    told = Told(house, job).says(code, fact)
    told.tries(f"runyard logs --job {job} --context 50")


def test_limits_say_what_they_were(house):
    house.wire.do("chores", {})
    job = house.wire.run("chores", {"sleep": 60}, policy={"executionTimeout": 5_000})
    until(lambda: house.wire.job(job)["status"] == "IN_PROGRESS", 30)
    queued = house.wire.run("chores", {}, policy={"ttl": 10_000})
    waits = Told(house, queued).says("all_busy", r"the one worker is busy \(at most 1 are allowed\); position 1 in the queue")
    waits.tries("runyard endpoints set chores --max 2")
    house.wire.wait("chores", job, 60)
    Told(house, job).says("execution_timeout", r"longer than its execution timeout of 5\.0 s").tries(
        "runyard endpoints set chores --execution-timeout 1200s")
    blocker = house.wire.run("chores", {"sleep": 90})
    until(lambda: house.wire.job(blocker)["status"] == "IN_PROGRESS", 30)
    late = house.wire.run("chores", {}, policy={"ttl": 10_000})
    house.wire.wait("chores", late, 60)
    Told(house, late).says("ttl_expired", r"time to live of 10 s ended \(1\d s in the queue, 0\.0 s running\)").tries(
        "runyard endpoints set chores --max 2")
    house.cli("cancel", blocker)


def test_who_cancelled_is_named(house):
    key = house.cli("keys", "create", "--endpoint", "chores", "--access", "run", "--name", "robot").out.strip()
    jobs = [house.wire.run("chores", {"sleep": 60}) for _ in range(2)]
    Wire(house.port, key).ok("POST", f"/v2/chores/cancel/{jobs[1]}")
    Told(house, jobs[1]).says("cancelled", r"it was cancelled by its client over /v2 with the key 'robot' \(\w+\)")
    house.cli("cancel", jobs[0])
    Told(house, jobs[0]).says("cancelled", r"it was cancelled by the key of this server's owner \(local\)")


def test_nothing_is_allowed_and_no_gpu_fits(house, folder):
    house.wire.api("/endpoints", "POST", {"name": "shut", "settings": {"workers_max": 0}})
    job = house.wire.run("shut", {})
    Told(house, job).says("no_release", "no release that passed its tests").tries("runyard deploy --name shut")
    house.cli("cancel", job)
    house.deploy(folder, "shut", "--max", "1")
    house.cli("endpoints", "set", "shut", "--max", "0")
    job = house.wire.run("shut", {})
    Told(house, job).says("no_worker_allowed", "workers_max is 0").tries("runyard endpoints set shut --max 3")
    house.cli("cancel", job)


def test_gpus_are_held_by_whom(make_yard, folder):
    yard = make_yard(gpus=1).start()
    yard.deploy(folder, "holder", "--gpus", "1", "--max", "1", "--idle", "10m")
    yard.deploy(folder, "other", "--gpus", "1", "--max", "1")
    holds = yard.wire.run("holder", {"sleep": 120})
    until(lambda: yard.wire.job(holds)["status"] == "IN_PROGRESS", 60)
    job = yard.wire.run("other", {})
    until(lambda: yard.wire.why(job)["code"] == "no_gpu_free", 30, say=lambda: yard.wire.why(job))
    Told(yard, job).says("no_gpu_free", "no GPU is free for a worker that needs 1 GPU: held by holder").tries("runyard gpus")
    seen = yard.cli("top", "--json").json
    assert seen["gpus"][0]["endpointName"] == "holder" and not seen["gpus"][0]["free"], seen
    rows = {row["name"]: row for row in seen["endpoints"]}
    assert rows["other"]["queue"] == 1 and rows["holder"]["running"] == 1, seen
    [worker] = [row for row in seen["workers"] if row["endpointName"] == "holder"]
    assert worker["jobs"] == [holds] and worker["memoryBytes"] > 0, worker
    shown = yard.cli("top", "--once").out
    assert "holder" in shown and "QUEUE" in shown and worker["id"] in shown, shown
    only = yard.cli("top", "other", "--json").json
    assert [row["name"] for row in only["endpoints"]] == ["other"] and only["workers"] == [], only


def test_starts_are_told_by_phase_with_what_is_usual(make_yard, folder):
    yard = make_yard().start()
    yard.deploy(folder, "slow", "--max", "1", "--idle", "1s", "--env", "LOAD=3")
    until(lambda: not yard.wire.workers("slow"), 30)
    yard.cli("endpoints", "set", "slow", "--idle", "10m", "--yes")
    job = yard.wire.run("slow", {})
    until(lambda: yard.wire.why(job)["code"] == "starting" and "load" in yard.wire.why(job)["sentence"], 20)
    # The deploy's test was the first start.
    Told(yard, job).says("starting", r"worker \w+ is starting: load for [\d.]+ m?s \(usually \d\.\d s, of 1 start\), [\d.]+ m?s in all")
    assert yard.wire.job(job)["reason"]["usualStarts"] == 1
    yard.wire.wait("slow", job)
    [worker] = yard.wire.workers("slow")
    start = worker["start"]
    assert start["level"] == "prepared" and [part["phase"] for part in start["phases"]] == ["launch", "load"], start
    assert start["usualMs"] > 3_000 and start["usualStarts"] == 2, start
    spans = {span["name"]: span for span in yard.wire.api(f"/jobs/{job}/timeline")["spans"]}
    assert set(spans) == {"submitted", "queued", "worker.schedule", "worker.launch", "worker.load", "run", "result.upload"}, spans
    load = spans["worker.load"]
    assert load["end"] - load["start"] > 3_000 and load["worker"] == worker["id"] and load["usualMs"] > 3_000, load
    assert spans["queued"]["end"] == spans["run"]["start"] and spans["run"]["state"] == "ok"
    told = yard.cli("why", job).out
    assert re.search(r"worker: loads +·*█+·* +\d\.\ds \(usually", told), told
    assert "Worker: imports and loads" in page(yard, f"/jobs/{job}")
    found = {one["name"]: one["whole"] for one in yard.wire.api("/metrics?endpoint=slow")["series"]}
    assert found["start"]["count"] == found["start_prepared"]["count"] == 2 and found["start_cold"]["count"] == 0, found
    # A restart forgets nothing of it.
    yard.kill()
    yard.start()
    [worker] = yard.wire.workers("slow")
    assert worker["start"]["usualStarts"] == 2, worker


def test_starts_that_fail_say_how_and_when_the_next_is(make_yard, folder, journal):
    journal.unlink()
    yard = make_yard().start()
    yard.deploy(folder, "frail", "--max", "1", "--idle", "1s", "--env", f"FLAG={journal}", "--failed-starts", "0")
    yard.wire.do("frail", {})
    journal.touch()
    until(lambda: not yard.wire.workers("frail"), 30)
    job = yard.wire.run("frail", {})
    until(lambda: yard.wire.why(job)["code"] == "start_failing" and "2 in a row" in yard.wire.why(job)["sentence"], 40)
    told = Told(yard, job)
    told.says("start_failing", r"workers fail to start \(\d in a row, the last exited with code 3; it last said: the weights are broken\); next try in \d")
    told.tries("runyard logs frail")
    assert told.api["causes"][0]["lastLines"] and "the weights are broken" in told.page
    endpoint = yard.wire.api("/endpoints/frail/why")
    assert endpoint["code"] == "start_failing" and "runyard logs frail" in endpoint["hints"], endpoint


def test_a_stopped_worker_is_told_from_one_that_works(house):
    job = house.wire.run("chores", {"sleep": 600})
    until(lambda: house.wire.job(job)["status"] == "IN_PROGRESS", 60)
    Told(house, job).says("running", r"worker \w+ has been running it for").tries(f"runyard logs --job {job} -f")
    [worker] = house.wire.workers("chores")
    # It has pinged by then: it does so every ten seconds, from a process of its own.
    until(lambda: time.time() * 1000 - house.wire.job(job)["startedAt"] > 12_000, 30)
    os.killpg(worker["pid"], signal.SIGSTOP)
    try:
        until(lambda: house.wire.why(job)["code"] == "halted", 10)
        told = Told(house, job).says(
            "halted", rf"running on worker {worker['id']} for \d.*silent for \d.*process is stopped \(SIGSTOP\)")
        told.tries(f"runyard cancel {job}", "runyard endpoints restart chores", f"runyard logs --worker {worker['id']}")
        behind = house.wire.run("chores", {})
        also = Told(house, behind).says("all_busy", rf"job {job}: it has been running on worker {worker['id']}")
        assert [cause["code"] for cause in also.api["causes"]][:2] == ["all_busy", "halted"], also.api
        house.cli("cancel", behind)
        # The job itself and the list say the same.
        [listed] = [other for other in house.wire.api("/jobs?endpoint=chores")["jobs"] if other["id"] == job]
        assert [house.wire.job(job)["reason"]["code"], listed["reason"]["code"]] == ["halted"] * 2
        assert "process is stopped (SIGSTOP)" in house.cli("status", job).out
    finally:
        os.killpg(worker["pid"], signal.SIGCONT)
    until(lambda: house.wire.why(job)["code"] == "running", 30)
    # One that misses its pings is silent, whatever it does: they come from a process of its own.
    children = Path(f"/proc/{worker['pid']}/task/{worker['pid']}/children").read_text().split()
    assert children
    for child in children:
        os.kill(int(child), signal.SIGSTOP)
    until(lambda: house.wire.job(job).get("reason", {}).get("code") == "silent", 60)
    assert house.wire.why(job)["code"] == "silent"
    house.cli("cancel", job)


def test_a_webhook_that_fails_is_told_beside_the_job(make_yard, folder):
    yard = make_yard(env={"RUNYARD_WEBHOOK_ALLOW_PRIVATE": "true"}).start()
    yard.deploy(folder, "chores", "--max", "1", "--idle", "10m")
    url = f"http://127.0.0.1:{free_port()}/hook"
    job = yard.wire.do("chores", {}, webhook=url)["id"]
    until(lambda: len(yard.wire.why(job)["causes"]) > 1, 30)
    told = Told(yard, job).says("completed", rf"its webhook failed (once|\d times): {re.escape(url)} was not reached: .*; it is tried again in")
    told.tries(f"runyard webhooks list {job}", f"runyard webhooks redeliver {job}")
    spans = yard.wire.api(f"/jobs/{job}/timeline")
    hooks = [span for span in spans["spans"] if span["name"].startswith("webhook")]
    assert [hooks[0]["state"], hooks[-1]["name"], hooks[-1]["end"]] == ["bad", "webhook.wait", None], hooks
    assert spans["to"] is None, spans


def test_failures_are_grouped_and_lead_back_to_the_release_before(make_yard, folder, tmp_path):
    yard = make_yard().start()
    yard.deploy(folder, "chores", "--max", "1", "--idle", "10m")
    yard.wire.do("chores", {"raise": "row 1 of table 77"})
    broken = handlers.write(tmp_path / "broken", HANDLER.replace('return "x"', 'raise KeyError("prompt")\n    return "x"'))
    yard.deploy(broken, "chores", "--max", "1", "--idle", "10m", "--watch", "0")
    jobs = [yard.wire.do("chores", {})["id"] for _ in range(3)]
    yard.wire.do("chores", {"raise": "row 22 of table 8"})
    groups = yard.wire.api("/endpoints/chores/failures")["failures"]
    seen = [(g["title"], g["count"], g["firstRelease"], g["code"]) for g in groups]
    assert seen == [
        ("ValueError: row # of table #", 2, 1, "handler_exception"),
        ("KeyError: 'prompt'", 3, 2, "handler_exception"),
    ], groups
    assert groups[1]["job"] == jobs[2] and groups[0]["releases"] == [{"release": 2, "count": 1}, {"release": 1, "count": 1}]
    told = Told(yard, jobs[0]).says("handler_exception", r"2 other jobs since release 2 \(deployed \d.* ago by \w+\); none before")
    told.tries("runyard rollback chores --to 1")
    assert told.api["hints"][0] == "runyard rollback chores --to 1"
    listed = yard.cli("failures", "chores").out
    assert re.search(r"^3 .* #2 .*KeyError: 'prompt'$", listed, re.M), listed
    shown = page(yard, "/e/chores")
    assert "3×" in shown and "KeyError: 'prompt'" in shown and "since release 2" in shown
    first = yard.cli("failures", "chores", "--json").json["failures"]
    assert yard.wire.api("/endpoints/chores/failures?limit=1")["nextCursor"]
    assert yard.wire.api(f"/endpoints/chores/failures?since={groups[0]['lastAt'] + 1}")["failures"] == []
    # They are still there after a kill, and without their jobs.
    yard.kill()
    yard.start()
    assert yard.wire.api("/endpoints/chores/failures")["failures"] == first
    # What `why` says to do does it.
    yard.cli(*told.api["hints"][0].split()[1:])
    assert yard.wire.do("chores", {}, 60)["status"] == "COMPLETED"


def test_a_start_that_fails_names_its_exception_and_a_check_its_name(make_yard, tmp_path):
    yard = make_yard().start()
    start = 'import runpod\nrunpod.serverless.start({"handler": lambda job: 1})\n'
    broken = {
        "raised": ('import os\nraise OSError("license expired\\n on Monday")\n' + start, "start_failed",
                   r"exited with code 1 before it asked for a job: OSError: license expired \(handler\.py:2\)"),
        "written": ("import runpod\ndef handler(job)\n    return 1\n" + start, "start_failed",
                    r"SyntaxError: .* \(handler\.py:2\)"),
        "over": ("import runpod\n", "start_failed", r"came to its end without running runpod\.serverless\.start"),
        "unfit": ("import runpod\n@runpod.serverless.register_fitness_check\ndef gpu_there():\n"
                  '    raise RuntimeError("GPU 0 has 3 ECC errors")\n' + start, "fitness_check_failed",
                  r"not fit to work: its check 'gpu_there' failed: RuntimeError: GPU 0 has 3 ECC errors"),
    }
    for name, (source, code, says) in broken.items():
        folder = handlers.write(tmp_path / name, source)
        failed = yard.cli("deploy", str(folder), "--name", name, "--json", code=3)
        job = yard.wire.run(name, {})
        why = yard.wire.why(job)
        assert [cause["code"] for cause in why["causes"]] == ["no_release", code], (name, why)
        for said in (failed.out, why["causes"][1]["sentence"], yard.cli("why", job).out, page(yard, f"/jobs/{job}")):
            assert re.search(says, said), (name, said)


def test_a_waterfall_has_every_attempt(make_yard, folder):
    yard = make_yard().start()
    yard.deploy(folder, "chores", "--max", "1", "--idle", "10m", "--requeues", "1")
    job = yard.wire.do("chores", {"exit": 4}, 60)["id"]
    spans = yard.wire.api(f"/jobs/{job}/timeline")["spans"]
    runs = [(span["attempt"], span["state"], span["note"]) for span in spans if span["name"] == "run"]
    assert runs == [(1, "bad", "worker_lost"), (2, "bad", "worker_lost")], spans
    assert len({span["worker"] for span in spans if span["name"] == "run"}) == 2
    done = yard.wire.do("chores", {"size": 1_500_000}, 60)["id"]
    spans = {span["name"]: span for span in yard.wire.api(f"/jobs/{done}/timeline")["spans"]}
    run, upload = spans["run"], spans["result.upload"]
    # It was sent after the handler had returned, and was stored when the job ended.
    assert run["start"] <= run["end"] == upload["start"] <= upload["end"] == yard.wire.job(done)["endedAt"], spans
    assert "result: stored" in yard.cli("why", done).out
    assert "Result: sent and stored" in page(yard, f"/jobs/{done}")
    yard.cli("retry", job)
    yard.wire.wait("chores", job, 60)
    spans = yard.wire.api(f"/jobs/{job}/timeline")["spans"]
    starts = [span["start"] for span in spans if span["name"] in ("queued", "run")]
    assert starts == sorted(starts) and len(starts) == 8, spans
    told = yard.cli("why", job).out
    assert re.search(r"run 4 +·*█+·* .*worker_lost", told), told
    shown = page(yard, f"/jobs/{job}")
    assert "Running, attempt 4" in shown and 'class="fall' in shown
    document = yard.cli("why", job, "--json").json
    assert document["timeline"]["spans"] == spans and document["code"] == "worker_lost"
