"""Commits whose folder has a `runyard.toml`: deployed by it, by the branch's environment, pull requests by theirs."""

import json

from support.forge import git
from support.wire import until
from test_git import build_of, builds, code, connect, deployed, forge, hook_of, open_yard, says  # noqa: F401

FILE = """
name = "app"
[run]
env = { MOOD = "file" }
[scale]
max = 4
idle = "90s"
[[test]]
input = 1
[env.staging]
scale.max = 2
run.env.MOOD = "staging"
[env.preview]
scale.max = 1
run.env.MOOD = "preview"
"""


def workers(yard, endpoint):
    settings = yard.wire.api(f"/endpoints/{endpoint}")["settings"]
    return settings["workers_max"], settings["idle_timeout_s"]


def differences(yard, repository, *flags):
    planned = json.loads(yard.cli("diff", f"{repository.folder}/", "--json", *flags).out)
    return {change["path"]: (change["old"], change["new"]) for change in planned["changes"]}, planned["warnings"]


def test_a_commit_is_deployed_by_its_file(open_yard, forge):  # noqa: F811
    yard, repository = open_yard, forge.repository()
    first = repository.commit("First", **code("one"), runyard__toml=FILE)
    repository.push()
    git(repository.folder, "remote", "set-url", "--push", "origin", repository.bare)
    git(repository.folder, "remote", "set-url", "origin", repository.url)
    connection = connect(yard, repository, "--poll", "off", "--token", "t0ken", "--api", forge.api)
    hook = hook_of(connection)
    deployed(yard, first)
    assert yard.wire.do("app", {})["output"] == {"said": "one", "mood": "file"}
    assert workers(yard, "app") == (4, 90)
    managed = yard.wire.api("/endpoints/app")["managed"]
    assert managed["by"] == f"runyard.toml@{repository.url.removesuffix('.git')}" and managed["release"] == 1
    assert differences(yard, repository) == ({}, []), "applying the same file has nothing to do"

    # What somebody changes by hand is shown, and ends with the next commit.
    yard.cli("endpoints", "set", "app", "--max", "9")
    assert differences(yard, repository)[0] == {"scale.max": (9, 4)}
    second = repository.commit("Second", **code("two"), runyard__toml=FILE.replace('"90s"', '"30s"'))
    git(repository.folder, "push", "--quiet", "origin", "main")
    hook.push(second)
    deployed(yard, second)
    assert workers(yard, "app") == (4, 30) and says(yard) == "two"

    # A file with a mistake fails its commit, with the place; everything stays as it is.
    while not forge.statuses.empty():
        forge.statuses.get()
    third = repository.commit("Third", **code("three"), runyard__toml="[scale]\nmaxx = 3\n")
    git(repository.folder, "push", "--quiet", "origin", "main")
    hook.push(third)
    build = build_of(yard, third, "failed")
    assert build["why"].startswith("runyard.toml: line 2, column 1: unknown field `maxx`"), build
    told = [forge.statuses.get(timeout=10) for _ in range(2)]
    assert told[1]["state"] == "failure" and "line 2, column 1" in told[1]["description"], told
    assert workers(yard, "app") == (4, 30) and says(yard) == "two"


def test_a_connection_has_an_environment_and_pull_requests_theirs(open_yard, forge):  # noqa: F811
    yard, repository = open_yard, forge.repository()
    text = FILE.replace("[[test]]", "[budget]\ndaily = 5\n[[test]]")
    first = repository.commit("First", **code("one"), runyard__toml=text)
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off", "--pull-requests", "--environment", "staging"))
    deployed(yard, first)
    assert yard.wire.do("app", {})["output"]["mood"] == "staging" and workers(yard, "app") == (2, 90)
    assert yard.wire.api("/endpoints/app/git")["environment"] == "staging"
    log = yard.cli("logs", "app", "--build", "1").out
    assert "not applied, because this server has no budgets yet: budget.daily" in log, log
    assert "names the endpoint 'app-staging'" in log, log

    git(repository.folder, "checkout", "--quiet", "-b", "topic")
    topic = repository.commit("Topic", **code("topic"))
    repository.push("topic")
    assert hook.pull("opened", 7, topic, "topic")[0] == 202
    deployed(yard, topic)
    assert yard.wire.do("app-pr-7", {})["output"] == {"said": "topic", "mood": "preview"}
    assert workers(yard, "app-pr-7") == (1, 90)

    # Whoever may push a branch gets no secret that the endpoint has not.
    yard.cli("secret", "set", "OTHER", given="sesame")
    greedy = repository.commit("Greedy", runyard__toml=text + 'run.secrets = ["OTHER"]\n')
    repository.push("topic")
    assert hook.push(greedy, branch="topic")[0] == 202
    build = build_of(yard, greedy, "failed")
    assert "no secret that its endpoint does not have: OTHER" in build["why"], build

    # Without the file there is no environment either.
    git(repository.folder, "checkout", "--quiet", "main")
    git(repository.folder, "rm", "--quiet", "runyard.toml")
    gone = repository.commit("Gone")
    repository.push()
    hook.push(gone)
    build = build_of(yard, gone, "failed")
    assert "for the environment 'staging'" in build["why"], build
    until(lambda: builds(yard)[0]["state"] == "failed")
    assert says(yard) == "one"
