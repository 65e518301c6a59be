"""The wall clock is set forward and back by hours, and a worker is stopped and continued, while jobs run and wait: no
job ends or runs again because of it.

The server sees another wall clock through a small library that is loaded before libc.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import missing
from support.load import journal_of
from support.wire import until

WORKER = Path(__file__).parent / "workers/synthetic.py"
WORKERS = 3
HOUR = 3600

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    const char *path = getenv("TEST_CLOCK_OFFSET");
    FILE *file = clock == CLOCK_REALTIME && path ? fopen(path, "r") : NULL;
    if (file) {
        long offset = 0;
        if (fscanf(file, "%ld", &offset) == 1) time->tv_sec += offset;
        fclose(file);
    }
    return result;
}
"""


@pytest.fixture
def clock(tmp_path):
    """The library, and the file that holds how many seconds it adds."""
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(SHIM)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    except FileNotFoundError:
        missing("a C compiler is not there")
    offset = tmp_path / "offset"
    offset.write_text("0")
    return library, offset


def set_clock(offset, seconds):
    """In one step: a reader never sees an empty file."""
    new = offset.with_suffix(".new")
    new.write_text(str(seconds))
    new.rename(offset)


def test_jobs_neither_end_nor_run_again(make_yard, project, journal, clock):
    library, offset = clock
    yard = make_yard(env={"LD_PRELOAD": str(library), "TEST_CLOCK_OFFSET": str(offset)}).start()
    project.mkdir()
    shutil.copy(WORKER, project / "worker.py")
    yard.deploy(project, "syn", "--handler", "worker.py", "--min", WORKERS, "--max", WORKERS, "--idle", "1h")
    gate, never = journal.parent / "gate", journal.parent / "never"

    def run(number, file, **policy):
        given = {"number": number, "journal": str(journal), "until": str(file)}
        return yard.wire.run("syn", given, policy=policy)

    def state(job):
        return yard.wire.status("syn", job)["status"]

    running = [run(n, gate, ttl=HOUR * 1000, executionTimeout=HOUR * 1000) for n in range(WORKERS - 1)]
    until(lambda: set(running) <= set(journal_of(journal)[0]), 30)
    for step, seconds in enumerate([5 * HOUR, -5 * HOUR, 0]):
        # What ends by its own limit shows that the clock was looked at after it was set.
        set_clock(offset, seconds)
        limited = run(100 + step, never, executionTimeout=5_000)
        waiting = run(200 + step, gate, ttl=HOUR * 1000)
        assert yard.wire.wait("syn", limited, 60)["status"] == "TIMED_OUT"
        assert [state(job) for job in running] == ["IN_PROGRESS"] * len(running), yard.server_log()[-3000:]
        assert state(waiting) in ("IN_QUEUE", "IN_PROGRESS")
        yard.wire.ok("POST", f"/v2/syn/cancel/{waiting}")

    # A worker that stands still keeps its job, and its late answer counts.
    holder = yard.wire.status("syn", running[0])["workerId"]
    pid = next(w["pid"] for w in yard.wire.workers("syn") if w["id"] == holder)
    os.kill(pid, signal.SIGSTOP)
    try:
        set_clock(offset, 5 * HOUR)
        gate.touch()
        assert yard.wire.wait("syn", running[1])["status"] == "COMPLETED"
        done = yard.wire.do("syn", {"number": 300, "journal": str(journal)}, limit=60)
        assert done["status"] == "COMPLETED" and done["workerId"] != holder
        assert state(running[0]) == "IN_PROGRESS"
    finally:
        os.kill(pid, signal.SIGCONT)
    end = yard.wire.wait("syn", running[0])
    assert end["status"] == "COMPLETED" and end["workerId"] == holder and "retries" not in end, end
    # A worker notes its answer after the server has taken it.
    until(lambda: set(running) <= set(journal_of(journal)[1]), 30)
    started, answered = journal_of(journal)
    assert all(len(started[job]) == 1 for job in running), started
    assert all(answered[job] == ["200"] for job in running), answered
