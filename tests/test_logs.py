"""Every line that a worker prints is kept, attributed, searchable and harmless: of one that dies in an import, one that
is killed, one that floods its pipe, one that writes bytes of every kind. Lines outlive their worker, its agent and the
server; who follows them slowly costs no memory and is told what was left out.
"""

import http.client
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from support import handlers
from support.base_image import BASE
from support.wire import until

CHATTY = Path(__file__).parent / "workers/chatty.py"
ONE = ("--handler", "worker.py", "--max", 1, "--idle", "10m")

# What the server may take at its highest, in MiB: it was a flood that it only passed on.
MOST_MIB = 160


@pytest.fixture
def chatty(yard, project):
    """An endpoint `chat` with one worker at most."""
    project.mkdir()
    shutil.copy(CHATTY, project / "worker.py")
    yard.deploy(project, "chat", *ONE)
    return yard


def peak_mib(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) // 1024


def records(yard, **query):
    """What the API says, as it is found: newest first, to the end."""
    lines, progress = [], []
    for line in stream(yard, stream="true", **query):
        (progress if "progress" in line else lines).append(line)
    assert progress[-1]["progress"]["isLast"], progress
    done = [line["progress"]["done"] for line in progress]
    assert done == sorted(done) and done[-1] == progress[-1]["progress"]["total"]
    return lines


def open_stream(yard, **query):
    connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=120)
    text = "&".join(f"{name}={value}" for name, value in query.items())
    connection.request("GET", f"/api/v1/logs?{text}", headers={"authorization": yard.key()})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return response


def stream(yard, **query):
    with open_stream(yard, **query) as response:
        for line in response:
            yield json.loads(line)


def own(found):
    """What the worker itself printed."""
    return [record for record in found if record["source"] in ("stdout", "stderr")]


class Slow:
    """Follows slower than lines come, until it is told to go on as fast as it can."""

    def __init__(self, response):
        self.response, self.found, self.hurry = response, [], threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.response:
            self.found.append(json.loads(line))
            if self.found[-1]["message"] == self.last:
                return
            self.hurry.wait(0.001)

    last = None

    def rest(self, last):
        """All it has seen, once it has seen this message."""
        self.last = last
        self.hurry.set()
        self.thread.join(60)
        assert self.found[-1]["message"] == last, self.found[-1]
        return self.found


def packed(yard):
    return sorted((yard.data / "logs").glob("*/*.seg"))


def test_a_worker_that_dies_in_an_import(yard, project):
    source = """
        import sys
        print("before the import")
        print("a word on the other pipe", file=sys.stderr)
        import nothing_of_this_name
    """
    handlers.write(project, source, requirements=None)
    yard.deploy(project, "dying", "--handler", "handler.py", code=3)
    found = yard.cli("logs", "dying", "--json").json["records"]
    text = [record["message"] for record in found]
    for words in ("before the import", "a word on the other pipe", "Traceback (most recent call last):",
                  "ModuleNotFoundError: No module named 'nothing_of_this_name'"):
        assert words in text, text
    workers = {record["worker"] for record in found}
    assert all(r["release"] == 1 and r["job"] is None and r["worker"] for r in found), found
    assert any(r["source"] == "system" and "exited with code 1" in r["message"] for r in found), text
    hit = yard.cli("logs", "dying", "--search", "nothing_of_THIS", "--source", "stderr", "-C", 1, "--json").json["records"]
    assert [r.get("context", False) for r in hit if "ModuleNotFoundError" in r["message"]] == [False] * len(workers)
    assert any(r.get("context") for r in hit)
    assert not list((yard.data / "logs").glob("*/w*.jsonl")), "a log that is over is packed"
    worker = workers.pop()
    assert "before the import" in yard.cli("logs", worker).out, "a worker's id names it"


