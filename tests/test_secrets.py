"""Secrets: given to workers, and found nowhere else.

- A random value comes in by every door; a worker that returns its hash has it; then the data directory, the logs, every
  answer, the output of every command and the processes are searched for it, as it is and in other spellings.
- A secret that is not there fails a deploy by its name, and a start by its reason; it heals by itself.
- New values: of a secret with a restart, of a secure variable by a release that can be rolled back.
- The key file: apart from the data, changed, missing.
"""

import base64
import hashlib
import json
import os
import secrets as random
import urllib.parse
from pathlib import Path

import pytest

from support import handlers
from support.wire import until

HANDLER = """
    import hashlib, os
    import runpod

    def handler(job):
        given = job["input"]
        for name in given.get("print", []):
            print("the value of", name, "is", os.environ[name], flush=True)
        return {name: hashlib.sha256(os.environ.get(name, "").encode()).hexdigest() for name in given.get("of", [])}

    runpod.serverless.start({"handler": handler})
"""
WARM = ("--idle", "10m", "--max", "1")
MASK = "••••"


def value():
    """A value that JSON has to escape and that stands nowhere by chance."""
    return f'{random.token_hex(12)}"\\é{random.token_urlsafe(12)}'


def hashed(text):
    return hashlib.sha256(text.encode()).hexdigest()


def spellings(text):
    """How it could stand somewhere: what is left of its base64 wherever that begins, and the like."""
    raw = text.encode()
    found = {raw, json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode(),
             raw.hex().encode(), urllib.parse.quote(text, safe="").encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + raw).rstrip(b"=")
            found.add(coded[4 if shift else 0 : len(coded) - 2])
    # The random pieces alone: a value that was cut is told too.
    head, tail = text.split('"\\é')
    return found | {head.encode(), tail.encode()}


class Search:
    """Everything that is said and kept, searched for values."""

    def __init__(self):
        self.values, self.said = {}, []

    def new(self, door):
        self.values[door] = value()
        return self.values[door]

    def hear(self, run):
        self.said.append(("a command", (run.out + run.err).encode()))
        return run

    def answer(self, yard, path):
        self.said.append((path, json.dumps(yard.wire.call("GET", path)[1], ensure_ascii=False).encode()))

    def places(self, *yards):
        yield from self.said
        for yard in yards:
            for folder, folders, files in os.walk(yard.root):
                folders[:] = [name for name in folders if not (Path(folder) / name).is_symlink()]
                for name in files:
                    path = Path(folder) / name
                    if path.is_file() and not path.name.startswith("value-"):
                        yield str(path), path.read_bytes()
            for pid, line in yard.processes().items():
                yield f"the arguments of {pid}", line.encode()
                if "handler.py" not in line:
                    yield f"the environment of {pid} ({line})", Path(f"/proc/{pid}/environ").read_bytes()

    def finds_nothing(self, *yards):
        wanted = {spelling: door for door, text in self.values.items() for spelling in spellings(text)}
        looked_at = 0
        for where, text in self.places(*yards):
            looked_at += 1
            for spelling, door in wanted.items():
                assert spelling not in text, f"the value of {door} stands in {where}, as {spelling!r}"
        assert looked_at > 15, "the search looked at too little to mean something"


@pytest.fixture
def code(project):
    return handlers.write(project, HANDLER, test_input__json='{"input": {"of": []}}')


def hashes(yard, endpoint, *names):
    done = yard.wire.do(endpoint, {"of": list(names)}, limit=60)
    assert done["status"] == "COMPLETED", done
    return [done["output"][name] for name in names]


