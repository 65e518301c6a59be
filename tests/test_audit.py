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
    made, first = newest(yard)
    assert (first["action"], first["who"], first["from"]) == ("key.create", "local", None), "the first start made a key"
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
    assert wire.api(f"/audit?limit=3&cursor={page['nextCursor']}")["records"] == everything[3:6]
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


def test_every_door_is_in_it_and_pages_are_filtered(make_yard, project):
    yard = make_yard()
    project.mkdir()
    (yard.data / "server.toml").write_text(f'[images."me/worker:1"]\npath = "{project}"\n')
    wire = yard.start().wire
    # REST v2 has the same names.
    status, template = wire.call("POST", "/v2/templates", {
        "name": "t", "image": "me/worker:1", "serverless": True, "env": {"PASSWORD": "hidden-value"},
    })
    assert status == 201, template
    assert wire.call("DELETE", f"/v2/templates/{template['id']}")[0] in (200, 204)
    removed, made = newest(yard, action="template")
    assert [made["action"], removed["action"]] == ["template.create", "template.remove"]
    assert (made["whoName"], made["from"], made["subject"]) == ("first", "127.0.0.1", template["id"])
    assert {"field": "image", "old": None, "new": "me/worker:1"} in made["changes"]
    assert "hidden" not in json.dumps(newest(yard))

    # A deploy tells its release as it begins, and traffic as it moves; a rollback what it goes back to.
    (project / "handler.py").write_text(HANDLER)
    for _ in range(2):
        yard.deploy(project, "ep", "--env", "N=1")
    yard.cli("rollback", "ep", "--yes", code=None)
    deploys = newest(yard, endpoint="ep", action="release.deploy")
    fields = lambda record: {change["field"]: (change["old"], change["new"]) for change in record["changes"]}
    assert fields(deploys[0])["serving"] == (1, 2) and fields(deploys[1])["newestRelease"] == (1, 2)
    assert deploys[0]["who"] == "local"

    # A key that may deploy is told apart from others, and an export has everything.
    key = yard.cli("keys", "create", "--name", "ci", "--access", "deploy", "--json").json
    wire.call("PATCH", "/api/v1/endpoints/ep", {"settings": {"workers_max": 5}}, headers={"authorization": key["key"]})
    assert [record["who"] for record in newest(yard, who="ci")] == [key["id"]] == [newest(yard, who=key["id"])[0]["who"]]
    assert [record["action"] for record in newest(yard, subject=key["id"])] == ["key.create"]
    assert newest(yard, until=newest(yard)[-1]["at"]) == []
    everything = newest(yard, limit=1000)
    assert yard.cli("audit", "--jsonl").lines == everything
    assert yard.cli("audit", "--jsonl", "--who", "ci").lines == newest(yard, who="ci")


HANDLER = """
import runpod

runpod.serverless.start({"handler": lambda job: job["input"]})
"""
