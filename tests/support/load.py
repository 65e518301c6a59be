"""Load that outlives its server: jobs are submitted with idempotency keys until they are acknowledged, and each
result is remembered as it was seen first.
"""

import http.client
import json
import random
import threading
import time

from .wire import FINAL

RETRIED = (OSError, http.client.HTTPException)


class Load:
    """Submitters and one reader, each in a thread of its own."""

    def __init__(self, yard, make, submitters=2, backlog=40):
        self.yard, self.make, self.backlog = yard, make, backlog
        self.acknowledged = {}  # job id -> (endpoint, input)
        self.seen = {}          # job id -> the status object as first seen ended
        self.wrong = []
        self._number = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._submit, daemon=True) for _ in range(submitters)]
        self._threads.append(threading.Thread(target=self._look, daemon=True))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def end(self):
        """Nothing more is submitted; what was begun is brought to its acknowledgement."""
        self.__exit__()
        alive = [thread for thread in self._threads if thread.is_alive()]
        assert not alive, "a submitter never got its answer"
        assert not self.wrong, self.wrong[:5]

    def waiting(self):
        return len(self.acknowledged) - len(self.seen)

    def _submit(self):
        while not self._stop.is_set():
            if self.waiting() >= self.backlog:
                time.sleep(0.01)
                continue
            with self._lock:
                self._number += 1
                number = self._number
            endpoint, given = self.make(number)
            answers = self._until_acknowledged(endpoint, number, {"input": given})
            if answers:
                self.acknowledged[answers] = (endpoint, given)

    def _until_acknowledged(self, endpoint, number, body):
        """A 200 is an acknowledgement; anything else is tried again under the same key."""
        for _ in range(2000):
            try:
                status, answer = self.yard.wire.call(
                    "POST", f"/v2/{endpoint}/run", body, headers={"idempotency-key": f"job-{number}"}, timeout=20,
                )
            except RETRIED:
                time.sleep(0.02)
                continue
            if status == 200:
                return answer["id"]
            if status < 500:
                self.wrong.append(f"submit {number}: {status} {answer}")
                return None
            time.sleep(0.05)
        self.wrong.append(f"submit {number}: never acknowledged")
        return None

    def _look(self):
        while not self._stop.is_set():
            open_jobs = [job for job in list(self.acknowledged) if job not in self.seen]
            for job in random.sample(open_jobs, min(20, len(open_jobs))):
                try:
                    self.look(job)
                except RETRIED:
                    break
            time.sleep(0.02)

    def look(self, job):
        """Remembers an end at its first sight."""
        endpoint, _ = self.acknowledged[job]
        status, answer = self.yard.wire.call("GET", f"/v2/{endpoint}/status/{job}", timeout=20)
        if status != 200:
            if status < 500:
                self.wrong.append(f"acknowledged job {job}: {status} {answer}")
            return
        if answer["status"] in FINAL:
            self.seen.setdefault(job, answer)

    def settle(self, limit):
        """Every acknowledged job has to end, and no end may change."""
        until = time.monotonic() + limit
        for job, (endpoint, _) in self.acknowledged.items():
            answer = self.yard.wire.wait(endpoint, job, max(1, until - time.monotonic()))
            first = self.seen.setdefault(job, answer)
            assert answer == first, f"the end of {job} changed: {first} -> {answer}"


def journal_of(file):
    """What the workers noted: ({job: [workers that began it]}, {job: [what its results were answered]})."""
    started, answered = {}, {}
    for line in file.read_text().splitlines():
        kind, job, word = line.split()
        (started if kind == "start" else answered).setdefault(job, []).append(word)
    return started, answered


def shorten(value):
    text = json.dumps(value)
    return text if len(text) < 2000 else text[:2000] + " …"
