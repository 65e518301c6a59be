"""What the clients' tests share: one server with four endpoints, and the means to run a program with a client that
nobody changed.

| endpoint | its worker |
|---|---|
| `tasks` | `handlers/tasks.py`, 30 jobs at once |
| `vllm` | `handlers/vllm.py`: an asynchronous generator, 30 jobs at once |
| `one` | `examples/hello`, one job at a time |
| `parked` | none: its jobs wait |

A program gets the server's address and key in its environment, under the names that its client reads, does one case
and prints what it saw as one line of JSON.
"""

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clients import install
from support import envs, handlers
from support.yard import Yard

HERE = Path(__file__).parent
ONE = ("--max", "1", "--idle", "10m")


class Bucket(BaseHTTPRequestHandler):
    """Where the worker says that its pictures lie; notes which headers they are fetched with."""

    seen = []

    def do_GET(self):  # noqa: N802: the library's name
        self.seen.append((self.path, dict(self.headers)))
        body = b"bytes of " + self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Is silent."""


@pytest.fixture(scope="package")
def bucket():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="package")
def service(binary, tools, bucket, tmp_path_factory):
    """The server of the whole folder."""
    yard = Yard(binary, tools)
    folder = tmp_path_factory.mktemp("handlers")
    make = lambda name: handlers.write(folder / name, (HERE / f"handlers/{name}.py").read_text(), "runpod>=1.7\n")  # noqa: E731
    try:
        yard.start()
        # The first makes the environment that all use.
        yard.deploy("examples/hello", "one", *ONE)
        many = (*ONE, "--concurrency", "30")
        with ThreadPoolExecutor(3) as pool:
            deploys = [
                pool.submit(yard.deploy, make("tasks"), "tasks", *many,
                            "--env", f"BUCKET=http://127.0.0.1:{bucket.server_port}"),
                pool.submit(yard.deploy, make("vllm"), "vllm", *many),
                pool.submit(yard.cli, "endpoints", "create", "parked", "--max", "0"),
            ]
            for done in deploys:
                done.result()
        yield yard
    finally:
        yard.close()


@pytest.fixture(scope="session")
def node(environment):
    """The folder of node and the folder of its packages."""
    try:
        programs = install.node(environment)
        return programs, install.node_modules(programs)
    except envs.Failed as error:
        failed = str(error)
    pytest.fail(failed, pytrace=False)


@pytest.fixture(scope="session")
def rust_client():
    try:
        return install.rust_client()
    except envs.Failed as error:
        failed = str(error)
    pytest.fail(failed, pytrace=False)


class Clients:
    """Runs programs against the server."""

    def __init__(self, yard, node_parts, folder):
        self.yard, self.node_parts, self.folder = yard, node_parts, folder

    @property
    def env(self):
        """The server under every name by which a client can be told of it."""
        base, key = f"http://127.0.0.1:{self.yard.port}", self.yard.key()
        return {
            **self.yard.env, "RUNPOD_API_KEY": key, "BASE_URL": f"{base}/v2", "RUNPOD_ENDPOINT_BASE_URL": f"{base}/v2",
            "RUNPOD_API_URL": f"{base}/v2", "OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{base}/v2/vllm/openai/v1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def python(self, interpreter, program, *arguments, **more):
        return self.run([interpreter, HERE / "programs" / program, *arguments], **more)

    def node(self, program, *arguments, **more):
        """Packages are found beside the program, so it runs as a copy."""
        programs, modules = self.node_parts()
        copy = self.folder / program
        copy.write_bytes((HERE / "node" / program).read_bytes())
        link = self.folder / "node_modules"
        if not link.is_symlink():
            link.symlink_to(modules)
        return self.run([programs / "node", copy, *arguments], **more)

    def run(self, command, env=None, limit=90):
        """What the program saw."""
        process = self.start(command, env)
        return self.finish(process, limit)

    def start(self, command, env=None):
        return subprocess.Popen(
            [str(part) for part in command], env={**self.env, **(env or {})}, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    @staticmethod
    def finish(process, limit=90):
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"the program has not ended within {limit} s:\n{out}\n{err}") from None
        assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
        return json.loads(out.splitlines()[-1])


@pytest.fixture
def clients(service, request, tmp_path):
    return Clients(service, lambda: request.getfixturevalue("node"), tmp_path)
