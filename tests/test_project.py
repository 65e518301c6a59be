"""`runyard.toml`: plan, apply, diff, export, validate, destroy, as one uses them from a folder or a pipeline."""

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

from support.wire import until

ROOT = Path(__file__).parents[1]
HANDLER = """
import os, runpod
RELEASE = {release}
def handler(job):
    if job["input"] == "fail":
        return {{"error": "as asked"}}
    return {{"release": RELEASE, "greeting": os.environ.get("GREETING"), "more": 1}}
runpod.serverless.start({{"handler": handler}})
"""


def project(folder, text, release=1):
    folder.mkdir(exist_ok=True)
    (folder / "handler.py").write_text(HANDLER.format(release=release))
    (folder / "requirements.txt").write_text("runpod\n")
    (folder / "runyard.toml").write_text(text)
    return folder


def answer(yard, name):
    return yard.wire.wait(name, yard.wire.run(name, {}))["output"]


def plan(yard, folder, *flags):
    return json.loads(yard.cli("plan", folder, "--json", *flags).out)


def differences(planned):
    return {change["path"]: (change["old"], change["new"]) for change in planned["changes"]}


FILE = """
name = "decl"
[run]
env = { GREETING = "hi" }
[scale]
max = 2
idle = "90s"
target = { requests = 2 }
[limits]
retries = 3
rates = { run = "100/50" }
[[test]]
input = { a = 1 }
expect = { output = { greeting = "hi" } }
[[test]]
input = "fail"
expect = { status = "FAILED" }
[env.staging]
scale.max = 1
run.env.GREETING = "psst"
test = []
"""


