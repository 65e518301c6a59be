"""The console beside endpoints and jobs, in a real Chromium: the palette and the keys, the sheet of a phone, templates,
volumes, registries, SSH keys, members, keys, the disk, the server's health, activity; a terminal beside a worker; what a
key that may only read is offered; without scripts too.
"""

import http.client
import itertools
import json
import os
import re
import shlex

import pytest
from test_console import REPOSITORY, house  # noqa: F401

from support import handlers
from support.console import can_be_read, finds_nothing, is_clean, signed_in
from support.wire import Wire, until

IDLE = """
import runpod
runpod.serverless.start({"handler": lambda job: job["input"]})
"""
PAGES = [
    "/templates", "/volumes", "/registries", "/ssh-keys", "/members", "/usage", "/disk", "/server", "/activity", "/keys", "/secrets",
    "/search?q=pictures",
]
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann@laptop"


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):  # noqa: F811
    """A worker that stays."""
    folder = handlers.write(tmp_path_factory.mktemp("things") / "shell", IDLE)
    house.deploy(folder, "shell", "--idle", "10m", "--max", "1")
    return until(lambda: next((w["id"] for w in house.wire.workers("shell") if w["state"] == "idle"), None), 30)


def key_of(house, access, **more):  # noqa: F811
    return house.wire.api("/keys", "POST", {"name": f"{access} alone", "access": access, **more})["key"]


def made(wire, path, body):
    """Makes one; some calls answer 201."""
    status, said = wire.call("POST", f"/api/v1{path}", body)
    assert status in (200, 201), said


def typed(page, text):  # noqa: F811
    page.call("Input.insertText", text=text)


def found(page):  # noqa: F811
    return page.run("[...document.querySelectorAll('#palette a[role=option]')].map(a => a.innerText.split('\\n')[0])")


def test_the_palette_leads_anywhere_by_keys_alone(page, house, worker):  # noqa: F811
    job = house.wire.do("shell", {"a": 1})["id"]
    page.go(page.base + "/")
    for question, name, path in [
        ("shell logs", "shell · Logs", "/e/shell/logs"),
        (job[:10], job, f"/jobs/{job}"),
        (worker, worker, f"/e/shell/logs?worker={worker}"),
        ("create a key", "Create a key", "/keys"),
        ("volumes", "Volumes", "/volumes"),
    ]:
        page.press("k", modifiers=2)
        until(lambda: page.run("document.getElementById('palette').open"), 5)
        assert page.run("document.activeElement.getAttribute('role')") == "combobox"
        typed(page, question)
        until(lambda: found(page) and name == found(page)[0], 10)
        active = "document.getElementById(document.querySelector('#palette input').getAttribute('aria-activedescendant'))"
        assert page.run(f"{active}.getAttribute('aria-selected')") == "true", "a screen reader hears which one it is"
        page.press("Enter")
        until(lambda: page.path == path, 20)
        page.settled()
    page.press("k", modifiers=2)
    until(lambda: page.run("document.querySelectorAll('#palette a').length > 10"), 10)
    first = page.run("document.querySelector('#palette a[aria-selected=true]').href")
    page.press("ArrowDown")
    assert page.run("document.querySelector('#palette a[aria-selected=true]').href") != first
    typed(page, "nothing is called so")
    page.shows("Nothing", "#palette-list")
    page.press("Escape")
    until(lambda: not page.run("document.getElementById('palette').open"), 5)
    is_clean(page)


def test_keys_lead_through_pages(page, house, worker):  # noqa: F811
    for first, path in [("e", "/endpoints"), ("k", "/keys"), ("v", "/volumes"), ("j", "/jobs"), ("a", "/activity")]:
        page.press("g")
        page.press(first)
        until(lambda: page.path == path, 20)
        page.settled()
    page.go(page.base + "/e/shell")
    page.press("g")
    page.press("l")
    until(lambda: page.path == "/e/shell/logs", 20)
    page.go(page.base + "/keys")
    page.press("j")
    id = page.run("document.activeElement.closest('tr').dataset.id")
    page.press("c")
    page.shows("Copied " + id, "#toast")
    page.press("?")
    page.shows("Search and go anywhere", "#keys")
    page.press("Escape")
    page.go(page.base + "/activity")
    page.press("/")
    assert page.run("document.activeElement.name") == "who"
    is_clean(page)