def test_a_value_that_came_by_any_door_is_found_nowhere(make_yard, code):
    yard, search = make_yard().start(), Search()
    by_cli, by_api, by_deploy, by_file, by_set = (search.new(door) for door in ("cli", "api", "deploy", "file", "set"))

    search.hear(yard.cli("secret", "set", "BY_CLI", "--description", "from stdin", given=by_cli + "\n"))
    yard.wire.api("/secrets/BY_API", "PUT", {"value": by_api})
    file = yard.root / "value-of-file"
    file.write_text(by_file + "\n")
    search.hear(yard.cli(
        "deploy", code, "--name", "ep", *WARM, "--env", "CLI={{ RUNPOD_SECRET_BY_CLI }}",
        "--env", "API=<{{RUNPOD_SECRET_BY_API}}|{{ RUNPOD_SECRET_BY_CLI }}>", "--env", "PLAIN=seen",
        "--secret-env", "OWN", "--secret-env", f"FILE=@{file}", "--json", env={"OWN": by_deploy}, limit=180,
    ))
    got = hashes(yard, "ep", "CLI", "API", "OWN", "FILE", "PLAIN")
    assert got == [hashed(text) for text in (by_cli, f"<{by_api}|{by_cli}>", by_deploy, by_file, "seen")]

    search.hear(yard.cli("endpoints", "set", "ep", "--secret-env", "SET=-", "--json", given=by_set, limit=180))
    until(lambda: yard.wire.api("/endpoints/ep")["serving"] == 2, 60)
    until(lambda: not yard.wire.api("/endpoints/ep")["rollout"]["inProgress"], 60)
    assert hashes(yard, "ep", "SET", "OWN", "CLI") == [hashed(text) for text in (by_set, by_deploy, by_cli)]

    # It is printed by mistake, and something fails with it.
    yard.wire.do("ep", {"print": ["CLI", "OWN", "SET"]})
    text = search.hear(yard.cli("logs", "ep")).out
    assert text.count(f"is {MASK}") == 3, text
    refused = search.hear(yard.cli(
        "deploy", code, "--name", "ep", "--secret-env", f"OWN={by_deploy}", code=2,
    ))
    search.said.pop()  # what a shell shows of its own command is not ours
    assert "holds the value itself" in refused.err and by_deploy not in refused.err

    for words in (["secret", "list"], ["secret", "show", "BY_CLI"], ["releases", "ep"], ["diff", "ep"],
                  ["endpoints", "show", "ep"], ["jobs"], ["workers"], ["why", "ep"], ["config"], ["logs", "ep"],
                  ["audit"]):
        search.hear(yard.cli(*words))
        search.hear(yard.cli(*words, "--json"))
    for path in ("/api/v1/secrets", "/api/v1/secrets/BY_API", "/api/v1/endpoints", "/api/v1/endpoints/ep/releases",
                 "/api/v1/endpoints/ep/diff", "/api/v1/endpoints/ep/why", "/api/v1/workers", "/api/v1/jobs",
                 "/api/v1/logs?endpoint=ep", "/api/v1/logs?endpoint=ep&build=1", "/api/v1/config", "/api/v1/audit"):
        search.answer(yard, path)
    search.said.append(("the agent's list", json.dumps(yard.agent_call("GET", "/workers")).encode()))
    release = yard.wire.api("/endpoints/ep/releases")["releases"][0]
    assert release["env"]["OWN"] == MASK and release["env"]["CLI"] == "{{ RUNPOD_SECRET_BY_CLI }}"
    assert release["secureEnv"] == ["FILE", "OWN", "SET"]
    assert yard.wire.api("/endpoints/ep/diff?from=1&to=2")["diff"][-1] == {
        "field": "env.SET", "old": None, "new": MASK,
    }
    search.finds_nothing(yard)
    # Nor when the worker, the agent and the server died in mid-job.
    yard.wire.run("ep", {"print": ["CLI"]})
    yard.kill()
    search.finds_nothing(yard)


def test_dev_has_the_secrets_of_its_data_directory(make_yard, project):
    yard, search = make_yard(), Search()
    named, own = search.new("named"), search.new("own")
    handlers.write(project, HANDLER, test_input__json='{"input": {"of": ["A", "B"], "print": ["A", "B"]}}')
    flags = ("dev", project, "--once", "--json", "--env", "A={{ RUNPOD_SECRET_IT }}", "--secret-env", "B")
    refused = search.hear(yard.cli(*flags, code=None, limit=180, env={"B": own}))
    assert refused.code != 0 and "IT" in refused.err and refused.error["code"] == "secret_missing", refused
    search.hear(yard.cli("secret", "set", "IT", given=named))
    done = search.hear(yard.cli(*flags, limit=180, env={"B": own}))
    assert done.json["output"] == {"A": hashed(named), "B": hashed(own)}
    search.hear(yard.cli("logs", "dev", "--json"))
    search.finds_nothing(yard)
    # What one folder was given is not the next one's.
    done = yard.cli(*flags[:-2], limit=180, code=None)
    assert done.json["status"] == "FAILED", "B is not set any more"


