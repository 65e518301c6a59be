"""`runyard.toml` beyond one endpoint: every key of the file, every example, what it costs, several projects at once."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.forge import git
from support.wire import until

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
HANDLER = 'import runpod\nrunpod.serverless.start({"handler": lambda job: {"is": "%s"}})\n'


def project(folder, text=None, said="one"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(HANDLER % said)
    (folder / "requirements.txt").write_text("runpod\n")
    if text is not None:
        (folder / "runyard.toml").write_text(text)
    return folder


def plan(yard, folder, *flags):
    return yard.cli("plan", folder, "--json", *flags).json


def differences(planned):
    return {change["path"]: (change["old"], change["new"]) for change in planned["changes"]}


def names(yard):
    return {endpoint["name"] for endpoint in yard.wire.api("/endpoints")["endpoints"]}


# Every key.

# Key of the file: what it says, what the API calls it, the usual value as a file has it.
SETTINGS = {
    "scale.min": (1, {"workers_min": 1}, 0),
    "scale.max": (7, {"workers_max": 7}, 3),
    "scale.idle": ("90s", {"idle_timeout_s": 90}, "5s"),
    "scale.target": ({"requests": 2}, {"scaler": {"type": "REQUEST_COUNT", "value": 2}}, {"queue_delay": "4s"}),
    "scale.concurrency": (4, {"concurrency": 4}, 1),
    "scale.prefetch": ("off", {"prefetch": "off"}, "auto"),
    "limits.execution": ("20m", {"execution_timeout_ms": 1_200_000}, "10m"),
    "limits.ttl": ("2h", {"ttl_ms": 7_200_000}, "1d"),
    "limits.retries": (5, {"requeues": 5}, 1),
    "limits.start": ("10m", {"start_timeout_s": 600}, "7m"),
    "limits.result_retention": ("2d", {"retention_ms": 172_800_000}, "1d"),
    "limits.queue": (100, {"queue_limit": 100}, 500_000),
    "limits.rates": ({"run": "100/50"}, {"rates": {"run": "100/50"}}, {}),
    "limits.stop_grace": ("5s", {"stop_grace_ms": 5_000}, "3s"),
    "limits.replace_grace": ("20s", {"replace_grace_ms": 20_000}, "10s"),
    "rollout.surge": ("50%", {"rollout": {"surge": "50%"}}, "25%"),
    "rollout.max_unavailable": ("30%", {"rollout": {"max_unavailable": "30%"}}, "25%"),
    "rollout.watch": ("5m", {"rollout": {"watch_ms": 300_000}}, "10m"),
    "rollout.failed_starts": (2, {"rollout": {"failed_starts": 2}}, 3),
    "rollout.error_margin": (15, {"rollout": {"error_margin": 15}}, 20),
    "rollout.error_jobs": (12, {"rollout": {"error_jobs": 12}}, 10),
    "rollout.canary": ("5m", {"rollout": {"canary_ms": 300_000}}, "10m"),
    "rollout.canary_jobs": (9, {"rollout": {"canary_jobs": 9}}, 0),
    "run.gpu": (1, {"gpus": 1}, 0),
    "run.cpu": (1.5, {"container": {"cpu_millis": 1_500}}, 0.0),
    "run.memory": ("2GB", {"container": {"memory_mib": 2_048}}, "0MB"),
    "run.shm": ("1GB", {"container": {"shm_mib": 1_024}}, "0MB"),
    "run.pids": (512, {"container": {"pids": 512}}, 0),
    "run.volumes": (
        {"data": "/data:ro"}, {"container": {"volumes": [{"name": "data", "path": "/data", "read_only": True}]}}, {},
    ),
    "run.network_volume": ("v0lume1234", {"network_volume": "v0lume1234"}, None),
    "build.registry": ("hub", {"container": {"registry": "hub"}}, ""),
    "run.flashboot": ("off", {"flash_boot": "off"}, "on"),
    "limits.input": ("1MB", {"input_limit_bytes": 1_048_576}, "0"),
    "limits.output": ("2MB", {"output_limit_bytes": 2_097_152}, "0"),
    "web.cors": (["https://app.example"], {"cors": ["https://app.example"]}, ["*"]),
    "logs.level": ("warn", {"log_level": "warn"}, "debug"),
    "logs.retention": ("2d", {"log_retention_ms": 172_800_000}, "14d"),
}
# Those that are no settings: the tests below, or (images) those of the crate `manage`.
OTHERS = {
    "build.handler", "build.python", "build.requirements", "run.env", "run.secrets",
    "build.dockerfile", "build.image", "build.args", "build.target", "build.platform", "run.entrypoint", "run.command",
}
# Nothing obeys them.
NOT_APPLIED = {
    "budget.hourly": 1.0, "budget.daily": 5.0, "budget.weekly": 20.0, "budget.monthly": 50.0, "budget.lifetime": 100.0,
    "budget.at_cap": "drain", "budget.alerts": [50, 80], "limits.max_cost_per_job": 0.5,
}


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(held)}" for key, held in value.items()) + " }"
    return json.dumps(value)


def file_of(keys, name="keys"):
    return f'name = "{name}"\n' + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())


def keys_of_the_schema(yard):
    schema = yard.cli("validate", "--schema").json
    found = set()
    for section in ("build", "run", "scale", "limits", "rollout", "web", "logs", "budget"):
        of = schema["properties"][section]
        of = schema["$defs"][(of.get("$ref") or of["allOf"][0]["$ref"]).rsplit("/", 1)[1]]
        found |= {f"{section}.{key}" for key in of["properties"]}
    return found


def test_each_setting_that_is_changed_behind_a_files_back_is_exactly_one_difference(make_yard, tmp_path):
    yard = make_yard(gpus=1).start()
    assert keys_of_the_schema(yard) == SETTINGS.keys() | OTHERS | NOT_APPLIED.keys()
    login = {"name": "hub", "server": "registry.example", "username": "me", "password": "x"}
    yard.wire.api("/registries", "POST", login)
    folder = project(tmp_path / "p", 'name = "keys"\n')
    yard.cli("apply", folder, "--yes")
    usual = yard.wire.api("/endpoints/keys")["settings"]
    made = {"name": "data", "size": 10, "dataCenter": "LOCAL-1"}
    volume = yard.wire.call("POST", "/v2/network-volumes", made)[1]["id"]
    for key, (said, change, default) in SETTINGS.items():
        if key == "run.network_volume":
            said, change = volume, {"network_volume": volume}
        yard.wire.call("PATCH", "/api/v1/endpoints/keys", {"settings": change})
        # Where workers are started with it, a release makes it so first.
        planned = until(lambda: (found := plan(yard, folder))["changes"] and found, 60, say=lambda: key)
        assert differences(planned) == {key: (said, default)}, key
        assert planned["changes"][0]["drift"], key
        # A rate is given back by null; nothing said means as it is.
        back = {name: usual[name] if name != "rates" else {"run": None} for name in change}
        yard.wire.call("PATCH", "/api/v1/endpoints/keys", {"settings": back})
        until(lambda: plan(yard, folder)["action"] == "none", 60, say=lambda: key)
    assert plan(yard, folder)["action"] == "none"


def test_a_file_with_every_key_is_applied_and_exported_and_nothing_differs(yard, tmp_path):
    login = {"name": "hub", "server": "registry.example", "username": "me", "password": "x"}
    yard.wire.api("/registries", "POST", login)
    yard.cli("secret", "set", "TOKEN", given="sesame")
    keys = {key: said for key, (said, _, _) in SETTINGS.items() if key not in ("run.gpu", "run.network_volume")}
    keys |= NOT_APPLIED | {
        "build.handler": "handler.py", "build.python": ">=3.8", "build.requirements": "more/worker.txt",
        "run.env": {"A": "1", "B": 'two "quoted"'}, "run.secrets": ["TOKEN"],
    }
    folder = project(tmp_path / "p", file_of(keys))
    (folder / "more").mkdir()
    (folder / "more/worker.txt").write_text("runpod\n")
    planned = plan(yard, folder)
    assert {each["path"]: each["value"] for each in planned["notApplied"]} == NOT_APPLIED
    assert "no budgets yet" in planned["notApplied"][0]["why"]
    shown = yard.cli("plan", folder).out
    assert "not applied: budget.daily = 5.0" in shown, shown
    yard.cli("apply", folder, "--yes")
    assert plan(yard, folder)["action"] == "none"
    exported = yard.cli("export", "keys").out
    (folder / "runyard.toml").write_text(exported)
    assert plan(yard, folder)["action"] == "none", exported
    for word in ("sesame", "budget"):
        assert word not in exported


def test_code_and_variables_behind_a_files_back_are_exactly_what_differs(yard, tmp_path):
    yard.cli("secret", "set", "TOKEN", given="sesame")
    text = file_of({"build.handler": "handler.py", "build.python": ">=3.8", "build.requirements": "requirements.txt",
                    "run.env": {"A": "1"}, "run.secrets": ["TOKEN"]})
    folder = project(tmp_path / "p", text)
    yard.cli("apply", folder, "--yes")

    yard.cli("endpoints", "set", "keys", "--env", "A=2", "--env", "C=3", limit=180)
    drifted = plan(yard, folder)
    assert differences(drifted) == {"run.env.A": ("2", "1"), "run.env.C": ("3", None)}
    assert all(change["drift"] for change in drifted["changes"])
    yard.cli("apply", folder, "--yes")

    # By hand, of the same code: whatever the file says beyond the code differs.
    plain = project(tmp_path / "plain")
    (plain / "other.py").write_text(HANDLER % "other")
    yard.deploy(plain, "keys", "--handler", "other.py")
    found = differences(plan(yard, folder))
    code = found.pop("code")
    assert code[0] != code[1] and found == {
        "build.handler": ("other.py", "handler.py"),
        "build.python": (None, ">=3.8"),
        "build.requirements": (None, "requirements.txt"),
        "run.env.A": (None, "1"),
        "run.env.TOKEN": (None, "{{ RUNPOD_SECRET_TOKEN }}"),
    }


def test_the_interpreter_and_the_requirements_are_those_that_the_file_names(yard, tmp_path):
    folder = project(tmp_path / "p", 'name = "py"\n[build]\npython = "3.99"\n')
    refused = yard.cli("apply", folder, "--yes", code=3).err
    assert "build.python asks for Python 3.99, and there is" in refused, refused
    (folder / "runyard.toml").write_text('name = "py"\n[build]\nrequirements = "none.txt"\n')
    refused = yard.cli("apply", folder, "--yes", code=3).err
    assert "none.txt that build.requirements names" in refused, refused
    (folder / "runyard.toml").write_text('name = "py"\n[build]\npython = ">=3.8"\n')
    yard.cli("apply", folder, "--yes")
    [release] = [r for r in yard.wire.api("/endpoints/py/releases")["releases"] if r["serving"]]
    assert release["pythonWish"] == {"version": ">=3.8"} and release["python"].startswith("3.")


# Examples.

# Without a file: none is needed.
PLAIN = ("hello", "text-to-image")
# Their packages have 50 to 130 MB each, so these stand in for handler and requirements; the file is the example's own.
STAND_INS = ("embed", "llm", "speak", "transcribe")


def test_every_example_is_tried_here_or_with_an_engine():
    engine = {"docker-hello", "stable-diffusion"}
    # No endpoint but a page that calls one: test_web_app.py.
    page = {"web-app"}
    assert {entry.name for entry in EXAMPLES.iterdir()} == {*PLAIN, *STAND_INS, "dual-mode"} | engine | page


@pytest.mark.parametrize("example", PLAIN + STAND_INS + ("dual-mode",))
def test_examples_differ_in_nothing_once_they_are_applied(yard, tmp_path, example):
    folder, flags = EXAMPLES / example, ()
    if example in STAND_INS:
        folder = tmp_path / example
        shutil.copytree(EXAMPLES / example, folder)
        (folder / "uv.toml").unlink(missing_ok=True)
        project(folder)
    if example == "dual-mode":
        flags = ("-e", "serverless")
    yard.cli("validate", folder, *flags, code=2 if example in PLAIN else 0)
    applied = yard.cli("apply", folder, "--yes", *flags, limit=240)
    name = applied.out.strip().rsplit("/", 1)[1]
    assert plan(yard, folder, *flags)["action"] == "none"
    # And what is exported asks for the same.
    (tmp_path / "copy").mkdir()
    copy = shutil.copytree(folder, tmp_path / "copy" / example)
    (copy / "runyard.toml").write_text(yard.cli("export", name).out)
    assert plan(yard, copy)["changes"] == []


# Costs.


def test_a_plan_says_what_it_costs_for_an_hour(make_yard, tmp_path):
    yard = make_yard(gpus=4)
    (yard.data / "server.toml").write_text(
        'gpu_name = "NVIDIA L4"\nprice_gpu_hour = 9.0\nprice_vcpu_hour = 0.03\ngpu_prices = { "NVIDIA L4" = 0.42 }\n'
    )
    yard.start()
    folder = project(tmp_path / "p", 'name = "cost"\n[run]\ngpu = 1\n[scale]\nmax = 1\n')
    planned = plan(yard, folder)
    worker = {"worker": 0.42, "unknown": None, "workersMin": 0, "workersMax": 1, "min": 0.0, "max": 0.42}
    assert planned["costPerHour"] == {"old": None, "new": worker}
    assert "cost per hour: 0.00 at 0 workers, 0.42 at 1 worker" in yard.cli("plan", folder).out
    yard.cli("apply", folder, "--yes")
    (folder / "runyard.toml").write_text('name = "cost"\n[run]\ngpu = 1\n[scale]\nmin = 1\nmax = 2\n')
    assert "0.00 → 0.42 at 1 worker, 0.42 → 0.84 at 2 workers" in yard.cli("plan", folder).out
    (folder / "runyard.toml").write_text('name = "cost"\n[run]\ncpu = 2\n')
    assert plan(yard, folder)["costPerHour"]["new"]["max"] == 0.18
    (folder / "runyard.toml").write_text('name = "cost"\n')
    assert "run.cpu is not set" in plan(yard, folder)["costPerHour"]["new"]["unknown"]


def test_without_a_price_no_cost_is_invented(make_yard, tmp_path):
    yard = make_yard(gpus=1).start()
    folder = project(tmp_path / "p", 'name = "cost"\n[run]\ngpu = 1\n')
    cost = plan(yard, folder)["costPerHour"]["new"]
    assert cost["max"] is None and cost["unknown"].startswith("no price is configured for "), cost
    assert "cost per hour: no price is configured for" in yard.cli("plan", folder).out


# Several projects.


@pytest.fixture
def repository(tmp_path):
    """A repository with two projects, one of them with an environment."""
    root = tmp_path / "repository"
    project(root / "services/a", 'name = "a"\n[env.eu]\nscale.max = 1\n')
    project(root / "services/b", 'name = "b"\n')
    project(root / "tools/c", 'name = "c"\n')
    git(root, "init", "-q", "-b", "main")
    git(root, "remote", "add", "origin", "https://me:secret@git.example/me/repository.git")
    return root


def test_several_projects_are_applied_and_pruned(yard, repository):
    done = yard.cli("plan", "-r", repository, "--exit-code", code=8)
    assert "+ endpoint a" in done.out and "a, b, c are not as their files say" in done.err, done
    yard.cli("apply", "-r", repository, "--yes", limit=240)
    yard.cli("apply", repository / "services/a", "--yes", "-e", "eu")
    yard.cli("endpoints", "create", "by-hand")
    assert names(yard) == {"a", "a-eu", "b", "c", "by-hand"}
    both = yard.cli("plan", repository / "services/a", repository / "services/b", "--json").json
    assert [planned["action"] for planned in both["plans"]] == ["none", "none"] and both["removes"] == []
    assert yard.cli("plan", "-r", repository, "--prune", "--exit-code", "--json").json["removes"] == []

    # One file goes, and another names its endpoint anew. What lies elsewhere in the repository, in another environment
    # or under nobody's name stays.
    shutil.rmtree(repository / "services/b")
    shutil.rmtree(repository / "tools/c")
    (repository / "services/a/runyard.toml").write_text('name = "a2"\n[env.eu]\nname = "a-eu"\n')
    shown = yard.cli("plan", "-r", repository / "services", "--prune", "--exit-code", code=8)
    assert "- endpoint a\n" in shown.out and "- endpoint b\n" in shown.out and "endpoint c" not in shown.out, shown
    assert "services/b/runyard.toml@https://git.example/me/repository" in shown.out and "secret" not in shown.out
    assert names(yard) == {"a", "a-eu", "b", "c", "by-hand"}, "a plan removes nothing"
    refused = yard.cli("apply", "-r", repository / "services", "--prune", code=2).err
    assert "needs a yes" in refused
    yard.cli("apply", "-r", repository / "services", "--prune", "--yes")
    assert names(yard) == {"a2", "a-eu", "c", "by-hand"}
    assert yard.cli("apply", repository, "--prune", "--yes", "--plan", "x", code=2)


def test_what_cannot_be_told_is_not_pruned(yard, repository, tmp_path):
    yard.cli("apply", "-r", repository, "--yes", limit=240)
    # A file that cannot be read is not one that is gone.
    (repository / "services/b/runyard.toml").write_text("[[[")
    told = yard.cli("apply", "-r", repository, "--prune", "--yes", code=2).err
    assert "services/b/runyard.toml" in told and "line 1" in told, told
    # No repository: nothing says what came from here.
    alone = project(tmp_path / "alone", 'name = "alone"\n')
    told = yard.cli("apply", alone, "--prune", "--yes", code=2).err
    assert "no Git repository with a remote" in told, told
    # One project fails: those before it are done, and nothing is removed.
    (repository / "services/b/runyard.toml").write_text('name = "b"\n')
    (repository / "services/b/handler.py").write_text("raise SystemExit('broken')\n")
    (repository / "services/a/runyard.toml").write_text('name = "a"\nscale.max = 9\n')
    shutil.rmtree(repository / "tools/c")
    yard.cli("apply", "-r", repository, "--prune", "--yes", code=3, limit=240)
    assert names(yard) == {"a", "b", "c"}
    assert yard.wire.api("/endpoints/a")["settings"]["workers_max"] == 9
    twice = project(repository / "services/twice", 'name = "a"\n')
    assert "two folders name the endpoint 'a'" in yard.cli("plan", "-r", repository, code=2).err
    shutil.rmtree(twice)


# Logs.


def test_the_files_log_level_is_what_is_shown_and_all_is_kept(yard, tmp_path):
    folder = project(tmp_path / "p", 'name = "logs"\n[logs]\nlevel = "error"\nretention = "2d"\n')
    (folder / "handler.py").write_text(
        "import runpod\nlog = runpod.RunPodLogger()\n"
        "def handler(job):\n    log.info('quiet words', job['id'])\n    log.error('loud words', job['id'])\n    return 1\n"
        "runpod.serverless.start({'handler': handler})\n"
    )
    yard.cli("apply", folder, "--yes")
    yard.wire.do("logs", {})
    said = until(lambda: (out := yard.cli("logs", "logs").out) and "loud words" in out and out, 20)
    assert "quiet words" not in said
    assert "quiet words" in yard.cli("logs", "logs", "--level", "debug").out
    yard.cli("endpoints", "set", "logs", "--log-level", "debug")
    assert "quiet words" in yard.cli("logs", "logs").out


# A pipeline.


def steps(page, language):
    """The scripts of a page's blocks in a language, joined."""
    blocks = page.split(f"```{language}\n")[1:]
    return [block.split("\n```")[0] for block in blocks]


