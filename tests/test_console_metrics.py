"""The console's charts: their counts equal the list of jobs, a GPU's series rises with the request, what they show is
said in words and read without scripts, and a page that goes on keeps what it has.
"""

import csv
import io
import re
import time

import pytest

from support import handlers
from support.console import can_be_read, counts_equal_the_lists, is_clean, listed, signed_in, sum_of, table
from support.wire import until
from support.yard import REPOSITORY

HANDLER = """
import time
import runpod

def handler(job):
    given = job["input"]
    time.sleep(given.get("sleep", 0))
    if given.get("fail"):
        raise ValueError("told to fail")
    return given

runpod.serverless.start({"handler": handler})
"""


@pytest.fixture
def house(make_yard, tmp_path):
    """A yard with a fake GPU and an endpoint that uses it, which did some work."""
    yard = make_yard(gpus=1).start()
    yard.deploy(handlers.write(tmp_path / "draws", HANDLER), "draws", "--max", "1", "--gpus", "1", "--idle", "10m")
    return yard


def test_counts_equal_the_list_of_jobs_that_they_lead_to(page, house):
    for given in [{}, {"n": 1}, {"n": 2}, {"fail": True}, {"n": 3}, {"fail": True}]:
        house.wire.do("draws", given)
    first = house.wire.run("draws", {"sleep": 60})
    until(lambda: house.wire.status("draws", first)["status"] == "IN_PROGRESS", 20)
    house.cli("cancel", house.wire.run("draws", {}))
    page.go(page.base + "/e/draws/metrics?range=15m&compare=1")
    page.shows("8 jobs were submitted", "#chart-requests .sum")
    counts = counts_equal_the_lists(page, house)
    assert counts == {"submitted": 8, "completed": 4, "failed": 2, "cancelled": 1}
    failed = page.run("document.querySelector('#chart-requests .sum a[href*=FAILED]').getAttribute('href')")
    # The page behind the link shows them, and so does the file.
    page.go(page.base + failed)
    assert page.run("document.querySelectorAll('table.jobs tbody tr').length") == 2
    page.go(page.base + "/e/draws/metrics?range=15m")
    href = page.run("document.querySelector('#chart-requests a[download]').href")
    text = page.run(f"fetch({href!r}).then(answer => answer.text())")
    assert sum(int(row["submitted"]) for row in csv.DictReader(io.StringIO(text))) == 8
    house.cli("cancel", first)
    is_clean(page)


def test_ends_are_counted_and_listed_in_the_time_in_which_they_were(page, house):
    """A job that was submitted before the range and ended in it."""
    page.go(page.base + "/e/draws/metrics")
    at = page.run("Date.now()")
    # Ranges are widened to whole steps: it is running when one begins.
    begin = at - at % 10_000 + 10_000
    job = house.wire.run("draws", {"sleep": (begin - at) / 1000 + 2})
    assert house.wire.wait("draws", job)["status"] == "COMPLETED"
    page.go(f"{page.base}/e/draws/metrics?from={begin}")
    page.shows("0 jobs were submitted", "#chart-requests .sum")
    assert counts_equal_the_lists(page, house) == {"submitted": 0, "completed": 1}
    address = page.run("document.querySelector('#chart-requests .sum a[href*=COMPLETED]').getAttribute('href')")
    assert [one["id"] for one in listed(house, address)] == [job]
    page.go(page.base + address)
    assert page.run("document.querySelector('table.jobs tbody tr').id") == f"j-{job}"
    assert page.run("document.querySelector('details.more').open && document.querySelector('[name=tests]').checked")
    # The command line says the same.
    since = house.cli("jobs", "draws", "--ended-since", iso(begin), "--no-tests", "--json").json["jobs"]
    until = house.cli("jobs", "draws", "--ended-until", iso(begin), "--no-tests", "--json").json["jobs"]
    assert [[one["id"] for one in jobs] for jobs in (since, until)] == [[job], []]
    is_clean(page)


def iso(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000))


