"""Endpoints by clicks, in a real Chromium: a folder, an image, a repository and an entry of the catalogue become
endpoints; a request is sent, kept as an example, looked into; what fails says why in one click; settings and variables
are changed without anybody being overwritten; releases are watched, compared and rolled back. And the same forms
without scripts.

Pictures of the pages lie in `target/console` afterwards.
"""

import io
import json
import re
import zipfile

import pytest

from support import handlers
from support.console import can_be_read, choose, is_clean, pick, serves
from support.forge import Forge
from support.wire import until
from support.yard import REPOSITORY, Yard


CODE = '''
import os
import time

import runpod


def handler(job):
    given = job["input"]
    print("given is", given.get("name"), flush=True)
    if given.get("fail"):
        raise ValueError("there is no such model: " + str(given["fail"]))
    return {"hello": given.get("name"), "mode": os.environ.get("MODE", "none"), "token": len(os.environ.get("TOKEN", ""))}


runpod.serverless.start({"handler": handler})
'''

STREAM = '''
import time

import runpod


def handler(job):
    for word in ("one", "two", "three"):
        time.sleep(float(job["input"].get("pause", 0)))
        yield {"word": word}


runpod.serverless.start({"handler": handler, "return_aggregate_stream": False})
'''


@pytest.fixture(scope="module")
def house(binary, tools, tmp_path_factory):
    """A server with GPUs, an image that is a local command, and an entry of its own in the catalogue."""
    yard = Yard(binary, tools, gpus="2xNVIDIA A40:48GB,1xNVIDIA L4:24GB")
    image = yard.root / "image"
    handlers.write(image, CODE)
    own = yard.root / "catalogue" / "team-model"
    handlers.write(own, CODE, test_input__json='{"input": {"name": "first"}}')
    (own / ".runpod").mkdir()
    (own / ".runpod/hub.json").write_text(json.dumps({
        "title": "Team model", "description": "Ours.", "type": "serverless", "category": "language", "strange": 1,
        "config": {"runsOn": "GPU", "gpuCount": 1, "gpuIds": "AMPERE_48,-NVIDIA L4", "env": [
            {"key": "MODE", "input": {"name": "Mode", "type": "string", "options": [
                {"label": "Fast", "value": "fast"}, {"label": "Good", "value": "good"}], "default": "good"}},
            {"key": "SIZE", "input": {"name": "Size", "type": "number", "min": 1, "max": 4, "required": True}},
        ], "presets": [{"name": "small", "defaults": {"SIZE": 1}}]},
    }))
    broken = yard.root / "catalogue" / "broken"
    (broken / ".runpod").mkdir(parents=True)
    (broken / ".runpod/hub.json").write_text('{"title": "Broken", "config": {"env": 1}}')
    (yard.data / "server.toml").write_text(
        f'catalogue = ["{yard.root}/catalogue"]\nprice_gpu_hour = 0.5\ngit_allow_private = true\n'
        f'[images."me/worker:1"]\npath = "{image}"\n'
    )
    try:
        yield yard.start()
    finally:
        yard.close()


@pytest.fixture
def page(browser, house):
    page = browser.page()
    page.size(1440)
    sign_in(page, house)
    yield page
    page.close()


def sign_in(page, house):
    page.base = f"http://127.0.0.1:{house.port}"
    page.go(page.base + "/sign-in?next=/endpoints")
    page.fill("input[name=key]", house.key())
    page.click("button.primary")
    page.shows("Endpoints", "h1")


