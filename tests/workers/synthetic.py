"""A worker that starts at once: the worker protocol in the standard library alone, as the SDK speaks it.

Like the SDK it takes one job at a time, tries a result three times after a 5xx and gives it up at once when the
connection is refused (so the tests see whether anybody refuses), finishes its job after SIGTERM and ends when
its poll returns. A job works for `ms`, and on until the file `until` is there; with `FAIL` in the environment each
one fails. Each execution leaves two lines in
the job's `journal`: `start JOB WORKER` and `done JOB STATUS`.
"""

import http.client
import json
import os
import signal
import time
from urllib.parse import urlsplit

ME = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", ME) + "&job_in_progress=0"
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", ME) + "&isStream=false"
HEADERS = {"authorization": os.environ["RUNPOD_AI_API_KEY"], "user-agent": "runyard-synthetic-worker"}
ending = []


def call(method, url, body=None):
    """One request; a kept connection is not worth the cases in which it breaks."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=90)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, HEADERS)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def note(journal, *words):
    """One line, in one write."""
    with open(journal, "ab", buffering=0) as file:
        file.write((" ".join(words) + "\n").encode())


def work(job):
    given = job["input"]
    note(given["journal"], "start", job["id"], ME)
    time.sleep(given.get("ms", 0) / 1000)
    while "until" in given and not os.path.exists(given["until"]):
        time.sleep(0.05)
    answer = json.dumps({"output": {"number": given["number"], "pad": given.get("pad", "")}})
    if "FAIL" in os.environ:
        answer = json.dumps({"error": "this release fails its jobs"})
    said = "nothing"
    for pause in (2, 3, 0):
        try:
            said, _ = call("POST", DONE.replace("$ID", job["id"]), answer)
        except OSError as error:
            said = type(error).__name__
            break
        if said < 500:
            break
        time.sleep(pause)
    note(given["journal"], "done", job["id"], str(said))


signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
print("--- synthetic worker", ME, flush=True)
while not ending:
    try:
        status, body = call("GET", TAKE)
    except OSError as error:
        print("take:", error, flush=True)
        time.sleep(0.05)
        continue
    if status == 200 and body:
        work(json.loads(body))
    elif status >= 400:
        print("take:", status, body, flush=True)
        time.sleep(0.2)
