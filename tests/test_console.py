"""The console in a real Chromium: sign in, send a request, see its result, the job, its logs; without scripts too; and
what machines can say of how well it can be read: names, contrast, landmarks (axe-core), at three sizes in both themes.

Pictures of every page lie in `target/console` afterwards.
"""

import json
import re

import pytest

from support import handlers
from support.console import can_be_read, is_clean
from support.yard import REPOSITORY

HANDLER = '''
import base64, struct, zlib
import runpod


def png():
    piece = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\\0" + b"".join(bytes((x * 3, y * 3, 90)) for x in range(64)) for y in range(64))
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(rows)) + piece(b"IEND", b"")


def handler(job):
    given = job["input"]
    print("prompt is", given.get("prompt"), flush=True)
    if given.get("fail"):
        raise ValueError("no model is called <b>broken</b>")
    return {
        "image": base64.b64encode(png()).decode(),
        "rows": [{"word": "cat", "score": 0.9}, {"word": "dog", "score": 0.1}],
        "text": "# Done\\n\\n- <script>alert(1)</script>\\n- two",
    }


runpod.serverless.start({"handler": handler})
'''


@pytest.fixture(scope="module")
def house(shared_yard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("console") / "pictures"
    handlers.write(folder, HANDLER)
    shared_yard.deploy(folder, "pictures")
    return shared_yard


def test_a_request_is_sent_and_its_result_job_and_logs_are_seen(page, house):
    page.go(page.base + "/e/pictures/requests")
    page.fill("textarea[name=input]", json.dumps({"prompt": "a small cat"}))
    page.press("Enter", modifiers=2)
    page.shows("Completed", "#live")
    page.shows("Done", "#live .preview")
    assert "<script>alert(1)</script>" in page.text("#live .preview"), "what a worker wrote is text"
    assert page.run("(async () => { const i = document.querySelector('.preview img'); await i.decode(); return i.naturalWidth })()") == 64
    assert "cat" in page.text("#live .preview table")
    assert "a small cat" in page.text(".snip")
    job = re.search(r"job=([\w-]+)", page.path).group(1)

    page.go(f"{page.base}/jobs/{job}")
    page.shows("It completed", ".why")
    page.shows("prompt is a small cat", ".log")
    assert house.wire.job(job)["status"] == "COMPLETED"
    page.go(f"{page.base}/e/pictures/logs?q=small")
    page.shows("prompt is a small cat", ".log")
    is_clean(page)


def test_a_failed_job_says_why_and_the_same_as_the_command_line(page, house):
    sent = house.wire.do("pictures", {"prompt": "x", "fail": True})
    page.go(f"{page.base}/jobs/{sent['id']}")
    page.shows("no model is called <b>broken</b>", ".sentence")
    why = house.cli("why", sent["id"], "--json").json
    assert why["sentence"].lower() == page.text(".sentence").lower()
    page.click("button.primary")  # retry
    page.shows("in the queue again", ".flash")
    page.shows("Failed", ".ephead")
    page.go(page.base + "/e/pictures")
    page.shows("handler_exception", "#live")
    is_clean(page)


def test_pages_change_by_themselves_and_no_row_jumps(page, house):
    page.go(page.base + "/jobs")
    page.shows("live", "#live-chip")
    first = page.run("document.querySelector('table.jobs tbody tr')?.id ?? ''")
    house.wire.do("pictures", {"prompt": "later"})
    page.shows("new job", ".newer")
    assert page.run("document.querySelector('table.jobs tbody tr')?.id ?? ''") == first
    page.click(".newer a")
    page.shows("Completed", "table.jobs tbody tr")
    is_clean(page)


def test_it_reads_and_sends_without_scripts(browser, house):
    page = browser.page()
    page.without_scripts()
    page.base = f"http://127.0.0.1:{house.port}"
    page.go(page.base + "/sign-in?next=/e/pictures/requests")
    page.fill("input[name=key]", house.key())
    page.click("button.primary")
    page.shows("Send request")
    page.fill("textarea[name=input]", '{"prompt": "no scripts"}')
    page.click("form.stack button.primary")
    page.shows("Timeline", "#live")
    job = re.search(r"job=([\w-]+)", page.path).group(1)
    house.wire.wait("pictures", job)
    page.go(f"{page.base}/jobs/{job}")
    assert "Completed" in page.text("#live")
    page.close()


def test_every_page_can_be_read_at_every_size_in_both_themes(page, house):
    pictures = REPOSITORY / "target/console"
    job = house.wire.do("pictures", {"prompt": "look"})["id"]
    for path in [
        "/", "/endpoints", "/e/pictures", f"/e/pictures/requests?job={job}", "/e/pictures/workers", "/e/pictures/logs",
        "/e/pictures/releases", "/e/pictures/settings", "/jobs", f"/jobs/{job}", "/keys", "/secrets", "/activity",
    ]:
        name = re.sub(r"\W+", "-", path.split("?")[0]).strip("-") or "overview"
        name = name if job not in path or "requests" in path else "job"
        can_be_read(page, path, pictures, name)
    is_clean(page)


def test_keys_lead_through_a_page(page):
    page.go(page.base + "/endpoints")
    page.press("Tab")
    assert page.run("document.activeElement.textContent") == "Skip to content"
    order = []
    for _ in range(4):
        page.press("Tab")
        order.append(page.run("document.activeElement.textContent.trim()"))
    assert order == ["runyard", "Overview", "Endpoints", "Jobs"]
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
