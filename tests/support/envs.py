"""Virtual environments for tests that need packages, or versions of them, which the tests' own Python has not.

They lie under `target/test-envs`, one for each set of requirements and interpreter, and stay there: the first run
installs, every later one finds. `uv` installs where it stands beside the tests' Python or on the path, else `pip`.
A file lock keeps two runs from making the same one, and the mark `complete` is written last, so that what was
given up half-way is made anew. What cannot be installed is an error, not a skip.

The module is a plugin (`conftest.py` names it): the fixture `environment` makes one and returns its interpreter.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .yard import REPOSITORY

LIMIT_S = 900


class Failed(Exception):
    """An environment could not be made; says which, by what, and what the installer said."""


def target():
    """The target folder of the build."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").absolute()


@contextlib.contextmanager
def locked(file):
    """Holds the lock `file` against other runs, and other threads of this one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(name, requirements, say=print):
    """The interpreter of an environment that holds `requirements` (as pip writes them); installs what is missing.

    `name` is for people; the folder's name also holds a hash of the requirements and of the interpreter.
    """
    wanted = "\n".join([sys.version.replace("\n", " "), sys.base_prefix, *requirements]) + "\n"
    key = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    folder = target() / "test-envs" / f"{name}-{key}"
    python, mark = folder / "bin/python", folder / "complete"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if mark.is_file() and mark.read_text() == wanted and python.is_file():
            return python
        say(f"making the environment {folder.name}: {', '.join(requirements)}")
        began = time.monotonic()
        install(folder, python, requirements)
        mark.write_text(wanted)
        say(f"made {folder.name} in {time.monotonic() - began:.1f} s")
    return python


def install(folder, python, requirements):
    """A fresh environment with the requirements."""
    uv = find_uv()
    venv = [sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if uv else []), str(folder)]
    run(venv, folder)
    if uv:
        run([uv, "pip", "install", "--quiet", "--python", str(python), *pip_index(), *requirements], folder,
            env=certificate())
    else:
        run([str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
             *requirements], folder)


def find_uv():
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.is_file() else shutil.which("uv")


def pip_index():
    """uv does not read pip's configuration, where people name their index."""
    if os.environ.get("UV_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX"):
        return []
    index = pip_setting("index-url")
    return ["--index-url", index] if index else []


def certificate():
    """Nor the certificate."""
    found = None if os.environ.get("SSL_CERT_FILE") else pip_setting("cert")
    return {"SSL_CERT_FILE": found} if found else {}


def pip_setting(name):
    """A setting of pip: its environment before its files."""
    if value := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return value
    for section in ("install", "global"):
        asked = [sys.executable, "-m", "pip", "config", "get", f"{section}.{name}"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    return None


def run(command, folder, env=None):
    """One step of the installation."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT_S,
        )
        said = None if done.returncode == 0 else (done.stderr or done.stdout)[-3000:]
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said is not None:
        raise Failed(f"the environment {folder.name} could not be made. `{' '.join(command)}` said:\n{said}\n"
                     "It needs a package index; with one at hand, run the test again.")


@pytest.fixture(scope="session")
def announce(pytestconfig):
    """Prints a line that is seen while the test runs."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def announce(text):
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            print(f"\n{text}", flush=True)

    return announce


@pytest.fixture(scope="session")
def environment(announce):
    """Makes environments: `environment(name, *requirements)` returns the interpreter; progress is printed."""

    def environment(name, *requirements):
        try:
            return make(name, requirements, announce)
        except Failed as error:
            failed = str(error)
        pytest.fail(failed, pytrace=False)

    return environment
