"""This server's own API against its own OpenAPI document: generated calls of every operation, checked answer by answer;
pages, versions, and what the document says of itself offline."""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.forge import Forge
from support.yard import Yard

HERE = Path(__file__).parent
SCHEMATHESIS = "schemathesis==4.32.5"
HANDLER = """
import runpod


def handler(job):
    if job["input"].get("fails"):
        raise ValueError("as asked")
    return job["input"]


runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def yard(binary, tools, tmp_path_factory, sdk_python):
    """A server with a fake GPU and an image that is a local command."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "handler.py").write_text(HANDLER)
    for path in [folder, *folder.parents][:3]:
        path.chmod(0o755)
    yard = Yard(binary, tools, gpus=2, env={"RUNYARD_GIT_ALLOW_PRIVATE": "true"})
    image = f'[images."me/echo:1"]\npath = "{folder}"\ncommand = "{sdk_python} -u handler.py"\n'
    (yard.data / "server.toml").write_text(f'gpu_name = "NVIDIA L4"\nwebhook_allow_private = true\n{image}')
    try:
        yield yard.start()
    finally:
        yard.close()


@pytest.fixture
def call(yard):
    """One call, its status, its document and its version."""
    import http.client

    def call(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=60)
        sent = {"authorization": yard.key(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, f"/api/v1/{path}", json.dumps(body) if body is not None else None, sent)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None, response.getheader("etag")

    return call


RELEASE = {"container": {"image": "me/echo:1"}, "settings": {"workers_max": 1, "idle_timeout_s": 3600}, "create": True}


def bundle():
    """A bundle as it comes over the wire."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo("handler.py")
        info.size = len(HANDLER)
        archive.addfile(info, io.BytesIO(HANDLER.encode()))
    return raw.getvalue()


def frames(command):
    said = json.dumps({"command": command}).encode()
    return base64.b64encode(b"\0" + len(said).to_bytes(4, "big") + said + b"\2\0\0\0\0").decode()


def test_every_operation_keeps_to_the_document(yard, environment, tmp_path):
    wire = yard.wire
    assert '"ok":true' in wire.ok("POST", "/api/v1/endpoints/seed/releases", RELEASE, timeout=180)
    job = wire.run("seed", {"fails": True}, webhook="http://127.0.0.1:9/nobody")
    assert wire.wait("seed", job, limit=120)["status"] == "FAILED"
    worker = wire.workers("seed")[0]["id"]
    waiting = wire.api("/endpoints", "POST", {"name": "waiting"})
    for n in range(3):
        wire.run("waiting", {"n": n})
    template = wire.call("POST", "/api/v1/templates", {"name": "seed", "image": "me/echo:1"})[1]
    volume = wire.call("POST", "/api/v1/volumes", {"name": "seed", "size": 10, "dataCenter": "LOCAL-1"})[1]
    member, leaves = (wire.api("/members", "POST", {"email": f"{name}@example.org", "role": "dev"}) for name in ("ann", "bob"))
    made = wire.api("/keys", "POST", {"name": "seed", "access": "read"})
    packed = bundle()
    sha = hashlib.sha256(packed).hexdigest()
    with Forge(tmp_path / "forge") as forge:
        repository = forge.repository()
        repository.commit("First", handler__py=HANDLER)
        repository.push()
        seeds = {
            # Streams that go on for ever are looked at below.
            "without": ["/api/v1/events"],
            "there": {
                "/api/v1/endpoints/": {"ep": ["seed"]},
                "/api/v1/endpoints/{ep}/examples": {"name": ["kept", "gone"]},
                "/api/v1/bundles/": {"sha": [sha]},
                "/api/v1/jobs/": {"id": [job]},
                "/api/v1/workers/": {"worker": [worker]},
                "/api/v1/secrets/": {"name": ["SEED"]},
                "/api/v1/keys/": {"id": [made["id"]]},
                "/api/v1/members/": {"member": [member["id"]]},
                "/api/v1/registries/": {"name": ["gh"]},
                "/api/v1/templates/": {"id": [template["id"]]},
                "/api/v1/volumes/": {"id": [volume["id"]]},
                "/api/v1/catalog/entries/": {"entry": ["hello"]},
                "/api/v1/catalog/gpus/": {"id": ["NVIDIA L4"]},
                "/api/v1/catalog/cpus/": {"id": ["cpu3c"]},
                "/api/v1/catalog/datacenters/": {"id": ["LOCAL-1"]},
            },
            "calls": {
                "PATCH /api/v1/endpoints/{ep}": [{"body": {"settings": {"workers_max": 2, "rollout": {"surge": "50%"}}}}],
                "POST /api/v1/endpoints/{ep}/releases": [{"body": {**RELEASE, "note": "again"}}],
                "POST /api/v1/endpoints/{ep}/promote": [{"body": {"to": 1}}],
                "POST /api/v1/endpoints/{ep}/rollback": [{"body": {"to": 1}}],
                "POST /api/v1/endpoints/{ep}/env": [{"body": {"env": {"WORD": "one"}}}],
                "POST /api/v1/endpoints/{ep}/plan": [{"body": {"managedBy": "f", "release": RELEASE}}],
                "POST /api/v1/endpoints/{ep}/apply": [{"body": {"managedBy": "f", "release": RELEASE}}],
                "POST /api/v1/endpoints/{ep}/git": [{"path": {"ep": "app"}, "body": {"url": repository.url, "create": True}}],
                "GET /api/v1/endpoints/{ep}/git": [{"path": {"ep": "app"}}],
                "POST /api/v1/endpoints/{ep}/git/sync": [{"path": {"ep": "app"}}],
                "DELETE /api/v1/endpoints/{ep}/git": [{"path": {"ep": "app"}}],
                "DELETE /api/v1/endpoints/{ep}": [{"path": {"ep": waiting["id"]}}],
                "POST /api/v1/members": [{"body": {"email": "carl@example.org", "role": "basic", "key": True}}],
                "PATCH /api/v1/members/{member}": [{"body": {"role": "basic"}}],
                "DELETE /api/v1/members/{member}": [{"path": {"member": leaves["id"]}}],
                "PUT /api/v1/bundles/{sha}": [{"bytes": base64.b64encode(packed).decode()}],
                "POST /api/v1/workers/{worker}/exec": [{"bytes": frames(["true"])}],
                "POST /api/v1/workers/{worker}/stop": [{"body": {"now": False}}],
                "POST /api/v1/jobs/{id}/cancel": [{"path": {"id": wire.run("waiting", {})}}],
                "POST /api/v1/jobs/{id}/retry": [{}],
                "POST /api/v1/jobs/{id}/webhooks/redeliver": [{}],
                "PUT /api/v1/secrets/{name}": [{"body": {"value": "v", "description": "d"}}, {"path": {"name": "OTHER"}, "body": {"value": "v"}}],
                "PATCH /api/v1/keys/{id}": [{"body": {"name": "other", "disabled": True, "expiresInS": 60}}],
                "POST /api/v1/registries": [
                    {"body": {"name": "gh", "server": "ghcr.io", "username": "me", "password": "p"}},
                    {"body": {"name": "other", "server": "ghcr.io", "username": "me", "password": "p"}},
                ],
                "PUT /api/v1/endpoints/{ep}/examples/{name}": [
                    {"body": {"input": {"n": 1}}}, {"path": {"name": "gone"}, "body": {"input": {"n": 2}}},
                ],
                "DELETE /api/v1/endpoints/{ep}/examples/{name}": [{"path": {"name": "gone"}}],
                "POST /api/v1/catalog/entries/{entry}/deploy": [{"body": {"name": "quick", "tests": False}}],
                "PATCH /api/v1/templates/{id}": [{"body": {"category": "CPU", "env": {"A": "b"}}}],
                "POST /api/v1/templates": [{"body": {"name": "more", "image": "me/echo:1"}}],
                "POST /api/v1/volumes": [{"body": {"name": "more", "size": 10, "dataCenter": "LOCAL-1"}}],
                "PATCH /api/v1/volumes/{id}": [{"body": {"size": 20}}],
                "PUT /api/v1/ssh-keys": [{"body": {"keys": ["ssh-ed25519 AAAA me"]}}],
            },
            # Bodies that are no JSON, and what reaches out.
            "by_hand": [
                "POST /api/v1/workers/{worker}/exec", "POST /api/v1/workers/{worker}/stop", "POST /api/v1/endpoints/{ep}/git",
                "PUT /api/v1/bundles/{sha}", "POST /api/v1/catalog/entries/{entry}/deploy",
            ],
        }
        interpreter = environment("schemathesis", SCHEMATHESIS)
        done = subprocess.run(
            [interpreter, HERE / "api/contract.py", f"http://127.0.0.1:{yard.port}", json.dumps(seeds), "6"],
            env={**yard.env, "RUNYARD_API_KEY": yard.key(), "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", "")},
            cwd=tmp_path, capture_output=True, text=True, timeout=600,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(told["seen"]))
    assert not told["wrong"], "\n\n".join(told["wrong"])
    assert set(told["seen"]) == set(told["operations"]) - {"GET /api/v1/events"}
    never = {label for label, codes in told["seen"].items() if not any(code.startswith("2") for code in codes)}
    assert not never, told["seen"]
    assert not [label for label, codes in told["seen"].items() if any(code.startswith("5") for code in codes)]


def test_the_document_is_the_same_without_a_server(yard):
    offline = json.loads(yard.cli("openapi").out)
    served = yard.wire.ok("GET", "/api/v1/openapi.json")
    assert served.pop("servers") and offline.pop("servers")
    assert served == offline
    yard.wire.key = None
    try:
        assert yard.wire.call("GET", "/api/v1/openapi.json")[0] == 200, "the document needs no key"
    finally:
        yard.wire.key = yard.key()


def test_pages_hold_everything_once(yard, call):
    names = [f"page{n}" for n in range(5)]
    for name in names:
        assert call("POST", "endpoints", {"name": name, "settings": {"workers_max": 0}})[0] == 200
        yard.wire.run(name, {})
    for path, field in [("endpoints", "endpoints"), ("jobs", "jobs"), ("audit", "records")]:
        whole = call("GET", f"{path}?limit=1000")[1]
        assert whole["nextCursor"] is None
        found, cursor = [], ""
        while cursor is not None:
            page = call("GET", f"{path}?limit=2{cursor and '&cursor=' + cursor}")[1]
            assert len(page[field]) <= 2
            found += page[field]
            cursor = page["nextCursor"]
        assert [one.get("id", one.get("seq")) for one in found] == [one.get("id", one.get("seq")) for one in whole[field]]
    first = call("GET", "endpoints?limit=2")[1]
    # What the cursor names is gone: the rest follows all the same.
    last = first["endpoints"][-1]
    assert call("DELETE", f"endpoints/{last['id']}")[0] == 200
    rest = call("GET", f"endpoints?cursor={first['nextCursor']}")[1]["endpoints"]
    assert rest and all(one["name"] > last["name"] for one in rest)
    for wrong in ("limit=0", "limit=1001", "cursor=x", "cursor=bnVsbA"):
        code, problem, _ = call("GET", f"endpoints?{wrong}")
        assert (code, problem["code"]) == (400, "invalid"), (wrong, problem)
    for name in names:
        call("DELETE", f"endpoints/{name}")


THINGS = {
    "endpoints": ({"name": "kept"}, {"settings": {"workers_max": 7}}, 200),
    "keys": ({"name": "kept", "access": "read"}, {"name": "other"}, 200),
    "templates": ({"name": "kept", "image": "me/echo:1"}, {"category": "CPU"}, 204),
    "volumes": ({"name": "kept", "size": 10, "dataCenter": "LOCAL-1"}, {"size": 30}, 204),
}


@pytest.mark.parametrize("kind", THINGS)
def test_a_change_of_another_version_is_refused(call, kind):
    made, change, removed = THINGS[kind]
    thing = call("POST", kind, made)[1]
    path = f"{kind}/{thing['id']}"
    code, _, first = call("GET", path)
    assert code == 200 and first.startswith('"')
    assert call("GET", path, if_none_match=first)[0] == 304
    code, _, second = call("PATCH", path, change, if_match=first)
    assert code == 200 and second != first
    before = call("GET", path)
    assert before[2] == second and call("GET", path, if_none_match=first)[0] == 200
    for method, body in [("PATCH", change), ("DELETE", None)]:
        code, problem, _ = call(method, path, body, if_match=first)
        assert (code, problem["code"], problem["status"]) == (412, "precondition_failed", 412), problem
    assert call("GET", path)[2] == second, "a refused change changed something"
    # Of many at once, one wins.
    with ThreadPoolExecutor(8) as pool:
        bodies = [{**change, "name": f"kept{n}"} for n in range(8)]
        codes = list(pool.map(lambda body: call("PATCH", path, body, if_match=second)[0], bodies))
    assert sorted(codes) == [200] + [412] * 7, codes
    assert call("DELETE", path, if_match=call("GET", path)[2])[0] == removed


def test_secrets_logins_and_ssh_keys_have_versions_too(call):
    first = call("PUT", "secrets/KEPT", {"value": "one"})[2]
    second = call("PUT", "secrets/KEPT", {"value": "two"}, if_match=first)[2]
    assert second != first
    assert call("PUT", "secrets/KEPT", {"value": "three"}, if_match=first)[0] == 412
    assert call("DELETE", "secrets/KEPT", if_match=first)[0] == 412
    assert call("GET", "secrets/KEPT")[1]["version"] == 2
    assert call("PUT", "secrets/NEW", {"value": "v"}, if_match="*")[0] == 412, "there is none to change"
    assert call("DELETE", "secrets/KEPT", if_match=second)[0] == 200
    login = {"name": "kept", "server": "ghcr.io", "username": "me", "password": "p"}
    first = call("POST", "registries", login)[2]
    second = call("POST", "registries", {**login, "username": "you", "replace": True}, if_match=first)[2]
    assert call("DELETE", "registries/kept", if_match=first)[0] == 412
    assert call("DELETE", "registries/kept", if_match=second)[0] == 200
    empty = call("GET", "ssh-keys")[2]
    assert call("PUT", "ssh-keys", {"keys": ["ssh-ed25519 AAAA one"]}, if_match=empty)[0] == 200
    assert call("PUT", "ssh-keys", {"keys": []}, if_match=empty)[0] == 412
    assert call("GET", "ssh-keys")[1] == {"keys": ["ssh-ed25519 AAAA one"]}


def test_events_tell_where_to_look(yard):
    yard.wire.api("/endpoints", "POST", {"name": "told", "settings": {"workers_max": 0}})
    command = [yard.binary, "--data", str(yard.data), "events", "told", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=yard.env) as listening:
        try:
            assert json.loads(listening.stdout.readline())["kind"] == "begun"
            yard.wire.run("told", {})
            heard = json.loads(listening.stdout.readline())
            assert (heard["kind"], heard["endpointName"]) == ("jobs", "told")
        finally:
            listening.kill()
    assert yard.wire.call("GET", "/api/v1/events?endpoint=nobody")[0] == 404


def test_what_endpoints_share_is_kept_by_commands(yard, tmp_path):
    cli = yard.cli
    cli("templates", "create", "sd", "--image", "me/echo:1", "--env", "MODE=fast")
    cli("templates", "set", "sd", "--category", "CPU", "--name", "sdxl")
    shown = cli("templates", "show", "sdxl", "--json").json
    assert (shown["env"], shown["category"]) == ({"MODE": "fast"}, "CPU")
    folder = yard.data / "volumes" / cli("volumes", "create", "models", "--size", "10", "--json").json["id"]
    assert folder.is_dir()
    (folder / "model").write_bytes(b"x" * 300_000)
    used = cli("volumes", "show", "models", "--json").json["used"]
    assert used["bytes"] >= 300_000 and (used["files"], used["more"]) == (1, False)
    assert "used" not in yard.wire.call("GET", f"/v2/network-volumes/{folder.name}")[1]
    cli("volumes", "set", "models", "--size", "40")
    assert "40 GB" in cli("volumes").out
    assert "shrink" in cli("volumes", "set", "models", "--size", "20", code=1).err
    key = tmp_path / "id.pub"
    key.write_text("ssh-ed25519 AAAAB me@laptop\n# a remark\nssh-ed25519 AAAAC you@desk\n")
    cli("ssh-keys", "add", str(key))
    cli("ssh-keys", "remove", "me@laptop")
    assert "you@desk" in cli("ssh-keys").out and "me@laptop" not in cli("ssh-keys").out
    assert "NVIDIA L4" in cli("catalog", "gpus").out and "cpu3c" in cli("catalog", "cpus").out
    assert "LOCAL-1" in cli("catalog", "datacenters").out
    assert "total" in cli("billing", "--of", "serverless", "--last", "3", "--bucket", "hour").out
    cli("templates", "rm", "sdxl", "--yes")
    cli("volumes", "rm", "models", "--yes")
    assert cli("volumes", "show", "models", code=5)
    actions = [record["action"] for record in yard.wire.api("/audit?limit=20")["records"]]
    assert {"template.create", "volume.change", "ssh-keys.set", "volume.remove"} <= set(actions), actions
    assert not folder.exists()
