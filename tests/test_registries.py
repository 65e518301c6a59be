"""Images that are not public: logins for their registries, named and sealed.

- A deploy is refused without a login and with a wrong one, by name; with the right one it serves, and an agent whose
  engine has lost the image pulls it again, by basic authentication and by bearer token.
- Builds upon a private image, by the engine's builder and by BuildKit.
- What is secret of a login is in no answer, no log, no file of the data directory and no process's arguments.
"""

import json
import os
import shutil
import subprocess
from uuid import uuid4

import pytest
from conftest import missing
from test_docker import image, name_of, path_to_kit

from support.registry import Registry, push
from support.wire import until

PASSWORD = "correct-horse-battery"
WRONG = "incorrect-donkey-battery"
QUICK = ("--idle", "1s", "--max", "1")


@pytest.fixture
def make_registry(tmp_path):
    """Makes registries that ask who is there."""
    if not shutil.which("docker-registry"):
        missing("docker-registry is not installed: apt-get install docker-registry")
    made = []

    def make(kind="basic", **accounts):
        folder = tmp_path / f"registry-{len(made)}"
        folder.mkdir()
        made.append(Registry(folder, kind, **(accounts or {"robot": PASSWORD})))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def yard(make_yard, engine):
    return make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()


@pytest.fixture
def private(engine, project):
    """Puts a worker's image into a registry, and takes it away from the engine."""

    def put(registry, name="w:1"):
        whole = f"{registry.host}/{name}"
        image(project)
        # A label of its own: what others build of the same project is made of other layers, and holds none of these.
        made = subprocess.run(["docker", "build", "-q", "--label", f"test={uuid4()}", "-t", whole, project], capture_output=True, text=True,
                              env={**os.environ, "DOCKER_HOST": engine.address, "DOCKER_BUILDKIT": "0"}, check=False)
        assert made.returncode == 0, made.stderr
        push(engine, whole, "robot", PASSWORD)
        drop(engine, whole)
        return whole

    return put


def drop(engine, name):
    """The engine forgets an image."""
    status, said = engine.call("DELETE", f"/images/{name}?force=true")
    assert status in (200, 404), said


def add(yard, name, registry, password=PASSWORD, *flags, code=0):
    server = ("--server", registry.host, "--username", "robot") if registry else ()
    return yard.cli("registries", "add", name, *server, *flags, given=f"{password}\n", code=code)


def test_a_login_is_kept_and_never_shown(yard, make_registry):
    registry = make_registry()
    said = [add(yard, "mine", registry, "hunter2-hunter2")]
    assert registry.host in said[0].out and "robot" in said[0].out, said
    said.append(add(yard, "mine", registry, "again-again", code=1))
    assert "--replace" in said[-1].err, said
    said.append(add(yard, "mine", None, "replaced-pass", "--replace"))
    said.append(yard.cli("registries"))
    assert "mine" in said[-1].out and registry.host in said[-1].out
    said.append(yard.cli("registries", "list", "--json"))
    [listed] = said[-1].json["registries"]
    assert (listed["server"], listed["username"], listed["usedBy"]) == (registry.host, "robot", []), listed
    for wrong in (("a b",), ("x", "--server", "nohost"), ("x", "--server", "ghcr.io", "--username", "a:b")):
        flags = wrong if len(wrong) > 1 else (*wrong, "--server", "ghcr.io")
        user = () if "--username" in flags else ("--username", "u")
        said.append(yard.cli("registries", "add", *flags, *user, given="p", code=1))
    said.append(yard.cli("registries", "add", "empty", "--server", "ghcr.io", "--username", "u", given="", code=2))
    for text in ("hunter2-hunter2", "again-again", "replaced-pass"):
        assert not any(text in run.out + run.err for run in said), text
        assert not holds(yard, text), text
    yard.cli("registries", "remove", "mine")
    assert yard.cli("registries", "remove", "mine", code=5).err
    assert yard.cli("registries", "list", "--json").json["registries"] == []


