"""API keys as a user makes, looks at, closes and ends them, and what each opens."""

from support.wire import Wire


def made(yard, *flags):
    return yard.cli("keys", "create", *flags, "--json").json


def call(yard, key, method, path, body=None, **headers):
    status, answer = Wire(yard.port, key["key"]).call(method, path, body, headers=headers)
    return status, answer


def test_a_key_opens_what_it_says(shared_yard):
    yard = shared_yard
    for name in ("a", "b", "c"):
        yard.wire.api("/endpoints", "POST", {"name": name, "settings": {"workers_max": 0}})
    run = made(yard, "--endpoint", "a", "--expires", "30d")
    reads = made(yard, "--endpoint", "a", "--read-only")
    mixed = made(yard, "--access", "read", "--endpoint", "a", "--endpoint", "b=deploy")
    assert (run["name"], run["access"], reads["access"], mixed["name"]) == ("a", "run", "read", "a, b")
    assert mixed["endpointNames"] == ["a", "b"] and list(mixed["grants"].values()) == ["deploy"]
    job = yard.wire.run("a", {})
    for key, submits, looks in ((run, 200, 200), (reads, 403, 200), (mixed, 403, 200)):
        assert call(yard, key, "POST", "/v2/a/run", {"input": {}})[0] == submits
        assert call(yard, key, "GET", f"/v2/a/status/{job}")[0] == looks
        assert call(yard, key, "GET", f"/v2/c/status/{job}")[0] == 404
    assert call(yard, mixed, "PATCH", "/api/v1/endpoints/b", {"settings": {"workers_max": 0}})[0] == 200
    assert call(yard, mixed, "PATCH", "/api/v1/endpoints/a", {"settings": {"workers_max": 0}})[0] == 403
    for wrong in (["--access", "admin", "--endpoint", "a"], ["--endpoint", "a=admin"], ["--endpoint", "nope"]):
        assert yard.cli("keys", "create", *wrong, code=None).code != 0, wrong
    assert yard.cli("keys", "create", code=2).err.count("--name") == 1


def test_a_key_is_closed_and_opened_and_ended(shared_yard):
    yard = shared_yard
    key = made(yard, "--name", "mine")
    show = lambda: yard.cli("keys", "show", key["id"], "--json").json
    assert show()["usedAt"] is None and show()["state"] == "valid"
    assert call(yard, key, "GET", "/api/v1/endpoints")[0] == 200
    assert show()["usedAt"] >= key["createdAt"], "a use is told before it is written"
    assert "disabled" in yard.cli("keys", "disable", key["id"]).out
    status, refused = call(yard, key, "GET", "/api/v1/endpoints")
    assert status == 401 and "disabled" in refused["detail"]
    yard.cli("keys", "enable", key["id"])
    assert call(yard, key, "GET", "/api/v1/endpoints")[0] == 200
    yard.wire.api(f"/keys/{key['id']}", "PATCH", {"name": "other", "expiresInS": 3600})
    assert show()["name"] == "other" and show()["expiresAt"] is not None
    yard.wire.api(f"/keys/{key['id']}", "PATCH", {"expiresInS": None})
    assert show()["expiresAt"] is None
    yard.cli("keys", "revoke", key["id"])
    assert call(yard, key, "GET", "/api/v1/endpoints")[0] == 401
    assert yard.cli("keys", "enable", key["id"], code=1).err.count("revoked for good") == 1
    assert yard.wire.call("DELETE", "/api/v1/keys/local")[0] == 404, "the owner's key is no key of the list"


def test_uses_and_states_come_back_after_a_restart(make_yard):
    yard = make_yard().start()
    used, closed = made(yard, "--name", "used"), made(yard, "--name", "closed")
    call(yard, used, "GET", "/api/v1/endpoints")
    yard.cli("keys", "disable", closed["id"])
    yard.stop()
    yard.start()
    keys = {key["id"]: key for key in yard.wire.api("/keys")["keys"]}
    assert keys[used["id"]]["usedAt"] is not None
    assert (keys[closed["id"]]["usedAt"], keys[closed["id"]]["state"]) == (None, "disabled")


def test_a_page_has_a_key_that_opens_little(shared_yard):
    yard = shared_yard
    yard.wire.api("/endpoints", "POST", {"name": "page", "settings": {"workers_max": 0}})
    origin = "https://example.com"
    key = made(yard, "--page", "--endpoint", "page", "--operation", "run", "--origin", origin + "/", "--rate", "run=2/9")
    assert key["key"].startswith("pk_") and key["page"] == {"operations": ["run"], "origins": [origin]}
    asked = {"origin": origin, "access-control-request-method": "POST",
             "access-control-request-headers": "authorization,content-type"}
    status, _ = Wire(yard.port, None).call("OPTIONS", "/v2/page/run", headers=asked)
    assert status == 204, "a browser asks before, without a key"
    assert call(yard, key, "POST", "/v2/page/run", {"input": {}}, origin=origin)[0] == 200
    for path, headers in (
        ("/v2/page/run", {}),
        ("/v2/page/run", {"origin": "https://example.com.evil"}),
        ("/v2/page/runsync", {"origin": origin}),
        ("/v2/page/purge-queue", {"origin": origin}),
        ("/api/v1/endpoints", {"origin": origin}),
    ):
        assert call(yard, key, "POST", path, {"input": {}}, **headers)[0] == 403, (path, headers)
    assert call(yard, key, "POST", "/v2/page/run", {"input": {}}, origin=origin)[0] == 200
    status, limited = call(yard, key, "POST", "/v2/page/run", {"input": {}}, origin=origin)
    assert status == 429, "its rate is its own"
    for wrong in (["--page"], ["--page", "--endpoint", "page", "--access", "deploy"],
                  ["--page", "--endpoint", "page", "--origin", "example.com"],
                  ["--page", "--endpoint", "page", "--operation", "purge"]):
        assert yard.cli("keys", "create", "--name", "x", *wrong, code=None).code != 0, wrong
