"""Deploys from Git: repositories on a forge that speaks HTTP, by webhook and by polling; pull requests; `git push`."""

import os
import re
import subprocess

import pytest

from support.forge import Forge, Hook, git
from support.wire import until

HANDLER = """
import os
import runpod
{before}
def handler(job):
    return {{"said": "{said}", "mood": os.environ.get("MOOD")}}


runpod.serverless.start({{"handler": handler}})
"""
REQUIREMENTS = "runpod\n"


def code(said, before=""):
    """The files of a commit whose handler says this."""
    return {"handler__py": HANDLER.format(said=said, before=before), "requirements__txt": REQUIREMENTS}


@pytest.fixture
def forge(tmp_path):
    with Forge(tmp_path / "forge") as forge:
        yield forge


@pytest.fixture
def open_yard(make_yard):
    return make_yard(env={"RUNYARD_GIT_ALLOW_PRIVATE": "true"}).start()


def connect(yard, repository, *flags, endpoint="app", env=None, code=0):
    """Connects by the command line, as users do; the connection."""
    done = yard.cli("git", "connect", repository.url, "--endpoint", endpoint, "--json", *flags, env=env, code=code)
    return done.json if code == 0 else done.error


def hook_of(connection):
    return Hook(connection["webhook"]["url"], connection["webhook"]["secret"])


def builds(yard, endpoint="app"):
    return yard.wire.api(f"/endpoints/{endpoint}/git")["builds"]


def build_of(yard, commit, *states, endpoint="app", limit=120):
    """The build of a commit once it is in one of these states."""
    def find():
        return next((b for b in builds(yard, endpoint) if b["commit"] == commit and b["state"] in states), None)
    return until(find, limit, say=lambda: (builds(yard, endpoint), yard.server_log()[-3000:]))


def deployed(yard, commit, **more):
    return build_of(yard, commit, "deployed", **more)


def says(yard, endpoint="app", **more):
    return yard.wire.do(endpoint, {}, **more)["output"]["said"]


def releases(yard, endpoint="app"):
    return yard.wire.api(f"/endpoints/{endpoint}/releases")["releases"]


