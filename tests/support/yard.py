"""A runyard of one's own for a test: binary, scratch home, data directory, port, and the certainty that nothing
of it runs on afterwards.

`start` returns once the server has said where it listens. `kill` is SIGKILL, `stop` SIGTERM. `close` ends
server and agent and fails the test if any process of this data directory is left.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .wire import Wire, until

REPOSITORY = Path(__file__).resolve().parents[2]


def free_port():
    """A port that nobody has, outside the range that connections are made from: it stays free while a server that had
    it starts again."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Run:
    """What a command did."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        """Stdout as one document a line."""
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]

    @property
    def error(self):
        """The error that `--json` writes on stderr."""
        return json.loads(self.err.strip().splitlines()[-1])["error"]


class Yard:
    """One data directory, with its server and agent."""

    def __init__(self, binary, tools=None, gpus=None, env=None):
        # Not pytest's folder: workers of another user have to pass through.
        self.root = Path(tempfile.mkdtemp(prefix="runyard-test-"))
        self.root.chmod(0o755)
        self.data = self.root / "data"
        self.data.mkdir()
        if tools:
            # Environments and what installers keep are addressed by content: all yards of a session share them.
            for name in ("envs", "tools", "cache"):
                (tools / name).mkdir(exist_ok=True)
                (self.data / name).symlink_to(tools / name)
        self.home = self.root / "home"
        self.home.mkdir()
        self.binary, self.gpus, self.more_env = str(binary), gpus, env or {}
        self.port = free_port()
        self.server = None
        self.starts = 0
        self.wire = None

    # The server.

    @property
    def env(self):
        """A user's environment with nothing of the real one's home."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RUNYARD_", "RUNPOD_", "XDG_"))}
        if "PYENV_ROOT" not in env and Path("~/.pyenv").expanduser().is_dir():
            env["PYENV_ROOT"] = str(Path("~/.pyenv").expanduser())
        env.update(HOME=str(self.home), NO_COLOR="1", **self.more_env)
        return env

    def start(self, limit=20):
        """Starts the server and waits for its own word that it listens."""
        gpus = [] if self.gpus is None else ["--gpus", str(self.gpus)]
        self._launch("stdout", limit, "up", "--listen", f"127.0.0.1:{self.port}", *gpus)
        credentials = self.home / ".config/runyard/credentials.toml"
        until(credentials.is_file, 5)
        self.wire = Wire(self.port, self.key())
        return self

    def start_dev(self, folder, *flags, limit=180):
        """Serves a folder as the endpoint `dev`, without keys."""
        self._launch("stderr", limit, "dev", str(folder), "--listen", f"127.0.0.1:{self.port}", *flags)
        self.wire = Wire(self.port, None)
        return self

    def _launch(self, talks, limit, *command):
        """Starts a process that says on `talks` where it listens; its other output is its log."""
        self.starts += 1
        log = self.root / f"server-{self.starts}.log"
        with open(log, "wb") as kept:
            self.server = subprocess.Popen(
                [self.binary, "--data", str(self.data), *command], env=self.env, stdin=subprocess.DEVNULL,
                **{"stdout": kept, "stderr": kept, talks: subprocess.PIPE}, start_new_session=True,
            )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(getattr(self.server, talks), ready), daemon=True).start()
        if not ready.wait(limit) or self.server.poll() is not None:
            raise AssertionError(f"the server did not come up:\n{log.read_text()}")

    @staticmethod
    def _read(pipe, ready):
        with pipe:
            for line in pipe:
                if b"  API      http" in line:
                    ready.set()
        ready.set()

    def key(self):
        """The key that the first start wrote for its user."""
        text = (self.home / ".config/runyard/credentials.toml").read_text()
        return re.search(r'^key = "(\w+)"$', text, re.MULTILINE).group(1)

    def kill(self):
        """`kill -9` of the server."""
        self.server.kill()
        self.server.wait()

    def terminate(self):
        self.server.terminate()

    def stop(self, limit=60):
        """SIGTERM, and the end."""
        self.server.terminate()
        return self.server.wait(limit)

    def server_log(self):
        return "".join(
            (self.root / f"server-{n}.log").read_text(errors="replace") for n in range(1, self.starts + 1)
        )

    # The agent.

    def agent_call(self, method, path, timeout=30):
        """One call on the agent's control socket."""
        key = (self.data / "run/agent.key").read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.data / "run/agent.sock"))
            head = f"{method} {path} HTTP/1.1\r\nhost: agent\r\nx-runyard-agent: {key}\r\nconnection: close\r\n\r\n"
            connection.sendall(head.encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        return json.loads(answer.split(b"\r\n\r\n", 1)[1] or b"null")

    def agent_pid(self):
        return self.agent_call("GET", "/info")["pid"]

    def end_agent(self):
        """Ends the agent with its workers, if there is one."""
        try:
            self.agent_call("POST", "/shutdown")
        except (FileNotFoundError, ConnectionError, ValueError, TimeoutError):
            pass

    # The command line.

    def cli(self, *arguments, code=0, given=None, limit=120, env=None, data=True):
        """A command against this data directory, or, without `data`, against what the environment says; `code` None
        takes any exit code."""
        where = ["--data", str(self.data)] if data else []
        done = Run(subprocess.run(
            [self.binary, *where, *map(str, arguments)], env={**self.env, **(env or {})},
            cwd=REPOSITORY, input=given, capture_output=True, text=True, timeout=limit,
            **({} if given is not None else {}),
        ))
        assert code is None or done.code == code, f"runyard {' '.join(map(str, arguments))}: {done!r}"
        return done

    def deploy(self, folder, name, *flags, code=0, limit=180):
        return self.cli("deploy", folder, "--name", name, *flags, code=code, limit=limit)

    # The end.

    def processes(self):
        """Every living process that names this yard: {pid: command line}."""
        mark, found = str(self.root).encode(), {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                folder = Path(entry.path)
                line = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if state != "Z" and (mark in line or mark in (folder / "environ").read_bytes()):
                    found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
        return found

    def close(self):
        """Ends everything; whoever outlives that is named, ended, and fails the test."""
        if self.server and self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(5)
            except subprocess.TimeoutExpired:
                self.server.terminate()  # once more: at once
                try:
                    self.server.wait(10)
                except subprocess.TimeoutExpired:
                    self.kill()
        self.end_agent()
        try:
            until(lambda: not self.processes(), 10)
            left = {}
        except AssertionError:
            left = self.processes()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if not os.environ.get("RUNYARD_TEST_KEEP"):
            for _ in range(3):
                shutil.rmtree(self.root, ignore_errors=True)
                if not self.root.exists():
                    break
                time.sleep(0.1)
        assert not left, f"processes outlived server and agent: {left}"
