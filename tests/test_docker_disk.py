"""What containers leave behind: images and build caches are counted and pruned by rule, and whatever servers and agents
that were killed in mid-rollout left on the engine is gone after the next start. Things of others stay.
"""

import contextlib
import hashlib
import http.server
import json
import os
import signal
import threading
import time
import urllib.parse

import pytest
from test_docker import PROBE, WARM, image, name_of

from support.engine import archive
from support.wire import until

DAY_S = 24 * 60 * 60


@pytest.fixture
def keeps_one(make_yard, engine):
    """A server that keeps one release beside those that serve."""
    env = {"RUNYARD_DOCKER_HOST": engine.address, "RUNYARD_KEEP_RELEASES": "1", "RUNYARD_KEEP_RELEASES_DAYS": "0"}
    made = make_yard(env=env)
    yield made.start()
    made.close()
    assert not engine.containers(data=name_of(made))


def account(yard, kind):
    """One kind of things: {name: item}."""
    found = next(a for a in yard.cli("disk", "--json").json["accounts"] if a["kind"] == kind)
    return {item["name"]: item for item in found["items"]}, found


def tags(engine, part):
    """Names of images that hold a text."""
    listed = json.loads(engine.call("GET", "/images/json")[1])
    return sorted(tag for one in listed for tag in one["RepoTags"] or [] if part in tag)


def deploy(yard, folder, line, *flags, **more):
    """A release that is another image with each line."""
    return yard.deploy(image(folder, handler=f"NUMBER = {line!r}\n{PROBE}"), "probe", *WARM, *flags, **more)


def only(yard, release):
    """The endpoint's workers are all of this release."""
    found = yard.wire.workers("probe")
    return found and all(worker["release"] == release and worker["readyAt"] for worker in found)


def test_images_go_with_their_releases(keeps_one, engine, project):
    yard = keeps_one
    theirs = "ry-mine/kept:1"
    for number in (1, 2, 3):
        deploy(yard, project, number)
    until(lambda: only(yard, 3), 60)
    built = f"runyard/{yard.wire.api('/endpoints/probe')['id'].lower()}"
    first, all_three = f"{built}:1", [f"{built}:{n}" for n in (1, 2, 3)]
    assert tags(engine, built) == all_three
    items, found = account(yard, "images")
    fates = {name.rsplit(":", 1)[1]: (item["goes"], item["why"]) for name, item in items.items()}
    assert fates["3"] == (False, "probe #3 serves") and not fates["2"][0] and fates["1"][0], fates
    # What they share is the base's, which is none of ours.
    assert 0 < found["bytes"] < 1 << 20, found
    # Somebody else's name holds an image.
    assert engine.call("POST", f"/images/{first}/tag?repo=ry-mine/kept&tag=1")[0] == 201
    yard.cli("disk", "prune")
    assert tags(engine, built) == all_three and theirs in account(yard, "images")[0][first]["why"]
    assert engine.call("DELETE", f"/images/{theirs}")[0] == 200
    # A container of an image holds it, whoever made it.
    body = json.dumps({"Image": first, "Cmd": ["true"]})
    held = json.loads(engine.call("POST", "/containers/create", body)[1])["Id"]
    yard.cli("disk", "prune")
    assert tags(engine, built) == all_three
    engine.call("DELETE", f"/containers/{held}?force=true")
    would = yard.cli("disk", "prune", "--dry-run").out
    assert first in would and all_three[2] not in would, would
    yard.cli("disk", "prune")
    assert tags(engine, built) == all_three[1:]
    assert yard.wire.do("probe", {})["status"] == "COMPLETED"
    # What is gone cannot be rolled back to, what is kept can.
    told = yard.cli("rollback", "probe", "--to", 1, code=None)
    assert told.code != 0 and "no longer kept" in told.err, told
    yard.cli("rollback", "probe")
    assert yard.wire.do("probe", {})["status"] == "COMPLETED"
    # Without an endpoint nothing of it is needed.
    yard.cli("endpoints", "rm", "probe", "--yes")
    until(lambda: not engine.containers(data=name_of(yard)), 60)
    yard.cli("disk", "prune")
    assert not tags(engine, built)