def test_a_push_deploys_by_webhook(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First\n\nWhy it is.", **code("one"))
    repository.push()
    connection = connect(yard, repository, "--poll", "off", "--env", "MOOD=good")
    hook = hook_of(connection)
    deployed(yard, first)
    answer = yard.wire.do("app", {})["output"]
    assert answer == {"said": "one", "mood": "good"}

    second = repository.commit("Second", **code("two"))
    repository.push()
    status, answer = hook.push(second, secret="another secret of nobody")
    assert status == 401 and "signature" in answer["detail"]
    status, answer = hook.push(second, headers={})
    assert status == 401 and "not signed" in answer["detail"]
    status, answer = hook.push(second, branch="other")
    assert status == 200 and "not followed" in answer["ignored"]
    assert [b["commit"] for b in builds(yard)] == [first], "nothing but a signed message changes anything"
    assert hook.push(second, delivery="d-1") == (202, {"accepted": "push to refs/heads/main"})
    assert hook.push(second, delivery="d-1") == (200, {"ignored": "it was delivered before"})
    build = deployed(yard, second)
    assert says(yard) == "two"
    assert hook.push(first)[0] == 202, "an old message again"
    build_of(yard, first, "superseded")
    assert len(releases(yard)) == 2 and says(yard) == "two"

    newest = releases(yard)[0]
    assert (newest["number"], newest["serving"], newest["createdBy"]) == (build["release"], True, "git")
    assert newest["commit"]["id"] == second and newest["commit"]["reference"] == "branch main"
    assert newest["commit"]["author"] == "Ann <ann@example.com>" and newest["commit"]["repository"] == repository.url
    assert releases(yard)[1]["commit"]["message"] == "First\n\nWhy it is."
    assert newest["tookMs"] > 0 and build["ms"] >= newest["tookMs"]
    log = yard.cli("logs", "app", "--build", newest["number"]).out
    assert f"commit {second} by Ann" in log
    shown = yard.cli("git", "show", "app").out
    assert re.search(rf"{second[:8]} +serving", shown) and re.search(rf"{first[:8]} +deployed", shown), shown
    assert second[:8] in yard.cli("releases", "app").out


def test_polling_finds_what_no_webhook_told(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    repository.push()
    connect(yard, repository, "--poll", "1s")
    deployed(yard, first)
    second = repository.commit("Second", **code("two"))
    repository.push()
    deployed(yard, second)
    assert says(yard) == "two"
    # A rollback by hand stays: nothing new was pushed.
    yard.cli("rollback", "app")
    looked = len(forge.asked)
    until(lambda: len(forge.asked) >= looked + 6, 30)
    assert says(yard) == "one" and len(releases(yard)) == 2
    assert re.search(rf"{second[:8]} +deployed", yard.cli("git", "list").out)
    builds = yard.cli("git", "show", "app", "--json").json["builds"]
    assert {build["commit"]: build["serves"] for build in builds} == {first: True, second: False}


def test_a_newer_push_supersedes_what_waits(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    slow = repository.commit("Slow", **code("slow", before="import time\ntime.sleep(6)"))
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off"))
    build_of(yard, slow, "building")
    middle = repository.commit("Middle", **code("middle"))
    repository.push()
    assert hook.push(middle)[0] == 202
    last = repository.commit("Last", **code("last"))
    repository.push()
    assert hook.push(last)[0] == 202
    deployed(yard, last)
    states = {b["commit"]: (b["state"], b["release"]) for b in builds(yard)}
    assert states == {slow: ("deployed", 1), middle: ("superseded", None), last: ("deployed", 2)}
    assert last[:8] in next(b["why"] for b in builds(yard) if b["commit"] == middle)


def test_a_handler_that_breaks_leaves_the_old_release_serving(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    good = repository.commit("Good", **code("good"))
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off", "--token", "t0ken-of-the-forge", "--api", forge.api))
    deployed(yard, good)
    told = [forge.statuses.get(timeout=10) for _ in range(2)]
    assert [s["state"] for s in told] == ["pending", "success"]
    assert told[1]["path"] == f"/api/repos/me/app/statuses/{good}"
    assert told[1]["authorization"] == "Bearer t0ken-of-the-forge"
    assert told[1]["context"] == "runyard/app" and told[1]["description"] == "release 1 serves"
    assert told[1]["target_url"].endswith("/v2/app")

    bad = repository.commit("Bad", **code("bad", before="import no_such_module_at_all"))
    repository.push()
    hook.push(bad)
    build = build_of(yard, bad, "failed")
    assert "no_such_module_at_all" in build["why"] and build["release"] == 2
    told = [forge.statuses.get(timeout=10) for _ in range(2)]
    assert [s["state"] for s in told] == ["pending", "failure"]
    assert told[1]["path"].endswith(bad) and len(told[1]["description"]) <= 140
    until(lambda: builds(yard)[0]["told"] == "commit status written")
    assert says(yard) == "good"
    listed = yard.cli("releases", "app").out
    assert bad[:8] in listed and "serving" in listed
    assert "no_such_module_at_all" in yard.cli("git", "show", "app").out

    # Asked for, it is tried again; a good commit heals.
    yard.cli("git", "sync", "app")
    until(lambda: [b["state"] for b in builds(yard)][:2] == ["failed", "failed"], 60)
    better = repository.commit("Better", **code("better"))
    repository.push()
    hook.push(better)
    deployed(yard, better)
    assert says(yard) == "better"


def test_tags_and_releases_deploy_when_they_come(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    git(repository.folder, "tag", "-a", "v1.0", "-m", "one")
    repository.push("main", "v1.0")
    connect(yard, repository, "--on", "tag", "--poll", "1s", endpoint="by-tag")
    hook = hook_of(connect(yard, repository, "--on", "release", "--poll", "off", "--api", forge.api, endpoint="rel"))
    assert deployed(yard, first, endpoint="by-tag")["reference"] == "tag v1.0"
    second = repository.commit("Second", **code("two"))
    git(repository.folder, "tag", "v1.10")
    git(repository.folder, "tag", "v1.10-rc1", "HEAD~1")
    repository.push("main", "v1.10", "v1.10-rc1")
    assert deployed(yard, second, endpoint="by-tag")["reference"] == "tag v1.10"
    assert builds(yard, "rel") == []
    assert hook.send("release", {"action": "published", "release": {"tag_name": "v1.0"}})[0] == 202
    deployed(yard, first, endpoint="rel")
    # Where the forge tells, no message is needed.
    forge.latest = "v1.10"
    yard.cli("git", "sync", "rel")
    deployed(yard, second, endpoint="rel")
    assert releases(yard, "rel")[0]["commit"]["reference"] == "release v1.10"


def test_a_private_repository_opens_with_its_token(make_yard, tmp_path):
    token = "secret-token-of-a-private-repository"
    yard = make_yard(env={"RUNYARD_GIT_ALLOW_PRIVATE": "true"}).start()
    with Forge(tmp_path / "forge", token=token) as forge:
        repository = forge.repository()
        first = repository.commit("First", services___t2i___handler__py=code("one")["handler__py"],
                                  services___t2i___requirements__txt=REQUIREMENTS)
        repository.push()
        refused = connect(yard, repository, code=1)
        assert "--token" in refused["message"] + str(refused), refused
        connection = connect(yard, repository, "--path", "services/t2i", "--poll", "1s", env={"RUNYARD_GIT_TOKEN": token})
        assert connection["access"] == "token" and token not in str(connection)
        deployed(yard, first)
        assert says(yard) == "one"
        # It can be written into the address, too, and does not stay there.
        inside = repository.url.replace("http://", f"http://me:{token}@")
        done = yard.cli("git", "connect", inside, "--endpoint", "other", "--json", "--path", "services/t2i")
        assert done.json["url"] == repository.url and token not in done.out
    secret = connection["webhook"]["secret"]
    for text in (token, secret):
        assert text not in yard.cli("git", "show", "app", "--json").out
        assert text not in yard.server_log()
        found = subprocess.run(["grep", "-rlF", text, yard.data], capture_output=True, text=True).stdout
        assert found == "", f"a secret lies in {found}"


def test_the_first_release_of_a_repository_has_its_secure_variables(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    repository.push()
    mood = "a-mood-that-nobody-may-see"
    connection = connect(yard, repository, "--poll", "off", "--secret-env", "MOOD", env={"MOOD": mood})
    assert connection["secureEnv"] == ["MOOD"] and "MOOD" not in connection["env"]
    deployed(yard, first)
    found = subprocess.run(["grep", "-rlF", mood, yard.data], capture_output=True, text=True).stdout
    assert found == "", f"a secure value lies in {found}"
    assert yard.wire.do("app", {})["output"] == {"said": "one", "mood": mood}
    # Another value takes its place for good.
    yard.cli("endpoints", "set", "app", "--secret-env", "MOOD", "--yes", env={"MOOD": "another-mood-of-the-handler"})
    second = repository.commit("Second", **code("two"))
    repository.push()
    yard.cli("git", "sync", "app")
    deployed(yard, second)
    assert yard.wire.do("app", {})["output"] == {"said": "two", "mood": "another-mood-of-the-handler"}
    # What serves keeps its own: a connection sets none beside it.
    yard.cli("git", "disconnect", "app")
    refused = connect(yard, repository, "--secret-env", "MOOD", env={"MOOD": mood}, code=1)
    assert "runyard endpoints set app --secret-env" in str(refused), refused


def test_each_pull_request_has_an_endpoint_until_it_is_closed(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    repository.push()
    hook = hook_of(connect(yard, repository, "--pull-requests", "--poll", "off", "--env", "MOOD=good"))
    deployed(yard, first)
    yard.cli("endpoints", "set", "app", "--min", "1")
    git(repository.folder, "checkout", "--quiet", "-b", "topic")
    topic = repository.commit("Topic", **code("topic"))
    repository.push("topic")
    status, answer = hook.pull("opened", 7, topic, "topic", repo="you/app")
    assert status == 200 and "fork" in answer["ignored"]
    assert hook.pull("opened", 7, topic, "topic")[0] == 202
    build = deployed(yard, topic)
    assert build["reference"] == "pull request 7"
    preview = yard.wire.api("/endpoints/app-pr-7")
    assert preview["settings"]["workers_min"] == 0
    assert yard.wire.do("app-pr-7", {})["output"] == {"said": "topic", "mood": "good"}
    assert says(yard) == "one"
    assert "#7 app-pr-7" in yard.cli("git", "show", "app").out
    more = repository.commit("More", **code("more"))
    repository.push("topic")
    assert hook.push(more, branch="topic")[0] == 202
    deployed(yard, more)
    assert says(yard, "app-pr-7") == "more" and says(yard) == "one"
    assert hook.pull("closed", 7, more, "topic")[0] == 202
    until(lambda: yard.wire.call("GET", "/api/v1/endpoints/app-pr-7")[0] == 404)
    until(lambda: yard.wire.api("/endpoints/app/git")["previews"] == [])
    # Another one, whose closing nobody told: its branch is gone.
    repository.push("topic")
    hook.pull("opened", 8, more, "topic")
    until(lambda: yard.wire.call("GET", "/api/v1/endpoints/app-pr-8")[0] == 200)
    deployed(yard, more)
    until(lambda: builds(yard)[0]["state"] == "deployed", 60)
    git(repository.folder, "push", "--quiet", "origin", "--delete", "topic")
    yard.cli("git", "sync", "app")
    until(lambda: yard.wire.call("GET", "/api/v1/endpoints/app-pr-8")[0] == 404)


def lists_asked(forge):
    return sum("/pulls" in line or "/merge_requests" in line for line in forge.asked)


@pytest.mark.parametrize("dialect, opened, closed", [("", "open", "closed"), ("/v4", "opened", "merged")])
def test_pull_requests_are_polled_where_no_webhook_comes(open_yard, forge, dialect, opened, closed):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    repository.push()
    git(repository.folder, "checkout", "--quiet", "-b", "topic")
    topic = repository.commit("Topic", **code("topic"))
    repository.push("topic")
    # Two that get nothing: of a fork, and for another branch.
    forge.pull(5, "topic", topic, opened, repo="you/app")
    forge.pull(6, "topic", topic, opened, base="dev")
    connect(yard, repository, "--pull-requests", "--poll", "1s", "--api", forge.api + dialect)
    deployed(yard, first)
    forge.pull(7, "topic", topic, opened)
    assert deployed(yard, topic)["reference"] == "pull request 7"
    assert says(yard, "app-pr-7") == "topic" and says(yard) == "one"
    assert [p["number"] for p in yard.wire.api("/endpoints/app/git")["previews"]] == [7]
    until(lambda: forge.unchanged >= 2, 30, say=lambda: forge.asked)
    more = repository.commit("More", **code("more"))
    repository.push("topic")
    deployed(yard, more)
    assert says(yard, "app-pr-7") == "more"
    forge.pull(7, "topic", more, closed)
    until(lambda: yard.wire.call("GET", "/api/v1/endpoints/app-pr-7")[0] == 404, 30)
    until(lambda: yard.wire.api("/endpoints/app/git")["previews"] == [])
    # Reopened, and removed with its connection.
    forge.pull(7, "topic", more, opened)
    until(lambda: yard.wire.call("GET", "/api/v1/endpoints/app-pr-7")[0] == 200, 60)
    yard.cli("git", "disconnect", "app")
    assert yard.wire.call("GET", "/api/v1/endpoints/app-pr-7")[0] == 404


def test_a_forge_that_wants_to_be_left_alone_is(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"))
    repository.push()
    forge.limited = (403, {"x-ratelimit-remaining": "0", "retry-after": "3000"})
    connect(yard, repository, "--pull-requests", "--poll", "1s", "--api", forge.api)
    deployed(yard, first)
    until(lambda: yard.wire.api("/endpoints/app/git")["trouble"], 20)
    shown = yard.cli("git", "show", "app").out
    assert "asked too often" in shown and "3000 s" in shown and "--token" in shown
    # Its branch is followed all the same, and nobody asks again, told to or not.
    forge.limited = None
    forge.pull(7, "main", first)
    second = repository.commit("Second", **code("two"))
    repository.push()
    yard.cli("git", "sync", "app")
    deployed(yard, second)
    looked = len(forge.asked)
    until(lambda: len(forge.asked) >= looked + 6, 30)
    assert lists_asked(forge) == 1 and yard.wire.api("/endpoints/app/git")["previews"] == []


def test_git_push_to_the_server(make_yard, tmp_path):
    yard = make_yard().start()
    yard.cli("endpoints", "create", "app")
    copy = tmp_path / "copy"
    copy.mkdir()
    git(copy, "init", "--quiet", "--initial-branch=main")
    for name, text in code("pushed").items():
        (copy / name.replace("__", ".")).write_text(text)
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "-m", "Pushed")
    base = f"http://git:{yard.key()}@127.0.0.1:{yard.port}/git"
    git(copy, "push", "--quiet", f"{base}/app.git", "main")
    first = git(copy, "rev-parse", "HEAD")
    deployed(yard, first)
    assert says(yard) == "pushed"
    assert releases(yard)[0]["commit"]["message"] == "Pushed"
    for address, words in [
        (f"http://git:ry_wrong@127.0.0.1:{yard.port}/git/app.git", "Authentication failed"),
        (f"http://127.0.0.1:{yard.port}/git/app.git", "Authentication failed"),
        (f"{base}/none.git", "not found"),
    ]:
        assert words in git(copy, "push", address, "main", code=128), address
    read = yard.cli("keys", "create", "--name", "reader", "--access", "run").out.strip()
    assert "403" in git(copy, "push", base.replace(yard.key(), read) + "/app.git", "main", code=128)
    # Large enough to come in pieces; another branch is kept and not deployed.
    (copy / "handler.py").write_text(code("again")["handler__py"])
    (copy / "weights.bin").write_bytes(os.urandom(3 << 20))
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "-m", "Again")
    git(copy, "push", "--quiet", f"{base}/app.git", "main:draft")
    assert [b["commit"] for b in builds(yard)] == [first]
    git(copy, "push", "--quiet", f"{base}/app.git", "main")
    second = git(copy, "rev-parse", "HEAD")
    deployed(yard, second)
    assert says(yard) == "again"
    git(tmp_path, "clone", "--quiet", f"{base}/app.git", "clone")
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == second
    yard.cli("endpoints", "rm", "app", "--yes")
    assert not list((yard.data / "git/pushed").iterdir())


def test_a_killed_server_builds_what_was_wanted(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one", before="import time\ntime.sleep(4)"))
    repository.push()
    connect(yard, repository, "--poll", "off")
    build_of(yard, first, "building")
    yard.kill()
    yard.start()
    build = deployed(yard, first)
    # Its first release had begun, or had a number only, or not yet.
    assert says(yard) == "one" and build["release"] in (1, 2)
    assert [r["state"] for r in releases(yard)] in (["ready"], ["ready", "failed"][:build["release"]])
    until(lambda: not list((yard.data / "git/work").iterdir()))


def test_hub_and_tests_files_are_honoured(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    hub = '{"title": "x", "config": {"runsOn": "CPU", "env": [{"key": "MOOD", "input": {"type": "string", "default": "calm"}}%s]}}'
    tests = '{"tests": [{"name": "works", "input": {"x": 1}, "timeout": 20000}]}'
    repository.commit("First", **code("one"))
    second = repository.commit("Second", __runpod___hub__json=hub % "", __runpod___tests__json=tests)
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off"))
    deployed(yard, second)
    assert yard.wire.do("app", {})["output"] == {"said": "one", "mood": "calm"}
    assert "1/1 passed" in yard.cli("logs", "app", "--build", 1).out
    wanting = repository.commit("Wants", __runpod___hub__json=hub % ', {"key": "NEEDED", "input": {"required": true}}')
    repository.push()
    hook.push(wanting)
    assert "NEEDED" in build_of(yard, wanting, "failed")["why"]


def test_tricks_are_refused(open_yard, forge, tmp_path):
    yard, repository = open_yard, forge.repository()
    marker = tmp_path / "marker"
    files = code("one")
    repository.commit("First", **files)
    (repository.folder / "out").symlink_to("/etc")
    (repository.folder / "inner").mkdir()
    (repository.folder / "inner/handler.py").write_text(files["handler__py"])
    (repository.folder / "inner/passwd").symlink_to("/etc/passwd")
    second = repository.commit("Links")
    repository.push()
    for url in [f"ext::sh -c 'touch {marker}'", "file:///etc", "/etc", f"--upload-pack=touch {marker}",
                f"ssh://-oProxyCommand=touch%20{marker}/x"]:
        done = yard.cli("git", "connect", "--endpoint", "app", "--", url, code=None)
        assert done.code != 0, url
    for flags in [("--branch", f"--upload-pack=touch {marker}"), ("--branch=-x",), ("--path", "../.."), ("--path", "/etc"),
                  ("--dockerfile", "../Dockerfile"), ("--branch", "none")]:
        flags = [f"{flags[0]}={flags[1]}"] if len(flags) == 2 else flags
        done = yard.cli("git", "connect", repository.url, "--endpoint", "app", *flags, code=None)
        assert done.code != 0, flags
    assert yard.wire.api("/git")["connections"] == [] and yard.wire.api("/endpoints")["endpoints"] == []
    connect(yard, repository, "--path", "out", endpoint="a")
    assert "leads out of the repository" in build_of(yard, second, "failed", endpoint="a")["why"]
    connect(yard, repository, "--path", "inner", endpoint="b")
    why = build_of(yard, second, "failed", endpoint="b")["why"]
    assert "/etc/passwd" in why and re.search("out of|outside", why)
    connect(yard, repository, "--path", "gone", endpoint="c")
    assert "not in this commit" in build_of(yard, second, "failed", endpoint="c")["why"]
    assert not marker.exists()


TELLING = """#!/bin/sh
can() { "$@" >/dev/null 2>&1 && echo yes || echo no; }
rm -f "$HOME/x"
echo "fatal: user $(id -u), vault $(can cat {data}/vault.key), others $(can ls {data}/db {data}/git/pushed)," \
     "tmp $(can touch /tmp/of-git-$$), home $(can touch "$HOME/x")" >&2
exit 128
"""


def test_git_itself_is_held(make_yard, forge):
    yard = make_yard(env={"RUNYARD_GIT_ALLOW_PRIVATE": "true"})
    folder = yard.root / "bin"
    folder.mkdir()
    (folder / "git").write_text(TELLING.replace("{data}", str(yard.data)))
    (folder / "git").chmod(0o755)
    yard.more_env["PATH"] = f"{folder}:{os.environ['PATH']}"
    yard.start()
    boundary = yard.wire.api("/info")["boundary"]
    if "Landlock" not in boundary:
        pytest.skip(f"not on this machine: {boundary}")
    said = str(connect(yard, forge.repository(), code=1))
    assert "vault no, others no, tmp no, home yes" in said, said
    user = int(re.search(r"user (\d+)", said).group(1))
    assert user == os.getuid() or 63_000 <= user < 64_000, said
    assert os.getuid() != 0 or "another user" not in boundary or user != 0, said


def test_this_machine_is_not_read_unless_allowed(make_yard, forge):
    yard, repository = make_yard().start(), forge.repository()
    repository.commit("First", **code("one"))
    repository.push()
    refused = connect(yard, repository, code=1)
    assert "127.0.0.1, which is loopback" in str(refused) and "git_allow_private" in str(refused)
    assert forge.asked == []
