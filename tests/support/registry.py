"""A registry of images of the tests' own: Debian's `docker-registry`, and in front of it a door that lets nobody in
without a password, by basic authentication or by a bearer token that is given out for one. Loopback is what engines
speak plain HTTP to.
"""

import base64
import http.client
import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .wire import until
from .yard import free_port

HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}
CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: none, relativeurls: true}}
"""


class Registry:
    """A registry with a door; `accounts` are names and passwords, `kind` is `basic` or `bearer`."""

    def __init__(self, folder, kind="basic", **accounts):
        self.accounts, self.kind = accounts, kind
        self.asked = []
        self.inner = free_port()
        config = folder / "registry.yml"
        config.write_text(CONFIG.format(folder=folder / "images", port=self.inner))
        self.log = open(folder / "registry.log", "wb")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        self.door = ThreadingHTTPServer(("127.0.0.1", 0), type("Door", (Door,), {"registry": self}))
        self.door.daemon_threads = True
        threading.Thread(target=self.door.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.door.server_address[1]}"
        until(self.answers, 15)

    def answers(self):
        assert self.process.poll() is None, "docker-registry ended"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.inner, timeout=5)
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def token(self, user):
        return f"token-of-{user}"

    def admits(self, header):
        """Whether this is what a caller may show."""
        kind, _, value = (header or "").partition(" ")
        if self.kind == "bearer":
            return kind == "Bearer" and value in map(self.token, self.accounts)
        return self.user_of(header) is not None

    def user_of(self, header):
        kind, _, value = (header or "").partition(" ")
        if kind != "Basic":
            return None
        user, _, password = base64.b64decode(value).decode().partition(":")
        self.asked.append(user)
        return user if self.accounts.get(user) == password else None

    def close(self):
        self.door.shutdown()
        self.door.server_close()
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


class Door(BaseHTTPRequestHandler):
    """Lets callers through who show what the registry wants."""

    protocol_version = "HTTP/1.1"
    registry = None

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def refuse(self):
        # What is left of the body would be taken for the next request.
        self.close_connection = True
        wants = 'Basic realm="tests"'
        if self.registry.kind == "bearer":
            wants = f'Bearer realm="http://{self.registry.host}/token",service="tests"'
        error = {"code": "UNAUTHORIZED", "message": "authentication required"}
        self.answer(401, {"errors": [error]}, WWW_Authenticate=wants, Docker_Distribution_Api_Version="registry/2.0")

    def give_token(self):
        user = self.registry.user_of(self.headers.get("Authorization"))
        if user is None:
            return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})
        return self.answer(200, {"token": self.registry.token(user)})

    def handle_any(self):
        if self.registry.kind == "bearer" and self.path.startswith("/token"):
            return self.give_token()
        if not self.registry.admits(self.headers.get("Authorization")):
            return self.refuse()
        return self.pass_on()

    def body(self):
        """The request's body, piece by piece."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                piece = self.rfile.read(min(left, 1 << 20))
                left -= len(piece)
                yield piece

    def pass_on(self):
        inner = http.client.HTTPConnection("127.0.0.1", self.registry.inner, timeout=60)
        # What a caller accepts comes in several lines.
        headers = {k: ", ".join(self.headers.get_all(k)) for k in self.headers if k.lower() not in HOP | {"authorization"}}
        has_body = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        if "Content-Length" in self.headers:
            headers["Content-Length"] = self.headers["Content-Length"]
        inner.request(self.command, self.path, body=self.body() if has_body else None, headers=headers,
                      encode_chunked="Transfer-Encoding" in self.headers)
        answer = inner.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or "0")
        self.end_headers()
        if self.command != "HEAD":
            shutil.copyfileobj(answer, self.wfile)
        inner.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any


def push(engine, name, user, password):
    """Puts an image of an engine into the registry that its name names."""
    login = base64.urlsafe_b64encode(json.dumps({"username": user, "password": password}).encode()).decode()
    repository, tag = name.rsplit(":", 1)
    status, said = engine.call("POST", f"/images/{repository}/push?tag={tag}", headers={"X-Registry-Auth": login})
    assert status == 200 and "errorDetail" not in said, said
