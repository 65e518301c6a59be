"""Pages of the console for tests: signed in, their forms filled in, their charts read, looked at from three sizes in
both themes, and read by axe-core.
"""

import json
import urllib.parse

import pytest

from . import browser as chromium
from .axe import source

SIZES = [(1440, 900), (1024, 768), (390, 844)]


@pytest.fixture(scope="module")
def browser():
    """A real Chromium."""
    if not chromium.program():
        pytest.skip("chromium is needed: apt-get install chromium")
    browser = chromium.Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, house):
    """A page of the console, signed in at the `house` of the tests' file."""
    page = signed_in(browser, house)
    yield page
    page.close()


def signed_in(browser, yard, scripts=True, key=None):
    """A page of a browser, signed in with the yard's key or another."""
    page = browser.page()
    page.size(1440)
    if not scripts:
        page.without_scripts()
    page.base = f"http://127.0.0.1:{yard.port}"
    page.go(page.base + "/sign-in")
    page.fill("input[name=key]", key or yard.key())
    page.click("button.primary")
    page.shows("Overview", "h1")
    if scripts:
        page.settled()
    return page


def choose(page, selector, *files):
    """Chooses files, or a folder, as somebody does in the browser's window."""
    found = page.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
    page.call("DOM.setFileInputFiles", objectId=found["result"]["objectId"], files=[str(file) for file in files])


def pick(page, selector, value):
    """Picks an entry of a list."""
    page.run(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
        " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})) })()"
    )


def serves(page, limit=180):
    """Waits on the page of a release until it serves."""
    page.shows("Serving", "#live", limit)


def is_clean(page):
    """Nothing was thrown, nothing refused, nothing asked of anybody else."""
    assert page.complaints() == []
    assert {address.split("/")[2] for address in page.asked() if address.startswith("http")} == {page.base.split("/")[2]}


def finds_nothing(page, what):
    """axe-core, in the page's own world: its policy forbids scripts of others, the debugger's are none of its."""
    page.run(source())
    found = page.run(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
        " v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html).join(' | ')))"
    )
    assert found == [], f"{what}: {found}"


def can_be_read(page, path, folder=None, name=None):
    """A page at every size in both themes: as wide as its window, and at the ends axe-core finds nothing."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for width, height in SIZES:
        for dark in (False, True):
            page.size(width, height, dark)
            page.go(page.base + path)
            wide = page.run(
                f"[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > {width} &&"
                " !e.closest('.tabs,pre,.log')).slice(-3).map(e => e.outerHTML.slice(0, 120))"
            )
            assert page.run("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}: {wide}"
            if folder:
                page.picture(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            if width != 1024:
                finds_nothing(page, f"{path} at {width}, {'dark' if dark else 'light'}")
    page.size(1440)


def table(page, card):
    """The table of a chart: a row for each step, by the names of its columns."""
    return page.run(
        "(() => { const t = document.querySelector(%s + ' table.data');"
        " const names = [...t.tHead.rows[0].cells].map(c => c.textContent);"
        " return [...t.tBodies[0].rows].map(r => Object.fromEntries([...r.cells].map((c, n) => [names[n], c.textContent]))); })()"
        % json.dumps(card)
    )


def sum_of(rows, name):
    """What a column of such a table adds up to."""
    return sum(int(row[name]) for row in rows)


def listed(yard, address):
    """The jobs behind an address of the list, all its pages."""
    query = urllib.parse.urlparse(address).query
    jobs, cursor = [], ""
    while True:
        answer = yard.wire.api(f"/jobs?{query}&limit=5{cursor}")
        jobs += answer["jobs"]
        if not answer["nextCursor"]:
            return jobs
        cursor = f"&cursor={answer['nextCursor']}"


OUTCOMES = {"completed": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED", "timed out": "TIMED_OUT"}


def counts_equal_the_lists(page, yard):
    """On the Metrics tab: the sentence, the table and the lists behind the numbers agree. Returns the numbers."""
    rows = table(page, "#chart-requests")
    links = page.run("[...document.querySelectorAll('#chart-requests .sum a')].map(a => [a.textContent, a.getAttribute('href')])")
    submitted = int(links[0][0].split(" ")[0])
    assert len(listed(yard, links[0][1])) == submitted == sum_of(rows, "submitted")
    counts = {"submitted": submitted}
    for words, address in links[1:]:
        count, outcome = words.split(" ", 1)
        jobs = listed(yard, address)
        assert len(jobs) == int(count) == sum_of(rows, outcome), words
        assert {job["status"] for job in jobs} == {OUTCOMES[outcome]} and not any(job["test"] for job in jobs)
        counts[outcome] = int(count)
    return counts
