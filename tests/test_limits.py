"""Limits of the real server: rates, the depth of a queue, bytes in flight, connections and slow clients. Each refusal
names its limit, and nothing else is refused."""

import http.client
import json
import resource
import socket
import threading
import time

import pytest

from support.wire import until

LIMITS = {
    "RUNYARD_HEADER_TIMEOUT_S": "1",
    "RUNYARD_SLOW_TIMEOUT_S": "1",
    "RUNYARD_KEEP_ALIVE_S": "2",
    "RUNYARD_HEADER_KIB": "8",
    "RUNYARD_RATE_REQUESTS": "3",
}


@pytest.fixture(scope="module")
def yard(binary, tools):
    from support.yard import Yard

    yard = Yard(binary, tools, env=LIMITS).start()
    yard.wire.api("/endpoints", "POST", {"name": "parked", "settings": {"workers_max": 0}})
    yield yard
    yard.close()


class Raw:
    """One connection, byte by byte."""

    def __init__(self, yard, sent=b"", limit=30, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(limit)
        self.socket.connect(("127.0.0.1", yard.port))
        self.socket.sendall(sent)
        self.file = self.socket.makefile("rb")

    def answer(self):
        """The next answer: status, headers, JSON body."""
        status = int(self.file.readline().split()[1])
        headers = {name.lower(): value for name, value in http.client.parse_headers(self.file).items()}
        body = self.file.read(int(headers.get("content-length", 0)))
        return status, headers, json.loads(body or b"null")

    def is_closed(self):
        return self.file.read(1) == b""


def head(yard, line, *headers):
    lines = [line + " HTTP/1.1", "host: x", f"authorization: {yard.key()}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def call(yard, line, *headers, body=b""):
    if body:
        headers = (*headers, f"content-length: {len(body)}")
    return Raw(yard, head(yard, line, *headers) + body).answer()


RUN = b'{"input": 1}'


def test_a_rate_is_counted_by_key_and_told(yard):
    for left in (2, 1, 0):
        status, headers, _ = call(yard, "GET /v2/parked/requests")
        assert status == 200
        assert headers["ratelimit"].startswith(f'"requests";r={left};t=')
        assert headers["ratelimit-policy"] == '"requests";q=3;w=10'
    status, headers, body = call(yard, "GET /v2/parked/requests")
    assert (status, body["code"]) == (429, "rate_limited")
    assert "3 in 10 s of the group 'requests'" in body["error"] and "rate_requests" in body["error"]
    assert 1 <= int(headers["retry-after"]) <= 4 and headers["x-request-id"] == body["requestId"]
    # Another key has its own count; another group is not touched.
    other = yard.cli("keys", "create", "--name", "other", "--rate", "requests=1").out.strip()
    mine, yard.key = yard.key, lambda: other
    try:
        assert [call(yard, "GET /v2/parked/requests")[0] for _ in range(2)] == [200, 429]
    finally:
        yard.key = mine
    assert call(yard, "GET /v2/parked/health")[0] == 200


def test_an_unmodified_client_waits_and_comes_through(yard):
    """RunPod's Python client reads through urllib3's retries: on 429 it waits as told."""
    requests = pytest.importorskip("requests")
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    yard.cli("endpoints", "set", "parked", "--rate", "status=20")
    try:
        job = yard.wire.run("parked", 1)
        session = requests.Session()
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=5, status_forcelist=[408, 429], backoff_factor=1)))
        url = f"http://127.0.0.1:{yard.port}/v2/parked/status/{job}"
        began = time.monotonic()
        answers = [session.get(url, headers={"authorization": f"Bearer {yard.key()}"}) for _ in range(22)]
        assert [answer.status_code for answer in answers] == [200] * 22
        assert time.monotonic() - began >= 0.9, "the last ones had to wait"
    finally:
        yard.cli("endpoints", "set", "parked", "--rate", "status=default")
    assert yard.wire.api("/endpoints/parked")["settings"]["rates"] == {}


def test_a_queue_has_a_depth_and_nothing_else_is_refused(yard):
    yard.cli("endpoints", "create", "deep", "--max", "0", "--queue-limit", "5")
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(call(yard, "POST /v2/deep/run", body=RUN))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer[0] != 200]
    assert len(refused) == 7, "exactly five found room"
    for status, headers, body in refused:
        assert (status, body["code"], headers["retry-after"]) == (429, "queue_full", "5")
        assert "5 jobs wait" in body["error"] and "--queue-limit" in body["error"]
    job = next(body["id"] for status, _, body in answers if status == 200)
    assert yard.wire.status("deep", job)["status"] == "IN_QUEUE"
    assert yard.wire.ok("POST", f"/v2/deep/cancel/{job}")["status"] == "CANCELLED"
    yard.wire.run("deep", "the free place")
    yard.cli("endpoints", "set", "deep", "--queue-limit", "0")
    yard.wire.run("deep", "no limit")


