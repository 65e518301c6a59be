"""What strangers send: bytes on a connection, values of the wrong type, archives that want out. And the measure of a
server that bore it: what it holds before and after.
"""

import gzip
import hashlib
import http.client
import io
import json
import os
import socket
import tarfile
from pathlib import Path

DEEP = 100_000

# Values of every wrong kind.
ODD = [
    None, True, -1, 0, 1.5, 2**31, 2**63, 2**64, -(2**63) - 1, 1e308, "", "x", "\0", "../..", "\u202e\u001b[31m", "é" * 5000,
    [], [1], ["x", None], {}, {"a": {"b": []}},
]

# Bodies that are no JSON object, by name.
BROKEN = {
    "nothing": b"",
    "spaces": b" \r\n\t ",
    "a word": b"hello",
    "a list": b'[{"input": 1}]',
    "a number": b"7",
    "cut": b'{"input": {"a": 1',
    "a trailing comma": b'{"input": 1,}',
    "Python": b"{'input': None}",
    "NaN": b'{"input": NaN}',
    "a comment": b'{"input": 1} // x',
    "two": b'{"input": 1}{"input": 2}',
    "a raw line feed": b'{"input": "a\nb"}',
    "not UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": 1}'.encode("utf-16"),
    "zeros": bytes(1000),
    "noise": bytes((n * 7919 + n // 256) % 256 for n in range(20_000)),
    "gzip": gzip.compress(b'{"input": 1}'),
    "deep": b'{"input": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep and cut": b'{"input": ' + b'{"a":[' * DEEP,
    "a form": b"input=1&x=2",
}


def exchange(port, sent, limit=60, half_close=False):
    """Sends bytes, reads until the end; the status of the first answer (None: closed without one) and the rest."""
    with socket.create_connection(("127.0.0.1", port), timeout=limit) as connection:
        try:
            connection.sendall(sent)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed in the middle: what was answered is still there to be read
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    head = answer.split(b" ", 2)
    return (int(head[1]) if head[0].startswith(b"HTTP/1.") else None), answer


def call(port, method, path, body=None, headers=None, limit=120):
    """One call with a path as it is written: (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)
    # The library would refuse what strangers send.
    connection._validate_path = lambda _: None
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def archive(*entries, compress=True, **more):
    """A bundle of (name, kind, content); for links the content is where they lead."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o4755
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname, content = content, b""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content) if info.size else None)
    return gzip.compress(out.getvalue(), mtime=0) if compress else out.getvalue()


def bomb(mib):
    """An archive of one file of zeros, made without having it."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=9) as packed:
        info = tarfile.TarInfo("zeros")
        info.size = mib << 20
        packed.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(mib):
            packed.write(bytes(1 << 20))
        packed.write(bytes(1024))
    return out.getvalue()


def sha(body):
    return hashlib.sha256(body).hexdigest()


class Measure:
    """What a server holds: records, files, memory, descriptors."""

    def __init__(self, yard):
        self.yard = yard
        self.records, self.files = self.count()
        self.memory, self.handles = self.process()

    def count(self):
        wire = self.yard.wire
        records = {
            "jobs": sorted(j["id"] for j in wire.api("/jobs?limit=1000")["jobs"]),
            "endpoints": sorted(e["id"] for e in wire.api("/endpoints")["endpoints"]),
            "keys": sorted(k["id"] for k in wire.api("/keys")["keys"]),
        }
        files = set()
        for folder in ("blobs", "bundles", "spool"):
            files |= {str(path) for path in Path(self.yard.data, folder).rglob("*")}
        return records, files

    def process(self):
        status = Path(f"/proc/{self.yard.server.pid}/status").read_text()
        kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        return kib / 1024, len(os.listdir(f"/proc/{self.yard.server.pid}/fd"))

    def check(self, more_mib=96):
        """The same as before: records and files to the last, memory within a bound."""
        records, files = self.count()
        assert records == self.records
        assert files == self.files
        memory, handles = self.process()
        assert memory < self.memory + more_mib, f"{self.memory:.0f} MiB before, {memory:.0f} MiB now"
        assert handles < self.handles + 40, f"{self.handles} descriptors before, {handles} now"


def is_refusal(path, status, body):
    """The error in its dialect's shape."""
    answer = json.loads(body)
    if path.startswith("/v2/") and "title" in answer and status == 404:
        assert isinstance(answer["detail"], str), answer  # names no operation at all, so no dialect
    elif path.startswith("/v2/") and "/openai" in path:
        assert isinstance(answer["error"]["message"], str), answer
    elif path.startswith("/v2/"):
        assert isinstance(answer["error"], str) and isinstance(answer["code"], str), answer
    elif path.startswith(("/w/", "/agent/")):
        assert isinstance(answer["error"], str), answer
    else:
        assert answer["status"] == status and isinstance(answer["detail"], str) and answer["code"], answer
    return answer
