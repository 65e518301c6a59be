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
    registry = made(call("POST", "registries", {"name": "seed", "username": "me", "password": "word"}))
    served = made(call("POST", "serverless", endpoint("seed")))
    assert rest.wire.do(served["id"], {}, limit=150)["output"] == {"said": "nothing"}
    worker = rest.wire.ok("GET", f"/v2/serverless/{served['id']}/workers")["workers"][0]["id"]
    # Its log then ends instead of going on.
    rest.wire.ok("POST", f"/api/v1/endpoints/{served['id']}/restart", {})
    until(lambda: not rest.wire.ok("GET", f"/v2/serverless/{served['id']}/workers")["workers"], 30)

    seeds = {
        "without": WITHOUT,
        "ids": {
            "/v2/templates": {"id": [template["id"]]},
            "/v2/network-volumes": {"id": [volume["id"]]},
            "/v2/registries": {"id": [registry["id"]]},
            "/v2/serverless": {"id": [served["id"]], "workerId": [worker]},
            "/v2/catalog/gpus": {"id": ["NVIDIA L4"]},
            "/v2/catalog/cpus": {"id": ["cpu3c"]},
            "/v2/catalog/datacenters": {"id": ["LOCAL-1"]},
        },
        "change": {
            "PATCH /v2/serverless/{id}": {"workers": {"max": 1}},
            "PATCH /v2/templates/{id}": {"category": "CPU", "env": {"A": "b"}},
            "PATCH /v2/network-volumes/{id}": {"size": 20},
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


def state(rest):
    """Everything that a refused call could have changed."""
    lists = ("serverless", "templates", "network-volumes", "account/ssh-keys", "registries")
    return [rest.wire.ok("GET", f"/v2/{path}") for path in lists]


def test_what_is_refused_says_why_and_changes_nothing(rest, call):
    template = made(call("POST", "templates", {"name": "kept", "image": "me/word:1"}))
    volume = made(call("POST", "network-volumes", {"name": "kept", "size": 10, "dataCenter": "LOCAL-1"}))
    served = made(call("POST", "serverless", endpoint("kept", networkVolumes=[volume["id"]])))
    e, t, v = f"serverless/{served['id']}", f"templates/{template['id']}", f"network-volumes/{volume['id']}"
    until(lambda: call("GET", f"{e}/releases")[1]["endpointVersion"] == 1, 150)
    call("POST", "registries", {"name": "seed", "username": "me", "password": "word"})
    before = state(rest)
    wrong = [
        # Bodies that are none, or another call's.
        ("POST", "templates", b"{", 400, "not JSON"),
        ("POST", "templates", [], 422, "$: must be an object"),
        ("POST", "templates", {"name": "x", "image": "me/word:1", "imageName": "y"}, 422, "'imageName' is not allowed"),
        ("POST", "serverless", {"name": 1}, 422, "$.name: must be a string"),
        ("POST", "serverless", endpoint("x", workers={"min": "1"}), 422, "$.workers.min: must be an integer"),
        ("POST", "serverless", endpoint("x", gpu={"pools": ["ADA_24"], "cnt": 1}), 422, "$.gpu: additional property 'cnt'"),
        ("POST", "serverless", endpoint("x", cpu=[{"id": "cpu3c", "vcpuCount": 2}] * 2), 422, "twice"),
        ("PATCH", e, {"flashboot": True}, 422, "$.flashboot: must be one of OFF"),
        ("PUT", "account/ssh-keys", {"keys": ["ssh-rsa"]}, 422, "$.keys: must be an array"),
        # What this machine has not.
        ("POST", "serverless", endpoint("x", gpu={"pools": ["ADA_24"], "count": 3}), 400, "this machine has 2"),
        ("POST", "serverless", endpoint("x", cpu=[{"id": "cpu3c", "vcpuCount": 3}]), 400, "a power of two"),
        ("POST", "serverless", endpoint("x", dataCenterIds=["MARS-1"]), 400, "this machine is 'LOCAL-1'"),
        ("POST", "serverless", endpoint("x", type="LOAD_BALANCER", scaling={"type": "REQUEST_COUNT", "requestCount": 1}), 400,
         "LOAD_BALANCER cannot be made here yet"),
        ("POST", "serverless", endpoint("x", image="nobody/here:1"), 422, "cannot be run here"),
        ("PATCH", t, {"image": "a b"}, 422, "cannot name an image"),
        ("POST", "pods", {"name": "p", "image": "me/word:1"}, 400, "pods cannot be made here yet"),
        # Ids of other kinds, and of nothing.
        ("GET", f"templates/{volume['id']}", None, 404, "no template"),
        ("DELETE", f"network-volumes/{template['id']}", None, 404, "no network volume"),
        ("GET", f"serverless/{template['id']}", None, 404, "no endpoint"),
        ("POST", "serverless", endpoint("x", templateId=volume["id"]), 404, "no template"),
        ("POST", "serverless", endpoint("x", networkVolumes=[template["id"]]), 404, "no network volume"),
        ("POST", "serverless", endpoint("x", registry="nobody"), 404, "registry"),
        ("GET", "serverless/kept/workers/nobody/logs", None, 404, "no worker 'nobody'"),
        # Names that are taken, and things that are used.
        ("POST", "templates", {"name": "kept", "image": "me/word:1"}, 409, "'kept' already"),
        ("POST", "registries", {"name": "seed", "username": "me", "password": "word"}, 409, "'seed' already"),
        ("POST", "registries", {"name": "x", "username": "a:b", "password": "word"}, 400, "username"),
        ("POST", "registries", {"name": "x", "username": "me"}, 422, "missing property 'password'"),
        ("POST", "serverless", endpoint("kept"), 409, "'kept' already"),
        ("DELETE", v, None, 409, "uses the network volume"),
        # What fits by itself and not with the rest.
        ("PATCH", e, {"workers": {"min": 9}}, 400, "workers.min is 9: it must be at most workers.max"),
        ("PATCH", e, {"env": {"A": "b"}, "timeout": 7}, 400, "timeout is 7"),
        ("PATCH", e, {"env": {"A": "b"}, "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}, "workers": {"idleTimeout": 9}},
         400, "leave it out with REQUEST_COUNT"),
        ("PATCH", v, {"size": 9}, 422, "$.size: must be an integer from 10 to 4096"),
        ("PATCH", v, {}, 422, "nothing is to be changed"),
        ("GET", "catalog/gpus?include=AVAILABILITY", None, 400, "needs product="),
    ]
    for method, path, body, status, words in wrong:
        code, problem = call(method, path, body.decode() if isinstance(body, bytes) else body)
        told = json.dumps(problem)
        assert code == status and problem["status"] == status, (method, path, body, code, problem)
        assert words in told and set(problem) <= {"title", "status", "detail", "errors"}, (method, path, body, told)
    assert state(rest) == before
    for path in (e, t, v):
        assert call("DELETE", path)[0] == 204
        assert call("GET", path)[0] == 404 and call("DELETE", path)[0] == 404


def test_names_do_not_collide_however_many_ask_at_once(rest, call):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call("POST", "serverless", endpoint("Only One!", workers={"max": 0})), range(8)))
        assert sorted(code for code, _ in answers) == [201] + [409] * 7
        # Another title may come to the same name, which then has an ending.
        other = made(call("POST", "serverless", endpoint("only-one", workers={"max": 0})))
        one = next(document for code, document in answers if code == 201)
        names = {rest.wire.ok("GET", f"/api/v1/endpoints/{each['id']}")["name"] for each in (one, other)}
        assert "only-one" in names and len(names) == 2, names
        # Changes at once: each field ends as somebody said, and nothing of the others is lost.
        changes = [{"workers": {"max": n}} for n in range(1, 5)] + [{"timeout": 5000 * n} for n in range(1, 5)]
        codes = list(pool.map(lambda change: call("PATCH", f"serverless/{one['id']}", change)[0], changes))
        assert codes == [200] * 8
        now = call("GET", f"serverless/{one['id']}")[1]
        assert now["workers"]["max"] in range(1, 5) and now["timeout"] in range(5000, 20001, 5000)
    for each in (one, other):
        assert call("DELETE", f"serverless/{each['id']}")[0] == 204


def test_a_restart_goes_on_with_a_release_that_it_broke_off(rest, call):
    served = made(call("POST", "serverless", endpoint("goes-on", env={"WORD": "one"})))
    path = f"serverless/{served['id']}"
    assert rest.wire.do(served["id"], {}, limit=150)["output"] == {"said": "one"}
    assert call("PATCH", path, {"env": {"WORD": "two"}})[0] == 200
    rest.kill()
    rest.start()
    until(lambda: call("GET", f"{path}/releases")[1]["endpointVersion"] != 1, 150)
    assert rest.wire.do(served["id"], {}, limit=150)["output"] == {"said": "two"}
    assert call("GET", path)[1]["env"] == {"WORD": "two"}
    assert call("DELETE", path)[0] == 204


def test_calls_are_counted(make_yard, image):
    yard = make_yard()
    (yard.data / "server.toml").write_text(f"rest_per_minute = 3\n{image}")
    yard.start()
    codes = [yard.wire.call("GET", "/v2/templates")[0] for _ in range(7)]
    # A minute may end between two calls, and not twice.
    assert codes[:3] == [200] * 3 and codes.count(429) >= 1, codes
    code, problem = yard.wire.call("GET", "/v2/templates")
    while code != 429:
        code, problem = yard.wire.call("GET", "/v2/templates")
    assert problem["status"] == 429 and "no calls left" in problem["detail"]
    assert yard.wire.call("GET", "/api/v1/info")[0] == 200, "only REST v2 is counted"
