"""Rows by keyboard and by hand: chosen with `x` or their boxes, cancelled and retried together, their menu on `.`; what
the pages of the server make: a backup that is downloaded, the secret of webhooks; the call behind the Logs tab.
"""

import json
import shlex
import subprocess
import urllib.parse

import pytest

from support import handlers
from support.console import can_be_read, is_clean, signed_in
from support.wire import until
from support.yard import REPOSITORY

HANDLER = '''
import time

import runpod


def handler(job):
    print("asked for", job["input"].get("name"), flush=True)
    if job["input"].get("fail"):
        raise ValueError("told to fail")
    time.sleep(job["input"].get("sleep", 0))
    return job["input"]


runpod.serverless.start({"handler": handler})
'''


@pytest.fixture(scope="module")
def house(shared_yard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows") / "rows"
    shared_yard.deploy(handlers.write(folder, HANDLER), "rows", "--idle", "10m", "--max", "1")
    return shared_yard


def menu(page):
    return page.run("[...document.querySelectorAll('#row-menu-list button')].map(b => b.textContent)")


def test_rows_are_chosen_by_keys_and_ended_together(page, house):
    first = house.wire.run("rows", {"sleep": 120})
    until(lambda: house.wire.status("rows", first)["status"] == "IN_PROGRESS", 30)
    waiting = [house.wire.run("rows", {"n": n}) for n in range(3)]
    page.go(page.base + "/jobs")
    page.shows("live", "#live-chip")
    page.press("x")
    page.shows("Go to a row first", "#toast")
    for key in "jxjxjx":
        page.press(key)
    page.shows("3 jobs are chosen", "#bulk")
    page.press("x")
    page.shows("2 jobs are chosen", "#bulk")
    page.press("Escape")
    assert page.run("getComputedStyle(document.getElementById('bulk')).display") == "none"
    # The page goes on meanwhile, and what was chosen stays chosen.
    page.click(f"#j-{waiting[0]} .pick")
    page.click(f"#j-{waiting[1]} .pick")
    other = house.wire.run("rows", {"n": "more"})
    page.shows("new job", ".newer")
    page.shows("2 jobs are chosen", "#bulk")
    can_be_read_as_it_is(page, "rows-chosen")
    page.run("window.confirm = () => true")
    page.click("#bulk button[value=cancel]")
    page.shows("2 jobs are cancelled", ".flash")
    assert [house.wire.job(job)["status"] for job in waiting[:2]] == ["CANCELLED", "CANCELLED"]
    # Of two, one cannot be: the other is, and both are told of.
    page.click(f"#j-{waiting[0]} .pick")
    page.click(f"#j-{waiting[2]} .pick")
    page.run("window.confirm = () => true")
    page.click("#bulk button[value=cancel]")
    page.shows("1 of 2 jobs is cancelled. The first that is not: ", ".flash")
    assert page.path == "/jobs"
    # The menu of a row.
    page.run("window.confirm = () => true")
    page.run(f"document.querySelector('#j-{first} a.row').focus()")
    page.press(".")
    assert menu(page) == ["Open", "Copy its id", "Choose", "Cancel", "Retry"]
    for _ in range(3):
        page.press("ArrowDown")
    page.press("Enter")
    page.shows("1 job is cancelled", ".flash")
    assert house.wire.job(first)["status"] == "CANCELLED"
    house.wire.wait("rows", other)
    failed = house.wire.do("rows", {"fail": True})["id"]
    page.go(page.base + "/jobs?status=FAILED")
    page.click(f"#j-{failed} .pick")
    page.click("#bulk button[value=retry]")
    page.shows("1 job is in the queue again", ".flash")
    assert page.path == "/jobs?status=FAILED", "what was filtered stays so"
    house.wire.wait("rows", failed)
    assert house.wire.job(failed)["attempt"] == 2
    is_clean(page)


def can_be_read_as_it_is(page, name):
    page.picture(REPOSITORY / f"target/console/{name}.png") if (REPOSITORY / "target/console").is_dir() else None
    assert page.run("document.documentElement.scrollWidth") <= 1440


def test_the_menu_of_a_row_has_what_the_row_offers(page, house):
    page.go(page.base + "/keys")
    page.press("j")
    page.press(".")
    assert menu(page) == ["Open", "Copy its id", "Disable", "Revoke"]
    page.press("Escape")
    assert page.run("document.activeElement.matches('a.row')"), "the focus is where it was"
    page.press("x")
    page.shows("Rows of this page are not chosen", "#toast")
    page.press("?")
    page.shows("What can be done with the row", "#keys")
    is_clean(page)


def test_jobs_are_chosen_without_scripts_and_only_by_who_may(browser, house):
    job = house.wire.run("rows", {"sleep": 120})
    plain = signed_in(browser, house, scripts=False)
    plain.go(plain.base + "/jobs")
    plain.click(f"#j-{job} .pick")
    plain.click("#bulk button[value=cancel]")
    plain.shows("1 job is cancelled", ".flash")
    plain.close()
    key = house.cli("keys", "create", "--name", "looks", "--access", "read", "--json").json["key"]
    reader = signed_in(browser, house, key=key)
    reader.go(reader.base + "/jobs")
    reader.shows("Cancelled", "table.jobs")
    assert not reader.run("!!document.querySelector('.pick')")
    reader.close()


def test_the_call_behind_the_logs_is_copied(page, house):
    job = house.wire.do("rows", {"name": "it's here"})["id"]
    page.go(f"{page.base}/e/rows/logs?job={job}&q=it%27s")
    page.shows("asked for it's here", "#log")
    curl = page.run("[...document.querySelectorAll('[data-copy]')].find(b => b.textContent === 'Copy as curl').dataset.copy")
    answer = subprocess.run(
        ["sh", "-c", curl], capture_output=True, text=True, timeout=60, env={"RUNYARD_API_KEY": house.key(), "PATH": "/usr/bin:/bin"},
    )
    records = json.loads(answer.stdout)["records"]
    assert [record["message"] for record in records] == ["asked for it's here"], shlex.split(curl)
    assert page.run("document.querySelectorAll('#log li').length") == 1
    is_clean(page)


def test_a_backup_is_downloaded_and_noted(page, house, tmp_path):
    page.go(page.base + "/server")
    page.shows("none was made of this directory", "#backup")
    page.browser.call("Browser.setDownloadBehavior", behavior="allow", browserContextId=page.context, downloadPath=str(tmp_path))
    page.fill("[name=passphrase]", "correct horse")
    page.fill("[name=again]", "correct house")
    page.click("#backup button")
    page.shows("the two passphrases differ", ".flash")
    page.fill("[name=passphrase]", "correct horse")
    page.fill("[name=again]", "correct horse")
    page.click("#backup button")
    archive = until(lambda: next(iter(tmp_path.glob("runyard-*.tar")), None), 60)
    checked = house.cli("backup", "verify", str(archive), "--json").json
    assert checked["keys"], "closed with the passphrase"
    restored = tmp_path / "restored"
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    house.cli("backup", "restore", str(archive), "--data", str(restored), "--passphrase-file", str(phrase))
    assert (restored / "vault.key").is_file()
    page.go(page.base + "/server")
    page.shows("0 days old: the browser of", "#backup")
    assert archive.name in page.text("#backup")
    is_clean(page)


def test_the_secret_of_webhooks_is_shown_when_asked_and_replaced(page, house):
    secret = house.wire.api("/webhooks/secret")["secret"]
    page.go(page.base + "/server")
    assert "whsec_••••" in page.text("#webhooks") and secret not in page.run("document.documentElement.outerHTML")
    page.click("#webhooks button[value=show]")
    page.shows(secret, "#webhooks code")
    page.run("window.confirm = () => true")
    page.click("#webhooks button[value=rotate]")
    page.shows("signs beside it until", "#webhooks")
    now = house.wire.api("/webhooks/secret")
    assert now["replaced"]["secret"] == secret != now["secret"]
    assert now["secret"] in page.text("#webhooks")
    assert secret not in page.path and urllib.parse.quote(secret) not in page.path
    for path in ("/server", "/jobs", "/jobs?ended_since=2026-01-01T00:00&tests=false"):
        can_be_read(page, path, REPOSITORY / "target/console", "rows-" + path.strip("/").replace("?", "-")[:12].replace("=", "-"))
    is_clean(page)
