"""Webhooks out of the real server: signed, tried again, shown, and not lost by `kill -9`."""

import base64
import hashlib
import hmac
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.wire import until
from support.yard import free_port


class Receiver:
    """A receiver on a port of its own; `answer` is its status for the n-th request."""

    def __init__(self, answer=lambda n: 200, port=0):
        self.requests = queue.Queue()
        counted = iter(range(1 << 30))
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.put(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(answer(next(counted)))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.requests.get(timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def open_yard(make_yard):
    # More tries than the default: a slow machine may need longer than 20 s for two starts.
    yard = make_yard(env={"RUNYARD_WEBHOOK_ALLOW_PRIVATE": "true", "RUNYARD_WEBHOOK_TRIES": "8"}).start()
    yard.wire.api("/endpoints", "POST", {"name": "ep", "settings": {"workers_max": 0}})
    return yard


def webhook(yard, job):
    """The one delivery of a job."""
    found = yard.wire.job(job)["webhooks"]
    return found[0] if found else {"state": None, "tried": 0}


def settled(yard, job):
    return until(lambda: webhook(yard, job)["state"] == "delivered" and webhook(yard, job), say=lambda: yard.wire.job(job))


def ended(yard, url):
    """A job that ends at once, with a webhook."""
    job = yard.wire.run("ep", {"x": 1}, webhook=url)
    yard.wire.ok("POST", f"/v2/ep/cancel/{job}")
    return job


def test_a_webhook_is_signed_and_tried_again(open_yard):
    yard = open_yard
    with Receiver(lambda n: 500 if n == 0 else 204) as receiver:
        job = ended(yard, receiver.url)
        first, body = receiver.next()
        told = json.loads(body)
        assert (told["id"], told["status"], told["input"], told["webhook"]) == (
            job, "CANCELLED", {"x": 1}, receiver.url)
        until(lambda: webhook(yard, job)["tried"] == 1)
        assert "answered with 500; next try in " in yard.cli("status", job).out
        second, again = receiver.next()
        assert again == body and second["webhook-id"] == first["webhook-id"]
        shown = settled(yard, job)
        assert [t["status"] for t in shown["tries"]] == [500, 204]
        assert 5_000 <= shown["tries"][1]["at"] - shown["tries"][0]["at"] < 9_000
        assert "delivered after 2 tries, answered with 204" in yard.cli("status", job).out
    secret = (yard.data / "webhook.secret").read_text().strip()
    assert (yard.data / "webhook.secret").stat().st_mode & 0o777 == 0o600
    assert yard.wire.api("/webhooks/secret") == {"secret": secret, "replaced": None}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{second['webhook-id']}.{second['webhook-timestamp']}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    assert second["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_kill_9_loses_no_webhook(open_yard):
    yard, port = open_yard, free_port()
    url = f"http://127.0.0.1:{port}/hook"  # nobody listens there yet
    jobs = [ended(yard, url) for _ in range(20)]
    yard.kill()
    yard.start()
    jobs += [ended(yard, url) for _ in range(20)]
    with Receiver(port=port) as receiver:
        yard.kill()
        yard.start()
        seen = set()
        while len(seen) < len(jobs):
            seen.add(json.loads(receiver.next()[1])["id"])
        assert seen == set(jobs)
        for job in jobs:
            settled(yard, job)


def test_private_addresses_are_refused_unless_allowed(make_yard):
    yard = make_yard().start()
    yard.wire.api("/endpoints", "POST", {"name": "ep", "settings": {"workers_max": 0}})
    with Receiver() as receiver:
        job = ended(yard, receiver.url)
        until(lambda: webhook(yard, job)["tried"] == 1)
        assert "is at 127.0.0.1, which is loopback" in webhook(yard, job)["tries"][0]["error"]
        assert receiver.requests.empty()
