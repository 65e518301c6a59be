"""The Requests tab and the job's page while a job goes on and after it ended: lines that come are there within a moment,
what a reader has opened stays open, and nothing is loaded again for it.
"""

import pytest

from support import handlers
from support.console import is_clean

# What is printed after the end names its job, as the SDK's own lines do.
HANDLER = '''
import json
import threading
import time

import runpod


def late(job, word, pause):
    time.sleep(pause)
    print(json.dumps({"requestId": job, "message": word, "level": "INFO"}), flush=True)


def handler(job):
    given = job["input"]
    print("first of", given["name"], flush=True)
    if "late" in given:
        threading.Thread(target=late, args=(job["id"], given["late"], given.get("pause", 2)), daemon=True).start()
    for n in range(given.get("lines", 0)):
        time.sleep(1)
        print("line", n, flush=True)
    return {"rows": [{"name": given["name"]}]}


runpod.serverless.start({"handler": handler})
'''


@pytest.fixture(scope="module")
def house(shared_yard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests") / "talks"
    shared_yard.deploy(handlers.write(folder, HANDLER), "talks", "--idle", "10m", "--max", "1")
    return shared_yard


def is_open(page, selector):
    return page.run(f"document.querySelector({selector!r}).open")


def test_lines_after_the_end_come_to_the_open_requests_tab(page, house):
    job = house.wire.do("talks", {"name": "Grace", "late": "said later", "pause": 4})["id"]
    page.go(f"{page.base}/e/talks/requests?job={job}")
    page.shows("live", "#live-chip")
    page.run("window.kept = true")
    page.click("#job-logs summary")
    page.shows("first of Grace", "#job-logs .log")
    page.shows("said later", "#job-logs .log")
    assert is_open(page, "#job-logs") and page.run("window.kept"), "nothing was closed or loaded again"
    # The page of the job has them, too.
    job = house.wire.do("talks", {"name": "Ada", "late": "on its own page", "pause": 4})["id"]
    page.go(f"{page.base}/jobs/{job}")
    page.shows("first of Ada", "#live .log")
    page.shows("on its own page", "#live .log")
    is_clean(page)


def test_what_a_reader_opens_and_closes_stays_so_while_the_job_goes_on(page, house):
    job = house.wire.run("talks", {"name": "Joan", "lines": 6})
    page.go(f"{page.base}/e/talks/requests?job={job}")
    page.shows("live", "#live-chip")
    page.click("#job-logs summary")
    for n in range(6):
        page.shows(f"line {n}", "#job-logs .log")
    page.shows("Completed", "#live .result")
    assert is_open(page, "#job-logs")
    # It was not there when the logs were opened, and took nothing of them.
    assert not is_open(page, "#job-output")
    # Of a job that failed they are open; who has closed them keeps them closed.
    page.click("#job-logs summary")
    house.wire.do("talks", {"name": "other"})
    page.shows("Completed", "#recent li:first-child")
    assert not is_open(page, "#job-logs")
    is_clean(page)
