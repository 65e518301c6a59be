"""A forge of one's own for a test: repositories over HTTP through `git http-backend`, with or without a token, the
calls of its API that matter, in GitHub's words at `/api` and in GitLab's at `/api/v4`, and the messages that it would
send.
"""

import hashlib
import hmac
import json
import os
import queue
import subprocess
import threading
import urllib.error
import urllib.request
import uuid
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GIT = {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true",
    "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.com",
}


def git(folder, *arguments, code=0, env=None):
    """One `git` in a folder; its stdout."""
    done = subprocess.run(
        ["git", *map(str, arguments)], cwd=folder, env={**os.environ, **GIT, **(env or {})}, capture_output=True,
        text=True, timeout=60,
    )
    assert code is None or done.returncode == code, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip() if code == 0 else done.stdout + done.stderr


class Forge:
    """Repositories below a folder, at `http://127.0.0.1:PORT/NAME.git`."""

    def __init__(self, folder, token=None):
        self.folder, self.token = Path(folder), token
        self.statuses, self.asked, self.latest = queue.Queue(), [], None
        # Pull requests by number, how often a list had not changed, and the answer to who asks too often.
        self.pulls, self.unchanged, self.limited = {}, 0, None
        # Files of Git LFS by their hash, and what each request was signed with.
        self.large, self.signed = {}, []
        forge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                forge._serve(self)

            def do_POST(self):
                forge._serve(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.api = f"{self.base}/api"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def repository(self, name="me/app"):
        """A new repository with a working copy that pushes to it."""
        bare = self.folder / f"{name}.git"
        bare.mkdir(parents=True)
        git(bare, "init", "--quiet", "--bare", "--initial-branch=main")
        return Repository(self, name, bare)

    def _serve(self, handler):
        length = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(length)
        if handler.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(handler.rfile.readline().strip() or b"0", 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
        path, _, query = handler.path.partition("?")
        self.asked.append(f"{handler.command} {handler.path}")
        self.signed.append(handler.headers.get("authorization"))
        if path.startswith("/api/"):
            return self._api(handler, path, body)
        if path.startswith("/large/"):
            found = self.large.get(path.removeprefix("/large/"))
            return self._answer(handler, 404 if found is None else 200, found or b"", {})
        if self.token and not self._knows(handler.headers.get("authorization", "")):
            return self._answer(handler, 401, b"no", {"www-authenticate": 'Basic realm="forge"'})
        if "/info/lfs/" in path:
            return self._lfs(handler, body)
        env = {
            **os.environ, **GIT, "GIT_PROJECT_ROOT": str(self.folder), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": handler.headers.get("git-protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, timeout=60)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(fields.pop("Status", "200").split()[0])
        self._answer(handler, status, rest, fields)

    def _knows(self, authorization):
        scheme, _, rest = authorization.partition(" ")
        return scheme == "Basic" and b64decode(rest).decode().endswith(f":{self.token}")

    def _api(self, handler, path, body):
        said = {"path": path, "authorization": handler.headers.get("authorization")}
        if "/pulls" in path or "/merge_requests" in path:
            return self._pulls(handler, path)
        if path.endswith("/releases/latest"):
            found = json.dumps({"tag_name": self.latest}).encode()
            return self._answer(handler, 200 if self.latest else 404, found, {})
        self.statuses.put({**said, **json.loads(body)})
        return self._answer(handler, 201, b"{}", {})

    def _lfs(self, handler, body):
        def one(wanted):
            if wanted["oid"] not in self.large:
                return {**wanted, "error": {"code": 404, "message": "Object does not exist"}}
            return {**wanted, "actions": {"download": {"href": f"{self.base}/large/{wanted['oid']}"}}}
        asked = json.loads(body)
        assert asked["operation"] == "download" and handler.path.endswith("/objects/batch"), handler.path
        answer = {"transfer": "basic", "objects": [one(wanted) for wanted in asked["objects"]]}
        self._answer(handler, 200, json.dumps(answer).encode(), {"content-type": "application/vnd.git-lfs+json"})

    def keep(self, content):
        """Keeps a file of Git LFS; its pointer."""
        oid = hashlib.sha256(content).hexdigest()
        self.large[oid] = content
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"

    def pull(self, number, branch, commit, state="open", repo="me/app", base="main"):
        """A pull request as it is now."""
        side = lambda ref, name: {"ref": ref, "sha": commit, "repo": {"full_name": name}}  # noqa: E731
        project = lambda name: 1 if name == "me/app" else 2  # noqa: E731
        self.pulls[number] = {
            "number": number, "state": state, "head": side(branch, repo), "base": side(base, "me/app"),
            "iid": number, "source_branch": branch, "target_branch": base, "sha": commit,
            "source_project_id": project(repo), "target_project_id": project("me/app"),
        }

    def _pulls(self, handler, path):
        if self.limited:
            status, fields = self.limited
            return self._answer(handler, status, b"{}", fields)
        number = path.rpartition("/")[2]
        if number.isdigit():
            found = self.pulls.get(int(number))
            return self._answer(handler, 200 if found else 404, json.dumps(found or {}).encode(), {})
        body = json.dumps([p for p in self.pulls.values() if p["state"] in ("open", "opened")]).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        if handler.headers.get("if-none-match") == tag:
            self.unchanged += 1
            return self._answer(handler, 304, b"", {"etag": tag})
        return self._answer(handler, 200, body, {"etag": tag})

    @staticmethod
    def _answer(handler, status, body, fields):
        handler.send_response(status)
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


class Repository:
    """A repository and a working copy of it."""

    def __init__(self, forge, name, bare):
        self.name, self.bare = name, bare
        self.url = f"{forge.base}/{name}.git"
        self.folder = bare.parent / f"{bare.stem}-copy"
        self.folder.mkdir()
        git(self.folder, "init", "--quiet", "--initial-branch=main")
        git(self.folder, "remote", "add", "origin", bare)

    def commit(self, message, **files):
        """Writes files (`__` is a dot, `___` a slash), commits them, and returns the hash."""
        for name, text in files.items():
            path = self.folder / name.replace("___", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")

    def submodule(self, path, url, commit):
        """Adds a submodule, to be committed; nothing is fetched for it."""
        with open(self.folder / ".gitmodules", "a") as file:
            file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
        (self.folder / path).mkdir(parents=True)
        git(self.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")

    def push(self, *what):
        git(self.folder, "push", "--quiet", "--force", "origin", *(what or ["main"]))


class Hook:
    """Sends a connection's messages, as GitHub would."""

    def __init__(self, url, secret):
        self.url, self.secret = url, secret

    def send(self, event, said, delivery=None, secret=None, headers=None):
        """One message; its status and answer."""
        body = json.dumps(said).encode()
        signature = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(self.url, body, {
            "content-type": "application/json", "x-github-event": event,
            "x-github-delivery": delivery or str(uuid.uuid4()),
            **({"x-hub-signature-256": f"sha256={signature}"} if headers is None else headers),
        })
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def push(self, commit, branch="main", **more):
        said = {"ref": f"refs/heads/{branch}", "after": commit, "deleted": False, "head_commit": {"id": commit}}
        return self.send("push", said, **more)

    def pull(self, action, number, commit, branch, repo="me/app", base="main"):
        side = lambda ref, name: {"ref": ref, "sha": commit, "repo": {"full_name": name}}  # noqa: E731
        said = {"action": action, "number": number,
                "pull_request": {"head": side(branch, repo), "base": side(base, "me/app")}}
        return self.send("pull_request", said)