def test_a_phone_has_a_sheet(page):  # noqa: F811
    page.size(360, 740)
    page.go(page.base + "/")
    shown = "getComputedStyle(document.querySelector('.side')).visibility"
    assert page.run(shown) == "hidden"
    page.click("a.menu")
    until(lambda: page.run(shown) == "visible", 5)
    assert page.run("document.querySelector('.who').innerText").endswith("Sign out")
    page.press("Escape")
    until(lambda: page.run(shown) == "hidden", 5)
    page.click("a.menu")
    page.click(".side a[href='/volumes']")
    page.shows("Volumes", "h1")
    assert page.run("document.documentElement.scrollWidth") <= 360
    is_clean(page)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "none"])
def test_things_are_made_changed_and_removed(browser, house, scripts):  # noqa: F811
    page = signed_in(browser, house, scripts)  # noqa: F811
    page.run("window.confirm = () => true") if scripts else None
    wire = house.wire

    def send(path, form, **fields):
        page.go(page.base + path)
        if scripts:
            page.run("window.confirm = () => true")
        for name, value in fields.items():
            page.fill(f"{form} [name={name}]", value)
        page.click(f"{form} button.primary, {form} button.bad")

    # Volumes.
    send("/volumes", "#new form", name="models", size="12")
    page.shows("The volume is made", ".flash")
    [volume] = wire.api("/volumes")["networkVolumes"]
    send(f"/volumes?change={volume['id']}", "#change .fresh form", size="30")
    page.shows("Saved", ".flash")
    page.shows("30 GB", "table.rows")
    send(f"/volumes?change={volume['id']}", "#change .fresh form", size="10")
    page.shows("can grow and not shrink", ".flash")
    send(f"/volumes?change={volume['id']}", "#change .danger form", name="other")
    page.shows("nothing was removed", ".flash")
    send(f"/volumes?change={volume['id']}", "#change .danger form", name="models")
    page.shows("No volumes yet", ".empty")
    assert wire.api("/volumes")["networkVolumes"] == []

    # SSH keys.
    send("/ssh-keys", "#new form", keys="not a key")
    page.shows("public SSH key", ".flash")
    send("/ssh-keys", "#new form", keys=PUBLIC)
    page.shows("SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU", "table.rows")
    assert wire.api("/ssh-keys")["keys"] == [PUBLIC]
    send("/ssh-keys", "table.rows form")
    page.shows("No SSH keys yet", ".empty")

    # Members.
    send("/members", "#new form", email="ann@example.com", role="dev")
    page.shows("ann@example.com is a member", ".flash")
    page.fill("table.rows select[name=role]", "basic")
    page.click("table.rows .pair button")
    page.shows("has the role basic", ".flash")
    assert wire.api("/members/ann@example.com")["role"] == "basic"
    page.click("table.rows button[value=disable]")
    page.shows("Disabled", "table.rows")
    send("/members", "table.rows .acts form")
    page.shows("No members yet", ".empty")

    # A member with a key, which is shown once and can be revoked.
    page.go(page.base + "/members")
    page.fill("#new [name=email]", "bob@example.com")
    page.click("#new [name=key]")
    page.click("#new button.primary")
    page.shows("The key of bob@example.com", ".fresh")
    key = page.text(".fresh pre").strip()
    assert Wire(house.port, key).api("/me")["member"]["email"] == "bob@example.com"
    page.go(page.base + "/members?member=bob%40example.com")
    page.shows("key of bob@example.com", "#member")
    page.run("window.confirm = () => true") if scripts else None
    page.click("#member button.bad")
    page.shows("revoked for good", ".flash")
    wire.api("/members/bob@example.com", "DELETE")

    # The disk, with something that nobody needs.
    left = house.data / "bundles" / ("f" * 64)
    left.mkdir()
    os.utime(left, (0, 0))
    page.go(page.base + "/disk")
    page.run("window.confirm = () => true") if scripts else None
    page.shows("jobs, their inputs and results", "table.rows")
    page.click("#prune button")
    page.shows("free again", ".flash")
    assert not left.exists()
    page.close()


