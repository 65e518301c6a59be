"""A worker that prints what its jobs say: the worker protocol in the standard library alone.

A job's input is a list of steps: `print` and `error` (text, to either pipe), `bytes` (hex, to standard output), `flood`
(so many numbered lines, as fast as the pipe takes them), `take` (so many MiB of memory), `kill` (ends this process by
that signal), `sleep` (seconds).
"""

import http.client
import json
import os
import signal
import sys
import time
from urllib.parse import urlsplit

ME = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", ME) + "&job_in_progress=0"
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", ME) + "&isStream=false"
HEADERS = {"authorization": os.environ["RUNPOD_AI_API_KEY"], "user-agent": "runyard-chatty-worker"}


def call(method, url, body=None):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=90)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, HEADERS)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def write(pipe, data):
    while data:
        data = data[os.write(pipe, data):]


def flood(count):
    for first in range(0, count, 1000):
        lines = (f"line {n} of a flood, step {n % 50}, loss {n % 997 / 997:.4f}\n" for n in range(first, first + 1000))
        write(1, "".join(lines).encode())


def step(kind, value):
    match kind:
        case "print":
            write(1, f"{value}\n".encode())
        case "error":
            write(2, f"{value}\n".encode())
        case "bytes":
            write(1, bytes.fromhex(value))
        case "flood":
            flood(value)
        case "sleep":
            time.sleep(value)
        case "take":
            taken.extend(b"\x01" * (1 << 20) for _ in range(value))
        case "kill":
            os.kill(os.getpid(), value)


taken = []
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    try:
        status, body = call("GET", TAKE)
    except OSError:
        time.sleep(0.1)
        continue
    if status != 200:
        continue
    job = json.loads(body)
    for given in job["input"]:
        for kind, value in given.items():
            step(kind, value)
    call("POST", DONE.replace("$ID", job["id"]), json.dumps({"output": len(job["input"])}))
