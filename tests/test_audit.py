"""The audit log: every change through the management API, with who, from where, before and after; values of secrets
never; and changes that were refused not at all."""

import json


def newest(yard, **query):
    path = "/audit?" + "&".join(f"{name}={value}" for name, value in query.items())
    return yard.wire.api(path)["records"]


def test_a_change_says_who_what_from_where_and_before(make_yard):
    yard = make_yard().start()
    wire = yard.wire
    wire.api("/endpoints", "POST", {"name": "ep", "settings": {"workers_max": 0}})
    (made,) = newest(yard)
    endpoint = made["endpoint"]
    assert (made["action"], made["whoName"], made["from"], made["endpointName"]) == (
        "endpoint.create", "first", "127.0.0.1", "ep",
    )
    wire.api("/endpoints/ep", "PATCH", {"settings": {"workers_max": 2}})
    wire.api("/endpoints/ep", "PATCH", {"name": "other"})
    renamed, changed = newest(yard, limit=2)
    assert changed["changes"] == [{"field": "settings.workers_max", "old": 0, "new": 2}]
    assert renamed["changes"] == [{"field": "name", "old": "ep", "new": "other"}]

    yard.cli("secret", "set", "HF", "--description", "d", given="hidden-value")
    (secret,) = newest(yard, limit=1)
    assert (secret["action"], secret["who"], secret["from"], secret["subject"]) == ("secret.set", "local", None, "HF")
    assert secret["changes"] == [
        {"field": "description", "old": None, "new": "d"}, {"field": "version", "old": None, "new": 1},
    ]
    key = yard.cli("keys", "create", "--name", "ci", "--access", "deploy", "--endpoint", "other", "--json").json
    yard.cli("keys", "disable", key["id"])
    disabled, created = newest(yard, limit=2)
    assert (created["action"], created["subject"]) == ("key.create", key["id"])
    assert disabled["changes"] == [{"field": "disabled", "old": False, "new": True}]
    assert key["key"] not in json.dumps(newest(yard)) and "hidden" not in json.dumps(newest(yard))

    # Neither what was refused nor what only looks is a change.
    before = newest(yard)
    assert wire.call("PATCH", "/api/v1/endpoints/other", {"settings": {"workers_max": -1}})[0] == 400
    assert wire.call("DELETE", "/api/v1/endpoints/nope")[0] == 404
    assert wire.call("POST", "/api/v1/endpoints", {"name": "x"}, headers={"authorization": key["key"]})[0] == 401
    wire.api("/endpoints")
    assert newest(yard) == before

    job = wire.run("other", {})
    wire.api(f"/jobs/{job}/cancel", "POST", {})
    wire.api("/endpoints/other", "DELETE")
    removed, cancelled = newest(yard, limit=2)
    assert (cancelled["action"], cancelled["subject"], cancelled["endpoint"]) == ("job.cancel", job, endpoint)
    assert cancelled["changes"] == [{"field": "status", "old": "IN_QUEUE", "new": "CANCELLED"}]
    assert removed["action"] == "endpoint.remove" and removed["changes"][0]["new"] is None
    # What is gone has a past, by its id; pages follow each other; all of it is there after a restart.
    assert [record["action"] for record in newest(yard, endpoint=endpoint)] == [
        "endpoint.remove", "job.cancel", "endpoint.change", "endpoint.change", "endpoint.create",
    ]
    everything = newest(yard)
    page = wire.api("/audit?limit=3")
    assert page["records"] == everything[:3]
    assert wire.api(f"/audit?limit=3&before={page['next']}")["records"] == everything[3:6]
    assert newest(yard, since=everything[0]["at"] + 1) == []
    yard.stop()
    yard.start()
    assert newest(yard) == everything

    table = yard.cli("audit").out
    assert "settings.workers_max 0 → 2" in table and "key.create" in table, table
    lines = yard.cli("audit", "--json", "-n", "1000").lines
    assert lines == everything
    other = yard.cli("keys", "create", "--name", "reader", "--access", "deploy", "--json").json
    assert wire.call("GET", "/api/v1/audit", headers={"authorization": other["key"]})[0] == 403
