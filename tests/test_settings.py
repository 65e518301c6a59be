"""An endpoint's configuration by every door: GPUs of mixed types, FlashBoot, CORS, data limits; and that each change
says before it is made which workers restart.
"""

import json
import urllib.request

import pytest

from support import handlers
from support.wire import until

MACHINE = "2xNVIDIA A40:48GB,1xRTX 4090:24GB"

HANDLER = """
    import os, time, runpod
    if os.environ.get("MODE") == "bad":
        raise SystemExit("no such mode")
    def handler(job):
        time.sleep(job["input"].get("sleep", 0))
        said = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "RUNPOD_GPU_NAME", "RUNPOD_GPU_SIZE", "MODE")}
        return {"large": "x" * job["input"]["large"]} if "large" in job["input"] else said
    runpod.serverless.start({"handler": handler})
"""

KEEP = ("--idle", "10m")


@pytest.fixture
def yard(make_yard):
    return make_yard(gpus=MACHINE).start()


@pytest.fixture
def project(tmp_path):
    return handlers.write(tmp_path / "project", HANDLER)


def patch(yard, ep, body, query=""):
    return yard.wire.call("PATCH", f"/api/v1/endpoints/{ep}{query}", body)[1]


def changed(dry):
    return {change["field"]: (change["old"], change["new"]) for change in dry["changes"]}