def test_slow_clients_are_ended_and_waiting_ones_are_not(yard):
    job = yard.wire.run("parked", 1)
    poll = Raw(yard, head(yard, f"GET /v2/parked/status-sync/{job}?wait=5000"))
    silent = Raw(yard, b"GET /v2/parked/health HTTP/1.1\r\nhost: x\r\n")
    stuck = Raw(yard, head(yard, "POST /v2/parked/run", "content-length: 100") + b'{"input"')
    upload = Raw(yard, head(yard, "POST /api/v1/endpoints", "content-length: 100") + b"{")
    idle = Raw(yard, head(yard, "GET /v2/parked/health"))
    assert idle.answer()[0] == 200

    status, _, body = silent.answer()
    assert (status, body["code"]) == (408, "header_timeout") and "within 1 s" in body["error"]
    status, _, body = stuck.answer()
    assert (status, body["code"]) == (408, "body_timeout") and "1 s in all" in body["error"]
    status, _, body = upload.answer()
    assert (status, body["code"]) == (408, "body_timeout")
    assert idle.is_closed()
    assert poll.answer()[2]["status"] == "IN_QUEUE", "held beyond every one of these limits"


def test_a_trickled_body_is_ended(yard):
    slow = Raw(yard, head(yard, "POST /v2/parked/run", "content-length: 1000"))

    def trickle():
        try:
            while True:
                slow.socket.sendall(b" ")
                time.sleep(0.1)
        except OSError:
            pass

    threading.Thread(target=trickle, daemon=True).start()
    status, _, body = slow.answer()
    assert (status, body["code"]) == (408, "body_timeout")


def test_large_heads_are_refused_with_the_limit(yard):
    status, _, body = Raw(yard, head(yard, "GET /v2/parked/health", "x: " + "y" * 9000)).answer()
    assert (status, body["code"]) == (431, "header_too_large") and "8192 bytes or 100 lines" in body["error"]
    status, _, body = Raw(yard, head(yard, "GET /v2/parked/health", *["x: y"] * 120)).answer()
    assert (status, body["code"]) == (431, "header_too_large")


def test_pipelined_requests_are_answered_in_their_order(yard):
    job = yard.wire.run("parked", 1)
    requests = head(yard, f"GET /v2/parked/status/{job}") + head(yard, "GET /v2/parked/health")
    raw = Raw(yard, requests * 3)
    answers = [raw.answer()[2] for _ in range(6)]
    assert ["id" in answer for answer in answers] == [True, False] * 3


def test_many_idle_connections_and_one_too_many(make_yard):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(2_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = []
    try:
        yard = make_yard(env={"RUNYARD_MAX_CONNECTIONS": str(few)}).start()
        wanted = {value["key"]: value for value in yard.wire.api("/config")["values"]}
        assert wanted["max_connections"] == {"key": "max_connections", "value": str(few), "source": "environment"}
        for _ in range(few - 1):
            opened.append(socket.create_connection(("127.0.0.1", yard.port), timeout=30))
        user = Raw(yard, head(yard, "GET /api/v1/info"))
        assert user.answer()[0] == 200
        # All are in use: who never asked for anything gives way to who does.
        newcomers = [Raw(yard, head(yard, "GET /api/v1/info")) for _ in range(3)]
        assert [newcomer.answer()[0] for newcomer in newcomers] == [200] * 3
        assert opened[0].recv(1) == b"", "the oldest"
        user.socket.sendall(head(yard, "GET /api/v1/info"))
        assert user.answer()[0] == 200
    finally:
        for connection in opened:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_readers_that_do_not_read_are_cut_and_give_their_room_back(make_yard):
    """A few readers of 9 MiB take all the room there is for answers (40 MiB at least); another is told to come again, and once they
    are cut there is room."""
    yard = make_yard(env={"RUNYARD_SLOW_TIMEOUT_S": "8", "RUNYARD_IN_FLIGHT_MIB": "3"}).start()
    yard.deploy("examples/hello", "hello")
    job = yard.wire.run("hello", {"mock_return": "x" * (9 << 20)})
    assert yard.wire.wait("hello", job)["status"] == "COMPLETED"
    slow = [
        Raw(yard, head(yard, f"GET /v2/hello/status/{job}"), receive_buffer=4096) for _ in range(6)
    ]

    def code():
        status, body = yard.wire.call("GET", f"/v2/hello/status/{job}")
        return status if status == 200 else (status, body["code"])

    until(lambda: code() == (429, "overloaded"), 30)
    assert yard.wire.call("GET", "/v2/hello/health")[0] == 200, "what is small needs no room"
    until(lambda: code() == 200, 60)
    for reader in slow:
        reader.socket.close()
