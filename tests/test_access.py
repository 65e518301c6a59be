"""Who may do what, as the people of a team and the pages of a browser: members with their roles, signing in with a key
or at an identity provider, sessions and their cookies, tokens for one job."""

import json
import re
import subprocess
import urllib.parse

import pytest

from support.oidc import Browser, Provider
from support.wire import Wire, until


def endpoint(yard, name):
    """An endpoint whose jobs wait: nothing serves it."""
    yard.wire.api("/endpoints", "POST", {"name": name, "settings": {"workers_max": 0}})


def test_a_page_follows_one_job_with_its_token(shared_yard):
    yard = shared_yard
    endpoint(yard, "one")
    endpoint(yard, "other")
    status, job, head = yard.wire.whole("POST", "/v2/one/run", {"input": {}}, headers={"x-job-token": "request"})
    assert status == 200 and set(job) == {"id", "status"}, "the body is as ever"
    token = head["x-job-token"]
    assert token.startswith("jt_") and "x-job-token" in head["access-control-expose-headers"]
    assert yard.cli("token", job["id"][:12]).out.strip() == token
    assert yard.wire.api(f"/jobs/{job['id']}/token", "POST", {}) == {"job": job["id"], "token": token, "endsAt": None}
    assert yard.wire.call("POST", "/v2/one/run", {"input": {}}, headers={"x-job-token": "yes"})[0] == 400

    page = Wire(yard.port, token)
    from_page = {"origin": "https://example.com"}
    status, seen, head = page.whole("GET", f"/v2/one/status/{job['id']}", headers=from_page)
    assert (status, seen["status"], head["access-control-allow-origin"]) == (200, "IN_QUEUE", "*")
    assert page.call("GET", f"/v2/one/stream/{job['id']}?wait=1000")[0] == 200
    second = yard.wire.run("one", {})
    foreign = yard.wire.run("other", {})
    for method, path, expected in (
        ("GET", f"/v2/one/status/{second}", 401),
        ("GET", f"/v2/other/status/{foreign}", 401),
        ("GET", f"/v2/other/status/{job['id']}", 404),
        ("GET", f"/v2/one/status/{job['id']}?ttl=60000", 403),
        ("POST", f"/v2/one/retry/{job['id']}", 403),
        ("POST", "/v2/one/run", 403),
        ("POST", "/v2/one/purge-queue", 403),
        ("GET", "/v2/one/health", 403),
        ("GET", "/v2/one/requests", 403),
        ("GET", "/api/v1/endpoints", 401),
        ("GET", f"/api/v1/jobs/{job['id']}", 401),
        ("GET", "/v2/serverless", 401),
    ):
        answer = page.call(method, path, {"input": {}} if method == "POST" else None)
        assert answer[0] == expected, (method, path, answer)
    assert Wire(yard.port, token[:-1]).call("GET", f"/v2/one/status/{job['id']}")[0] == 401
    # It holds over a restart, ends its job, and ends with it.
    yard.stop()
    yard.start()
    page = Wire(yard.port, token)
    status, ended = page.call("POST", f"/v2/one/cancel/{job['id']}")
    assert (status, ended["status"]) == (200, "CANCELLED")
    assert page.call("GET", f"/v2/one/status/{job['id']}")[1]["status"] == "CANCELLED"
    yard.wire.api("/endpoints/one", "DELETE")
    assert page.call("GET", f"/v2/one/status/{job['id']}")[0] == 404


def newest(yard, **query):
    return yard.wire.api("/audit?" + urllib.parse.urlencode(query))["records"]


def added(yard, email, role, *flags):
    return yard.cli("members", "add", email, "--role", role, "--json", *flags).json


