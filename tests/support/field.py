"""Workers as they are in the field: the SDKs of `PYTHON` and the Rust crate, each in an environment of its own, all
with one handler (`workers/field.py`, `workers/rust-worker`), alone or mixed in one endpoint.

The server starts them as it starts every worker; their first program, `workers/as_version.py`, becomes the one of
their SDK. The fixture `sdks` makes the environments and builds the Rust worker; both are kept between runs.
"""

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import envs
from .yard import REPOSITORY

PYTHON = ("1.6.2", "1.7.5", "1.7.12", "1.12.0", "2.0.0rc2")
RUST = "rust-0.8.0"
ALL = (*PYTHON, RUST)
WORKERS = REPOSITORY / "tests/workers"
BUILD_LIMIT_S = 1200


@pytest.fixture(scope="session")
def sdks(environment, rust_worker):
    """{SDK: command of its worker}."""
    found = {name: [str(environment(f"runpod-{name}", f"runpod=={name}")), str(WORKERS / "field.py")] for name in PYTHON}
    return {**found, RUST: [str(rust_worker)]}


@pytest.fixture(scope="session")
def rust_worker(announce):
    """The program of `workers/rust-worker`."""
    target = envs.target() / "test-rust"
    with envs.locked(envs.target() / "test-envs/test-rust.lock"):
        if not (target / "debug/rust-worker").is_file():
            announce("building the worker of the Rust crate `runpod-sdk`, some minutes on a small machine")
        began = time.monotonic()
        command = ["cargo", "build", "--locked", "--quiet", "--manifest-path", str(WORKERS / "rust-worker/Cargo.toml")]
        done = subprocess.run(command, env={**os.environ, "CARGO_TARGET_DIR": str(target)}, capture_output=True,
                              text=True, timeout=BUILD_LIMIT_S)
        if done.returncode != 0:
            pytest.fail(f"the Rust worker could not be built, it needs the crates registry:\n{done.stderr[-3000:]}",
                        pytrace=False)
        if time.monotonic() - began > 5:
            announce(f"built the Rust worker in {time.monotonic() - began:.0f} s")
    return target / "debug/rust-worker"


class Field:
    """Deploys workers of the field onto one yard."""

    def __init__(self, yard, sdks):
        self.yard, self.sdks = yard, sdks
        # Without the handler, which imports an SDK: the server would install one.
        self.project = yard.root / "field"
        self.project.mkdir()
        shutil.copy(WORKERS / "as_version.py", self.project)
        # There before the workers: what they may write to is settled when they start.
        self.notes = self.shared_folder("notes")

    def shared_folder(self, name):
        """A folder that workers may write to, whoever they are."""
        folder = self.yard.root / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    def journal(self, name):
        """A file for the journals of handlers."""
        file = self.notes / name
        file.touch()
        file.chmod(0o666)
        return file

    def deploy(self, endpoint, names, *flags, **env):
        """An endpoint whose workers are of these SDKs; with several, each living worker is of another one."""
        found = {name: self.sdks[name] for name in names}
        env = {"FIELD_SDKS": json.dumps(found), "FIELD_LOCKS": self.shared_folder(f"{endpoint}-locks"), **env}
        pairs = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        self.yard.deploy(self.project, endpoint, "--handler", "as_version.py", *flags, *pairs)

    def deploy_each(self, kind, names, *flags, **env):
        """An endpoint for each of these SDKs, with one worker: {SDK: endpoint}."""
        found = {name: f"{kind}-{name.replace('.', '-')}" for name in names}
        first, *others = names
        # The first makes the environment that the others use.
        self.deploy(found[first], [first], "--max", 1, *flags, **env)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda name: self.deploy(found[name], [name], "--max", 1, *flags, **env), others))
        return found


def each(names, check):
    """`check(name)` for all names at the same time; fails with every name that failed."""
    failed = {}

    def one(name):
        try:
            check(name)
        except (AssertionError, OSError, KeyError) as error:
            failed[name] = error

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(one, names))
    if failed:
        words = "\n".join(f"--- {name}: {type(error).__name__}: {error}" for name, error in failed.items())
        raise AssertionError(f"{len(failed)} of {len(names)} failed\n{words}") from next(iter(failed.values()))


def executions(journal):
    """{job: [workers that began it]} of a journal that handlers wrote."""
    found = {}
    for line in journal.read_text().splitlines():
        _, job, worker = line.split()
        found.setdefault(job, []).append(worker)
    return found
