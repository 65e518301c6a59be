"""The wire as a plain HTTP client sees it: the job API and the management API of one server, no SDK involved.

Calls return `(status, body)`, the body parsed where it is JSON. Waiting uses `/status-sync`, which the server
answers when the job has ended, so nothing here polls on a hot path.
"""

import http.client
import json
import time

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


class Wire:
    """One server's HTTP side."""

    def __init__(self, port, key, host="127.0.0.1"):
        self.host, self.port = host, port
        self.key = key

    def call(self, method, path, body=None, headers=None, timeout=60):
        """One request on a connection of its own."""
        return self.whole(method, path, body, headers, timeout)[:2]

    def whole(self, method, path, body=None, headers=None, timeout=60):
        """The same, with the answer's headers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            sent = {"authorization": self.key} if self.key else {}
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
                sent["content-type"] = "application/json"
            connection.request(method, path, body=body, headers={**sent, **(headers or {})})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text), response.headers
        except ValueError:
            return response.status, text.decode("utf-8", "replace"), response.headers

    def ok(self, method, path, body=None, **more):
        """A request that has to succeed."""
        status, answer = self.call(method, path, body, **more)
        assert status == 200, f"{method} {path}: {status} {answer}"
        return answer

    # The job API.

    def run(self, endpoint, given, headers=None, **request):
        """Submits and returns the id; `request` holds further top-level keys, such as `policy`."""
        answer = self.ok("POST", f"/v2/{endpoint}/run", {"input": given, **request}, headers=headers)
        return answer["id"]

    def status(self, endpoint, job):
        return self.ok("GET", f"/v2/{endpoint}/status/{job}")

    def wait(self, endpoint, job, limit=30):
        """The job once it has ended."""
        until = time.monotonic() + limit
        while True:
            left = until - time.monotonic()
            assert left > 0, f"job {job} has not ended within {limit} s: {self.explain(endpoint, job)}"
            wait = int(max(1000, min(left, 20) * 1000))
            answer = self.ok("GET", f"/v2/{endpoint}/status-sync/{job}?wait={wait}")
            if answer["status"] in FINAL:
                return answer

    def do(self, endpoint, given, limit=30, **request):
        """Submits and waits."""
        return self.wait(endpoint, self.run(endpoint, given, **request), limit)

    def stream_all(self, endpoint, job, limit=30):
        """What `/stream` hands out until the job has ended and nothing remains: (chunks, last status)."""
        chunks, until = [], time.monotonic() + limit
        while time.monotonic() < until:
            answer = self.ok("GET", f"/v2/{endpoint}/stream/{job}")
            chunks += [element["output"] for element in answer["stream"]]
            if answer["status"] in FINAL and not answer["stream"]:
                return chunks, answer["status"]
        raise AssertionError(f"the stream of {job} has not ended within {limit} s; got {chunks}")

    # The management API.

    def api(self, path, method="GET", body=None):
        return self.ok(method, f"/api/v1{path}", body)

    def job(self, job):
        return self.api(f"/jobs/{job}")

    def why(self, job):
        return self.api(f"/jobs/{job}/why")

    def workers(self, endpoint, living=True):
        """Workers of an endpoint, the living ones alone unless told otherwise."""
        found = self.api(f"/workers?endpoint={endpoint}")["workers"]
        return [w for w in found if w["state"] != "gone"] if living else found

    def explain(self, endpoint, job):
        """All that helps to see why a job did not end, for the message of a failed test."""
        return json.dumps({
            "job": self.call("GET", f"/api/v1/jobs/{job}")[1],
            "why": self.call("GET", f"/api/v1/jobs/{job}/why")[1],
            "workers": self.call("GET", f"/api/v1/workers?endpoint={endpoint}")[1],
        }, indent=1)[:6000]


def until(what, limit=20, every=0.05, say=None):
    """Looks at `what()` until it is true, and returns it; fails after `limit` seconds with what `say` tells."""
    deadline = time.monotonic() + limit
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {say() if callable(say) else say or what}")
        time.sleep(every)