def test_apply_makes_what_the_file_says_and_then_nothing_differs(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    first = plan(yard, folder)
    assert first["action"] == "create" and differences(first)["scale.idle"] == (None, "90s"), first
    assert yard.cli("apply", folder, "--yes").out.strip().endswith("/v2/decl")
    assert answer(yard, "decl") == {"release": 1, "greeting": "hi", "more": 1}
    assert plan(yard, folder)["action"] == "none"
    yard.cli("diff", folder, "--exit-code")

    # What somebody does behind its back is exactly what differs.
    yard.cli("endpoints", "set", "decl", "--max", 5, "--idle", "10s", "--rate", "cancel=7/3")
    drifted = plan(yard, folder)
    assert differences(drifted) == {
        "scale.max": (5, 2),
        "scale.idle": ("10s", "90s"),
        "limits.rates": ({"cancel": "7/3", "run": "100/50"}, {"run": "100/50"}),
    }
    assert all(change["drift"] for change in drifted["changes"]) and not drifted["makesRelease"]
    assert "is not as its file says" in yard.cli("plan", folder, "--exit-code", code=8).err
    yard.cli("diff", folder, "--exit-code", code=8)
    yard.cli("apply", folder, "--yes")
    assert plan(yard, folder)["action"] == "none"
    releases = json.loads(yard.cli("releases", "decl", "--json").out)["releases"]
    assert [release["number"] for release in releases] == [1], "settings make no release"

    # Variables and code make a release, and what is gone from the file is gone.
    (folder / "runyard.toml").write_text('name = "decl"\n')
    changed = differences(plan(yard, folder))
    assert changed["run.env.GREETING"] == ("hi", None) and changed["limits.rates"] == ({"run": "100/50"}, {})
    yard.cli("apply", folder, "--yes")
    assert answer(yard, "decl")["greeting"] is None
    assert plan(yard, folder)["action"] == "none"


def test_environments_are_endpoints_of_their_own(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("apply", folder, "--yes", "--environment", "staging")
    assert answer(yard, "decl-staging")["greeting"] == "psst"
    assert plan(yard, folder)["action"] == "create"
    assert plan(yard, folder, "-e", "staging")["action"] == "none"
    wrong = yard.cli("plan", folder, "-e", "prod", code=2).err
    assert "no environment 'prod'; there are staging" in wrong


def test_a_stale_plan_changes_nothing(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("apply", folder, "--yes")
    (folder / "runyard.toml").write_text(FILE.replace("max = 2", "max = 3"))
    old = plan(yard, folder)["plan"]
    yard.cli("endpoints", "set", "decl", "--min", 1)
    refused = yard.cli("apply", folder, "--yes", "--plan", old, "--json", code=1)
    assert refused.error["code"] == "stale_plan", refused
    settings = yard.wire.api("/endpoints/decl")["settings"]
    assert (settings["workers_max"], settings["workers_min"]) == (2, 1)
    yard.cli("apply", folder, "--yes", "--plan", plan(yard, folder)["plan"])
    settings = yard.wire.api("/endpoints/decl")["settings"]
    assert (settings["workers_max"], settings["workers_min"]) == (3, 0)


def test_a_test_of_the_file_gates_the_rollout(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("apply", folder, "--yes")
    (folder / "runyard.toml").write_text(FILE.replace('greeting = "hi"', 'greeting = "hello", more = 1') + "\n")
    # The file alone asks for nothing else: what gates the next release is not the endpoint's.
    assert plan(yard, folder)["action"] == "none"
    project(folder, (folder / "runyard.toml").read_text(), release=2)
    failed = yard.cli("apply", folder, "--yes", "--json", code=3)
    assert failed.error["code"] == "test_failed", failed
    assert 'output.greeting is \"hi\", expected \"hello\"' in json.dumps(failed.error).replace('\\"', '"'), failed
    assert answer(yard, "decl")["release"] == 1
    assert yard.wire.api("/endpoints/decl")["settings"]["idle_timeout_s"] == 90


def test_deploy_obeys_the_file_and_flags_go_before_it(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("deploy", folder, "--max", 4, "--env", "GREETING=flag", code=3)
    (folder / "runyard.toml").write_text(FILE.split("[[test]]")[0])
    yard.cli("deploy", folder, "--max", 4, "--env", "GREETING=flag")
    assert answer(yard, "decl")["greeting"] == "flag"
    settings = yard.wire.api("/endpoints/decl")["settings"]
    assert (settings["workers_max"], settings["idle_timeout_s"], settings["requeues"]) == (4, 90, 3)
    assert set(differences(plan(yard, folder))) == {"scale.max", "run.env.GREETING"}


def test_what_is_exported_is_what_there_is(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("apply", folder, "--yes")
    (folder / "runyard.toml").write_text(yard.cli("export", "decl").out)
    assert plan(yard, folder)["action"] == "none"


def test_destroy_removes_what_the_file_made_and_nothing_else(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.deploy(ROOT / "examples/hello", "decl")
    refused = yard.cli("destroy", folder, "--yes", code=1).err
    assert "was made by hand" in refused and "--force" in refused
    yard.cli("apply", folder, "--yes")
    yard.cli("destroy", folder, "--yes")
    assert plan(yard, folder)["action"] == "create"
    yard.cli("destroy", folder, "--yes", code=5)


def test_mistakes_are_told_with_their_place_and_change_nothing(yard, tmp_path):
    folder = project(tmp_path / "p", FILE)
    yard.cli("apply", folder, "--yes")
    before = yard.wire.api("/endpoints/decl")["settings"]
    for text, said in [
        ('name = "decl"\n[scale]\nmaxx = 3\n', "runyard.toml: line 3, column 1: unknown field `maxx`"),
        ('[limits]\nttl = "1w"\n', "line 2, column 7: '1w' is no duration"),
        ("[scale]\nmin = 9\n", "scale.min is 9"),
        ('name = "Bad Name"\n', "'Bad Name' cannot name an endpoint"),
        ("name = \n", "line 1"),
        ('[run]\nenv = { A = "1" }\nsecrets = ["A"]\n', "A is in run.env and in run.secrets"),
        ('[build]\nhandler = "a.py"\nimage = "b"\n', "more than one of handler, dockerfile and image"),
    ]:
        (folder / "runyard.toml").write_text(text)
        for command in ("validate", "plan", "apply"):
            told = yard.cli(command, folder, code=2).err
            assert said in told, told
    assert yard.wire.api("/endpoints/decl")["settings"] == before
    schema = json.loads(yard.cli("validate", "--schema").out)
    assert schema["properties"].keys() >= {"name", "build", "run", "scale", "limits", "rollout", "test", "env"}


ONE = """
name = "decl"
[run]
env = { GREETING = "hi", ONLY_ONE = "1" }
secrets = ["FIRST"]
[scale]
max = 2
idle = "90s"
[limits]
retries = 3
rates = { run = "100/50" }
[rollout]
surge = "50%"
"""
TWO = """
name = "decl"
[run]
env = { GREETING = "two" }
secrets = ["SECOND"]
[scale]
max = 7
idle = "30s"
concurrency = 2
[limits]
retries = 5
[logs]
retention = "2d"
"""


def test_a_server_that_is_killed_in_an_apply_has_the_old_or_the_new(yard, tmp_path):
    """Wherever it dies: code, settings, variables, secrets and what the endpoint's record says of its file are all of one
    file, so that the plan of exactly one of the two is empty; and the worker that answers is that one's."""
    for name in ("FIRST", "SECOND"):
        yard.cli("secret", "set", name, given=name)
    old, new = project(tmp_path / "p", ONE), project(tmp_path / "q", TWO, release=2)
    yard.cli("apply", old, "--yes")
    seen = set()
    seed = os.environ.get("RUNYARD_SEED") or str(random.randrange(10**9))
    print("RUNYARD_SEED", seed)
    moments = random.Random(seed)
    for moment in [0.0, 0.05] + [moments.uniform(0, 4) for _ in range(8)]:
        aside = threading.Thread(target=lambda: yard.cli("apply", new, "--yes", code=None), daemon=True)
        aside.start()
        time.sleep(moment)
        yard.kill()
        aside.join(60)
        yard.start()
        empty = [folder for folder in (old, new) if plan(yard, folder)["action"] == "none"]
        assert len(empty) == 1, (moment, plan(yard, old), plan(yard, new))
        output = answer(yard, "decl")
        expected = {"release": 1, "greeting": "hi"} if empty == [old] else {"release": 2, "greeting": "two"}
        assert {key: output[key] for key in expected} == expected, moment
        seen.add(empty[0])
        until(lambda: yard.cli("apply", old, "--yes", code=None).code == 0, 60)
    assert old in seen


def test_a_server_that_is_killed_while_settings_change_has_all_or_none(yard, tmp_path):
    """Settings alone change without a release, in one write."""
    one, two = (text.replace("SECOND", "FIRST").split("[scale]") for text in (ONE, TWO))
    yard.cli("secret", "set", "FIRST", given="x")
    old, new = project(tmp_path / "p", ONE), project(tmp_path / "q", one[0] + "[scale]" + two[1])
    yard.cli("apply", old, "--yes")
    moments = random.Random(7)
    for _ in range(6):
        aside = threading.Thread(target=lambda: yard.cli("apply", new, "--yes", code=None), daemon=True)
        aside.start()
        time.sleep(moments.uniform(0, 0.5))
        yard.kill()
        aside.join(60)
        yard.start()
        actions = [plan(yard, folder)["action"] for folder in (old, new)]
        assert sorted(actions) == ["none", "update"], actions
        yard.cli("apply", old, "--yes")
    releases = json.loads(yard.cli("releases", "decl", "--json").out)["releases"]
    assert [release["number"] for release in releases] == [1]


def test_a_command_that_is_killed_in_an_apply_leaves_the_old_or_the_new(yard, tmp_path):
    """The server goes on with what it was told; what it was not told yet does not happen."""
    for name in ("FIRST", "SECOND"):
        yard.cli("secret", "set", name, given=name)
    old, new = project(tmp_path / "p", ONE), project(tmp_path / "q", TWO, release=2)
    yard.cli("apply", old, "--yes")
    moments = random.Random(11)
    for _ in range(5):
        command = [yard.binary, "--data", yard.data, "apply", new, "--yes"]
        client = subprocess.Popen(command, env=yard.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, 1.5))
        client.kill()
        client.wait()

        def is_quiet():
            releases = yard.wire.api("/endpoints/decl/releases")["releases"]
            return all(release["state"] in ("ready", "failed") for release in releases)

        # A request that the server has begun with shows as a release soon.
        until(is_quiet, 60)
        until(lambda: [plan(yard, folder)["action"] for folder in (old, new)].count("none") == 1, 60)
        until(lambda: yard.cli("apply", old, "--yes", code=None).code == 0, 60)
        assert plan(yard, old)["action"] == "none"
