"""A full disk: new jobs are refused with the reason, results of running jobs are taken and can be read, also across
`kill -9`, and once there is room jobs are taken again. The data directory lies on a small file system of its own.
"""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from conftest import missing
from support.load import journal_of
from support.wire import until

WORKER = Path(__file__).parent / "workers/synthetic.py"
WORKERS = 3
SIZE = 96 << 20


@pytest.fixture
def small_disk():
    """Puts a folder on a file system of `SIZE` bytes."""
    mounted = []

    def mount(folder):
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "runyard-test", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            missing(f"a small file system cannot be mounted: {error}")
        if done.returncode != 0:
            missing(f"a small file system cannot be mounted, which needs root: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Filler:
    """Takes every free byte of a file system."""

    def __init__(self, folder):
        self.path = folder / "filler"

    def fill(self):
        with open(self.path, "ab", buffering=0) as file:
            for piece in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * piece)
                except OSError:
                    pass
        assert os.statvfs(self.path.parent).f_bavail == 0

    def free(self):
        self.path.unlink()


@pytest.fixture
def full(small_disk, make_yard, tools, project, journal):
    """A yard on a small disk, with workers, and jobs in all of them that wait for the file `until`."""
    yard = make_yard()
    small_disk(yard.data)
    for name in ("envs", "tools"):
        (yard.data / name).symlink_to(tools / name)
    yard.start()
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, "syn", "--handler", "worker.py", "--min", WORKERS, "--max", WORKERS, "--idle", "1h")
    yard.wire.api("/endpoints", "POST", {"name": "idle", "settings": {"workers_max": 0}})
    return yard


def given(journal, number, size, hold=None):
    hold = {"until": str(hold)} if hold else {}
    return {"number": number, "pad": "x" * size, "journal": str(journal), **hold}


def refused(yard):
    """What a submission hears, at an endpoint that nobody works for."""
    status, answer = yard.wire.call("POST", "/v2/idle/run", {"input": 1})
    assert status in (200, 503), answer
    return status == 503 and answer


def check(yard, jobs):
    """Every job has its whole output."""
    for job, size in jobs.items():
        end = yard.wire.wait("syn", job)
        assert end["status"] == "COMPLETED" and len(end["output"]["pad"]) == size, (job, end["status"])


def test_results_are_taken_and_jobs_refused(full, journal):
    yard, filler = full, Filler(full.data)
    gate, later = journal.parent / "gate", journal.parent / "later"
    assert not yard.wire.api("/info")["disk"]["full"]
    # Some run, some wait; small outputs go into the database, large ones into files.
    sizes = (10, 1_000_000, 10, 2_000_000, 100_000, 10)
    jobs = {yard.wire.run("syn", given(journal, n, size, gate)): size for n, size in enumerate(sizes)}
    until(lambda: len(journal_of(journal)[0]) == WORKERS, 30)

    filler.fill()
    answer = until(lambda: refused(yard), 20)
    assert answer["code"] == "disk_full" and "disk is full" in answer["error"], answer
    status, answer = yard.wire.call("POST", "/v2/idle/run", {"input": "x" * 400_000})
    assert status == 503 and answer["code"] == "disk_full", answer
    assert yard.wire.api("/info")["disk"]["full"]
    doctor = yard.cli("doctor", code=None)
    assert doctor.code == 1 and "new jobs are refused" in doctor.out + doctor.err, doctor
    gate.touch()
    check(yard, jobs)

    # The server away, the disk full: results wait in the agent's spool.
    filler.free()
    until(lambda: not refused(yard), 20)
    held = {yard.wire.run("syn", given(journal, 100 + n, 300_000, later)): 300_000 for n in range(WORKERS)}
    until(lambda: set(held) <= set(journal_of(journal)[0]), 30)
    yard.kill()
    filler.fill()
    later.touch()
    until(lambda: set(held) <= set(journal_of(journal)[1]), 30)
    yard.start()
    check(yard, {**jobs, **held})
    assert refused(yard)["code"] == "disk_full"

    # Room again, and nothing was harmed.
    filler.free()
    until(lambda: not refused(yard), 20)
    more = {yard.wire.run("syn", given(journal, 200 + n, size)): size for n, size in enumerate(sizes)}
    check(yard, more)
    yard.stop()
    with sqlite3.connect(f"file:{yard.data}/db/runyard.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    yard.start()
    check(yard, {**jobs, **held, **more})
    started = journal_of(journal)[0]
    assert all(len(started[job]) == 1 for job in {**jobs, **held, **more}), started
