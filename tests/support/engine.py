"""A container engine of the tests' own: a `dockerd` with its own folders, socket and bridge, that touches no other
engine of the machine, and base images made from the host's own Python, since no registry is needed here.

`Engine` speaks the engine's API over its socket (no Docker command line is needed). The module is a plugin
(`conftest.py` names it): the fixture `engine` starts one for the session; without root or `dockerd` tests are skipped.
"""

import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest

from .base_image import BASE, base_archive
from .wire import until

HOOK = """#!/bin/sh
# What nvidia's hook is told, written down: that is all a machine without GPUs can show.
{ echo "$@"; cat; echo; } >> "%s"
"""


class Socket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Engine:
    """One `dockerd`."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="ryd-", dir="/tmp"))
        self.socket = self.root / "docker.sock"
        self.gpu_log = self.root / "gpu.log"
        self.process = None
        # A network of its own among the private ones; two runs at once hardly ever meet.
        number = os.getpid() % 200 + 20
        self.bridge = f"ryd{os.getpid() % 100000}"
        self.net = f"10.{number}"

    @property
    def address(self):
        return f"unix://{self.socket}"

    def start(self):
        """The daemon, and its word that it is there."""
        tools = self.root / "bin"
        tools.mkdir(exist_ok=True)
        hook = tools / "nvidia-container-runtime-hook"
        hook.write_text(HOOK % self.gpu_log)
        hook.chmod(0o755)
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            ip("link", "add", self.bridge, "type", "bridge")
            ip("addr", "add", f"{self.net}.0.1/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
        with open(self.root / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", self.root / "root", "--exec-root", self.root / "exec",
                 "--pidfile", self.root / "pid", "--host", self.address, "--bridge", self.bridge,
                 # Whatever else filters packets on this machine stays as it is.
                 "--iptables=false", "--default-address-pool", f"base={self.net}.128.0/17,size=24"],
                env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        until(self.answers, 30, say=self.log)
        return self

    def answers(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def log(self):
        return (self.root / "dockerd.log").read_text(errors="replace")[-4000:]

    def stop(self):
        """SIGTERM: the daemon ends its containers."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def crash(self):
        """SIGKILL: the next daemon ends what this one had."""
        self.process.kill()
        self.process.wait()
        (self.root / "pid").unlink(missing_ok=True)
        # Its containerd dies with it, and a number that nobody has reaped yet would pass for a living one.
        note = self.root / "exec/containerd/containerd.pid"
        try:
            os.kill(int(note.read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass
        note.unlink(missing_ok=True)

    def close(self):
        """Ends everything and removes it."""
        runs = self.process is not None and self.process.poll() is None
        for container in self.containers() if runs else []:
            self.call("DELETE", f"/containers/{container['Id']}?force=true&v=true")
        for network in self.networks() if runs else []:
            self.call("DELETE", f"/networks/{network['Id']}")
        self.stop()
        for pid in self.leftovers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "link", "del", self.bridge], stderr=subprocess.DEVNULL, check=False)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.root}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL, check=False)
        for _ in range(5):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                return
            time.sleep(0.2)

    def leftovers(self):
        """Processes of this daemon that outlived it."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = Path(entry.path, "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.root).encode() in line and b"pytest" not in line:
                    found.append(int(entry.name))
        return found

    # Its API.

    def call(self, method, path, body=None, content="application/json", limit=120, headers=None):
        """One request: (status, text)."""
        connection = Socket(self.socket, limit)
        try:
            headers = {**(headers or {}), **({"content-type": content} if body is not None else {})}
            connection.request(method, f"/v1.41{path}" if path != "/_ping" else path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def containers(self, **labels):
        """Containers with these labels of runyard's, running or not."""
        wanted = {"label": [f"runyard.{name}={value}" for name, value in labels.items()]}
        query = urllib.parse.urlencode({"all": "true", "filters": json.dumps(wanted)})
        return json.loads(self.call("GET", f"/containers/json?{query}")[1])

    def networks(self):
        """Networks of runyard's."""
        query = urllib.parse.urlencode({"filters": json.dumps({"label": ["runyard.data"]})})
        return json.loads(self.call("GET", f"/networks?{query}")[1])

    def inspect(self, container):
        return json.loads(self.call("GET", f"/containers/{container}/json")[1])

    def kill(self, container):
        status, said = self.call("POST", f"/containers/{container}/kill?signal=KILL")
        assert status == 204, said

    def has_image(self, name):
        return self.call("GET", f"/images/{name}/json")[0] == 200

    def load(self, name, archive, *changes):
        """Makes an image of a tar archive (a path or bytes)."""
        repository, tag = name.rsplit(":", 1)
        query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", c) for c in changes)]
        body = Path(archive).read_bytes() if isinstance(archive, (str, Path)) else archive
        status, said = self.call(
            "POST", f"/images/create?{urllib.parse.urlencode(query)}", body, "application/x-tar"
        )
        assert status == 200 and "errorDetail" not in said, said

    def load_foreign(self, name, architecture, command):
        """Makes an image for another kind of machine, as `docker load` takes it."""
        layer = archive(x="x")
        config = json.dumps({
            "architecture": architecture, "os": "linux", "config": {"Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        })
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}])
        whole = archive(**{"config.json": config, "manifest.json": manifest, "layer.tar": layer})
        status, said = self.call("POST", "/images/load", whole, "application/x-tar")
        assert status == 200 and "errorDetail" not in said, said


def archive(**files):
    """A tar archive of small files, by name with `__` for a slash."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            content = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def lacking():
    """What keeps an engine from running here, if anything does."""
    if os.geteuid() != 0:
        return "a container engine of the tests' own needs root"
    for program, package in (("dockerd", "docker.io"), ("ip", "iproute2")):
        if not shutil.which(program):
            return f"{program} is not installed: apt-get install {package}"
    return None


@pytest.fixture(scope="session")
def engine(sdk_python, announce):
    """An engine with the base image."""
    from conftest import missing

    if why := lacking():
        missing(why)
    engine = Engine()
    try:
        try:
            engine.start()
        except (AssertionError, OSError, subprocess.SubprocessError):
            last = (engine.log().strip().splitlines() or ["it says nothing"])[-1] if engine.process else "no bridge"
            pytest.skip(f"not on this machine: dockerd is installed and does not start: {last}")
        began = time.monotonic()
        engine.load(BASE, base_archive(sdk_python), "ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONPATH=/opt/site")
        announce(f"made the base image {BASE} in {time.monotonic() - began:.1f} s (Python {sys.version.split()[0]})")
        yield engine
    finally:
        engine.close()