def test_a_worker_that_is_killed(chatty):
    yard = chatty
    lines = [{"print": f"step {n} before the end"} for n in range(3_000)]
    # The last words have no end: a kill leaves no time for one.
    job = yard.wire.run("chat", [*lines, {"error": "too much"}, {"bytes": b"half a li".hex()}, {"kill": signal.SIGKILL}])
    done = yard.wire.wait("chat", job, 60)
    assert done["status"] == "FAILED", done
    found = records(yard, job=job)[::-1]
    for attempt in (1, 2):
        printed = [r["message"] for r in own(found) if r.get("attempt") == attempt and r["source"] == "stdout"]
        assert printed == [*(f"step {n} before the end" for n in range(3_000)), "half a li"], len(printed)
    assert len({r["worker"] for r in found}) == 2 and all(r["inferred"] for r in own(found))
    assert [r["message"] for r in found if r["source"] == "stderr"] == ["too much"] * 2
    of_second = yard.cli("logs", "chat", "--job", job, "--grep", r"^step 29\d\d before", "-n", 5000, "--json").json["records"]
    assert len(of_second) == 200
    said = yard.cli("logs", "chat", "--source", "system").out
    assert "killed by signal 9" in said or "SIGKILL" in said or "signal 9" in said, said


def test_a_worker_that_takes_too_much_memory(make_yard, engine, project):
    yard = make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()
    project.mkdir()
    shutil.copy(CHATTY, project / "worker.py")
    (project / "Dockerfile").write_text(f"FROM {BASE}\nCOPY worker.py /\nCMD [\"python\", \"-u\", \"/worker.py\"]\n")
    yard.deploy(project, "hungry", "--max", 1, "--idle", "10m", "--memory", "100m", "--requeues", 0)
    job = yard.wire.run("hungry", [{"print": "taking it all"}, {"error": "at once"}, {"flood": 1000}, {"take": 400}])
    assert yard.wire.wait("hungry", job, 60)["status"] == "FAILED"
    assert yard.wire.why(job)["code"] == "out_of_memory"
    found = own(records(yard, job=job))[::-1]
    assert sorted(r["message"] for r in found if not r["message"].startswith("line ")) == ["at once", "taking it all"]
    assert [r["message"].split()[1] for r in found if r["message"].startswith("line ")] == [str(n) for n in range(1000)]
    said = yard.cli("logs", "hungry", "--source", "system", "--level", "error").out
    assert "memory" in said, said


@pytest.mark.parametrize("count", [200_000])
def test_a_worker_that_floods_its_pipe(chatty, count):
    yard = chatty
    job = yard.wire.run("chat", [{"print": "ready"}, {"flood": count}, {"print": "the end of it"}])
    slow = Slow(open_stream(yard, endpoint="chat", follow="true", limit=1))
    done = yard.wire.wait("chat", job, 300)
    assert done["status"] == "COMPLETED", done
    assert peak_mib(yard.server.pid) < MOST_MIB and peak_mib(yard.agent_pid()) < MOST_MIB
    found = own(records(yard, job=job))[::-1]
    assert [r["message"] for r in found[:1] + found[-1:]] == ["ready", "the end of it"]
    numbers = [int(r["message"].split()[1]) for r in found[1:-1]]
    assert numbers == list(range(count)), "a line is missing, twice, or in another place"
    assert {r["seq"] for r in found} == set(range(found[0]["seq"], found[0]["seq"] + count + 2))
    assert all(r["attempt"] == 1 and r["job"] == job for r in found)
    text = sum(len(r["message"]) for r in found)
    assert sum(path.stat().st_size for path in packed(yard)) * 3 < text, "it is packed"
    one = yard.cli("logs", "chat", "--search", "LINE 123456 of", "--json").json["records"]
    assert [r["message"].split(",")[0] for r in one] == ["line 123456 of a flood"]
    # Who read little meanwhile gets the rest, or how much of it is left out.
    followed = slow.rest("the end of it")
    lines, gaps = [r for r in followed if "gap" not in r], [r["gap"] for r in followed if "gap" in r]
    assert [r["seq"] for r in lines] == sorted({r["seq"] for r in lines})
    assert gaps and len(lines) + sum(gaps) == lines[-1]["seq"] - lines[0]["seq"] + 1
    assert peak_mib(yard.server.pid) < MOST_MIB


