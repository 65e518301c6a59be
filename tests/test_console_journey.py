"""The whole way through the console in a real Chromium, as somebody goes it on the first day: an endpoint is made by
clicks and gets a secure variable; a request is sent, its logs, its worker's start and its GPU are looked at; a failure
says why in one click; the numbers are those of the list of jobs; the release before serves again.
"""

import re

import pytest

from support import handlers
from support.console import choose, counts_equal_the_lists, is_clean, pick, serves, table
from support.wire import until

HANDLER = '''
import os
import time

import runpod

time.sleep(0.3)


def handler(job):
    given = job["input"]
    print("drawing", given.get("prompt"), flush=True)
    time.sleep(given.get("sleep", 0))
    if given.get("model"):
        raise FileNotFoundError("there is no model " + given["model"])
    return {"drawn": given.get("prompt"), "token": len(os.environ.get("TOKEN", ""))}


runpod.serverless.start({"handler": handler})
'''
NAME, SECRET = "journey", "hush-hush-hush"


@pytest.fixture
def house(make_yard):
    """A server with one fake GPU and nothing on it."""
    return make_yard(gpus=1).start()


def made_by_clicks(page, folder):
    page.click("a[href='/endpoints']")
    page.shows("Endpoints", "h1")
    page.click("a[href='/endpoints/new']")
    page.shows("New endpoint", "h1")
    choose(page, "input[name=folder]", folder)
    page.fill("[name=gpu_count]", "1")
    page.fill("[name=workers_max]", "1")
    page.fill("[name=idle_timeout_s]", "600")
    page.fill("[name=name]", NAME)
    page.shows("max = 1", "#preview")
    page.click(".sticky button.primary")
    page.shows("Release 1", "h2")
    serves(page)


def secure_variable_set(page):
    page.click(f".tabs a[href='/e/{NAME}/settings']")
    page.shows("Variables", "main")
    page.fill("#new-name", "TOKEN")
    page.fill("#f-new-variable input[name=value]", SECRET)
    pick(page, "select[form=f-new-variable]", "secure")
    page.click("button[form=f-new-variable]")
    page.shows("Release 2", "h2")
    serves(page)


def sent(page, text):
    """Sends what is typed on the Requests tab; the job's id."""
    page.click(f".tabs a[href='/e/{NAME}/requests']")
    page.shows("Send request", "#ask")
    before = page.path
    page.fill("ry-json textarea", text)
    page.press("Enter", modifiers=2)
    until(lambda: "job=" in page.path and page.path != before, 30)
    page.settled()
    return re.search(r"job=([\w-]+)", page.path).group(1)


def gpu_use(page):
    """Each step of the GPU's series that has a value: when it began, and how busy the GPU was."""
    page.go(f"{page.base}/e/{NAME}/telemetry?range=15m")
    if not page.run("!!document.querySelector('#chart-gpu-use')"):
        return []
    steps = page.run("[...document.querySelectorAll('#chart-gpu-use tbody tr')].map(r => [Number(r.cells[0].dataset.at), r.cells[1].textContent])")
    return [(at, float(value)) for at, value in steps if value != "–"]


def test_the_whole_way(page, house, tmp_path):
    made_by_clicks(page, handlers.write(tmp_path / NAME, HANDLER, test_input__json='{"input": {"prompt": "a test"}}'))
    secure_variable_set(page)

    # A request, and what it printed.
    first = sent(page, '{"prompt": "a small cat"}')
    page.shows("Completed", "#live .result")
    page.shows("a small cat", "#job-output")
    assert house.wire.job(first)["output"] == {"drawn": "a small cat", "token": len(SECRET)}
    page.click("#job-logs summary")
    page.shows("drawing a small cat", "#job-logs .log")
    page.click("#job-logs p a")
    page.shows("drawing a small cat", "#log")
    assert f"job={first}" in page.path and "drawing a test" not in page.text("#log")
    assert SECRET not in page.run("document.documentElement.outerHTML")

    # The worker that ran it, and the parts of its start.
    page.click(f".tabs a[href='/e/{NAME}/workers']")
    page.shows("Start took", "#live")
    parts = page.run("[...document.querySelectorAll('#live td[data-l=\"Start took\"] .sub')].map(e => e.textContent)")
    assert any("load" in part for part in parts), parts
    idle = max((value for _, value in gpu_use(page)), default=0)

    # A request that takes its time is seen on the GPU.
    second = sent(page, '{"prompt": "a large cat", "sleep": 60}')
    page.shows("Running", "#live .result")
    busy = until(lambda: [at for at, value in gpu_use(page) if value > max(0.5, idle)], 60, 1)
    row = f"document.querySelector('#chart-jobs a[href=\"/jobs/{second}\"]').closest('tr')"
    began = int(page.run(row + ".dataset.from"))
    # A step of ten seconds may have begun before the request did.
    assert all(at + 10_000 > began for at in busy)
    page.go(f"{page.base}/jobs/{second}")
    page.shows("Running", "#live .ephead")
    page.click("#live .acts form button")
    page.shows("Cancelled", "#live .ephead")

    # One that fails says why in one click.
    page.go(f"{page.base}/e/{NAME}")
    third = sent(page, '{"model": "sdxl"}')
    page.shows("there is no model sdxl", "#live")
    page.click(f".tabs a[href='/e/{NAME}']")
    page.shows("there is no model sdxl", "#live")
    page.click("#live .list a.row")
    page.shows("there is no model sdxl", ".sentence")
    assert third in page.path and "handler.py" in page.text("#live")

    # What is counted is what is listed.
    page.go(f"{page.base}/e/{NAME}/metrics?range=15m")
    page.shows("3 jobs were submitted", "#chart-requests .sum")
    assert counts_equal_the_lists(page, house) == {"submitted": 3, "completed": 1, "failed": 1, "cancelled": 1}
    assert table(page, "#chart-requests")

    # And back.
    page.click(f".tabs a[href='/e/{NAME}/releases']")
    page.shows("2", "#live")
    page.click(f"#live a[href='/e/{NAME}/releases/1']")
    page.shows("Release 1", "h2")
    page.click("#live .acts button")
    page.shows("Traffic goes to release 1", ".flash", 90)
    until(lambda: house.wire.api(f"/endpoints/{NAME}")["serving"] == 1, 60)
    last = sent(page, '{"prompt": "as before"}')
    page.shows("Completed", "#live .result")
    assert house.wire.job(last)["output"] == {"drawn": "as before", "token": 0}
    is_clean(page)
