"""REST v2 against RunPod's specification of it, which lies beside this file and is pinned by its hash: generated calls of
every operation that is here, checked answer by answer; and what no specification says: that refusals change nothing,
that names do not collide, that what is used stays, that a restart goes on with what it broke off."""

import hashlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.wire import until
from support.yard import Yard

HERE = Path(__file__).parent
SPECIFICATION = HERE / "rest/runpod-v2.openapi.json"
SHA256 = "c1e8ecaff4af9ba16496cee26054322f6362ccfb37ab700f369f837f62eb61f2"
SCHEMATHESIS = "schemathesis==4.32.5"
# Clusters are of another time; what makes pods and delegations is refused in words, and nothing is there to show.
WITHOUT = ["/v2/clusters", "/v2/billing/clusters", "/v2/pods/{id}", "/v2/registries/delegations/{id}"]
NEVER_MADE = {"POST /v2/pods", "POST /v2/registries/delegations"}
HANDLER = """
import os
import runpod

runpod.serverless.start({"handler": lambda job: {"said": os.environ.get("WORD", "nothing")}})
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory, sdk_python):
    folder = tmp_path_factory.mktemp("image")
    (folder / "handler.py").write_text(HANDLER)
    for path in [folder, *folder.parents][:3]:
        path.chmod(0o755)
    return f'[images."me/word:1"]\npath = "{folder}"\ncommand = "{sdk_python} -u handler.py"\n'


@pytest.fixture(scope="module")
def rest(binary, tools, image):
    """A server with a fake GPU and one image."""
    yard = Yard(binary, tools, gpus=2)
    (yard.data / "server.toml").write_text(f'gpu_name = "NVIDIA L4"\nrest_per_minute = 1000000\nrest_per_hour = 1000000\n{image}')
    try:
        yield yard.start()
    finally:
        yard.close()


@pytest.fixture
def call(rest):
    """One call, its status and its document."""
    return lambda method, path, body=None: rest.wire.call(method, f"/v2/{path}", body)


def made(answer):
    status, document = answer
    assert status == 201, (status, document)
    return document


def endpoint(name, **more):
    return {"name": name, "type": "QUEUE", "image": "me/word:1", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1}, **more}


def test_every_operation_keeps_to_the_specification(rest, call, environment, tmp_path):
    assert hashlib.sha256(SPECIFICATION.read_bytes()).hexdigest() == SHA256
    template = made(call("POST", "templates", {"name": "seed", "image": "me/word:1"}))
    volume = made(call("POST", "network-volumes", {"name": "seed", "size": 10, "dataCenter": "LOCAL-1"}))
    served = made(call("POST", "serverless", endpoint("seed")))
    assert rest.wire.do(served["id"], {}, limit=60)["output"] == {"said": "nothing"}
    worker = rest.wire.ok("GET", f"/v2/serverless/{served['id']}/workers")["workers"][0]["id"]
    # Its log then ends instead of going on.
    rest.wire.ok("POST", f"/api/v1/endpoints/{served['id']}/restart", {})
    until(lambda: not rest.wire.ok("GET", f"/v2/serverless/{served['id']}/workers")["workers"], 30)

    seeds = {
        "without": WITHOUT,
        "ids": {
            "/v2/templates": {"id": [template["id"]]},
            "/v2/network-volumes": {"id": [volume["id"]]},
            "/v2/registries": {"id": []},
            "/v2/serverless": {"id": [served["id"]], "workerId": [worker]},
            "/v2/catalog/gpus": {"id": ["NVIDIA L4"]},
            "/v2/catalog/cpus": {"id": ["cpu3c"]},
            "/v2/catalog/datacenters": {"id": ["LOCAL-1"]},
        },
        "body": {
            "image": "me/word:1", "templateId": template["id"], "dataCenter": "LOCAL-1", "dataCenterIds": [],
            "networkVolumes": [], "gpu": {"pools": ["AMPERE_24"], "count": 1}, "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
        },
    }
    interpreter = environment("schemathesis", SCHEMATHESIS)
    done = subprocess.run(
        [interpreter, HERE / "rest/contract.py", SPECIFICATION, f"http://127.0.0.1:{rest.port}", json.dumps(seeds), "12"],
        env={**rest.env, "RUNPOD_API_KEY": rest.key(), "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", "")},
        cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["wrong"], "\n\n".join(told["wrong"])
    document = json.loads(SPECIFICATION.read_text())
    operations = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
        if method != "parameters" and not any(path.startswith(part) for part in WITHOUT)
    }
    assert set(told["seen"]) == operations
    never = {label for label, codes in told["seen"].items() if not any(code.startswith("2") for code in codes)}
    assert never == NEVER_MADE, told["seen"]
    assert not [label for label, codes in told["seen"].items() if any(code.startswith("5") for code in codes)]
