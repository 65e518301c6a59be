"""Debian's Chromium, driven over the DevTools protocol: as much as the console's tests need.

One browser a session, one page a test, with cookies of its own. Waiting is for something that the page shows.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import aiohttp

from .wire import until

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "--force-color-profile=srgb",
]


def program():
    """Where Chromium is, or none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """A Chromium of one's own; `more` are further flags."""

    def __init__(self, *more):
        self.folder = Path(tempfile.mkdtemp(prefix="runyard-browser-"))
        self.process = subprocess.Popen(
            [program(), *FLAGS, *more, f"--user-data-dir={self.folder}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        port = self.folder / "DevToolsActivePort"
        until(lambda: port.is_file() and len(port.read_text().splitlines()) == 2, 60)
        number, path = port.read_text().splitlines()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.waiting, self.heard, self.last = {}, {}, 0
        self._await(self._connect(f"ws://127.0.0.1:{number}{path}"))

    def _await(self, work, limit=60):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(limit)

    async def _connect(self, url):
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(url, max_msg_size=0, heartbeat=None)
        asyncio.ensure_future(self._read())

    async def _read(self):
        async for message in self.socket:
            said = json.loads(message.data)
            if "id" in said and said["id"] in self.waiting:
                self.waiting.pop(said["id"]).set_result(said)
            elif "method" in said:
                self.heard.setdefault(said.get("sessionId"), []).append(said)

    async def _call(self, method, params, session):
        self.last += 1
        number = self.last
        self.waiting[number] = self.loop.create_future()
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        await self.socket.send_str(json.dumps(message))
        answer = await self.waiting[number]
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def call(self, method, session=None, **params):
        return self._await(self._call(method, params, session))

    def page(self):
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, context)

    def close(self):
        try:
            self._await(self.session.close(), 10)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    """One tab."""

    def __init__(self, browser, session, context):
        self.browser, self.session, self.context = browser, session, context
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def close(self):
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    # Where it is.

    def go(self, url):
        """Loads an address, until its scripts ran."""
        self.call("Page.navigate", url=url)
        self.settled()
        return self

    def settled(self):
        def there():
            try:
                return self.run("document.readyState") == "complete" and self.run("location.href") != "about:blank"
            except AssertionError:
                return False  # between two pages
        until(there, 30)

    @property
    def path(self):
        return self.run("location.pathname + location.search")

    # What it shows and does.

    def run(self, script):
        """The value of an expression, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def shows(self, text, selector="body", limit=60):
        """Waits until it says something."""
        def there():
            try:
                return text in self.text(selector)
            except AssertionError:
                return False
        try:
            until(there, limit)
        except AssertionError:
            raise AssertionError(f"{self.path} never said {text!r}:\n{self.text(selector)}") from None

    def fill(self, selector, text):
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.value = {json.dumps(text)};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def type(self, selector, text):
        """Replaces what is in a field as a keyboard would, which is all that some scripts notice."""
        self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select(); }})()")
        self.call("Input.insertText", text=text)

    def click(self, selector):
        """A real click in the middle of an element."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
        )
        assert box, f"{self.path} has no {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)

    def press(self, key, modifiers=0):
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers,
                windowsVirtualKeyCode=code, **text,
            )

    def size(self, width, height=900, dark=False):
        """The window, and what the system says about colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"},
        ])

    def picture(self, file):
        """The whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        Path(file).write_bytes(base64.b64decode(shot["data"]))

    def without_scripts(self, off=True):
        self.call("Emulation.setScriptExecutionDisabled", value=off)

    def complaints(self):
        """Errors of the console: exceptions, and what the content security policy refused."""
        found = []
        for said in self.browser.heard.get(self.session, []):
            if said["method"] == "Runtime.exceptionThrown":
                found.append(str(said["params"]["exceptionDetails"]))
            if said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                found.append(said["params"]["entry"]["text"])
        return found

    def asked(self):
        """Every address that it loaded."""
        return [
            said["params"]["request"]["url"]
            for said in self.browser.heard.get(self.session, [])
            if said["method"] == "Network.requestWillBeSent"
        ]