def test_a_missing_secret_is_named_before_anything_changes(make_yard, code):
    yard = make_yard().start()
    refused = yard.deploy(code, "ep", "--env", "TOKEN={{ RUNPOD_SECRET_HF }}", "--json", code=None)
    assert refused.code != 0 and refused.error["code"] == "secret_missing", refused
    assert "TOKEN" in refused.err and "HF" in refused.err
    assert yard.wire.call("GET", "/api/v1/endpoints/ep")[0] == 404, "nothing was made"

    yard.cli("secret", "set", "HF", given="first-value")
    yard.deploy(code, "ep", *WARM, "--env", "TOKEN={{ RUNPOD_SECRET_HF }}")
    used = yard.wire.api("/secrets/HF")
    assert [(use["endpointName"], use["variables"], use["releases"]) for use in used["usedBy"]] == [("ep", ["TOKEN"], [1])]
    assert used["usedAt"] is not None

    kept = yard.cli("secret", "delete", "HF", "--json", code=None)
    assert kept.code == 1 and kept.error["code"] == "conflict" and "ep (TOKEN)" in kept.err, kept
    yard.cli("secret", "delete", "HF", "--force")
    yard.cli("endpoints", "restart", "ep")
    until(lambda: not yard.wire.workers("ep"), 30)
    job = yard.wire.run("ep", {"of": ["TOKEN"]})
    why = until(lambda: (yard.wire.job(job).get("reason") or {}).get("code") == "secret_missing" and yard.wire.job(job), 30)
    assert "TOKEN" in why["reason"]["message"] and "HF" in why["reason"]["message"], why
    assert "runyard secret set HF" in yard.cli("why", "ep").out
    # It is there again: the job that waited runs, without a pause to wait for.
    yard.cli("secret", "set", "HF", given="second-value")
    done = yard.wire.wait("ep", job)
    assert done["status"] == "COMPLETED" and done["output"]["TOKEN"] == hashed("second-value")
    assert yard.wire.api("/endpoints/ep")["serving"] == 1, "no traffic was moved for it"


def test_a_new_value_reaches_workers_by_a_restart(make_yard, code):
    yard = make_yard().start()
    yard.cli("secret", "set", "HF", given="first-value")
    yard.deploy(code, "ep", *WARM, "--env", "TOKEN={{ RUNPOD_SECRET_HF }}")
    assert hashes(yard, "ep", "TOKEN") == [hashed("first-value")]
    said = yard.cli("secret", "set", "HF", given="second-value")
    assert said.out.strip() == "HF has version 2" and "1 worker of ep still" in said.err
    assert hashes(yard, "ep", "TOKEN") == [hashed("first-value")], "a worker that runs keeps its value"
    (before,) = yard.wire.workers("ep")
    done = yard.cli("secret", "set", "HF", "--restart", "--json", given="third-value").json
    assert [(one["endpointName"], one["workers"]) for one in done["restarting"]] == [("ep", 1)]
    until(lambda: before["id"] not in [worker["id"] for worker in yard.wire.workers("ep")], 30)
    assert hashes(yard, "ep", "TOKEN") == [hashed("third-value")]


def test_secure_variables_stay_and_go_back_with_their_release(make_yard, code):
    yard = make_yard().start()
    yard.cli("deploy", code, "--name", "ep", *WARM, "--secret-env", "OWN", env={"OWN": "first-value"}, limit=180)
    # A deploy that says nothing of it keeps it.
    yard.deploy(code, "ep", "--env", "OTHER=1")
    until(lambda: not yard.wire.api("/endpoints/ep")["rollout"]["inProgress"], 60)
    assert hashes(yard, "ep", "OWN", "OTHER") == [hashed("first-value"), hashed("1")]
    yard.cli("endpoints", "set", "ep", "--secret-env", "OWN", "--unset-env", "OTHER", env={"OWN": "second-value"})
    until(lambda: not yard.wire.api("/endpoints/ep")["rollout"]["inProgress"], 60)
    assert hashes(yard, "ep", "OWN", "OTHER") == [hashed("second-value"), hashed("")]
    diff = yard.wire.api("/endpoints/ep/diff")["diff"]
    assert {"field": "env.OWN", "old": MASK, "new": f"{MASK} (another value)"} in diff, diff
    yard.cli("rollback", "ep")
    until(lambda: not yard.wire.api("/endpoints/ep")["rollout"]["inProgress"], 60)
    assert hashes(yard, "ep", "OWN", "OTHER") == [hashed("first-value"), hashed("1")]
    yard.cli("endpoints", "set", "ep", "--unset-env", "OWN")
    until(lambda: not yard.wire.api("/endpoints/ep")["rollout"]["inProgress"], 60)
    assert hashes(yard, "ep", "OWN") == [hashed("")]
    before = yard.wire.api("/endpoints/ep")["serving"]
    same = yard.cli("endpoints", "set", "ep", "--unset-env", "OWN")
    assert "nothing changes" in same.err and yard.wire.api("/endpoints/ep")["serving"] == before
    status, same = yard.wire.call("POST", "/api/v1/endpoints/ep/env", {"env": {"OWN": None}})
    assert status == 400 and "so already" in same["detail"]
    # A value that the handler cannot start with is not taken: the release before serves on.
    status, refused = yard.wire.call("POST", "/api/v1/endpoints/ep/env", {"env": {"A": MASK}})
    assert status == 400 and "shown instead" in refused["detail"]