def test_the_pipeline_of_the_guide_does_what_it_says(yard, repository):
    """The shell steps of `docs/ci.md`, run as a runner does: `bash -e`, address and key in the environment."""
    page = (ROOT / "docs/ci.md").read_text()
    check, apply = (step for step in steps(page, "bash") if step.startswith("# ci: "))
    assert check.startswith("# ci: pull request") and apply.startswith("# ci: merge")
    for step in (check, apply):
        for line in step.splitlines()[1:]:
            assert line.strip() in page.split("```yaml", 1)[1], f"no pipeline runs: {line}"
    env = {**yard.env, "RUNYARD_URL": f"http://127.0.0.1:{yard.port}", "RUNYARD_API_KEY": yard.key(),
           "PATH": f"{Path(yard.binary).parent}:{yard.env['PATH']}"}

    def run(script):
        return subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=repository, env=env, text=True,
                              capture_output=True, timeout=300)

    proposed = run(check)
    assert proposed.returncode == 0, proposed
    written = (repository / "plan.md").read_text()
    assert "+ endpoint a" in written and names(yard) == set()
    assert "something differs" in proposed.stdout
    merged = run(apply)
    assert merged.returncode == 0, merged
    assert names(yard) == {"a", "b", "c"}
    again = run(check)
    assert again.returncode == 0 and "nothing differs" in again.stdout, again
    (repository / "services/b/runyard.toml").write_text("[scale]\nmaxx = 1\n")
    broken = run(check)
    assert broken.returncode == 2 and "line 2, column 1" in broken.stderr, broken
