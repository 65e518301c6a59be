"""A failed job's page and its endpoint's failures in a real Chromium: why, those like it, a waterfall with attempts, a worker
that starts, and a webhook; readable at every size in both themes.

Pictures of the pages lie in `target/console` afterwards.
"""

import pytest

from support import handlers
from support.console import can_be_read, is_clean
from support.wire import until
from support.yard import REPOSITORY, Yard, free_port

HANDLER = """
import os, time
import runpod


def handler(job):
    given = job["input"]
    if "sleep" in given:
        time.sleep(given["sleep"])
    if given.get("exit"):
        print("the driver said no", flush=True)
        os._exit(3)
    if "raise" in given:
        raise ValueError(given["raise"])
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.65 GiB "
                       "of which 1.10 GiB is free.")


runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def house(binary, tools, tmp_path_factory):
    """A server that may call this machine, with an endpoint whose jobs fail in several ways."""
    yard = Yard(binary, tools, env={"RUNYARD_WEBHOOK_ALLOW_PRIVATE": "true"})
    try:
        yard.start()
        folder = handlers.write(tmp_path_factory.mktemp("fails") / "fails", HANDLER)
        yard.deploy(folder, "fails", "--max", "1", "--idle", "10m")
        yield yard
    finally:
        yard.close()


def test_a_failed_job_and_the_failures_of_its_endpoint_can_be_read(page, house):
    for n in range(3):
        house.wire.do("fails", {"raise": f"row {n} has a very long explanation of what is wrong with it and of what is not"})
    hook = f"http://127.0.0.1:{free_port()}/hook"
    lost = house.wire.do("fails", {"exit": True}, 90, webhook=hook)["id"]
    job = house.wire.do("fails", {})["id"]
    until(lambda: len(house.wire.why(lost)["causes"]) > 2, 30)
    runs = house.wire.run("fails", {"sleep": 120})
    waits = house.wire.run("fails", {})
    until(lambda: house.wire.job(runs)["status"] == "IN_PROGRESS", 60)

    page.go(f"{page.base}/jobs/{job}")
    page.shows("CUDA out of memory: tried 2.50 GiB, 1.10 GiB free of 23.65 GiB", ".sentence")
    page.shows("no other job has failed so", ".why")
    page.go(f"{page.base}/jobs/{lost}")
    page.shows("Running, attempt 2", ".falls")
    page.shows("its webhook failed", ".why")
    rows = page.run("document.querySelectorAll('.falls tbody tr').length")
    spans = [span for span in house.wire.api(f"/jobs/{lost}/timeline")["spans"] if span["name"] != "submitted"]
    assert rows >= len(spans) and page.run("document.querySelectorAll('.falls svg rect').length") == rows
    page.go(f"{page.base}/e/fails")
    page.shows("3×", "#live")
    page.shows("ValueError: row # has", "#live")
    page.shows("since release 1", "#live")

    pictures = REPOSITORY / "target/console"
    for name, path in [("why-lost", f"/jobs/{lost}"), ("why-runs", f"/jobs/{runs}"), ("why-waits", f"/jobs/{waits}"), ("failures", "/e/fails")]:
        can_be_read(page, path, pictures, name)
    is_clean(page)
    house.cli("cancel", runs, waits)