def test_members_have_roles_and_keys_within_them(make_yard):
    yard = make_yard().start()
    endpoint(yard, "ep")
    people = {role: added(yard, f"{role}@example.com", role, "--with-key") for role in ("basic", "billing", "dev", "admin")}
    wires = {role: Wire(yard.port, person["key"]) for role, person in people.items()}
    body = {"input": {}}
    for method, path, given, opened in (
        ("GET", "/api/v1/endpoints/ep", None, {"basic", "dev", "admin"}),
        ("POST", "/v2/ep/run", body, {"basic", "dev", "admin"}),
        ("PATCH", "/api/v1/endpoints/ep", {"settings": {"workers_max": 0}}, {"dev", "admin"}),
        ("GET", "/v2/serverless", None, set(people)),
        ("GET", "/v2/billing", None, {"billing", "admin"}),
        ("GET", "/api/v1/members", None, {"admin"}),
        ("GET", "/api/v1/audit", None, {"admin"}),
        ("GET", "/api/v1/config", None, {"admin"}),
    ):
        for role, wire in wires.items():
            status, answer = wire.call(method, path, given)
            expected = {200} if role in opened else {403, 404}
            assert status in expected, (role, method, path, status, answer)
    assert wires["billing"].api("/endpoints")["endpoints"] == [] and wires["billing"].api("/jobs")["jobs"] == []
    assert wires["dev"].api("/me")["member"]["email"] == "dev@example.com"
    assert "dev@example.com" in yard.cli("whoami", env={"RUNYARD_URL": f"http://127.0.0.1:{yard.port}",
                                                        "RUNYARD_API_KEY": people["dev"]["key"]}, data=False).out

    # A member makes, sees and revokes own keys, and nobody else's, and none that opens more.
    dev = wires["dev"]
    own = dev.api("/keys", "POST", {"name": "mine", "access": "run", "endpoints": ["ep"]})
    assert own["member"]["email"] == "dev@example.com"
    assert {key["id"] for key in dev.api("/keys")["keys"]} == {own["id"], dev.api("/me")["who"]}
    for wrong in ({"access": "admin"}, {"access": "run", "member": None}, {"access": "run", "member": "basic@example.com"},
                  {"access": "run", "rates": {"run": "9/9"}}):
        assert dev.call("POST", "/api/v1/keys", {"name": "x", **wrong})[0] in (400, 403), wrong
    admins = yard.wire.api("/keys", "POST", {"name": "ci", "access": "run"})
    assert admins["member"] is None
    assert dev.call("DELETE", f"/api/v1/keys/{admins['id']}")[0] == 404
    limited = Wire(yard.port, own["key"])
    assert limited.call("GET", "/api/v1/keys")[0] == 403, "a key for some of it does not stand for the member"
    assert yard.wire.call("POST", "/api/v1/keys", {"name": "x", "access": "deploy", "member": "basic@example.com"})[0] == 400

    # A role that shrinks shrinks its keys at once, and so does one that grows.
    yard.cli("members", "set", "dev@example.com", "--role", "basic")
    status, answer = dev.call("PATCH", "/api/v1/endpoints/ep", {"settings": {"workers_max": 0}})
    assert status == 403 and "basic" in answer["detail"]
    shown = next(key for key in yard.wire.api("/keys")["keys"] if key["id"] == dev.api("/me")["who"])
    assert shown["access"] == "run"
    yard.cli("members", "set", "dev@example.com", "--role", "dev", "--name", "Dee")
    assert dev.call("PATCH", "/api/v1/endpoints/ep", {"settings": {"workers_max": 0}})[0] == 200
    assert newest(yard, who="dev@example.com")[0]["action"] == "endpoint.change"

    # Disabled, enabled, over a restart, removed.
    yard.cli("members", "set", "dev@example.com", "--disable")
    for wire in (dev, limited):
        status, answer = wire.call("GET", "/v2/ep/health")
        assert status == 401 and "disabled" in json.dumps(answer)
    yard.stop()
    yard.start()
    assert dev.call("GET", "/v2/ep/health")[0] == 401
    yard.cli("members", "set", "dev@example.com", "--enable")
    assert dev.call("GET", "/v2/ep/health")[0] == 200
    assert "with 2 keys" in yard.cli("members", "remove", "dev@example.com").out
    assert dev.call("GET", "/v2/ep/health")[0] == 401
    assert all(key["state"] == "revoked" for key in yard.wire.api("/keys")["keys"] if key["name"] in ("mine",))

    # The last administrator stays.
    for wrong in (["set", "admin@example.com", "--role", "dev"], ["set", "admin@example.com", "--disable"],
                  ["remove", "admin@example.com"]):
        assert "last administrator" in yard.cli("members", *wrong, code=1).err
    added(yard, "eve@example.com", "admin")
    yard.cli("members", "remove", "admin@example.com")
    assert wires["admin"].call("GET", "/api/v1/members")[0] == 401
    for wrong, code in ((["add", "eve@Example.com", "--role", "dev"], 1), (["add", "nobody", "--role", "dev"], 1),
                        (["add", "x@y", "--role", "owner"], 2), (["set", "eve@example.com"], 2), (["show", "none"], 5)):
        yard.cli("members", *wrong, code=code)
    actions = [record["action"] for record in newest(yard, action="member", limit=100)]
    assert actions[:2] == ["member.remove", "member.add"] and actions.count("member.add") == 5, actions
    table = yard.cli("members").out
    assert "eve@example.com" in table and "admin@example.com" not in table