def test_a_template_is_made_and_changed(browser, make_yard):  # noqa: F811
    yard = make_yard()
    folder = yard.root / "local"
    handlers.write(folder, IDLE)
    (yard.data / "server.toml").write_text(f'[images."me/word:1"]\npath = "{folder}"\n')
    yard.start()
    page = signed_in(browser, yard)  # noqa: F811
    page.go(page.base + "/templates")
    page.shows("No templates yet", ".empty")
    for name, value in {"name": "word", "image": "me/word:1", "env": "MODE=fast\nDEPTH=2", "ports": "8888/http"}.items():
        page.fill(f"#edit [name={name}]", value)
    page.click("#edit button.primary")
    page.shows("The template word is made", ".flash")
    [template] = yard.wire.api("/templates")["templates"]
    assert template["env"] == {"MODE": "fast", "DEPTH": "2"} and template["ports"] == ["8888/http"]
    page.go(f"{page.base}/templates?edit={template['id']}")
    assert page.run("document.querySelector('#edit [name=env]').value") == "DEPTH=2\nMODE=fast"
    page.fill("#edit [name=env]", "no value")
    page.click("#edit button.primary")
    page.shows("write NAME=VALUE", ".flash")
    page.go(f"{page.base}/templates?edit={template['id']}")
    page.fill("#edit [name=env]", "DEPTH=3")
    page.click("#edit button.primary")
    page.shows("Saved", ".flash")
    page.go(f"{page.base}/templates?deploy={template['id']}")
    page.fill("#deploy [name=name]", "of-word")
    page.click("#deploy button.primary")
    page.shows("of-word", "h1")
    assert yard.wire.do("of-word", {"a": 1}, limit=150)["output"] == {"a": 1}
    page.run("window.confirm = () => true")
    page.go(page.base + "/templates")
    page.run("window.confirm = () => true")
    page.click("table.rows button.bad")
    page.shows("No templates yet", ".empty")
    is_clean(page)
    page.close()


def test_a_key_for_an_endpoint_is_made_there_tried_and_shown_once(page, house, worker):  # noqa: F811
    page.go(page.base + "/e/shell")
    page.click("form[action='/keys'] button")
    page.shows("Tried: it opens shell", ".fresh")
    key = page.text(".fresh pre").strip()
    curl = page.run("document.querySelectorAll('.fresh pre')[1].textContent")
    assert key in curl and f"{page.base}/v2/shell/runsync" in curl
    import shlex
    import subprocess

    said = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["output"] == {"prompt": "Hello"}, "the line that is shown works"
    page.go(page.base + "/keys")
    assert key not in page.text() and "shell" in page.text("table.rows")
    # For pages in browsers.
    page.fill("#new [name=name]", "web")
    page.run("document.querySelector('#new details').open = true")
    page.click("#new [name=endpoint][value=shell]")
    page.click("#new [name=pages]")
    page.fill("#new [name=origins]", "https://app.example")
    page.fill("#new [name=rates]", "run=10/2")
    page.click("#new button.primary")
    page.shows("for pages in browsers", ".fresh")
    made = next(k for k in house.wire.api("/keys")["keys"] if k["name"] == "web")
    assert made["page"]["origins"] == ["https://app.example"] and made["rates"] == {"run": "10/2"}, made
    page.go(f"{page.base}/keys?edit={made['id']}")
    page.fill("#edit [name=name]", "web page")
    page.fill("#edit [name=days]", "2")
    page.click("#edit button.primary")
    page.shows("Saved", ".flash")
    assert house.wire.api(f"/keys/{made['id']}")["expiresAt"]
    is_clean(page)


def test_activity_is_found_and_exported(page, house):  # noqa: F811
    house.wire.api("/secrets/AUDITED", "PUT", {"value": "x"})
    page.go(page.base + "/activity?action=secret&subject=AUDITED")
    page.shows("secret.set", "table.rows")
    assert "member.sign-in" not in page.text("table.rows")
    page.go(page.base + "/activity?action=member.sign-in")
    page.shows("member.sign-in", "table.rows")
    page.go(page.base + "/")
    page.shows("secret.set", "main")
    assert "member.sign-in" not in page.text("main"), "who came crowds nothing out"
    lines = page.run("fetch('/activity/export?action=secret').then(r => r.text())").splitlines()
    assert lines and {json.loads(line)["action"].split(".")[0] for line in lines} == {"secret"}
    page.go(page.base + "/activity?from=1999-01-01&to=1999-12-31")
    page.shows("Nothing fits", ".empty")
    page.go(page.base + "/server")
    page.shows("Runs since", "main")
    page.shows("listen", "main")
    is_clean(page)


