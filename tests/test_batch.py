"""Batches end to end: a draft is filled over several calls, finalized, run by a real SDK worker and read page by page;
the server is killed in between and nothing of it is lost.
"""

import json
import threading

from support.wire import until

HANDLER = """
import runpod


def handler(job):
    number = job["input"]["number"]
    if number == 13:
        raise ValueError("thirteen")
    return {"number": number, "batch": job.get("batchId")}


runpod.serverless.start({"handler": handler})
"""


def deploy(yard, project, *flags):
    project.mkdir()
    (project / "handler.py").write_text(HANDLER)
    yard.deploy(project, "ep", "--min", 1, "--max", 1, "--idle", "1h", *flags)


def pages(yard, batch, limit):
    """Every request of a batch, page by page."""
    found, more = [], True
    while more:
        page = yard.wire.ok("GET", f"/v2/ep/batch/{batch}/requests?offset={len(found)}&limit={limit}")
        assert page["offset"] == len(found) and len(page["requests"]) <= limit
        found += page["requests"]
        more = page["hasMore"]
        assert page["total"] >= len(found)
    return found


def ended(yard, batch):
    answer = yard.wire.ok("GET", f"/v2/ep/batch/{batch}")
    return answer["status"] not in ("DRAFT", "FINALIZED") and answer


def test_a_batch_is_filled_run_and_read_across_kill_9(yard, project):
    deploy(yard, project)
    made = yard.wire.ok("POST", "/v2/ep/batch", [{"input": {"number": n}} for n in range(3)])
    batch = made["id"]
    assert batch.startswith("batch_") and made["status"] == "DRAFT" and made["requestTotal"] == 3, made
    assert [r["status"] for r in made["requests"]] == ["IN_QUEUE"] * 3
    assert yard.wire.why(made["requests"][0]["id"])["causes"][0]["code"] == "in_draft"

    # Additions that are repeated because their answer got lost add once.
    key = {"idempotency-key": "second"}
    more = {"requests": [{"input": {"number": n}} for n in range(3, 20)]}
    first = yard.wire.ok("POST", f"/v2/ep/batch/{batch}/requests", more, headers=key)
    yard.kill()
    yard.start()
    again = yard.wire.ok("POST", f"/v2/ep/batch/{batch}/requests", more, headers=key)
    assert again["requests"] == first["requests"] and again["requestTotal"] == 20
    left = yard.wire.ok("DELETE", f"/v2/ep/batch/{batch}/requests/{first['requests'][-1]['id']}")
    assert left["requestTotal"] == 19
    assert yard.wire.ok("PUT", f"/v2/ep/batch/{batch}", {"name": "night run"})["name"] == "night run"
    assert yard.wire.ok("GET", "/v2/ep/health")["jobs"]["inQueue"] == 0, "a draft is not in the queue"

    finalized = yard.wire.ok("POST", f"/v2/ep/batch/{batch}/finalize")
    assert finalized["status"] in ("FINALIZED", "COMPLETED")
    until(lambda: yard.wire.ok("GET", f"/v2/ep/batch/{batch}")["requestCompleted"] > 0, 60)
    yard.kill()
    yard.start()
    end = until(lambda: ended(yard, batch), 120, say=lambda: yard.wire.ok("GET", f"/v2/ep/batch/{batch}"))
    assert end["status"] == "COMPLETED" and end["name"] == "night run", end
    assert (end["requestTotal"], end["requestCompleted"], end["requestFailed"]) == (19, 18, 1), end

    found = pages(yard, batch, 7)
    assert [r["id"] for r in found] == [r["id"] for r in made["requests"] + first["requests"][:-1]]
    for number, request in enumerate(found):
        assert request["startedAt"] <= request["completedAt"] and request["completedAt"].endswith("Z"), request
        if number == 13:
            assert request["status"] == "FAILED" and "thirteen" in request["error"], request
        else:
            assert request["status"] == "COMPLETED" and request["output"] == {"number": number, "batch": batch}
    # Its requests are jobs.
    assert yard.wire.status("ep", found[0]["id"])["output"]["number"] == 0
    status, _ = yard.wire.call("POST", f"/v2/ep/batch/{batch}/requests", more)
    assert status == 400, "it is no draft any more"

    listed = yard.wire.ok("GET", "/v2/ep/batch")
    assert [b["id"] for b in listed["batches"]] == [batch] and listed["hasMore"] is False


