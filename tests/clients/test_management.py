"""REST v2 through clients that nobody changed: the management functions of `runpod` 2.0.0rc2, and the tools of
`@runpod/mcp-server` 4.0.0 over its stdio. The server has no container engine: the images are local commands."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from support.wire import until
from support.yard import Yard

GPU = "NVIDIA A40"
HANDLER = """
import os
import runpod

def handle(job):
    print("greeting", job["input"]["name"])
    return {"said": f"{os.environ['GREETING']} {job['input']['name']}", "gpus": os.environ["RUNPOD_GPU_COUNT"],
            "volume": os.environ.get("RUNYARD_VOLUME"), "word": os.environ.get("WORD"), "args": __import__("sys").argv[1:]}

runpod.serverless.start({"handler": handle})
"""
WRITER = """
import os
import runpod
from pathlib import Path

def handle(job):
    note = Path(os.environ["RUNYARD_VOLUME"]) / "note"
    if "write" in job["input"]:
        note.write_text(job["input"]["write"])
    return {"note": note.read_text(), "id": os.environ["RUNPOD_VOLUME_ID"]}

runpod.serverless.start({"handler": handle})
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory, sdk_python):
    """Entries of `[images]`: one that names a command, and one that leaves it to the folder."""
    lines = []
    for name, source in {"greet": HANDLER, "write": WRITER}.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "handler.py").write_text(source)
        (folder / "requirements.txt").write_text("runpod>=1.7\n")
        for path in [folder, *folder.parents][:3]:
            path.chmod(0o755)
        lines.append(f'[images."me/{name}:1"]\npath = "{folder}"\n')
        lines.append(f'[images."me/{name}:2"]\npath = "{folder}"\ncommand = "{sdk_python} -u handler.py"\n')
    return "\n".join(lines)


@pytest.fixture(scope="module")
def market(binary, tools, images):
    """A server with a fake GPU and images that are local commands."""
    yard = Yard(binary, tools, gpus=1)
    (yard.data / "server.toml").write_text(f'gpu_name = "{GPU}"\nprice_gpu_hour = 0.4\n{images}')
    try:
        yield yard.start()
    finally:
        yard.close()