def holds(yard, text):
    """The files of the data directory that hold a text."""
    found = subprocess.run(["grep", "-rlaF", text, yard.data, yard.root / "server-1.log"], capture_output=True,
                           text=True, check=False)
    return found.stdout


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_login_is_tried_when_it_is_kept(make_yard, make_registry, kind):
    yard, registry = make_yard().start(), make_registry(kind)
    done = add(yard, "mine", registry)
    assert "tried:" in done.err and "takes it" in done.err, done
    done = add(yard, "mine", None, WRONG, "--replace")
    assert "does not take it" in done.err and "--replace" in done.err, done
    assert WRONG not in done.err + done.out
    body = {"name": "mine", "password": PASSWORD, "replace": True}
    assert yard.wire.api("/registries", "POST", body)["login"]["state"] == "accepted"
    # One that is away is told, and the login is kept all the same.
    gone = {"name": "gone", "server": "127.0.0.1:9", "username": "robot", "password": PASSWORD}
    said = yard.wire.api("/registries", "POST", gone)
    assert said["login"]["state"] == "unknown" and "127.0.0.1:9" in said["login"]["message"], said
    assert {one["name"] for one in yard.wire.api("/registries")["registries"]} == {"mine", "gone"}


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_private_image_is_pulled_with_its_login(yard, engine, make_registry, private, kind):
    registry = make_registry(kind)
    name = private(registry)
    deploy = ("deploy", "--image", name, "--name", "w", *QUICK)
    # Without a login, and with a wrong one, which is named.
    done = yard.cli(*deploy, code=3)
    assert "registries add NAME" in done.err, done
    add(yard, "mine", registry, WRONG)
    done = yard.cli(*deploy, code=3)
    assert "'mine'" in done.err and "--replace" in done.err and name in done.err, done
    told = yard.wire.api("/endpoints/w/why")
    assert "image_unauthorized" in [cause["code"] for cause in told["causes"]], told
    # The right one.
    add(yard, "mine", registry, PASSWORD, "--replace")
    yard.cli(*deploy)
    assert yard.wire.do("w", {})["status"] == "COMPLETED"
    release = yard.wire.api("/endpoints/w/releases")["releases"][0]
    assert release["image"]["registry"] == "mine" and release["image"]["digest"].startswith(registry.host), release
    # An engine that has lost the image: the agent pulls it with the login.
    until(lambda: not engine.containers(data=name_of(yard)), 30)
    drop(engine, release["image"]["id"])
    registry.asked.clear()
    assert yard.wire.do("w", {})["status"] == "COMPLETED"
    assert "robot" in registry.asked
    # And says so where the login is a wrong one by now.
    add(yard, "mine", registry, WRONG, "--replace")
    until(lambda: not engine.containers(data=name_of(yard)), 30)
    drop(engine, release["image"]["id"])
    job = yard.wire.run("w", {})
    told = until(lambda: (w := yard.wire.why(job))["code"] == "image_unauthorized" and w, 30)
    assert "'mine'" in told["sentence"], told
    # In use, it stays, unless it has to go.
    done = yard.cli("registries", "remove", "mine", code=1)
    assert " w" in done.err and "--force" in done.err, done
    yard.cli("registries", "remove", "mine", "--force")
    for text in (PASSWORD, WRONG):
        assert not holds(yard, text) and text not in json.dumps(yard.processes()), text


def test_of_several_logins_one_is_named(yard, make_registry, private):
    registry = make_registry()
    name = private(registry)
    add(yard, "one", registry, WRONG)
    add(yard, "two", registry)
    deploy = ("deploy", "--image", name, "--name", "w", *QUICK)
    done = yard.cli(*deploy, code=1)
    assert "one, two" in done.err and "--registry" in done.err, done
    done = yard.cli(*deploy, "--registry", "three", code=1)
    assert "'three'" in done.err, done
    done = yard.cli(*deploy, "--registry", "one", code=3)
    assert "'one'" in done.err, done
    yard.cli(*deploy, "--registry", "two")
    assert yard.wire.do("w", {})["status"] == "COMPLETED"
    # The setting stays with the endpoint, and names who uses the login.
    assert yard.wire.api("/endpoints/w")["settings"]["container"]["registry"] == "two"
    used = {one["name"]: one["usedBy"] for one in yard.cli("registries", "list", "--json").json["registries"]}
    assert used == {"one": [], "two": ["w"]}, used
    # A login is for its own registry alone.
    done = yard.cli("deploy", "--image", "registry.invalid/x:1", "--name", "x", "--registry", "two", code=1)
    assert registry.host in done.err and "registry.invalid" in done.err, done


@pytest.mark.parametrize("builder", ["classic", "kit"])
def test_builds_upon_a_private_image(make_yard, engine, make_registry, private, project, builder):
    path = path_to_kit()
    if builder == "kit" and path is None:
        missing("no command line of Docker's builds by BuildKit here")
    folder = os.pathsep.join(
        one for one in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(one, "docker"))
    )
    env = {"RUNYARD_DOCKER_HOST": engine.address, "PATH": path if builder == "kit" else folder}
    yard = make_yard(env=env).start()
    registry = make_registry()
    name = private(registry)
    image(project)
    (project / "Dockerfile").write_text(f"FROM {name}\nENV BUILT=1\n")
    done = yard.deploy(project, "b", *QUICK, code=3)
    assert "registries add" in done.err, done
    add(yard, "mine", registry, WRONG)
    done = yard.deploy(project, "b", *QUICK, code=3)
    assert "mine" in done.err, done
    add(yard, "mine", registry, PASSWORD, "--replace")
    yard.deploy(project, "b", *QUICK)
    assert yard.wire.do("b", {"env": ["BUILT"]})["output"]["env"] == {"BUILT": "1"}
    assert not holds(yard, PASSWORD) and not list((yard.data / "run").glob("config-*"))
