"""Fixtures of the end-to-end suites: real processes, the real binary, the real SDK, loopback alone.

What they take from the environment:

| variable | means | default |
|---|---|---|
| `RUNYARD_BIN` | the binary under test | `target/debug/runyard` |
| `RUNYARD_TEST_PYTHON` | a Python with `runpod` 1.12.0, for the client programs | this one, if it has it |
| `RUNYARD_REQUIRE_ALL` | `1`: what cannot run fails instead of being skipped | |
| `RUNYARD_SEED` | the seed of random moments; printed | random |
| `RUNYARD_KILLS`, `RUNYARD_SDK_KILLS`, `RUNYARD_AGENT_KILLS` | how often the kill loops kill | 200, 10, 20 |
| `RUNYARD_TEST_KEEP` | keeps the data directories for a look | |

Run with `python -m pytest tests -q`. The installer needs a package index once per session; the environments that it
makes are shared by all servers of the session.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.yard import REPOSITORY, Yard  # noqa: E402

pytest_plugins = ["support.envs", "support.field", "support.engine", "support.console"]
SDK = "1.12.0"


# What takes longest begins first, so that nothing is left to wait for at the end.
LONGEST = ["test_versions", "test_kill", "test_worker_protocol", "test_bad_input", "test_acceptance", "test_restart"]


def pytest_collection_modifyitems(items):
    """The order in which files begin; within one it stays as it is."""
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def missing(what):
    """A requirement is not there: a skip, or a failure where all has to run."""
    if os.environ.get("RUNYARD_REQUIRE_ALL") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def binary(tmp_path_factory):
    """A copy of the binary, so that a build meanwhile does not change what is tested."""
    named = os.environ.get("RUNYARD_BIN")
    found = Path(named) if named else REPOSITORY / "target/debug/runyard"
    if not found.is_file():
        missing(f"{found} is not there; build it with `cargo build -p runyard-cli`, or set RUNYARD_BIN")
    copy = tmp_path_factory.mktemp("bin") / "runyard"
    shutil.copy2(found, copy)
    return copy


@pytest.fixture(scope="session")
def sdk_python():
    """A Python that has the SDK."""
    python = os.environ.get("RUNYARD_TEST_PYTHON", sys.executable)
    ask = "import importlib.metadata as m; print(m.version('runpod'))"
    try:
        found = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=60)
    except OSError as error:
        missing(f"RUNYARD_TEST_PYTHON: {python} cannot be run: {error}")
    if found.stdout.strip() != SDK:
        missing(f"{python} has not runpod {SDK} (found: {found.stdout.strip() or 'none'}); set RUNYARD_TEST_PYTHON")
    return python


@pytest.fixture(scope="session")
def tools():
    """Environments and installer of this session."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-tools-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_yard(binary, tools):
    """Makes yards; whatever becomes of the test, they are closed and nothing of them may run on."""
    made = []

    def make(**options):
        made.append(Yard(binary, tools, **options))
        return made[-1]

    yield make
    for yard in made:
        yard.close()


@pytest.fixture
def yard(make_yard):
    """A server of the test's own."""
    return make_yard().start()


@pytest.fixture(scope="module")
def shared_yard(binary, tools):
    """A server for the whole file."""
    yard = Yard(binary, tools)
    try:
        yield yard.start()
    finally:
        yard.close()


@pytest.fixture
def project(tmp_path):
    """A folder for a handler."""
    return tmp_path / "project"


@pytest.fixture
def seed():
    """Random moments that can be had again."""
    value = int(os.environ.get("RUNYARD_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"RUNYARD_SEED={value}")
    return value


@pytest.fixture
def journal():
    """A folder in which workers note what they did; they may be of another user."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-journal-", dir="/tmp"))
    folder.chmod(0o777)
    file = folder / "journal"
    file.touch()
    file.chmod(0o666)
    yield file
    shutil.rmtree(folder, ignore_errors=True)