@pytest.fixture(scope="module")
def made(browser, house, tmp_path_factory):
    """The endpoint `clicks`, made by clicks of a folder."""
    folder = tmp_path_factory.mktemp("made") / "clicks"
    handlers.write(folder, CODE, test_input__json='{"input": {"name": "from the test"}}', secret__log="x")
    (folder / ".gitignore").write_text("*.log\n")
    page = browser.page()
    page.size(1440)
    sign_in(page, house)
    page.click("a[href='/endpoints/new']")
    page.shows("New endpoint", "h1")
    choose(page, "input[name=folder]", folder)
    page.fill("input[name=workers_max]", "2")
    page.fill("[name=idle_timeout_s]", "600")
    page.run("document.querySelectorAll('[name=env_name]')[0].value = 'MODE'; document.querySelectorAll('[name=env_value]')[0].value = 'clicked'")
    page.run("document.querySelectorAll('[name=env_name]')[1].value = 'TOKEN'; document.querySelectorAll('[name=env_value]')[1].value = 'hush-hush';"
             "document.querySelectorAll('[name=env_kind]')[1].value = 'secure'")
    page.fill("[name=name]", "clicks")
    page.shows("--secret-env TOKEN", "#preview")
    assert "hush-hush" not in page.text("#preview") and "max = 2" in page.text("#preview")
    page.click(".sticky button.primary")
    page.shows("Release 1", "h2")
    page.shows("environment", ".steps")
    serves(page)
    assert page.path == "/e/clicks/releases/1"
    assert "Done" in page.text(".steps") and "test done" in page.text("#build-log")
    is_clean(page)
    page.close()
    return house


def test_a_folder_becomes_an_endpoint_with_a_secure_variable(made, page):
    release = made.wire.api("/endpoints/clicks/releases")["releases"][0]
    assert release["env"] == {"MODE": "clicked", "TOKEN": "••••••"} or release["secureEnv"] == ["TOKEN"]
    assert "hush-hush" not in json.dumps(release)
    assert made.wire.api("/endpoints/clicks")["settings"]["workers_max"] == 2
    answer = made.wire.do("clicks", {"name": "Ada"})
    assert answer["output"] == {"hello": "Ada", "mode": "clicked", "token": 9}
    bundle = next((made.data / "bundles").glob("*/handler.py")).parent
    assert not (bundle / "secret.log").exists(), "what an ignore file names stays at home"


def test_a_request_is_sent_looked_into_and_kept(made, page):
    page.go(page.base + "/e/clicks/requests")
    page.shows("test_input.json", "#examples")
    page.fill("ry-json textarea", '{"name": "Ada",\n  "n": }')
    page.shows("Line 2, column 8", "#json-says")
    page.fill("ry-json textarea", '{"name":"Grace","big":12345678901234567890}')
    page.click("ry-json .bar button")
    assert page.run("document.querySelector('ry-json textarea').value") == '{\n  "name": "Grace",\n  "big": 12345678901234567890\n}'
    page.fill("input[name=example]", "a greeting")
    page.click("#examples button[value=keep]")
    page.shows("is kept for everybody", ".flash")
    kept = made.cli("examples", "clicks", "ls", "--json").json["examples"]
    assert {one["name"]: one["source"] for one in kept} == {"a greeting": "saved", "test_input.json": "release"}
    raw = made.cli("examples", "clicks", "ls", "--json").out
    assert "12345678901234567890" in raw, "no number is rounded"
    assert made.cli("run", "clicks", "--example", "a greeting", "--json").json["output"]["hello"] == "Grace"

    page.go(page.base + "/e/clicks/requests?example=a%20greeting")
    page.run("document.querySelector('.headers').open = true")
    page.fill("[name=ttl]", "3600")
    page.run("document.querySelector('ry-json textarea').focus()")
    page.press("Enter", modifiers=2)
    page.shows("Completed", "#live")
    page.click("#job-logs summary")
    page.shows("given is Grace", "#job-logs")
    job = re.search(r"job=([\w-]+)", page.path).group(1)
    # Its logs alone, its life, and the start of the worker it waited for.
    page.go(f"{page.base}/e/clicks/logs?job={job}")
    page.shows("given is Grace", ".log")
    assert "from the test" not in page.text(".log")
    page.go(f"{page.base}/jobs/{job}")
    page.shows("Running", ".falls")
    page.go(page.base + "/e/clicks/requests?as=form")
    page.shows("big")
    is_clean(page)