def test_workers_get_the_gpus_that_are_asked_for(yard, project):
    listed = yard.cli("gpus").out
    assert listed.count("NVIDIA A40") == 2 and "NVIDIA GeForce RTX 4090" in listed and "ADA_24" in listed
    wire = yard.wire
    # Most wanted first; none of the first kind is here.
    yard.deploy(project, "one", "--gpus", "h100,rtx4090", *KEEP)
    said = wire.do("one", {})["output"]
    assert said == {"CUDA_VISIBLE_DEVICES": "2", "RUNPOD_GPU_NAME": "NVIDIA+GeForce+RTX+4090", "RUNPOD_GPU_SIZE": "ADA_24", "MODE": None}
    # At least so much, and both of one type.
    yard.deploy(project, "two", "--gpus", "2x24GB", *KEEP)
    assert wire.do("two", {})["output"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    held = {gpu["index"]: gpu["endpointName"] for gpu in wire.api("/gpus")["gpus"]}
    assert held == {0: "two", 1: "two", 2: "one"}
    assert "two (worker" in yard.cli("gpus").out
    [worker] = wire.workers("one")
    assert worker["gpuType"] == "NVIDIA GeForce RTX 4090"

    # What is never to be had is refused with what there is, and nothing is made of it.
    for wish, words in (("h100", "a worker needs 1 of h100"), ("3", "a worker needs 3 GPUs"), ("rtx4900", "there is no GPU type 'rtx4900'"),
                        ("ADA_24,-rtx4090", "a worker needs 1 of ADA_24 but rtx4090")):
        refused = yard.cli("endpoints", "create", "none", "--gpus", wish, code=1)
        assert words in refused.err, refused
    assert "this machine has 2 × NVIDIA A40 (48 GB), 1 × NVIDIA GeForce RTX 4090 (24 GB)" in yard.cli(
        "endpoints", "set", "one", "--gpus", "h100", code=1).err
    assert {e["name"] for e in wire.api("/endpoints")["endpoints"]} == {"one", "two"}

    # Who waits is told what was asked for and who holds it.
    busy = wire.run("one", {"sleep": 8})
    until(lambda: wire.status("one", busy)["status"] == "IN_PROGRESS", 10)
    yard.cli("endpoints", "create", "same", "--gpus", "rtx4090", *KEEP)
    third = yard.cli("endpoints", "show", "same").out
    assert "rtx4090" in third, third


def test_a_change_says_which_workers_restart_and_is_one_write(yard, project):
    wire = yard.wire
    yard.deploy(project, "syn", "--gpus", "rtx4090", *KEEP)
    wire.do("syn", {})
    [worker] = wire.workers("syn")
    before = wire.api("/endpoints/syn")

    # Settings alone: at once, and no worker restarts.
    dry = patch(yard, "syn", {"settings": {"workers_max": 5, "cors": ["https://app.example"]}}, "?dry_run=true")
    assert changed(dry) == {"workers_max": (3, 5), "cors": (["*"], ["https://app.example"])}
    assert not dry["makesRelease"] and dry["restarts"] == [] and "no worker restarts" in dry["says"]
    assert wire.api("/endpoints/syn") == before, "nothing was changed"
    done = yard.cli("endpoints", "set", "syn", "--max", "5", "--requeues", "2", "--flashboot", "priority")
    assert "workers_max  3 → 5" in done.err and "no worker restarts" in done.err
    settings = wire.api("/endpoints/syn")["settings"]
    assert (settings["workers_max"], settings["requeues"], settings["flash_boot"]) == (5, 2, "priority")
    assert [w["id"] for w in wire.workers("syn")] == [worker["id"]]
    assert yard.cli("endpoints", "set", "syn", "--max", "5", "--dry-run").out == "nothing changes\n"

    # What a release is made of: told with the worker that restarts, then made, with all the rest in the same write.
    flags = ("--gpus", "NVIDIA A40", "--env", "MODE=fast", "--max", "4", "--name", "syn2")
    dry = yard.cli("--json", "endpoints", "set", "syn", *flags, "--dry-run").json
    assert changed(dry) == {"name": ("syn", "syn2"), "gpus": ("rtx4090", "NVIDIA A40"), "env.MODE": (None, "fast"), "workers_max": (5, 4)}
    assert dry["makesRelease"] and dry["restarts"] == [worker["id"]]
    stale = patch(yard, "syn", {"settings": {"gpus": 1}}, "?plan=0123456789abcdef")
    assert stale["code"] == "stale_plan"
    done = yard.cli("endpoints", "set", "syn", *flags)
    assert f"restart: {worker['id']}" in done.err and done.out == "serving release #2 of syn2\n", done
    assert wire.do("syn2", {})["output"] == {"CUDA_VISIBLE_DEVICES": "0", "RUNPOD_GPU_NAME": "NVIDIA+A40", "RUNPOD_GPU_SIZE": "AMPERE_48", "MODE": "fast"}
    settings = wire.api("/endpoints/syn2")["settings"]
    assert (settings["workers_max"], settings["gpus"]) == (4, "NVIDIA A40")
    diff = {d["field"]: (d["old"], d["new"]) for d in wire.api("/endpoints/syn2/diff")["diff"]}
    assert diff == {"gpus": ("rtx4090", "NVIDIA A40"), "env.MODE": (None, "fast")}
    assert "release 1 with other gpus, env.MODE" in yard.cli("releases", "syn2").out

    # A release that does not pass changes nothing at all.
    before = wire.api("/endpoints/syn2")["settings"]
    broken = yard.cli("endpoints", "set", "syn2", "--env", "MODE=bad", "--max", "1", "--ttl", "1h", "--name", "other", code=3)
    assert "release #2 is still serving" in broken.err, broken
    assert wire.api("/endpoints/syn2")["settings"] == before and wire.call("GET", "/api/v1/endpoints/other")[0] == 404

    # Going back goes back to the GPUs too, and what is set next starts from what serves.
    yard.cli("rollback", "syn2", "--to", "1")
    assert wire.do("syn2", {})["output"]["RUNPOD_GPU_SIZE"] == "ADA_24"
    assert changed(patch(yard, "syn2", {"settings": {"gpus": "NVIDIA A40"}}, "?dry_run=true")) == {"gpus": ("rtx4090", "NVIDIA A40")}

    # Dry runs leave no trace, typos of the query are no changes.
    actions = [record["action"] for record in wire.api("/audit")["records"]]
    assert actions.count("endpoint.change") <= 4, actions
    assert patch(yard, "syn2", {"settings": {"workers_max": 9}}, "?dryrun=true")["status"] == 400
    wire.api("/endpoints?dry_run=true", method="POST", body={"name": "written"})
    assert wire.api("/audit")["records"][0]["action"] == "endpoint.create", "no other call is kept out of the log by the word"
    assert wire.api("/endpoints/syn2")["settings"]["workers_max"] != 9


def test_idle_workers_give_way_by_flashboot(yard, project):
    wire = yard.wire
    for name, flashboot in (("kept", "priority"), ("first", "off")):
        yard.deploy(project, name, "--gpus", "NVIDIA A40", "--flashboot", flashboot, *KEEP)
        wire.do(name, {})
    yard.deploy(project, "third", "--gpus", "NVIDIA A40", *KEEP)
    wire.do("third", {})
    assert [len(wire.workers(name)) for name in ("kept", "first", "third")] == [1, 0, 1], "idle for longer, and kept"


def test_data_limits_hold_by_every_door(yard, project):
    wire = yard.wire
    yard.deploy(project, "small", "--max-input", "2KB", "--max-output", "4KB", *KEEP)
    settings = wire.api("/endpoints/small")["settings"]
    assert (settings["input_limit_bytes"], settings["output_limit_bytes"]) == (2048, 4096)
    assert wire.do("small", {"large": 4000})["status"] == "COMPLETED"
    failed = wire.do("small", {"large": 5000})
    assert failed["status"] == "FAILED" and "at most 4096 bytes" in failed["error"], failed
    request = urllib.request.Request(
        f"http://127.0.0.1:{yard.port}/v2/small/run", data=json.dumps({"input": {"text": "x" * 3000}}).encode(),
        headers={"authorization": f"Bearer {yard.key()}", "origin": "https://app.example"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 413
    assert json.load(refused.value)["code"] == "input_too_large"


def test_a_file_says_all_of_it_and_export_says_it_again(yard, project):
    (project / "runyard.toml").write_text("""
name = "filed"

[run]
gpu = ["h100", "24GB"]
flashboot = "off"

[limits]
input = "1MB"
output = "64KB"

[web]
cors = ["https://app.example", "http://localhost:3000"]
""")
    yard.cli("apply", project, "--yes")
    settings = yard.wire.api("/endpoints/filed")["settings"]
    assert settings["gpus"] == ["h100", "24GB"] and settings["flash_boot"] == "off"
    assert (settings["input_limit_bytes"], settings["output_limit_bytes"]) == (1 << 20, 64 << 10)
    assert settings["cors"] == ["https://app.example", "http://localhost:3000"]
    assert yard.cli("plan", project, "--exit-code").code == 0
    exported = yard.cli("export", "filed").out
    for line in ('flashboot = "off"', 'input = "1MB"', 'output = "64KB"', '"24GB"', "https://app.example"):
        assert line in exported, exported
    yard.cli("endpoints", "set", "filed", "--max-input", "2MB")
    drift = yard.cli("diff", f"{project}/", "--exit-code", code=8).out
    assert 'limits.input  2MB → 1MB   (changed since it was applied)' in drift, drift


def test_rest_v2_means_the_same(make_yard, project):
    yard = make_yard(gpus=MACHINE)
    (yard.data / "server.toml").write_text(f'images."me/worker:1" = {{ path = "{project}" }}\n')
    yard.start()

    def rest(method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{yard.port}/v2/{path}", method=method, data=json.dumps(body).encode() if body else None,
            headers={"authorization": f"Bearer {yard.key()}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    _, catalog = rest("GET", "catalog/gpus?include=AVAILABILITY&product=SERVERLESS&count=2")
    seen = {gpu["id"]: (gpu["pool"], gpu["memory"], gpu["maxCount"]["secure"], gpu["availability"]) for gpu in catalog["gpus"]}
    assert seen == {"NVIDIA A40": ("AMPERE_48", 48, 2, "HIGH"), "NVIDIA GeForce RTX 4090": ("ADA_24", 24, 1, "NONE")}
    assert rest("GET", "catalog/gpus/NVIDIA%20A40")[1]["pool"] == "AMPERE_48"

    wish = {"name": "rest", "type": "QUEUE", "image": "me/worker:1", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1},
            "workers": {"min": 0, "max": 1, "idleTimeout": 600}}
    code, refused = rest("POST", "serverless", {**wish, "gpu": {"pools": ["AMPERE_80"], "count": 1}})
    assert code == 400 and "this machine has 2 × NVIDIA A40" in refused["detail"], refused
    code, refused = rest("POST", "serverless", {**wish, "gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"]}})
    assert code == 400, refused
    code, made = rest("POST", "serverless", {**wish, "flashboot": "PRIORITY_FLASHBOOT", "gpu": {"pools": ["AMPERE_80", "ADA_24"]}})
    assert code == 201, made
    ep = made["id"]
    until(lambda: yard.wire.api(f"/endpoints/{ep}")["serving"], 120, say=lambda: yard.server_log()[-2000:])
    assert yard.wire.do(ep, {})["output"]["RUNPOD_GPU_SIZE"] == "ADA_24"
    settings = yard.wire.api(f"/endpoints/{ep}")["settings"]
    assert settings["gpus"] == ["AMPERE_80", "ADA_24"] and settings["flash_boot"] == "priority"
    assert rest("GET", f"serverless/{ep}/workers")[1]["workers"][0]["gpuTypeId"] == "NVIDIA GeForce RTX 4090"

    # Another pool is another release; FlashBoot and scaling are none.
    code, changed = rest("PATCH", f"serverless/{ep}", {"gpu": {"pools": ["AMPERE_48"]}, "flashboot": "OFF"})
    assert code == 200 and changed["gpu"]["pools"] == ["AMPERE_48"] and changed["flashboot"] == "OFF", changed
    until(lambda: yard.wire.api(f"/endpoints/{ep}")["serving"] == 2, 120)
    assert yard.wire.do(ep, {})["output"]["RUNPOD_GPU_SIZE"] == "AMPERE_48"
    # What is set by another door is shown here as it is.
    yard.cli("endpoints", "set", ep, "--gpus", "24GB,-l4", "--flashboot", "on")
    shown = rest("GET", f"serverless/{ep}")[1]
    assert shown["gpu"] == {"pools": ["ADA_24", "AMPERE_48"], "excludedTypes": ["l4"], "count": 1, "allowedCudaVersions": [], "minCudaVersion": None}
    assert shown["flashboot"] == "FLASHBOOT"