class Registry(http.server.BaseHTTPRequestHandler):
    """Images of one small file each, by the registry's protocol; nothing can be pushed."""

    blobs, manifests = {}, {}

    def do_GET(self):
        parts = self.path.split("/")
        if self.path == "/v2/":
            return self.say(b"{}", "application/json")
        known = self.manifests if parts[-2] == "manifests" else self.blobs
        found = known.get(parts[-1])
        return self.say(*found) if found else self.send_error(404)

    do_HEAD = do_GET

    def say(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("docker-content-digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass

    @classmethod
    def add(cls, tag):
        layer = archive(x=tag)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}).encode()
        kind = "application/vnd.docker"
        entry = lambda body, what: {"mediaType": f"{kind}.{what}", "size": len(body), "digest": digest(body)}  # noqa: E731
        manifest = json.dumps({"schemaVersion": 2, "mediaType": f"{kind}.distribution.manifest.v2+json",
                               "config": entry(config, "container.image.v1+json"),
                               "layers": [entry(layer, "image.rootfs.diff.tar")]}).encode()
        for body in (layer, config):
            cls.blobs[digest(body)] = (body, "application/octet-stream")
        for name in (tag, digest(manifest)):
            cls.manifests[name] = (manifest, f"{kind}.distribution.manifest.v2+json")