def test_a_failed_job_leads_to_its_cause_in_one_click(made, page):
    sent = made.wire.do("clicks", {"name": "x", "fail": "sdxl"})
    page.go(page.base + "/e/clicks")
    page.shows("there is no such model: sdxl")
    page.click("#live .list a.row")
    page.shows("there is no such model: sdxl", ".sentence")
    assert sent["id"] in page.path


def test_a_stream_shows_its_parts_with_their_times(made, page, tmp_path):
    handlers.write(tmp_path / "stream", STREAM)
    made.deploy(tmp_path / "stream", "stream", "--idle", "10m")
    page.go(page.base + "/e/stream/requests")
    page.click(".seg label:nth-of-type(3) input")
    page.fill("ry-json textarea", '{"pause": 1}')
    page.press("Enter", modifiers=2)
    page.shows("three", "#live .chunks, #live .preview")
    until(lambda: "Completed" in page.text("#live"), 60)
    page.run("document.querySelector('.chunks').closest('details').open = true")
    times = page.run("[...document.querySelectorAll('.chunks .at')].map(e => e.textContent)")
    assert len(times) == 3 and times[-1].startswith("+"), times
    is_clean(page)


def test_variables_turn_secure_and_back_by_releases(made, page):
    page.go(page.base + "/e/clicks/settings")
    pick(page, "#var-MODE select", "secure")
    page.click("#var-MODE button")
    page.shows("Release ", "h2")
    serves(page)
    newest = made.wire.api("/endpoints/clicks/releases")["releases"][0]
    assert sorted(newest["secureEnv"]) == ["MODE", "TOKEN"]
    page.go(page.base + "/e/clicks/settings")
    assert "clicked" not in page.run("document.documentElement.outerHTML"), "a sealed value is on no page"
    assert made.wire.do("clicks", {"name": "x"})["output"]["mode"] == "clicked"
    pick(page, "#var-MODE select", "plain")
    page.fill("#var-MODE input[name=value]", "open again")
    page.click("#var-MODE button")
    page.shows("Release ", "h2")
    serves(page)
    assert made.wire.do("clicks", {"name": "x"})["output"]["mode"] == "open again"
    # Any two are compared, and the way back is one click.
    page.go(page.base + "/e/clicks/releases?from=1&to=2")
    page.shows("Release 2 against 1", "#diff")
    page.go(page.base + "/e/clicks/releases/1")
    page.click("#live .acts button")
    page.shows("Traffic goes to release 1", ".flash", 90)
    until(lambda: made.wire.api("/endpoints/clicks")["serving"] == 1, 60)
    is_clean(page)


def test_two_people_do_not_overwrite_each_other(made, page):
    page.go(page.base + "/e/clicks/settings")
    made.cli("endpoints", "set", "clicks", "--max", "3", "--yes")
    page.fill("[name=workers_max]", "5")
    page.click(".settings .sticky button")
    page.shows("Somebody else changed it meanwhile")
    assert page.text("#overtaken td:nth-of-type(1)") == "5" and page.text("#overtaken td:nth-of-type(2)") == "3"
    assert made.wire.api("/endpoints/clicks")["settings"]["workers_max"] == 3
    page.click(".settings .sticky button")
    page.shows("Saved: workers_max", ".flash")
    assert made.wire.api("/endpoints/clicks")["settings"]["workers_max"] == 5


def test_gpus_are_chosen_from_what_there_is(made, page):
    page.go(page.base + "/endpoints/new?from=image")
    page.shows("2 × NVIDIA A40, 48 GB; 1 × NVIDIA L4, 24 GB", ".gpu-wish")
    page.fill("[name=gpu_count]", "1")
    page.fill("[name=gpu_kind]", "24GB")
    page.fill("[name=gpu_not]", "L4")
    page.fill("[name=workers_max]", "3")
    page.shows("NVIDIA A40 here: 2 of 2 free now", "#preview")
    page.shows("At most 1.5 an hour, with 3 workers", "#preview")
    page.fill("[name=gpu_kind]", "80GB")
    page.shows("needs 1 of 80GB but L4", "#preview")
    page.fill("[name=gpu_kind]", "24GB")
    page.fill("[name=image]", "me/worker:1")
    page.fill("[name=name]", "of-image")
    page.click(".sticky button.primary")
    page.shows("Release 1", "h2")
    serves(page)
    assert made.wire.api("/endpoints/of-image")["settings"]["gpus"] == ["24GB", "-L4"]
    assert made.cli("gpus", "--wish", "24GB,-l4", "--json").json["wish"]["free"] >= 1
    is_clean(page)