def test_what_is_wrong_is_said_without_the_value(shared_yard):
    wire, big = shared_yard.wire, "x" * (64 * 1024 + 1)
    for name, body, words in (
        ("a-b", {"value": "v"}, "cannot name a secret"),
        ("x" * 65, {"value": "v"}, "cannot name a secret"),
        ("A", {"value": ""}, "1 to 65536"),
        ("A", {"value": big}, "has 65537 bytes"),
        ("A", {"value": "hidden\0value"}, "no zero byte"),
        ("A", {"value": ["hidden-value"]}, "must be a string"),
        ("A", {"value": {"hidden-value": 1}}, "must be a string"),
        ("A", {}, "needs a 'value'"),
        ("A", {"valeu": "hidden-value"}, "there is no field 'valeu'"),
        ("A", {"value": "v", "description": "d" * 1001}, "at most 1000"),
    ):
        status, answer = wire.call("PUT", f"/api/v1/secrets/{name}", body)
        assert status == 400 and words in answer["detail"], (name, answer)
        assert "hidden" not in json.dumps(answer) and len(json.dumps(answer)) < 2_000
    assert wire.api("/secrets")["secrets"] == []
    for call in ("GET", "DELETE"):
        assert wire.call(call, "/api/v1/secrets/NOPE")[0] == 404
    for body in ({"secretEnv": "hidden-value"}, {"secretEnv": {"A": ["hidden-value"]}},
                 {"secretEnv": {"A=B": "hidden-value"}}, {"env": {"A": "1"}, "secretEnv": {"A": "hidden-value"}}):
        status, answer = wire.call("POST", "/api/v1/endpoints/new/releases", {"create": True, "bundle": "0" * 64, **body})
        assert status == 400 and "hidden" not in json.dumps(answer), answer


def test_the_key_file_lies_apart_and_is_replaced(make_yard, code):
    yard = make_yard()
    apart = yard.root / "apart"
    apart.mkdir(mode=0o700)
    yard.more_env = {"RUNYARD_KEY_FILE": str(apart / "runyard.key")}
    yard.start()
    yard.cli("secret", "set", "HF", given="first-value")
    yard.cli("deploy", code, "--name", "ep", *WARM, "--env", "TOKEN={{ RUNPOD_SECRET_HF }}", "--secret-env", "OWN",
             env={"OWN": "own-value"}, limit=180)
    key = (apart / "runyard.key").read_text()
    assert (apart / "runyard.key").stat().st_mode & 0o777 == 0o600
    assert (yard.data / "vault.key").is_symlink()
    assert not any(key.strip().encode() in path.read_bytes() for path in yard.data.rglob("*") if path.is_file() and not path.is_symlink())

    (before,) = yard.wire.workers("ep")
    yard.cli("secret", "rotate-key")
    fresh = (apart / "runyard.key").read_text()
    assert fresh != key and len(fresh.split()) == 1
    assert [worker["id"] for worker in yard.wire.workers("ep")] == [before["id"]], "no worker was touched"
    yard.stop()
    yard.end_agent()
    # The link is remembered, also by a start without the setting.
    yard.more_env = {}
    yard.start()
    assert hashes(yard, "ep", "TOKEN", "OWN") == [hashed("first-value"), hashed("own-value")]
    yard.stop()
    for other, words in ((None, "is not there"), (key, "does not hold the key"), ("no key", "is damaged")):
        (apart / "runyard.key").unlink(missing_ok=True)
        if other:
            (apart / "runyard.key").write_text(other)
        refused = yard.cli("up", "--listen", f"127.0.0.1:{yard.port}", code=1)
        assert words in refused.err, refused
    (apart / "runyard.key").write_text(fresh)
    yard.start()
    assert hashes(yard, "ep", "TOKEN") == [hashed("first-value")]