def cookies_of(answer):
    return [line.split("; ") for line in answer.get_all("set-cookie")]


def test_a_page_signs_in_with_a_key_and_changes_things_with_its_number(make_yard):
    yard = make_yard().start()
    endpoint(yard, "ep")
    key = added(yard, "ann@example.com", "dev", "--with-key")["key"]
    nobody = Wire(yard.port, None)
    own = {"origin": f"http://127.0.0.1:{yard.port}", "sec-fetch-site": "same-origin"}
    status, answer = nobody.call("POST", "/auth/session", {"key": key}, headers={"origin": "https://evil.example"})
    assert status == 403, answer
    assert nobody.call("POST", "/auth/session", {"key": "ry_unknown"}, headers=own)[0] == 401
    status, answer, head = nobody.whole("POST", "/auth/session", {"key": key}, headers=own)
    assert status == 200 and "key" not in answer, answer
    session, csrf = cookies_of(head)
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(session) and "Secure" not in session
    assert "HttpOnly" not in csrf
    number = csrf[0].split("=")[1]
    page = {"cookie": f"{session[0]}; {csrf[0]}", **own}

    def call(method, path, body=None, **more):
        return nobody.call(method, path, body, headers={**page, **more})

    me = call("GET", "/api/v1/me")[1]
    assert (me["session"], me["csrf"], me["member"]["email"]) == (True, number, "ann@example.com")
    change = {"settings": {"workers_max": 0}}
    assert call("PATCH", "/api/v1/endpoints/ep", change)[0] == 403
    wrong = {"x-csrf-token": number[:-1]}
    assert call("PATCH", "/api/v1/endpoints/ep", change, **wrong)[0] == 403
    right = {"x-csrf-token": number}
    assert call("PATCH", "/api/v1/endpoints/ep", {"settings": {"workers_max": 3}}, **right)[0] == 200
    told = newest(yard, who="ann@example.com", action="endpoint")[0]
    assert told["changes"] == [{"field": "settings.workers_max", "old": 0, "new": 3}]
    for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert call("PATCH", "/api/v1/endpoints/ep", change, **right, **foreign)[0] == 403
        assert call("GET", "/api/v1/endpoints", **foreign)[0] == 403
    assert call("GET", "/api/v1/members")[0] == 403, "a session may what its member may"
    assert call("POST", "/v2/ep/run", {"input": {}}, **right)[0] == 401, "the job API takes no cookies"
    # A session is no key that is listed, and ends by itself, with its key, or where it is ended.
    assert [k["session"] for k in yard.wire.api("/keys")["keys"]].count(True) == 0
    assert [k["session"] for k in yard.wire.api("/keys?sessions=true")["keys"]].count(True) == 1
    assert call("POST", "/auth/logout", {}, **right)[0] == 200
    assert call("GET", "/api/v1/me")[0] == 401
    _, _, head = nobody.whole("POST", "/auth/session", {"key": key}, headers=own)
    page["cookie"] = cookies_of(head)[0][0]
    assert call("GET", "/api/v1/me")[0] == 200
    parent = Wire(yard.port, key).api("/me")["who"]
    yard.cli("keys", "revoke", parent)
    assert call("GET", "/api/v1/me")[0] == 401
    names = [record["action"] for record in newest(yard, who="ann@example.com")]
    assert names.count("member.sign-in") == 2 and names.count("member.sign-out") == 1
    assert key not in json.dumps(newest(yard, limit=1000)) and session[0].split("=")[1] not in json.dumps(newest(yard))