@pytest.fixture
def env(market):
    """The server under the names by which these clients can be told of it."""
    base, key = f"http://127.0.0.1:{market.port}", market.key()
    return {
        **market.env, "RUNPOD_API_KEY": key, "RUNPOD_API_BASE_URL": base, "RUNPOD_ENDPOINT_BASE_URL": f"{base}/v2",
        "RUNPOD_SERVERLESS_API_URL": f"{base}/v2", "RUNPOD_GRAPHQL_URL": f"{base}/graphql",
        "RUNPOD_API_URL": base, "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_python_manages_templates_endpoints_and_keys(market, env, environment, tmp_path):
    interpreter = environment("runpod-2", "runpod==2.0.0rc2")
    program = Path(__file__).parent / "programs/python2_management.py"
    done = subprocess.run([interpreter, program, "me/greet:1", "me/greet:2", GPU], env=env, cwd=tmp_path,
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{done.stderr}\n{market.server_log()}"
    seen = json.loads(done.stdout.splitlines()[-1])

    [gpu] = seen["gpus"]
    assert (gpu["id"], gpu["pool"], gpu["memory"], gpu["price"]["serverless"]) == (GPU, "AMPERE_48", 48, 0.4)
    assert seen["gpu"]["availability"] == "HIGH" and seen["gpu"]["maxCount"] == {"secure": 1, "community": 0}
    assert seen["no gpu"]["error"] == "ValueError"
    assert seen["pods"] == [] and seen["no pod"] is None
    assert seen["new pod"]["status"] == 400 and "pods cannot be made here yet" in seen["new pod"]["message"]

    template = seen["template"]
    assert template["env"] == {"GREETING": "hello"} and template["ports"] == ["8888/http", "22/tcp"]
    assert template["serverless"] is True and template["disk"] == 10 and template["registry"] is None
    assert seen["same name"]["status"] == 409 and "'greets' already" in seen["same name"]["message"]
    assert seen["no image"]["status"] == 422 and "[images]" in seen["no image"]["message"]

    made = seen["endpoint"]
    assert made["name"] == "My Greeter" and seen["listed"] == [made["id"]]
    assert made["gpu"]["pools"] == ["AMPERE_48"] and made["gpu"]["excludedTypes"] == ["NVIDIA RTX A6000"]
    assert made["workers"] == {"min": 0, "max": 2, "idleTimeout": 60} and made["flashboot"] == "FLASHBOOT"
    assert made["requestUrls"]["runSync"].endswith(f"/v2/{made['id']}/runsync")
    assert seen["no template"]["status"] == 404
    assert seen["no pool"]["status"] == 400 and "HUGE_9000" in seen["no pool"]["message"]

    assert seen["first"]["said"] == "hello you" and seen["first"]["gpus"] == "1"
    assert seen["moved"]["image"] == "me/greet:2", "the template was copied"
    assert seen["second"]["said"] == "bye you"
    releases = seen["releases"]
    assert releases["endpointVersion"] == 2 and [each["version"] for each in releases["releases"]] == [2, 1]
    changed = {each["field"]: (each["old"], each["new"]) for each in releases["releases"][0]["diff"]}
    assert changed["env.GREETING"] == ("hello", "bye")
    assert any(worker["version"] == 2 and worker["gpuTypeId"] == GPU for worker in seen["workers"]["workers"])

    # The keys are kept; what the client asks for then is GraphQL, which is not here (docs/compatibility.md).
    assert "error" in seen["keys"]
    assert seen["kept keys"] == {"keys": ["ssh-ed25519 AAAA me", "ssh-ed25519 BBBB you"]}
    registry = seen["registry"]["value"]
    assert registry["name"] == "hub" and set(registry) == {"id", "name"} and seen["registry gone"] is True
    assert "s3cr3t-word" not in json.dumps(seen)
    assert seen["left"] == [[], []]


class Mcp:
    """The tools, over the server's own stdio."""

    def __init__(self, command, env, cwd):
        self.process = subprocess.Popen(
            [str(part) for part in command], env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.timer = threading.Timer(300, self.process.kill)
        self.timer.start()
        self.tools = json.loads(self.process.stdout.readline())

    def ask(self, tool, **given):
        """What a tool answered: (whether it is an error, the text)."""
        self.process.stdin.write(json.dumps([tool, given]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["error"], answer["text"]

    def __call__(self, tool, **given):
        """The document that it answered."""
        error, text = self.ask(tool, **given)
        assert not error, f"{tool}: {text}"
        return json.loads(text) if text.lstrip().startswith(("{", "[")) else text

    def refused(self, tool, **given):
        error, text = self.ask(tool, **given)
        assert error, f"{tool} was not refused: {text}"
        return text

    def close(self):
        self.timer.cancel()
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def mcp(env, node, tmp_path):
    programs, modules = node
    program = tmp_path / "mcp.mjs"
    program.write_text((Path(__file__).parent / "node/mcp.mjs").read_text())
    (tmp_path / "node_modules").symlink_to(modules)
    tools = Mcp([programs / "node", program], env, tmp_path)
    yield tools
    tools.close()


def test_mcp_makes_uses_changes_and_deletes(market, mcp):
    assert {"create-endpoint", "runsync-endpoint", "list-gpu-types"} <= set(mcp.tools)
    [gpu] = mcp("list-gpu-types", include=["AVAILABILITY"], product=["SERVERLESS"], count=1)["gpus"]
    assert gpu["id"] == GPU and gpu["availability"] in ("HIGH", "MEDIUM", "LOW")
    assert mcp("get-gpu-type", id=GPU)["pool"] == "AMPERE_48"
    flavours = mcp("list-cpu-types")["cpus"]
    assert "cpu3c" in [flavour["id"] for flavour in flavours]
    assert mcp("get-cpu-type", id="cpu3g")["ramGbPerVcpu"] == 4
    [center] = mcp("list-data-centers")["dataCenters"]
    assert mcp("get-data-center", id=center["id"])["networkVolumeTypes"] == ["STANDARD"]
    assert mcp("list-public-templates")["templates"] == []

    volume = mcp("create-network-volume", body={"name": "notes", "size": 10, "dataCenter": center["id"]})
    assert [each["id"] for each in mcp("list-network-volumes")["networkVolumes"]] == [volume["id"]]
    assert mcp("update-network-volume", id=volume["id"], body={"size": 20})["size"] == 20
    assert "grow and not shrink" in mcp.refused("update-network-volume", id=volume["id"], body={"size": 10})

    template = mcp("create-template", body={"name": "writes", "image": "me/write:2", "serverless": True})
    assert mcp("update-template", id=template["id"], body={"env": {"A": "b"}})["env"] == {"A": "b"}
    assert template["id"] in [each["id"] for each in mcp("list-templates")["templates"]]

    made = mcp("create-endpoint", body={
        "name": "writer", "type": "QUEUE", "templateId": template["id"], "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1}, "workers": {"max": 1, "idleTimeout": 300},
        "networkVolumes": [volume["id"]],
    })
    assert mcp("get-endpoint", id=made["id"])["networkVolumes"] == [volume["id"]]
    assert made["id"] in json.dumps(mcp("list-endpoints"))
    done = mcp("runsync-endpoint", endpointId=made["id"], input={"write": "kept"}, wait=60000)
    assert done["output"] == {"note": "kept", "id": volume["id"]}, done
    assert (market.data / "volumes" / volume["id"] / "note").read_text() == "kept"
    assert "uses the network volume" in mcp.refused("delete-network-volume", id=volume["id"])

    job = mcp("run-endpoint", endpointId=made["id"], input={"x": 1})
    until(lambda: mcp("get-job-status", endpointId=made["id"], jobId=job["id"])["status"] == "COMPLETED", 30)
    assert mcp("endpoint-health", endpointId=made["id"])["jobs"]["completed"] == 2
    workers = mcp("list-endpoint-workers", id=made["id"])
    [worker] = workers["workers"]
    assert workers["summary"]["total"] == 1 and worker["status"] in ("IDLE", "RUNNING")
    logs = mcp("stream-worker-logs", endpointId=made["id"], workerId=worker["id"], maxWaitMs=1500)
    assert "Finished" in json.dumps(logs), logs

    # Settings hold at once and make no release; what workers are does.
    mcp("update-endpoint", id=made["id"], body={"workers": {"max": 2}, "scaling": {"type": "REQUEST_COUNT", "requestCount": 3}})
    assert len(mcp("list-endpoint-releases", id=made["id"])["releases"]) == 1
    mcp("update-endpoint", id=made["id"], body={"env": {"A": "c"}})
    until(lambda: mcp("list-endpoint-releases", id=made["id"])["endpointVersion"] == 2, 60)
    assert "keeps having some" in mcp.refused("update-endpoint", id=made["id"], body={"gpu": {"pools": ["ADA_24"]}})
    assert "must be at most workers.max" in mcp.refused("update-endpoint", id=made["id"], body={"workers": {"min": 9}})

    assert mcp("update-ssh-keys", body={"keys": ["ssh-ed25519 CCCC"]})["keys"] == ["ssh-ed25519 CCCC"]
    assert mcp("get-ssh-keys")["keys"] == ["ssh-ed25519 CCCC"]
    registry = mcp("create-registry", body={"name": "My Hub", "username": "me", "password": "s3cr3t"})
    assert mcp("get-registry", id=registry["id"]) == registry == {"id": registry["id"], "name": "My Hub"}
    assert mcp("list-registries")["registries"] == [registry]
    mcp("update-template", id=template["id"], body={"registry": registry["id"]})
    assert "in use by the template" in mcp.refused("delete-registry", id=registry["id"])
    mcp("update-template", id=template["id"], body={"registry": None})
    mcp("delete-registry", id=registry["id"])
    assert mcp("list-registries")["registries"] == []
    assert mcp("list-pods")["pods"] == []
    assert mcp("list-serverless-billing", lastN=1)["records"] == []

    mcp("delete-endpoint", id=made["id"])
    mcp("delete-template", id=template["id"])
    mcp("delete-network-volume", id=volume["id"])
    assert not (market.data / "volumes" / volume["id"]).exists()
    assert "no template" in mcp.refused("get-template", id=volume["id"])
    for what, id in (("endpoint", made["id"]), ("template", template["id"]), ("network-volume", volume["id"])):
        assert "404" in mcp.refused(f"get-{what}", id=id)