def test_a_terminal_beside_a_worker(page, house, worker):  # noqa: F811
    page.go(page.base + "/e/shell/workers")
    page.click("a[href$='/terminal']")
    page.shows("Open the terminal")
    page.click("#terminal-open button.primary")
    page.shows("bash runs", "#terminal-says")
    rows = "document.querySelector('#terminal .xterm-rows').innerText"
    typed(page, "echo it-is-$((40+2)) $RUNPOD_POD_ID; stty size")
    page.press("Enter")
    until(lambda: f"it-is-42 {worker}" in page.run(rows).replace("\n", "").replace("\xa0", " "), 20)
    size = re.search(r"(\d+) (\d+)\s", page.run(rows).replace("\xa0", " ").split(worker)[-1])
    assert size and int(size.group(2)) > 80, "it has the size of the page"
    page.picture(REPOSITORY / "target/console/terminal-1440-light.png")
    typed(page, "exit 3")
    page.press("Enter")
    page.shows("ended with code 3", "#terminal-says")
    said = house.wire.api("/audit?action=worker.exec&limit=1")["records"][0]
    assert said["subject"] == worker
    is_clean(page)

    # It ends with its page.
    page.click("#terminal-open button.primary")
    page.shows("bash runs", "#terminal-says")
    typed(page, "exec sleep 34567")
    page.press("Enter")
    until(lambda: any("sleep 34567" in line for line in house.processes().values()), 20)
    page.go(page.base + "/")
    until(lambda: not any("sleep 34567" in line for line in house.processes().values()), 30)

    # And with its worker, which is told.
    page.go(f"{page.base}/workers/{worker}/terminal")
    page.click("#terminal-open button.primary")
    page.shows("bash runs", "#terminal-says")
    house.wire.api("/endpoints/shell/restart", "POST", {})
    page.shows("ended", "#terminal-says")
    page.shows("This worker has ended", "#live")


def post(house, path, cookie, body, **headers):  # noqa: F811
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    connection.request("POST", path, body, {"cookie": cookie, "content-type": "application/x-www-form-urlencoded", **headers})
    answer = connection.getresponse()
    status, name = answer.status, answer.getheader("x-terminal")
    if status != 200:
        answer.read()
        connection.close()
    return status, name, connection