def test_a_gpus_series_rises_with_the_request_on_the_same_axis(page, house):
    job = house.wire.run("draws", {"sleep": 60})

    def busy():
        page.go(page.base + "/e/draws/telemetry?range=15m")
        if not page.run("!!document.querySelector('#chart-gpu-use')"):
            return False
        values = [row["GPU 0 (share)"] for row in table(page, "#chart-gpu-use")]
        return any(value != "–" and float(value) > 0.5 for value in values)
    until(busy, 60, 1)
    span = page.run("(() => { const r = document.querySelector('#chart-jobs tbody tr'); return [r.dataset.from, r.dataset.to, r.querySelector('a').getAttribute('href')]; })()")
    assert span[2] == f"/jobs/{job}"
    steps = page.run("[...document.querySelectorAll('#chart-gpu-use tbody tr')].map(r => [Number(r.cells[0].dataset.at), r.cells[1].textContent])")
    seen = [at for at, value in steps if value != "–" and float(value) > 0.5]
    # A step of ten seconds may have begun before the job did.
    assert all(at + 10_000 > int(span[0]) for at in seen), (span, seen)
    # All charts draw the same time.
    page.shows("1 job ran", "#chart-jobs .sum")
    drawn = page.run("[...document.querySelectorAll('ry-chart canvas')].length")
    assert drawn == page.run("document.querySelectorAll('ry-chart').length") > 3
    page.go(page.base + "/e/draws/workers")
    page.shows("%", "#live td[data-l='GPU']")
    house.cli("cancel", job)
    is_clean(page)


def test_a_page_that_goes_on_is_fed_and_not_made_again(page, house):
    page.go(page.base + "/e/draws/metrics?range=15m")
    page.shows("0 jobs were submitted", "#chart-requests .sum")
    page.run("document.querySelector('#chart-requests canvas').dataset.same = 'yes'")
    house.wire.do("draws", {})
    page.shows("1 job was submitted", "#chart-requests .sum")
    assert sum_of(table(page, "#chart-requests"), "submitted") == 1
    assert page.run("document.querySelector('#chart-requests canvas').dataset.same") == "yes"
    page.click("#chart-requests [data-expand]")
    assert page.run("document.querySelector('#chart-requests').classList.contains('wide')")
    is_clean(page)


def test_it_reads_without_scripts_and_by_machines(browser, page, house):
    house.wire.do("draws", {})
    plain = signed_in(browser, house, scripts=False)
    plain.go(plain.base + "/e/draws/metrics")
    assert "1 job was submitted" in plain.text("#chart-requests .sum")
    assert sum_of(table(plain, "#chart-requests"), "completed") == 1
    plain.go(plain.base + "/e/draws/metrics?from=2001-01-01T00:00&to=2001-01-01T01:00")
    assert "30 days" in plain.text("main"), "what is too old is refused in words"
    plain.close()
    pictures = REPOSITORY / "target/console"
    pictures.mkdir(parents=True, exist_ok=True)
    for tab in ("metrics?compare=1", "telemetry", "workers"):
        can_be_read(page, f"/e/draws/{tab}", pictures, re.sub(r"\W.*", "", tab))
    is_clean(page)


def test_figures_of_the_first_pages_are_those_of_the_series(page, house):
    for given in [{}, {}, {"fail": True}]:
        house.wire.do("draws", given)
    page.go(page.base + "/")
    tiles = page.run("Object.fromEntries([...document.querySelectorAll('.tiles > div')].map(d => [d.querySelector('dt').textContent, d.querySelector('dd').textContent]))")
    assert (tiles["Jobs"], tiles["Failed"]) == ("3", "1")
    page.go(page.base + "/e/draws")
    page.shows("1 of 3 that ended", ".tiles")
    page.go(page.base + "/endpoints")
    assert page.run("document.querySelector('td.spark svg').getAttribute('aria-label')") == "3 jobs, last 24 h"
    since = int(time.time() * 1000) - 60_000
    each = house.cli("metrics", "--each", "endpoint", "--series", "jobs_submitted", "--json").json["each"]
    assert [(one["endpointName"], one["series"][0]["whole"]["count"]) for one in each] == [("draws", 3)]
    jobs = house.cli("jobs", "draws", "--since", "1h", "--until", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since / 1000)), "--json").json
    assert all(job["submittedAt"] < since for job in jobs["jobs"])
    is_clean(page)


def test_the_first_page_is_small_with_all_that_it_loads(browser, page, house):
    house.wire.do("draws", {})
    page.call("Network.setCacheDisabled", cacheDisabled=True)
    for path in ("/", "/endpoints", "/jobs"):
        browser.heard[page.session] = []
        page.go(page.base + path)
        page.shows("live", "#live-chip")
        heard = browser.heard[page.session]
        size = sum(said["params"]["encodedDataLength"] for said in heard if said["method"] == "Network.loadingFinished")
        assert 5_000 < size < 60_000, f"{path} and what it loads are {size} bytes"
    is_clean(page)
