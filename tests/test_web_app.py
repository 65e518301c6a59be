"""`examples/web-app`, built by its own lock and served from another origin than the server's, in a real Chromium: from
the prompt to the picture; what is said while a worker starts; cancelled; failed; with the server killed in between; with
TLS on both sides; and for pages of an origin that the key is not for.

A handler of the test waits at gates, so that every state can be looked at. Pictures of them lie in `target/web-app`.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients import install
from support import browser as chromium
from support import envs, handlers
from support.console import finds_nothing
from support.page_server import PageServer
from support.wire import until
from support.yard import REPOSITORY

EXAMPLE = REPOSITORY / "examples/web-app"
# Of a made-up authority, for localhost and 127.0.0.1.
FILES = REPOSITORY / "crates/listener/tests/tls"
ONE = ("--max", "1", "--idle", "10m")

# It starts once the gate that it is told of is open, and draws `a cat` once `a cat` is.
HANDLER = '''
import base64, os, struct, time, zlib
import runpod


def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["GATES"], name)):
        time.sleep(0.02)


def png():
    piece = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\\0" + b"".join(bytes((x, y, 90)) for x in range(240)) for y in range(160))
    head = struct.pack(">IIBBBBB", 240, 160, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(rows)) + piece(b"IEND", b"")


def handler(job):
    prompt = job["input"]["prompt"]
    if prompt == "broken":
        raise ValueError("no brush is called <b>broken</b>")
    runpod.serverless.progress_update(job, {"step": 5, "of": 12, "percent": 41})
    wait_for(prompt)
    return {"statusCode": 200, "body": base64.b64encode(png()).decode()}


wait_for(os.environ["START"])
runpod.serverless.start({"handler": handler})
'''


@pytest.fixture(scope="module")
def gates():
    """Where gates are opened; workers may be of another user."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-gates-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser():
    if not chromium.program():
        pytest.skip("chromium is needed: apt-get install chromium")
    # These two keys and no other may be certified by an authority that nobody knows.
    known = ",".join(map(spki, ("first", "second")))
    browser = chromium.Browser(f"--ignore-certificate-errors-spki-list={known}")
    yield browser
    browser.close()


def spki(name):
    """The hash of a certificate's public key, as Chromium takes it."""
    certificate = x509.load_pem_x509_certificate((FILES / f"{name}.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.fixture(scope="module")
def build(environment, tmp_path_factory):
    """Builds the application for a server, an endpoint and a key: `npm ci` once, `npm run build` each time."""
    programs = install.node(environment)
    folder = tmp_path_factory.mktemp("web-app") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "dist", ".env.local"))
    (folder / "node_modules").symlink_to(install.node_modules(programs, EXAMPLE))

    def build(out, url, endpoint, key=""):
        env = {
            **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "VITE_RUNYARD_URL": url,
            "VITE_ENDPOINT": endpoint, "VITE_PUBLISHABLE_KEY": key,
        }
        command = [str(programs / "npm"), "run", "build", "--", "--outDir", str(out)]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=envs.LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return out

    return build


@pytest.fixture
def serve():
    """Serves folders, each at an origin of its own."""
    serving = []

    def serve(folder, *certificate):
        serving.append(PageServer(folder, *certificate))
        return serving[-1]

    yield serve
    for server in serving:
        server.close()


class App:
    """One endpoint with the application before it, in one tab."""

    def __init__(self, browser, build, serve, yard, endpoint, folder, certificate=()):
        self.yard, self.endpoint = yard, endpoint
        folder.mkdir()
        # The origin has to be known before the key is made, and the key before the page is built.
        self.server = serve(folder, *certificate)
        scheme = "https" if certificate else "http"
        made = yard.cli(
            "keys", "create", "--page", "--endpoint", endpoint, "--origin", self.server.origin, "--operation", "run",
            "--operation", "status", "--operation", "cancel", "--json",
        ).json["key"]
        self.folder = build(folder, f"{scheme}://127.0.0.1:{yard.port}", endpoint, made)
        self.page = browser.page()
        self.page.size(1440)
        self.page.go(self.server.origin)

    def draw(self, prompt):
        self.page.type("#prompt", prompt)
        self.page.press("Enter")

    def says(self, title, *more):
        self.page.shows(title, "h2")
        for text in more:
            self.page.shows(text, ".card")

    def picture(self):
        """Width and height of the picture that it shows."""
        self.says("Done")
        script = "(async () => { const i = document.querySelector('img'); await i.decode(); return [i.naturalWidth, i.naturalHeight] })()"
        return tuple(self.page.run(script))

    def jobs(self):
        return self.yard.wire.api(f"/jobs?endpoint={self.endpoint}")["jobs"]