def test_a_thousand_requests_leave_room_for_others_and_are_cancelled(yard, project):
    deploy(yard, project)
    made = yard.wire.ok("POST", "/v2/ep/batch", [{"input": {"number": 100 + n}} for n in range(1_000)])
    batch = made["id"]
    yard.wire.ok("POST", f"/v2/ep/batch/{batch}/finalize")
    # Whoever submits now does not wait for the batch.
    assert yard.wire.do("ep", {"number": 1}, limit=60)["status"] == "COMPLETED"
    seen = yard.wire.ok("GET", f"/v2/ep/batch/{batch}")
    assert seen["status"] == "FINALIZED" and seen["requestQueued"] > 0, seen
    end = yard.wire.ok("POST", f"/v2/ep/batch/{batch}/cancel")
    assert end["status"] == "CANCELLED" and end["requestQueued"] == end["requestInProgress"] == 0, end
    assert end["requestCompleted"] + end["requestFailed"] == 1_000
    assert yard.wire.ok("POST", f"/v2/ep/batch/{batch}/cancel")["endedAt"] == end["endedAt"]
    status, answer = yard.wire.call("POST", f"/v2/ep/batch/{batch}/finalize")
    assert status == 400 and answer["code"] == "batch_not_draft", answer


def test_limits_and_keys(yard):
    yard.wire.api("/endpoints", "POST", {"name": "ep", "settings": {"workers_max": 0}})
    yard.wire.api("/endpoints", "POST", {"name": "other", "settings": {"workers_max": 0}})
    batch = yard.wire.ok("POST", "/v2/ep/batch", [])["id"]

    def add(count, to="ep"):
        return yard.wire.call("POST", f"/v2/{to}/batch/{batch}/requests", {"requests": [{"input": 1}] * count})

    assert add(5_000)[1]["requestTotal"] == 5_000
    status, answer = add(1)
    assert status == 400 and answer["code"] == "batch_limit" and "5000" in answer["error"], answer
    assert add(0, to="other")[1]["code"] == "batch_not_found", "it is not one of that endpoint"
    large = json.dumps({"requests": [{"input": "x" * (11 << 20)}]})
    status, answer = yard.wire.call("POST", f"/v2/ep/batch/{batch}/requests", large)
    assert status == 400 and "exceeded max body size" in str(answer)
    status, answer = yard.wire.call("POST", f"/v2/ep/batch/{batch}/requests", {"requests": [{"input": 1}, {}]})
    assert status == 400 and "request 1" in answer["error"], answer

    answers = []
    makers = [
        threading.Thread(target=lambda: answers.append(yard.wire.call("POST", "/v2/ep/batch", [])[0]))
        for _ in range(14)
    ]
    for thread in makers:
        thread.start()
    for thread in makers:
        thread.join(60)
    assert sorted(answers) == [200] * 9 + [429] * 5, "ten are active at most"

    reader = yard.cli("keys", "create", "--name", "reader", "--access", "read", "--json").json
    key = {"authorization": reader["key"]}
    assert yard.wire.call("GET", f"/v2/ep/batch/{batch}", headers=key)[0] == 200
    assert yard.wire.call("POST", f"/v2/ep/batch/{batch}/finalize", headers=key)[0] == 403
    assert yard.wire.call("GET", f"/v2/ep/batch/{batch}", headers={"authorization": "wrong"})[0] == 401