def test_an_entry_of_the_catalogue_is_deployed_by_its_form(made, page):
    page.go(page.base + "/catalogue")
    page.shows("Text to image", ".shelf")
    page.shows("'config.env' must be a list", ".shelf")
    page.click("a[href='/catalogue/team-model']")
    page.shows("Team model", "h1")
    page.shows("'strange' means nothing here")
    page.fill("input[name=name]", "ours")
    page.fill("[name='var.SIZE']", "9")
    page.click(".sticky button.primary")
    page.shows("4 or less", ".flash")
    page.fill("[name='var.SIZE']", "2")
    pick(page, "[name='var.MODE']", "fast")
    page.click(".sticky button.primary")
    page.shows("Release 1", "h2")
    serves(page)
    release = made.wire.api("/endpoints/ours/releases")["releases"][0]
    assert release["env"] == {"MODE": "fast", "SIZE": "2"} and release["gpus"] == ["AMPERE_48", "-NVIDIA L4"]
    # The form that was refused is all that there is to complain about.
    assert all("400 (Bad Request)" in said for said in page.complaints()), page.complaints()
    # The command says the same of it, and does the same.
    listed = made.cli("quick", "--json").json["entries"]
    assert {"hello", "text-to-image", "llm", "embed", "speak", "transcribe", "team-model", "broken"} == {e["name"] for e in listed}
    done = made.cli("quick", "hello", "--name", "greet", "--env", "HELLO_MODE=generator", limit=180)
    assert "live" in done.out
    assert made.cli("run", "greet", "--example", "test_input.json", "--stream", limit=120).out.strip()
    again = made.cli("quick", "hello", "--name", "greet", "--json", code=None)
    assert again.error["code"] == "conflict", again
    assert made.cli("quick", "broken", code=None).code != 0


def test_a_repository_is_followed_by_clicks(made, page, tmp_path):
    with Forge(tmp_path / "forge") as forge:
        repository = forge.repository("me/app")
        repository.commit("first", handler__py=CODE.lstrip(), requirements__txt="runpod\n")
        repository.push("main")
        page.go(page.base + "/endpoints/new?from=git")
        page.fill("[name=url]", repository.url)
        page.fill("[name=name]", "followed")
        page.run("document.querySelectorAll('[name=env_name]')[0].value = 'TOKEN';"
                 "document.querySelectorAll('[name=env_value]')[0].value = 'of-a-repository';"
                 "document.querySelectorAll('[name=env_kind]')[0].value = 'secure'")
        page.click(".sticky button.primary")
        page.shows("follows its repository", ".flash")
        page.shows("Serving", "#live", 180)
        assert made.wire.do("followed", {"name": "Bo"})["output"]["token"] == len("of-a-repository")
        page.go(page.base + "/git")
        page.shows("Deployed", "#c-followed")
        page.shows("first", "#c-followed")
        page.click("#c-followed form button")
        page.shows("It is looked at now", ".flash")
        # One that is there follows it, too; its webhook's secret is shown this once.
        pick(page, "#new select[name=endpoint]", "clicks")
        page.fill("#new input[name=url]", repository.url + "-none")
        page.click("#new button.primary")
        page.shows("repository", ".flash.bad")
        page.run("window.confirm = () => true")
        page.click("#c-followed .acts form:nth-of-type(2) button")
        page.shows("follows nothing any more", ".flash")