@pytest.fixture
def app(browser, build, serve, tmp_path):
    """Opens the application before an endpoint."""
    opened = []

    def app(yard, endpoint, certificate=()):
        opened.append(App(browser, build, serve, yard, endpoint, tmp_path / f"dist-{len(opened)}", certificate))
        return opened[-1]

    yield app
    for one in opened:
        one.page.close()


@pytest.fixture(scope="module")
def painter_folder(tmp_path_factory, gates):
    """The test's handler; its gate `start` is open."""
    (gates / "start").touch()
    return handlers.write(tmp_path_factory.mktemp("painter") / "painter", HANDLER)


@pytest.fixture(scope="module")
def painter(shared_yard, gates, painter_folder):
    """Deploys the test's handler; the shared yard has it as `painter`."""

    def painter(yard, name, start="start"):
        yard.deploy(painter_folder, name, *ONE, "--env", f"GATES={gates}", "--env", f"START={start}")

    painter(shared_yard, "painter")
    return painter


def look(page, name):
    """Pictures of it at two sizes in both themes; nothing is wider than the window, and axe-core finds nothing."""
    pictures = REPOSITORY / "target/web-app"
    pictures.mkdir(parents=True, exist_ok=True)
    for width, height in ((1440, 900), (360, 740)):
        for dark in (False, True):
            page.size(width, height, dark)
            assert page.run("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width}"
            page.picture(pictures / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            if (width > 1000) is dark:
                continue
            finds_nothing(page, f"{name} at {width}, {'dark' if dark else 'light'}")
    page.size(1440)


def test_every_state_from_the_prompt_to_the_picture(app, shared_yard, painter, gates):
    # A deploy starts a worker; of the next one's start it is known how long it usually takes.
    (gates / "late").touch()
    painter(shared_yard, "late", start="late")
    shared_yard.wire.api("/endpoints/late/restart", "POST")
    until(lambda: not shared_yard.wire.workers("late"))
    (gates / "late").unlink()
    app = app(shared_yard, "late")
    app.says("No picture yet")
    look(app.page, "idle")
    app.draw("a cat")
    app.says("Starting a worker", "Loading code and model", "a start usually takes")
    look(app.page, "starting")
    (gates / "late").touch()
    app.says("Drawing", "41 %")
    assert app.page.run("document.querySelector('progress').value") == 0.41
    look(app.page, "running")
    (gates / "a cat").touch()
    assert app.picture() == (240, 160)
    look(app.page, "done")
    asked = {address.split("/")[2] for address in app.page.asked() if address.startswith("http")}
    assert asked == {app.server.origin.split("/")[2], f"127.0.0.1:{shared_yard.port}"}, "two origins"
    assert app.page.complaints() == []
    app.page.go(app.server.origin)
    assert app.picture() == (240, 160), "a reload has it again"
    assert len(app.jobs()) == 1


def test_one_that_waits_and_one_that_runs_are_cancelled(app, shared_yard, painter, gates):
    first, second = app(shared_yard, "painter"), app(shared_yard, "painter")
    first.draw("a dog")
    first.says("Drawing")
    second.draw("a bird")
    second.says("Waiting in the queue", "Number 1 in the queue")
    look(second.page, "queued")
    for one in (second, first):
        one.page.click("button[type=button]")
        one.says("Cancelled")
    assert [job["status"] for job in first.jobs()][:2] == ["CANCELLED", "CANCELLED"]
    look(second.page, "cancelled")
    (gates / "a bird").touch()
    second.draw("a bird")
    assert second.picture() == (240, 160), "the next one is drawn"


def test_a_failure_is_told_in_words(app, shared_yard, painter, gates):
    app = app(shared_yard, "painter")
    app.draw("broken")
    app.says("No picture came of it", "ValueError: no brush is called <b>broken</b> (handler.py:")
    assert "Traceback" not in app.page.text(), "not in a programmer's words"
    look(app.page, "failed")


def test_the_example_that_draws(app, shared_yard):
    shared_yard.deploy("examples/text-to-image", "t2i", *ONE)
    app = app(shared_yard, "t2i")
    app.draw("the year two zero two six")
    assert app.picture() == (296, 80)
    look(app.page, "text-to-image")
    app.draw("no number at all")
    app.says("No picture came of it", "The prompt names no number")


def test_the_server_is_killed_in_between(app, shared_yard, painter, gates):
    app = app(shared_yard, "painter")
    app.draw("a ship")
    app.says("Drawing", "41 %")
    shared_yard.kill()
    app.says("Drawing", "No answer from", "nothing is lost")
    look(app.page, "away")
    app.page.go(app.server.origin)
    app.says("Asking the server", "No answer from")
    (gates / "a ship").touch()
    shared_yard.start()
    assert app.picture() == (240, 160)
    assert "No answer" not in app.page.text()
    (job, *_) = app.jobs()
    assert (job["status"], job["attempt"]) == ("COMPLETED", 1), "the worker lived on"


def test_what_is_asked_of_a_server_that_is_away_is_done_later_and_once(app, shared_yard, painter, gates):
    (gates / "a house").touch()
    app = app(shared_yard, "painter")
    before = len(app.jobs())
    shared_yard.kill()
    app.draw("a house")
    app.says("Asking the server", "No answer from")
    app.page.go(app.server.origin)
    app.says("Asking the server", "No answer from")
    shared_yard.start()
    assert app.picture() == (240, 160)
    assert len(app.jobs()) == before + 1


def test_pages_of_other_origins_are_told_why_not(app, serve, shared_yard, painter):
    app = app(shared_yard, "painter")
    other = serve(app.folder)
    app.page.go(other.origin)
    app.draw("a key")
    app.says("No picture came of it", "The API key is not for pages of this origin.")
    # Where the endpoint lets no such page read, the browser keeps the reason to itself.
    shared_yard.cli("endpoints", "set", "painter", "--cors", "https://app.example", "--yes")
    try:
        app.page.go(app.server.origin)
        app.draw("a lock")
        app.says("Asking the server", f"none that pages of {app.server.origin} may read")
    finally:
        shared_yard.cli("endpoints", "set", "painter", "--cors", "*", "--yes")


def test_the_development_server_needs_no_key(browser, build, serve, make_yard, painter_folder, gates, tmp_path):
    (gates / "a mouse").touch()
    yard = make_yard()
    yard.start_dev(painter_folder, "--env", f"GATES={gates}", "--env", "START=start")
    # To a browser these are two sites, not only two origins.
    origin = serve(build(tmp_path / "dist", f"http://127.0.0.1:{yard.port}", "dev")).origin
    page = browser.page()
    page.go(origin)
    page.type("#prompt", "a mouse")
    page.press("Enter")
    page.shows("Done", "h2")
    page.close()


def test_with_tls_on_both_sides(app, make_yard, painter, gates):
    tls = {"RUNYARD_TLS_CERT": str(FILES / "first.pem"), "RUNYARD_TLS_KEY": str(FILES / "first.key"),
           "RUNYARD_CACERT": str(FILES / "ca.pem")}
    yard = make_yard(env=tls).start()
    painter(yard, "secure")
    app = app(yard, "secure", (FILES / "second.pem", FILES / "second.key"))
    assert app.page.run("isSecureContext && location.protocol") == "https:"
    app.draw("a seal")
    app.says("Drawing", "41 %")
    yard.kill()
    app.says("Drawing", "No answer from https://127.0.0.1")
    (gates / "a seal").touch()
    yard.start()
    assert app.picture() == (240, 160)
    assert all("ERR_CONNECTION" in told for told in app.page.complaints()), app.page.complaints()
