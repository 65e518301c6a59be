"""Workers stopped by hand, from the page of an endpoint in a real Chromium and by a command: what they ran is not lost."""

from test_console import house  # noqa: F401

from support import handlers
from support.console import is_clean
from support.wire import until

STUCK = """
import os, time
import runpod

def handler(job):
    while not os.path.exists(job["input"]["until"]):
        time.sleep(0.05)

runpod.serverless.start({"handler": handler})
"""


def test_a_worker_is_killed_or_stopped_and_its_job_ends(page, house, tmp_path):  # noqa: F811
    folder = handlers.write(tmp_path / "stuck", STUCK)
    house.deploy(folder, "stuck", "--max", "1", "--idle", "10m")
    wire, flag = house.wire, tmp_path / "free"
    job = wire.run("stuck", {"until": str(flag)})
    until(lambda: wire.status("stuck", job)["status"] == "IN_PROGRESS", 60)
    first = next(w["id"] for w in wire.workers("stuck") if w["state"] == "running")

    # Killed from its row: the job returns to the queue, is run by another worker and has spent no attempt.
    page.go(page.base + "/e/stuck/workers")
    page.settled()
    page.run("window.confirm = () => true")
    page.click(f"#w-{first} button[value=kill]")
    page.shows("1 job back in the queue", "main")
    until(lambda: wire.status("stuck", job).get("workerId") not in (None, first), 60)
    gone = next(w for w in wire.workers("stuck", living=False) if w["id"] == first)
    assert (gone["state"], gone["stopCause"]) == ("gone", "it was stopped by hand")
    assert house.cli("workers", "stop", first, code=None).code != 0, "it has ended"

    # Stopped by a command: it finishes what it runs.
    second = next(w["id"] for w in wire.workers("stuck") if w["state"] == "running")
    assert "ends when its job is done" in house.cli("workers", "stop", second[:8]).out
    assert wire.status("stuck", job)["status"] == "IN_PROGRESS"
    flag.touch()
    done = wire.wait("stuck", job, limit=60)
    assert (done["status"], done["workerId"]) == ("COMPLETED", second)
    until(lambda: not wire.workers("stuck"), 60)
    deeds = [deed["subject"] for deed in wire.api("/audit?action=worker.stop&limit=2")["records"]]
    assert deeds == [second, first]
    is_clean(page)