def session(house, key):  # noqa: F811
    """A session as a browser has it: the cookie, and the number of its forms."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    connection.request("POST", "/sign-in", f"key={key}", {"content-type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    lines = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    cookie = next(line for line in lines if line.startswith("runyard_session="))
    connection.request("GET", "/", headers={"cookie": cookie})
    text = connection.getresponse().read().decode()
    connection.close()
    return cookie, re.search(r'name="csrf" value="(\w+)"', text).group(1)


def test_no_other_page_opens_or_feeds_a_terminal(house):  # noqa: F811
    worker = until(lambda: next((w["id"] for w in house.wire.workers("shell") if w["state"] in ("idle", "running")), None) or (house.wire.do("shell", {}) and None), 60)
    cookie, csrf = session(house, house.key())
    form = f"shell=sh&csrf={csrf}"
    own = f"http://127.0.0.1:{house.port}"
    path = f"/ui/terminal/{worker}"
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "null"}):
        assert post(house, path, cookie, form, **headers)[0] == 403, headers
    assert post(house, path, cookie, "shell=sh", origin=own)[0] == 403
    assert post(house, path, "", form, origin=own)[0] == 401
    assert post(house, path, cookie, f"shell=reboot&csrf={csrf}", origin=own)[0] == 400
    for access in ("read", "run"):
        cookie_of, csrf_of = session(house, key_of(house, access))
        assert post(house, path, cookie_of, f"shell=sh&csrf={csrf_of}", origin=own)[0] == 403, access
    status, name, open_one = post(house, path, cookie, form, origin=own)
    assert status == 200 and name
    typed = b"\x01" + (4).to_bytes(4, "big") + b"true"
    number = {"x-csrf-token": csrf, "origin": own}
    assert post(house, f"{path}/{name}", cookie, typed, **number)[0] == 204
    other = session(house, house.key())
    for headers, of in [
        ({**number, "origin": "https://evil.example"}, cookie),
        ({"origin": own}, cookie),
        (number, other[0]),
    ]:
        assert post(house, f"{path}/{name}", of, typed, **headers)[0] == 403, headers
    # Another session has another number, and not this terminal.
    assert post(house, f"{path}/{name}", other[0], typed, origin=own, **{"x-csrf-token": other[1]})[0] == 410
    # What is typed is nothing else: no other command.
    for odd in (b"\x00\x00\x00\x00\x02{}", b"\x09\x00\x00\x00\x00", b"\x01\xff\xff\xff\xff"):
        assert post(house, f"{path}/{name}", cookie, odd, **number)[0] == 400
    open_one.close()
    until(lambda: post(house, f"{path}/{name}", cookie, typed, **number)[0] == 410, 30)


def test_a_key_that_may_only_read_is_offered_nothing_else(browser, house, worker):  # noqa: F811
    page = signed_in(browser, house, key=key_of(house, "read"))  # noqa: F811
    entries = page.run("[...document.querySelectorAll('.side li a')].map(a => a.innerText)")
    assert entries == ["Overview", "Endpoints", "Jobs", "Catalogue", "Git", "Templates", "Volumes", "Secrets", "SSH keys", "Usage"], entries
    for path in ("/templates", "/volumes", "/secrets", "/ssh-keys", "/e/shell/workers"):
        page.go(page.base + path)
        assert page.run("[...document.querySelectorAll('main form[method=post]')].length") == 0, path
        assert "terminal" not in page.run("document.querySelector('main').innerHTML"), path
    for path in ("/keys", "/members", "/registries", "/activity", "/disk", "/server", f"/workers/{worker}/terminal"):
        page.go(page.base + path)
        assert page.text("h1") in ("Forbidden", "Not allowed"), (path, page.text("h1"))
    page.press("k", modifiers=2)
    until(lambda: page.run("document.querySelectorAll('#palette a').length > 3"), 10)
    assert not {"Keys", "Members", "Create a key", "Free disk space"} & set(found(page))
    page.close()


def test_the_commands_of_pages_are_commands(page, house, worker):  # noqa: F811
    tabs = [f"/e/shell{tab}" for tab in ("", "/requests", "/workers", "/logs", "/metrics", "/telemetry", "/releases", "/settings")]
    for path in ["/", "/endpoints", "/endpoints/new", "/catalogue", "/catalogue/hello", "/git", "/jobs", *tabs, *PAGES[:-1]]:
        page.go(page.base + path)
        lines = page.run("[...document.querySelectorAll('.same dd:first-of-type code')].map(code => code.textContent)")
        assert lines, f"{path} names no command"
        for line in lines:
            assert line.startswith("runyard "), f"{path}: {line}"
            # What stands after a pipe is the shell's.
            words = list(itertools.takewhile(lambda word: word not in ("|", ">", "<"), shlex.split(line)))
            # Nobody listens there: what is understood fails for another reason than its words.
            done = house.cli(*words[1:], code=None, data=False, env={"RUNYARD_URL": "http://127.0.0.1:9"})
            assert "Usage:" not in done.err, f"{path}: {line}"


def test_it_is_found_without_scripts(browser, house, worker):  # noqa: F811
    page = signed_in(browser, house, scripts=False)  # noqa: F811
    page.click(".find")
    page.shows("Search", "h1")
    page.fill("main input[name=q]", "shell logs")
    page.click("main form button")
    page.shows("shell · Logs", "main")
    page.go(f"{page.base}/workers/{worker}/terminal")
    page.shows(f"runyard exec -t {worker} -- bash", "noscript")
    page.close()


def test_every_page_can_be_read_at_every_size_in_both_themes(page, house, worker):  # noqa: F811
    pictures = REPOSITORY / "target/console"
    wire = house.wire
    made(wire, "/volumes", {"name": "weights", "size": 40, "dataCenter": "LOCAL-1"})
    wire.api("/ssh-keys", "PUT", {"keys": [PUBLIC]})
    made(wire, "/members", {"email": "carl@example.com", "name": "Carl", "role": "dev"})
    made(wire, "/registries", {"name": "hub", "server": "registry.invalid", "username": "me", "password": "p"})
    live = next((w["id"] for w in wire.workers("shell") if w["state"] != "gone"), worker)
    volume = wire.api("/volumes")["networkVolumes"][0]["id"]
    for path in [*PAGES, f"/volumes?change={volume}", "/members?member=carl%40example.com", f"/workers/{live}/terminal"]:
        name = "things-" + re.sub(r"\W+", "-", path.replace(live, "w").replace(volume, "v")).strip("-")
        can_be_read(page, path, pictures, name)
    for dark in (False, True):
        page.size(1440, 900, dark)
        page.go(page.base + "/")
        page.press("k", modifiers=2)
        until(lambda: page.run("document.querySelectorAll('#palette a').length > 3"), 10)
        finds_nothing(page, "the palette")
        page.picture(pictures / f"things-palette-{'dark' if dark else 'light'}.png")
    page.size(390, 844)
    page.go(page.base + "/#menu")
    finds_nothing(page, "the sheet")
    page.picture(pictures / "things-sheet.png")
    is_clean(page)
