"""What a push does to an endpoint that is busy: a good one rolls over without a job lost or run twice, a broken one
leaves the old release serving and its commit shows why. The same for each way in which a commit reaches the server.

The workers are `workers/synthetic.py`, which notes each execution in a journal.
"""

import pytest

from support.forge import Forge, Hook, git
from support.wire import until
from test_git import build_of, connect, deployed
from test_rollout import WORKER, Watcher, jobs, ran_once, ready, releases

BROKEN = "import no_such_module_at_all"
TOKEN = "t0ken-of-the-forge"


class Followed:
    """A repository on a forge that the endpoint follows."""

    def __init__(self, yard, folder, hooked):
        self.forge, self.hooked = Forge(folder), hooked
        self.yard, self.repository = yard, self.forge.repository("me/syn")
        self.folder, self.hook = self.repository.folder, None

    def push(self, commit):
        self.repository.push()
        if self.hook:
            assert self.hook.push(commit)[0] == 202

    def begin(self, commit):
        self.push(commit)
        poll = "off" if self.hooked else "1s"
        made = connect(self.yard, self.repository, "--handler", "worker.py", "--poll", poll, "--token", TOKEN,
                       "--api", self.forge.api, endpoint="syn")
        self.hook = Hook(made["webhook"]["url"], made["webhook"]["secret"]) if self.hooked else None

    def told(self, commit):
        """What the forge was told of a commit in the end."""
        while (status := self.forge.statuses.get(timeout=20))["state"] == "pending" or commit not in status["path"]:
            pass
        return status

    def close(self):
        self.forge.__exit__()


class Pushed:
    """A working copy that is pushed straight to the server."""

    told = None

    def __init__(self, yard, folder):
        self.yard, self.folder = yard, folder
        folder.mkdir()
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "remote", "add", "gpu", f"http://git:{yard.key()}@127.0.0.1:{yard.port}/git/syn.git")

    def push(self, _):
        git(self.folder, "push", "--quiet", "gpu", "main")

    def begin(self, commit):
        self.yard.cli("endpoints", "create", "syn")
        self.push(commit)

    def close(self):
        pass


@pytest.fixture(params=["webhook", "polling", "git push"])
def source(request, make_yard, tmp_path):
    """An endpoint's source, in each of the ways in which commits come."""
    yard = make_yard(env={"RUNYARD_GIT_ALLOW_PRIVATE": "true"}).start()
    if request.param == "git push":
        made = Pushed(yard, tmp_path / "copy")
    else:
        made = Followed(yard, tmp_path / "forge", request.param == "webhook")
    yield made
    made.close()


def commit(source, message, line):
    """A commit whose worker begins with this line; its hash."""
    # By this name it is found where no handler is named.
    for name in ("handler.py", "worker.py"):
        (source.folder / name).write_text(f"{line}\n{WORKER.read_text()}")
    git(source.folder, "add", "--all")
    git(source.folder, "commit", "--quiet", "-m", message)
    return git(source.folder, "rev-parse", "HEAD")


def test_a_push_rolls_over_under_load_and_a_broken_one_does_not(source, journal):
    yard = source.yard
    first = commit(source, "First", "RELEASE = 1")
    source.begin(first)
    deployed(yard, first, endpoint="syn")
    yard.cli("endpoints", "set", "syn", "--min", 3, "--max", 3, "--idle", "1h")
    until(lambda: ready(yard, 3, 1), 60, say=lambda: yard.wire.workers("syn"))

    submitted = jobs(yard, journal, range(60), 600)
    with Watcher(yard) as watcher:
        second = commit(source, "Second", "RELEASE = 2")
        source.push(second)
        assert deployed(yard, second, endpoint="syn")["release"] == 2
        until(lambda: ready(yard, 3, 2), 60, say=lambda: yard.wire.workers("syn"))
    assert watcher.least >= 2 and watcher.most <= 4, (watcher.least, watcher.most)
    ran_once(yard, journal, submitted)
    assert {yard.wire.job(job)["release"] for job in submitted} == {1, 2}, "both did their part"

    more = jobs(yard, journal, range(60, 90), 200)
    with Watcher(yard) as watcher:
        third = commit(source, "Third", BROKEN)
        source.push(third)
        build = build_of(yard, third, "failed", endpoint="syn")
    assert watcher.least >= 3, watcher.least
    assert "no_such_module_at_all" in build["why"] and build["release"] == 3, build
    listed, _ = releases(yard)
    assert [n for n, r in listed.items() if r["serving"]] == [2] and listed[3]["state"] == "failed"
    assert listed[3]["commit"]["id"] == third
    ran_once(yard, journal, more)
    assert {yard.wire.job(job)["release"] for job in more} == {2}

    # The commit shows why: on the forge, and here.
    for shown in (yard.cli("git", "show", "syn").out, yard.cli("releases", "syn").out):
        line = next(line for line in shown.splitlines() if third[:8] in line)
        assert "failed" in line and "no_such_module_at_all" in line, shown
    if source.told:
        assert source.told(second)["state"] == "success"
        told = source.told(third)
        assert told["state"] == "failure" and "no_such_module_at_all" in told["description"], told