def test_a_worker_that_writes_bytes_of_every_kind(chatty):
    yard = chatty
    odd = bytes(range(256)).replace(b"\n", b"") + "ünï 漢字 \u202e\u200b\u2028".encode()
    escapes = b"\x1b]0;owned\x07\x1b[2J\x1b[1;31mre\x1b[0md alert\x1b[0m\x9b2J\x1b[10A\x1b(B"
    bar = b"".join(b"\r%3d%%|####    |" % n for n in range(101)) + b"\n"
    wide = b"w" * 200_000 + b"\n"
    given = [{"bytes": data.hex()} for data in (odd + b"\n", escapes + b"\n", bar, wide, b"\0" * 3000 + b"\n")]
    job = yard.wire.run("chat", [*given, {"print": "calm again"}])
    yard.wire.wait("chat", job)
    found = own(records(yard, job=job))[::-1]
    exact = b"".join(unescaped(r) + (b"" if r.get("partial") else b"\n") for r in found)
    assert exact == odd + b"\n" + escapes + b"\n" + bar + wide + b"\0" * 3000 + b"\ncalm again\n"
    assert sum(r.get("folded", 0) for r in found) == 101, "a hundred states of the bar, and one in the odd line"
    out = yard.cli("logs", "chat", "--job", job).out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", out), ascii(out[:2000])
    document = yard.cli("logs", "chat", "--job", job, "--jsonl").out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", document), "JSON is shown as well"
    assert "100%|####" in out and " 99%|####" not in out and "owned" not in out
    for words in ("red alert", "calm AGAIN", "100%|####", "漢字"):
        hit = yard.cli("logs", "chat", "--search", words, "--json").json["records"]
        assert [r["job"] for r in hit] == [job], (words, hit)
    assert yard.cli("logs", "chat", "--search", " 50%|####", "--json").json["records"] == [], "it was drawn over"


def test_a_line_is_of_the_job_that_printed_it_whatever_it_says(chatty):
    """A text that a handler prints may come from anybody: it cannot be moved into the log of a job of somebody else."""
    yard = chatty
    other = "00000000-0000-4000-8000-000000000000-u1"
    forged = json.dumps({"requestId": other, "message": "not yours", "level": "ERROR"})
    first = yard.wire.run("chat", [{"print": forged}, {"error": f"ERROR | {other} | nor this"}, {"bytes": b"the end".hex()}])
    yard.wire.wait("chat", first)
    second = yard.wire.do("chat", [{"print": " of the line"}])["id"]
    assert records(yard, endpoint="chat", job=other) == []
    whole = "".join(r["message"] for r in own(records(yard, endpoint="chat"))[::-1])
    assert "not yours" in whole and "nor this" in whole and "the end" in whole and "of the line" in whole
    found = own(records(yard, job=first))[::-1]
    assert sorted(r["source"] for r in found if r["message"] in (forged, f"ERROR | {other} | nor this")) == ["stderr", "stdout"]
    assert any(r["message"].startswith("the end") and r["inferred"] for r in found), "its end came after the job's"
    assert not any(r["message"].startswith("the end") for r in own(records(yard, job=second)))


def unescaped(record):
    """The exact bytes of a record."""
    raw = record.get("raw")
    return record["message"].encode() if raw is None else raw.encode().decode("unicode_escape").encode("latin-1")


def test_lines_outlive_worker_agent_and_server(chatty):
    yard = chatty
    jobs = [yard.wire.run("chat", [{"print": f"job number {n}"}, {"flood": 10_000}]) for n in range(2)]
    for job in jobs:
        yard.wire.wait("chat", job, 120)
    running = yard.wire.run("chat", [{"print": "in the middle"}, {"sleep": 600}])
    until(lambda: any("in the middle" in r["message"] for r in records(yard, job=running)))
    before = {job: own(records(yard, job=job)) for job in (*jobs, running)}
    assert [len(lines) for lines in before.values()] == [10_001, 10_001, 1]
    pid = yard.agent_pid()
    yard.kill()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    offline = yard.cli("logs", jobs[0], "-n", 5000, "--jsonl").lines
    assert [r["seq"] for r in own(offline)] == [r["seq"] for r in before[jobs[0]][:5000][::-1]], "no server is needed"
    yard.start()
    after = {job: [r for r in own(records(yard, job=job)) if r["worker"] == before[job][0]["worker"]] for job in before}
    assert after == before
    until(lambda: not list((yard.data / "logs").glob(f"*/{before[running][0]['worker']}.jsonl")))
    assert own(records(yard, job=jobs[0])) == before[jobs[0]], "what was left behind is packed, and the same"
    lines = yard.cli("logs", jobs[1], "-n", 5000, "--jsonl").lines
    assert len(lines) == 5000 and lines[-1]["message"].startswith("line 9999 of a flood")
    assert "job number 1" in yard.cli("logs", jobs[1][:8], "--search", "job number").out, "its beginning is enough"
    yard.wire.call("POST", f"/v2/chat/cancel/{running}")