@pytest.fixture
def provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def known_yard(make_yard, provider):
    """A server whose people sign in at the provider."""
    yard = make_yard()
    more = 'oidc_domains = ["example.com"]\n[oidc_roles]\n"gpu" = "dev"\n"ops" = "admin"\n'
    (yard.data / "server.toml").write_text(provider.config(yard.root / "oidc.secret") + more)
    return yard.start()


def sign_in(yard, provider, next="/api/v1/me"):
    """A browser goes to the provider and comes back."""
    own = f"http://127.0.0.1:{yard.port}"
    browser = Browser(own)
    return browser, *browser.open(f"{own}/auth/oidc/start?{urllib.parse.urlencode({'next': next})}")


def test_people_sign_in_at_the_provider(known_yard, provider):
    yard = known_yard
    added(yard, "ann@example.com", "basic")
    browser, status, _, text, _ = sign_in(yard, provider)
    assert status == 200, text
    me = json.loads(text)
    assert (me["member"]["email"], me["member"]["role"], me["session"]) == ("ann@example.com", "basic", True)
    assert "HttpOnly" in browser.flags["runyard_session"] and "runyard_sign_in" not in browser.cookies
    # Groups say the role at each sign-in; people whom nobody knows come in by their groups alone.
    provider.person["groups"] = ["gpu", "others"]
    assert json.loads(sign_in(yard, provider)[3])["member"]["role"] == "dev"
    provider.person = {"sub": "8", "email": "Bob@Example.com", "email_verified": True, "groups": []}
    _, status, _, text, _ = sign_in(yard, provider)
    assert status == 403 and "no member of this server" in text
    provider.person["groups"] = ["gpu"]
    assert json.loads(sign_in(yard, provider)[3])["member"]["email"] == "bob@example.com"
    assert yard.wire.api("/members/bob@example.com")["createdBy"] == "oidc"
    assert [r["action"] for r in newest(yard, who="bob@example.com")] == ["member.sign-in", "member.add"]
    # Keys that the provider changes are read anew; both kinds are known.
    before = provider.asked.count("/keys")
    provider.rotate("ES256")
    until(lambda: sign_in(yard, provider)[1] == 200, 60, every=1)
    assert provider.asked.count("/keys") > before
    yard.cli("members", "set", "bob@example.com", "--disable")
    _, status, _, text, _ = sign_in(yard, provider)
    assert status == 403 and "disabled" in text


LIES = {
    "another issuer": ({"iss": "http://127.0.0.1:1"}, {}, None, "another issuer"),
    "another audience": ({"aud": "other"}, {}, None, "another audience"),
    "several audiences": ({"aud": ["runyard", "other"]}, {}, None, "another party"),
    "expired": ({"exp": 1_000_000_000}, {}, None, "expired"),
    "no end": ({"exp": None}, {}, None, "when it ends"),
    "of the future": ({"nbf": 4_000_000_000}, {}, None, "future"),
    "another nonce": ({"nonce": "x"}, {}, None, "not of this sign-in"),
    "no nonce": ({"nonce": None}, {}, None, "not of this sign-in"),
    "unverified address": ({"email_verified": False}, {}, None, "verified"),
    "no address": ({"email": None}, {}, None, "verified"),
    "another domain": ({"email": "ann@evil.example"}, {}, None, "evil.example"),
    "a domain at the end": ({"email": "ann@notexample.com"}, {}, None, "notexample.com"),
    "somebody else": ({"sub": "99"}, {}, None, "somebody else"),
    "no signature": ({}, {"alg": "none"}, "none", "RS256 and ES256"),
    "an empty signature": ({}, {}, "none", "signature"),
    "the public key as a password": ({}, {"alg": "HS256"}, "hmac", "RS256 and ES256"),
    "another kind of key": ({}, {"alg": "ES256"}, None, "does not publish"),
    "a key of nobody": ({}, {}, "other", "signature"),
    "an unknown key": ({}, {"kid": "none"}, "other", "does not publish"),
}


