"""The server as something else runs it: a unit of systemd, which is told when it serves, and a container image. And the
variables that point RunPod's clients at it."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile

import pytest
from conftest import missing

from support.base_image import BASE
from support.wire import Wire, until
from support.yard import REPOSITORY


class Manager:
    """What a service manager hears."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = folder / "notify"
        self.socket.bind(str(self.path))
        self.socket.settimeout(30)

    def hear(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


def test_a_service_manager_is_told(make_yard, tmp_path):
    manager = Manager(tmp_path)
    yard = make_yard(env={"NOTIFY_SOCKET": str(manager.path)}).start()
    words = manager.hear()
    assert words["READY"] == "1" and f"127.0.0.1:{yard.port}" in words["STATUS"], words
    yard.server.send_signal(signal.SIGHUP)
    assert yard.wire.call("GET", "/readyz")[0] == 200, "a reload ends nothing"
    yard.server.send_signal(signal.SIGUSR2)
    assert manager.hear()["RELOADING"] == "1"
    assert manager.hear()["READY"] == "1"
    yard.terminate()
    assert manager.hear()["STOPPING"] == "1"
    assert yard.server.wait(60) == 0


def test_a_listener_is_taken_from_a_socket_unit(make_yard):
    """As systemd hands it over: descriptor 3, and variables that say so."""
    yard = make_yard()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        server = subprocess.Popen(
            [yard.binary, "up", "--data", yard.data, "--listen", "127.0.0.1:1"], env={**yard.env, "LISTEN_FDS": "1"},
            preexec_fn=lambda: os.dup2(held.fileno(), 3), pass_fds=[3], stdout=subprocess.PIPE, text=True)
        try:
            url = next(line for line in server.stdout if "API" in line).split()[-1]
            assert url == f"http://127.0.0.1:{port}", url
            assert Wire(port, None).call("GET", "/readyz")[0] == 200
        finally:
            server.terminate()
            server.communicate(timeout=60)


def test_the_unit_is_one_that_systemd_takes(make_yard, tmp_path):
    yard = make_yard()
    unit = yard.cli("service", "print").out
    assert f"up --data {yard.data}" in unit and "Type=notify" in unit and "KillMode=process" in unit, unit
    config = yard.home / ".config"
    done = yard.cli("service", "install", "--user", "--no-start", "--name", "yard", "--json").json
    written = config / "systemd/user/yard.service"
    assert done == {"unit": str(written), "started": False} and "WantedBy=default.target" in written.read_text()
    assert yard.cli("service", "install", "--user", "--name", "../x", code=2).err
    if not shutil.which("systemd-analyze"):
        missing("systemd-analyze is not installed: apt-get install systemd")
    file = tmp_path / "runyard.service"
    file.write_text(unit)
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True)
    words = [line for line in (checked.stdout + checked.stderr).splitlines() if "runyard.service" in line]
    assert checked.returncode == 0 and not words, checked


def test_variables_for_runpods_clients(yard):
    url = f"http://127.0.0.1:{yard.port}"
    found = yard.cli("env", "runpod", "--json").json["variables"]
    assert found["RUNPOD_ENDPOINT_BASE_URL"] == f"{url}/v2" and found["RUNPOD_API_BASE_URL"] == url, found
    assert found["RUNPOD_API_KEY"] == yard.key(), "the one that the first start kept for its user"
    given = yard.cli("--key", "other", "env", "runpod", "--json").json["variables"]
    assert given["RUNPOD_API_KEY"] == "other"
    said = yard.cli("env", "runpod", env={"XDG_CONFIG_HOME": "/nowhere"})
    assert "RUNPOD_API_KEY" not in said.out and "no lasting key" in said.err, "the owner's key ends with the server"
    script = f'eval "$({yard.binary} --data {yard.data} env runpod)"; echo "$RUNPOD_ENDPOINT_BASE_URL $RUNPOD_HAPI_URL"'
    done = subprocess.run(["sh", "-c", script], env=yard.env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [f"{url}/v2", url], done


def test_the_sdk_uses_this_server(yard, sdk_python):
    yard.wire.api("/endpoints", "POST", {"name": "parked", "settings": {"workers_max": 0}})
    program = 'import os, runpod; runpod.api_key = os.environ["RUNPOD_API_KEY"]; ' \
              'print(runpod.Endpoint("parked").run({"input": 1}).status())'
    script = f'eval "$({yard.binary} --data {yard.data} env runpod)"; exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", sdk_python, "-c", program], env=yard.env, capture_output=True,
                          text=True, timeout=120)
    assert done.stdout.strip() == "IN_QUEUE", done


@pytest.fixture
def image(engine, binary, tmp_path):
    """The image of packaging/Dockerfile on the base image of these tests."""
    program = tmp_path / "runyard"
    shutil.copy(binary, program)
    subprocess.run(["strip", program], check=False)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(program, "runyard")
        tar.add(REPOSITORY / "packaging/Dockerfile", "Dockerfile")
    arguments = json.dumps({"BASE": BASE}).replace('"', "%22").replace("{", "%7B").replace("}", "%7D").replace(" ", "")
    status, said = engine.call("POST", f"/build?t=runyard-server:test&buildargs={arguments}", context.getvalue(),
                               "application/x-tar", limit=300)
    assert status == 200 and "errorDetail" not in said, said[-2000:]
    yield "runyard-server:test"
    engine.call("DELETE", "/images/runyard-server:test?force=true")


def test_the_container_image_serves_and_keeps_its_data(engine, image):
    body = {"Image": image, "HostConfig": {"Binds": ["runyard-test-data:/data"]}}
    status, said = engine.call("POST", "/containers/create", json.dumps(body))
    assert status == 201, said
    container = json.loads(said)["Id"]

    def start():
        assert engine.call("POST", f"/containers/{container}/start")[0] == 204
        address = engine.inspect(container)["NetworkSettings"]["IPAddress"]

        def answers():
            try:
                return wire.call("GET", "/readyz", timeout=5)[0] == 200
            except OSError:
                assert engine.inspect(container)["State"]["Running"], log()
                return False

        wire = Wire(8080, None, address)
        until(answers, 60, say=log)
        return wire

    def log():
        return engine.call("GET", f"/containers/{container}/logs?stdout=1&stderr=1")[1]

    try:
        wire = start()
        until(lambda: "Key      " in log(), 20)
        wire.key = key = log().split("Key      ")[1].split()[0]
        assert wire.api("/endpoints", "POST", {"name": "kept"})["name"] == "kept"
        checks = {c["check"]: c["verdict"] for c in wire.api("/doctor")["checks"]}
        assert checks["agent"] == "ok" and checks["listener"] == "ok" and "fail" not in (checks["server"], checks["data-rights"])
        assert engine.call("POST", f"/containers/{container}/stop?t=20")[0] == 204
        assert engine.inspect(container)["State"]["ExitCode"] == 0, log()
        wire = start()
        wire.key = key
        assert [e["name"] for e in wire.api("/endpoints")["endpoints"]] == ["kept"]
    finally:
        engine.call("DELETE", f"/containers/{container}?force=true&v=true")
        engine.call("DELETE", "/volumes/runyard-test-data?force=true")