def test_filters_take_what_they_say(chatty):
    yard = chatty
    lines = [{"print": json.dumps({"level": "warning" if n % 2 else "info", "message": "served", "ms": n, "by": {"id": f"u{n % 3}"}})}
             for n in range(100)]
    first = yard.wire.do("chat", lines)["id"]
    second = yard.wire.do("chat", [{"error": f"mentions {first} by name"}, {"print": "ERROR: at last"}])["id"]

    def numbers(*flags):
        found = yard.cli("logs", "chat", "--json", *flags).json["records"]
        return [json.loads(r["message"])["ms"] for r in found if r["message"].startswith("{")]

    assert numbers("--where", "ms>=95") == [95, 96, 97, 98, 99]
    assert numbers("--where", "ms>95", "--level", "warn") == [97, 99]
    assert numbers("--where", "by.id=u1", "--where", "ms<5") == [1, 4]
    assert numbers("--grep", r'"ms": 4\d\b', "-n", 3) == [47, 48, 49]
    assert numbers("--release", 2) == [] and len(numbers("--release", 1)) == 100
    assert numbers("--until", "1h") == [] and len(numbers("--since", "1h")) == 100
    fields = yard.cli("logs", "chat", "--where", "ms=7", "--json").json["records"][0]
    assert fields["fields"] == {"ms": 7, "by": {"id": "u1"}} and fields["level"] == "warn"
    named = [r for r in records(yard, endpoint="chat") if r["message"].startswith("mentions")]
    assert [(r["job"], r["inferred"]) for r in named] == [(second, True)], "a job that is over is not who runs"
    errors = yard.cli("logs", "chat", "--level", "error", "--job", second, "--json").json["records"]
    assert [r["message"] for r in errors] == ["ERROR: at last"]
    around = yard.cli("logs", "chat", "--where", "ms=50", "-C", 2).out.splitlines()
    assert [re.search(r"\d+(?=, .by)", line).group() for line in around] == ["48", "49", "50", "51", "52"]
    for bad, words in ((("--grep", "("), "regular expression"), (("--where", "ms"), "condition"),
                       (("--since", "soon"), "no time")):
        done = yard.cli("logs", "chat", *bad, code=None)
        assert done.code in (1, 2) and words in done.err, done
    assert yard.cli("logs", "nobody", code=5).err.startswith("error:")
    usage = yard.cli("disk", "--all", "--json").json["accounts"]
    logs = next(account for account in usage if account["kind"] == "logs")
    assert any("% of 5120 MiB" in item["why"] for item in logs["items"]), logs


def test_a_follower_sees_each_line_once(chatty):
    yard = chatty
    follower = open_stream(yard, endpoint="chat", follow="true", level="info")
    seen = []
    for n in range(5):
        job = yard.wire.run("chat", [{"print": f"turn {n}"}, {"flood": 1000}])
        while not seen or seen[-1] != (job, "line 999"):
            record = json.loads(follower.readline())
            if record["source"] == "stdout":
                seen.append((record["job"], " ".join(record["message"].split()[:2])))
        yard.wire.wait("chat", job)
    turns = [words for _, words in seen if words.startswith("turn")]
    assert turns == [f"turn {n}" for n in range(5)] and len(seen) == len(set(seen)) == 5 * 1001