def test_no_lie_of_a_token_is_believed(known_yard, provider):
    yard = known_yard
    added(yard, "ann@example.com", "admin")
    assert sign_in(yard, provider)[1] == 200
    members = len(yard.wire.api("/members")["members"])
    for lie, (claims, header, forge, words) in LIES.items():
        provider.claims, provider.header, provider.forge = claims, header, forge
        browser, status, _, text, _ = sign_in(yard, provider)
        assert status == 403 and words in text, (lie, status, text)
        assert "runyard_session" not in browser.cookies, lie
    provider.claims, provider.header, provider.forge = {}, {}, None
    assert sign_in(yard, provider)[1] == 200
    assert len(yard.wire.api("/members")["members"]) == members
    assert len(newest(yard, action="member.sign-in")) == 2

    # A sign-in ends where it began, once, and leads nowhere else.
    own = f"http://127.0.0.1:{yard.port}"
    victim, thief = Browser(own), Browser(own)
    _, head, _, _ = victim.open(f"{own}/auth/oidc/start", follow=1)
    _, head, _, _ = victim.open(head["location"], follow=1)
    back = head["location"]
    assert thief.open(back)[0] == 403, "another browser has not begun it"
    assert victim.open(back.replace("state=", "state=x"))[0] == 403 and not victim.cookies
    for away in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        assert Browser(own).open(f"{own}/auth/oidc/start?{urllib.parse.urlencode({'next': away})}", follow=1)[0] == 400
    _, head, _, _ = victim.open(f"{own}/auth/oidc/start", follow=1)
    status, _, text, _ = victim.open(f"{own}/auth/oidc/callback?error=access_denied&error_description=%3Cb%3Eno&state="
                                     + urllib.parse.parse_qs(urllib.parse.urlsplit(head["location"]).query)["state"][0])
    assert status == 403 and "access_denied" in text and "&lt;b&gt;no" in text
    assert provider.client_secret not in yard.server_log() + yard.cli("config").out


def test_the_command_line_signs_in(known_yard, provider):
    yard = known_yard
    added(yard, "ann@example.com", "dev")
    url = f"http://127.0.0.1:{yard.port}"
    config = yard.root / "ann"
    env = {**yard.env, "XDG_CONFIG_HOME": str(config)}

    def login(*flags):
        return subprocess.Popen([yard.binary, "login", url, *flags], env=env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def said(process, pattern):
        while line := process.stderr.readline():
            if found := re.search(pattern, line):
                return found.group(0)
        raise AssertionError(process.wait())

    process = login("--oidc")
    start = said(process, r"http://\S+/auth/oidc/start\S+")
    status, _, text, place = Browser(url).open(start)
    assert status == 200 and "Signed in" in text and urllib.parse.urlsplit(place).port != yard.port
    assert process.wait(30) == 0, process.stderr.read()
    assert "as ann@example.com (dev)" in process.stderr.read()
    me = yard.cli("whoami", "--json", env={"XDG_CONFIG_HOME": str(config), "RUNYARD_URL": url}, data=False).json
    assert (me["member"]["email"], me["session"], me["access"]) == ("ann@example.com", True, "deploy")
    # The code that the browser brought was for once.
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(place).query)["code"][0]
    assert yard.wire.call("POST", "/auth/oidc/token", {"code": code, "verifier": "x" * 64})[0] == 403
    yard.cli("logout", url, env={"XDG_CONFIG_HOME": str(config)}, data=False)
    assert "key" not in (config / "runyard/credentials.toml").read_text()
    assert yard.wire.api("/members/ann@example.com")["sessions"] == 0
    assert newest(yard, who="ann@example.com")[0]["action"] == "member.sign-out"

    process = login("--device")
    assert said(process, "ABCD-EFGH")
    until(lambda: "/token" in provider.asked)
    provider.approved = True
    assert process.wait(30) == 0, process.stderr.read()
    me = yard.cli("whoami", "--json", env={"XDG_CONFIG_HOME": str(config), "RUNYARD_URL": url}, data=False).json
    assert me["member"]["email"] == "ann@example.com"
    # Who is not let in is told so.
    provider.person["email_verified"] = False
    process = login("--device")
    assert process.wait(60) == 4
    assert "verified" in process.stderr.read()