def digest(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextlib.contextmanager
def registry(*names):
    """A registry with these tags; its repository's name."""
    for name in names:
        Registry.add(name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/ry/tiny"
        server.shutdown()


def test_only_what_was_pulled_here_goes(keeps_one, engine):
    yard = keeps_one
    with registry("ours", "theirs") as repository:
        query = urllib.parse.urlencode({"fromImage": f"{repository}:theirs"})
        assert engine.call("POST", f"/images/create?{query}")[0] == 200
        for tag in ("ours", "theirs"):
            # It has no command, which is told after the pull.
            done = yard.cli("deploy", "--image", f"{repository}:{tag}", "--name", tag, code=3)
            assert "nothing of what to run" in done.err, done
    items, _ = account(yard, "images")
    assert list(items) == [f"{repository}:ours"] and items[f"{repository}:ours"]["why"] == "it is new", items
    [note] = (yard.data / "pulled").iterdir()
    long_ago = time.time() - DAY_S
    os.utime(note, (long_ago, long_ago))
    yard.cli("disk", "prune")
    assert tags(engine, repository) == [f"{repository}:theirs"]
    assert not list((yard.data / "pulled").iterdir())
    engine.call("DELETE", f"/images/{repository}:theirs")


def test_an_engine_that_is_away_is_unknown(keeps_one, engine, project):
    yard = keeps_one
    deploy(yard, project, 1)
    engine.stop()
    try:
        shown = yard.cli("disk")
        assert "images and build cache unknown" in shown.out and engine.address in shown.out, shown
        assert account(yard, "images")[1]["unknown"], shown
        yard.cli("disk", "prune")
    finally:
        engine.start()
    items, found = account(yard, "images")
    assert found["unknown"] is None and len(items) == 1, found


def volumes(engine):
    """Every volume, by name."""
    return {v["Name"]: v for v in json.loads(engine.call("GET", "/volumes")[1])["Volumes"] or []}


@contextlib.contextmanager
def neighbour(engine, path):
    """Another data directory's things on the same engine."""
    labels = {"runyard.data": "0123456789abcdef", "runyard.path": str(path)}
    make = lambda what, **body: json.loads(engine.call("POST", f"/{what}/create", json.dumps(body))[1])  # noqa: E731
    base = json.loads(engine.call("GET", "/images/json")[1])[0]["Id"]
    container = make("containers", Image=base, Cmd=["sleep", "600"], Labels=labels,
                     Volumes={"/scratch": {}}, HostConfig={"NetworkMode": "none"})["Id"]
    network = make("networks", Name="runyard-0123456789abcdef", Driver="bridge", Labels=labels)["Id"]
    volume = make("volumes", Name="runyard-0123456789abcdef-models", Labels=labels)["Name"]
    try:
        yield container, network, volume
    finally:
        engine.call("DELETE", f"/containers/{container}?force=true&v=true")
        engine.call("DELETE", f"/networks/{network}")
        engine.call("DELETE", f"/volumes/{volume}")


def test_leftovers_of_servers_killed_in_mid_rollout_are_gone(make_yard, engine, project, tmp_path):
    yard = make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()
    before = set(volumes(engine))
    mine = lambda: {c["Id"]: c for c in engine.containers(data=name_of(yard))}  # noqa: E731
    flags = ("--min", "2", "--max", "2", "--volume", "models", "--requeues", "5")
    scratch = {"more": "VOLUME /scratch"}
    folder = lambda line: image(project, handler=f"NUMBER = {line}\n{PROBE}", **scratch)  # noqa: E731
    with neighbour(engine, tmp_path) as theirs:
        yard.deploy(folder(1), "probe", *flags)
        dead, submitted = set(), []
        for number, with_agent in ((2, True), (3, False), (4, True)):
            until(lambda: sum(w["state"] == "idle" for w in yard.wire.workers("probe")) == 2, 120)
            submitted += [yard.wire.run("probe", {"sleep": 10, "number": number}) for _ in range(3)]
            arguments = (folder(number), "probe", *flags)
            aside = threading.Thread(target=lambda a=arguments: yard.deploy(*a, code=None), daemon=True)
            aside.start()
            rolls = lambda n=number: (r := yard.wire.api("/endpoints/probe/releases")["rollout"]).get("stage") == "rolling" and r["to"] == n  # noqa: E731
            until(rolls, 120)
            yard.kill()
            if with_agent:
                os.kill(yard.agent_pid(), signal.SIGKILL)
                dead |= set(mine())
                assert dead, "containers outlive their agent, which is what this is about"
            aside.join(30)
            yard.start()
        for job in submitted:
            end = yard.wire.wait("probe", job, 120)
            assert end["status"] == "COMPLETED", (end, yard.wire.why(job))
        assert yard.wire.do("probe", {}, 120)["status"] == "COMPLETED"

        def settled():
            workers = {w["id"] for w in yard.wire.workers("probe")}
            return len(workers) == 2 and workers == {c["Labels"]["runyard.worker"] for c in mine().values()}

        until(settled, 120, say=lambda: (mine(), yard.wire.workers("probe")))
        assert not dead & set(mine())
        networks = [n for n in engine.networks() if n["Labels"]["runyard.data"] == name_of(yard)]
        assert len(networks) == 1, networks
        # Volumes without a name went with their containers; the one with a name is data and stays.
        used = {m["Name"] for c in mine().values() for m in engine.inspect(c["Id"])["Mounts"] if m["Type"] == "volume"}
        named = f"runyard-{name_of(yard)}-models"
        kept = {m["Name"] for m in engine.inspect(theirs[0])["Mounts"]} | {theirs[2]}
        assert named in used and set(volumes(engine)) - before == used | kept, (volumes(engine), used, kept)
        yard.close()
        assert not mine() and named in volumes(engine)
        assert not [n for n in engine.networks() if n["Labels"]["runyard.data"] == name_of(yard)]
        # Another data directory's things were never touched.
        assert engine.inspect(theirs[0])["Id"] == theirs[0]
        assert theirs[1] in [n["Id"] for n in engine.networks()] and theirs[2] in volumes(engine)
    engine.call("DELETE", f"/volumes/{named}")


def test_a_deploy_that_was_cut_off_leaves_no_container(yard_alone, engine):
    """The one that only looks into the image, left by a server that was killed, while its agent lives on."""
    yard = yard_alone
    labels = {"runyard.data": name_of(yard), "runyard.peek": "1"}
    base = json.loads(engine.call("GET", "/images/json")[1])[0]["Id"]
    body = json.dumps({"Image": base, "Cmd": ["true"], "Labels": labels})
    (yard.data / "engines").write_text(f"{engine.address}\n")
    left = json.loads(engine.call("POST", "/containers/create", body)[1])["Id"]
    yard.kill()
    # Whole seconds tell what was there before.
    time.sleep(1.1)
    yard.start()
    until(lambda: left not in [c["Id"] for c in engine.containers(data=name_of(yard))], 20)


@pytest.fixture
def yard_alone(make_yard, engine):
    return make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()


def test_what_a_deleted_data_directory_left_is_told(yard_alone, engine, tmp_path):
    yard = yard_alone
    (yard.data / "engines").write_text(f"{engine.address}\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    with neighbour(engine, gone):
        assert str(gone) not in account(yard, "deleted")[0], "it is there, and may be in use"
        gone.rmdir()
        items, _ = account(yard, "deleted")
        assert not items[str(gone)]["goes"] and "1 containers, 1 networks" in items[str(gone)]["why"], items
        assert "0123456789abcdef" in yard.cli("disk", "--all").out
