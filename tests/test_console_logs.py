"""The Logs tab: lines come as they are printed and push nobody about, a tail of a hundred thousand keeps what a page can
hold, filters stand in the address, colours and JSON are shown and nothing is obeyed, and what is counted is there.
"""

import json

import pytest

from support import handlers
from support.console import can_be_read, is_clean, signed_in
from support.wire import until
from support.yard import REPOSITORY

HANDLER = r"""
import sys
import runpod


def handler(job):
    given = job["input"]
    for n in range(given.get("lines", 0)):
        print(f"line {n} of many", flush=n % 500 == 0)
    for text in given.get("say", []):
        print(text, flush=True)
    sys.stdout.flush()
    return given.get("lines", 0)


runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def house(shared_yard, tmp_path_factory):
    shared_yard.deploy(handlers.write(tmp_path_factory.mktemp("console-logs") / "talk", HANDLER), "talk", "--idle", "10m")
    return shared_yard


def rows(page):
    return page.run("document.querySelectorAll('#log > li').length")


def test_colours_and_json_are_shown_and_nothing_is_obeyed(page, house):
    colour = "\x1b[1;31mred <i>words</i>\x1b[0m \x1b]0;title\x07after\x1b[2J"
    line = json.dumps({"level": "WARNING", "message": "slow \x1b[32mgreen", "ms": 1200})
    job = house.wire.do("talk", {"say": [colour, line]})["id"]
    page.go(f"{page.base}/e/talk/logs?job={job}&q=words")
    page.shows("red <i>words</i> after", "#log")
    assert page.run("document.querySelector('#log .m .f1.b').textContent") == "red <i>words</i>"
    assert "\x1b" not in page.run("document.querySelector('#log').innerHTML")
    page.go(f"{page.base}/e/talk/logs?job={job}&where=ms>1000")
    page.shows("slow green", "#log .warn summary")
    assert '"ms": 1200' in page.run("document.querySelector('#log details pre').textContent")
    assert page.run(f"document.querySelector('#log .jb a').getAttribute('href')") == f"/jobs/{job}"
    is_clean(page)


def test_filters_stand_in_the_address_and_a_wrong_one_is_told_beside_it(page, house):
    house.wire.do("talk", {"say": ["took 1200 ms", "took 5 ms", "ERROR: broken"]})
    page.go(page.base + "/e/talk/logs")
    page.fill("input[name=q]", "took [0-9]{4} ms")
    page.run("document.querySelector('input[name=regex]').checked = true")
    page.press("Enter", modifiers=2)
    page.shows("text took", ".chips")
    page.shows("took 1200 ms", "#log")
    assert "regex=1" in page.path and "took 5 ms" not in page.text("#log")
    page.go(page.base + "/e/talk/logs?q=(&regex=1")
    page.shows("unclosed group", ".flash.bad")
    assert page.run("document.querySelector('input[name=q]').value") == "(", "what was typed is still there"
    page.go(page.base + "/e/talk/logs?level=error&since=1h")
    page.shows("broken", "#log")
    assert "took" not in page.text("#log")
    is_clean(page)


def test_the_drawing_counts_what_is_there_and_leads_to_it(page, house):
    job = house.wire.do("talk", {"say": ["ERROR: one", "ERROR: two", "plain"]})["id"]
    page.go(f"{page.base}/e/talk/logs?job={job}")
    counted = house.wire.api(f"/logs/counts?endpoint=talk&job={job}")
    lines = house.wire.api(f"/logs?endpoint=talk&job={job}")["records"]
    assert counted["lines"] == len(lines) and sum(counted["counts"]["error"]) == 2 and not counted["partial"]
    page.shows(f"{len(lines)} lines", ".histogram")
    page.shows("2 errors", ".histogram")
    page.run("location.assign(document.querySelector('.hist a').getAttribute('href'))")
    page.shows("until", ".chips")
    page.shows("ERROR: one", "#log")
    assert house.cli("logs", job, "--counts", "--json").json["lines"] == len(lines)
    assert "ERROR" in house.cli("logs", job, "--counts").out
    is_clean(page)


def test_a_line_is_shown_in_context_and_kept_as_a_file(page, house):
    job = house.wire.do("talk", {"say": [f"step {n}" for n in range(9)]})["id"]
    page.go(f"{page.base}/e/talk/logs?job={job}&q=step%204")
    page.run("location.assign(document.querySelector('#log .ln').href)")
    page.shows("step 3", "#log")
    page.shows("step 4", "#log .here")
    assert page.run("document.querySelectorAll('#log .near').length") > 5
    page.go(f"{page.base}/e/talk/logs?job={job}&q=step")
    for kind, count in (("format=txt", 9), ("format=jsonl", 9)):
        href = page.run(f"[...document.querySelectorAll('a[download]')].find(a => a.href.includes('{kind}')).href")
        text = page.run(f"fetch({href!r}).then(answer => answer.text())")
        assert len(text.splitlines()) == count
    assert json.loads(text.splitlines()[4])["message"] == "step 4"
    is_clean(page)


def test_lines_come_and_who_scrolled_up_is_not_moved(page, house):
    house.wire.do("talk", {"lines": 200})
    page.go(page.base + "/e/talk/logs")
    page.shows("line 199 of many", "#log")
    house.wire.do("talk", {"say": ["one that comes"]})
    page.shows("one that comes", "#log")
    page.run("document.getElementById('log').scrollTop = 0")
    until(lambda: page.run("document.getElementById('log').scrollTop") == 0, 5)
    house.wire.do("talk", {"say": ["one that waits"]})
    page.shows("new", "#pill")
    assert "one that waits" not in page.text("#log")
    assert page.run("document.getElementById('log').scrollTop") == 0
    page.click("#pill")
    page.shows("one that waits", "#log")
    page.click("#live")
    assert page.run("document.getElementById('live').getAttribute('aria-pressed')") == "false"
    is_clean(page)


def test_a_hundred_thousand_lines_do_not_grow_the_page(page, house):
    page.go(page.base + "/e/talk/logs")
    until(lambda: page.run("document.getElementById('live').getAttribute('aria-pressed')") == "true", 10)
    house.wire.do("talk", {"say": ["before the many"]})
    page.shows("before the many", "#log")
    page.call("HeapProfiler.enable")
    page.call("HeapProfiler.collectGarbage")
    before = page.call("Runtime.getHeapUsage")["usedSize"]
    house.wire.wait("talk", house.wire.run("talk", {"lines": 100_000, "say": ["after the many"]}), 120)
    page.shows("after the many", "#log", 120)
    assert rows(page) <= 1000
    page.call("HeapProfiler.collectGarbage")
    grown = page.call("Runtime.getHeapUsage")["usedSize"] - before
    assert grown < 8_000_000, f"the page grew by {grown} bytes"
    is_clean(page)


def test_it_reads_without_scripts_and_by_machines(browser, page, house):
    house.wire.do("talk", {"say": ["ERROR: for machines", "\x1b[33myellow"]})
    plain = signed_in(browser, house, scripts=False)
    plain.go(plain.base + "/e/talk/logs?q=for%20machines")
    assert "for machines" in plain.text("#log") and "Times are UTC" in plain.text("#about")
    plain.close()
    pictures = REPOSITORY / "target/console"
    pictures.mkdir(parents=True, exist_ok=True)
    can_be_read(page, "/e/talk/logs?level=info", pictures, "logs-tab")
    is_clean(page)