def test_what_cannot_be_deployed_is_said_before_anything_is_made(made, page, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no handler here")
    page.go(page.base + "/endpoints/new")
    page.fill("[name=name]", "nothing")
    page.click(".sticky button.primary")
    page.shows("no file came", ".flash")
    choose(page, "input[name=folder]", tmp_path / "empty")
    page.click(".sticky button.primary")
    page.shows("runpod.serverless.start", ".flash")
    page.fill("[name=name]", "clicks")
    choose(page, "input[name=folder]", tmp_path / "empty")
    page.click(".sticky button.primary")
    page.shows("there is an endpoint 'clicks' already", ".flash")
    assert made.cli("endpoints", "show", "nothing", code=None).code != 0


def test_every_form_works_without_scripts(made, browser, tmp_path):
    page = browser.page()
    page.without_scripts()
    sign_in(page, made)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("plain/handler.py", CODE.lstrip())
        zipped.writestr("plain/requirements.txt", "runpod\n")
    (tmp_path / "plain.zip").write_bytes(archive.getvalue())
    page.go(page.base + "/endpoints/new")
    page.fill("[name=gpu_count]", "1")
    page.click(".sticky button[value=preview]")
    page.shows("free now", "#preview")
    choose(page, "input[name=file]", tmp_path / "plain.zip")
    page.fill("[name=gpu_count]", "0")
    page.click(".sticky button.primary")
    page.shows("Release 1", "h2")
    assert page.path == "/e/plain/releases/1"
    until(lambda: made.wire.api("/endpoints/plain")["serving"] == 1, 120)
    # The next release, of one handler alone.
    (tmp_path / "handler.py").write_text(CODE.lstrip().replace('"hello"', '"goodbye"'))
    page.go(page.base + "/e/plain/releases")
    choose(page, "form.files input[name=file]", tmp_path / "handler.py")
    page.click("form.files button")
    page.shows("Release 2", "h2")
    until(lambda: made.wire.api("/endpoints/plain")["serving"] == 2, 120)
    # A request, an example, a variable, a setting.
    page.go(page.base + "/e/plain/requests")
    page.fill("ry-json textarea", '{"name": "no scripts"}')
    page.fill("input[name=example]", "plain one")
    page.click("#examples button[value=keep]")
    page.shows("is kept for everybody", ".flash")
    page.click("#ask button.primary")
    page.shows("Timeline", "#live")
    page.go(page.base + "/e/plain/settings")
    page.fill("#new-name", "MODE")
    page.fill("#f-new-variable input[name=value]", "added")
    page.click("button[form=f-new-variable]")
    page.shows("Release 3", "h2")
    until(lambda: made.wire.api("/endpoints/plain")["serving"] == 3, 120)
    assert made.wire.do("plain", {"name": "x"})["output"] == {"goodbye": "x", "mode": "added", "token": 0}
    page.go(page.base + "/e/plain/settings")
    page.fill("[name=idle_timeout_s]", "30")
    page.click(".settings .sticky button")
    page.shows("Saved: idle_timeout_s", ".flash")
    page.close()


def test_a_form_of_another_page_makes_nothing(made, page):
    status = page.run(
        "(async () => { const f = new FormData(); f.append('csrf', 'x'); f.append('from', 'folder');"
        " f.append('file', new File(['x'], 'handler.py')); return (await fetch('/endpoints/new', {method: 'POST', body: f})).status })()"
    )
    assert status == 403


def test_the_pages_can_be_read_at_every_size_in_both_themes(made, page):
    pictures = REPOSITORY / "target/console"
    job = made.wire.do("clicks", {"name": "look"})["id"]
    for name, path in {
        "new-folder": "/endpoints/new", "new-image": "/endpoints/new?from=image", "new-git": "/endpoints/new?from=git",
        "catalogue": "/catalogue", "entry": "/catalogue/llm", "entry-own": "/catalogue/team-model", "git": "/git",
        "release": "/e/clicks/releases/1", "releases": "/e/clicks/releases", "settings": "/e/clicks/settings",
        "requests": f"/e/clicks/requests?job={job}",
    }.items():
        can_be_read(page, path, pictures, f"create-{name}")
    is_clean(page)
