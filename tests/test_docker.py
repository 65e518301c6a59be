"""Workers as containers, on a real engine: built from a Dockerfile or run from a ready image, killed, restarted,
misbuilt, and cleaned up after.

- `runyard deploy examples/docker-hello`: a container answers; `docker kill` in mid-job costs an attempt and says so.
- What cannot run is named: an image that cannot be pulled, one of another machine's kind, one without a command, one
  whose command is not there, one that takes too much memory, a build that fails.
- One image with two lives, chosen by a variable; the one who forgets it hears its name.
- Servers, agents and engines are killed; nothing is lost and nothing is left.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import textwrap

import pytest
from conftest import missing

from support.base_image import BASE
from support.engine import archive
from support.forge import git
from support.wire import until

HELLO = "examples/docker-hello"
WARM = ("--idle", "10m", "--max", "1")

PROBE = """
import os, platform, socket, time
import runpod

def handler(job):
    given = job["input"]
    if "connect" in given:
        try:
            socket.create_connection(tuple(given["connect"]), 3).close()
            return {"reached": True}
        except OSError as error:
            return {"reached": False, "why": str(error)}
    if "write" in given:
        open(given["write"], "a").write("x")
    if "print" in given:
        print(given["print"], flush=True)
    time.sleep(given.get("sleep", 0))
    return {"env": {k: os.environ.get(k) for k in given.get("env", [])}, "node": platform.node(),
            "size": os.path.getsize(given["write"]) if "write" in given else None,
            "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize >> 20}

runpod.serverless.start({"handler": handler})
"""

START = """
#!/usr/bin/env bash
case "${MODE_TO_RUN:-}" in
serverless) exec python -u /app/handler.py ;;
pod) echo "the pod is ready"; exec sleep 600 ;;
once) echo "nothing to do" ;;
*) echo "MODE_TO_RUN is '${MODE_TO_RUN:-}', neither pod nor serverless" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def yard(make_yard, engine):
    """A server that knows the engine; its containers are gone with it."""
    made = make_yard(env={"RUNYARD_DOCKER_HOST": engine.address})
    yield made.start()
    made.close()
    left = engine.containers(data=name_of(made))
    assert not left, f"containers outlived server and agent: {left}"


def name_of(yard):
    """The data directory's name on labels."""
    value = 0xCBF29CE484222325
    for byte in os.fsencode(os.path.realpath(yard.data)):
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def image(folder, handler=PROBE, start=None, command='["python", "-u", "/app/handler.py"]', more=""):
    """A folder with a Dockerfile."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(textwrap.dedent(handler).lstrip())
    if start:
        (folder / "start.sh").write_text(start.lstrip())
        (folder / "start.sh").chmod(0o755)
    lines = [f"FROM {BASE}", "WORKDIR /app", "COPY . .", more, f"CMD {command}" if command else ""]
    (folder / "Dockerfile").write_text("\n".join(line for line in lines if line) + "\n")
    return folder


def says(why):
    """All that an explanation says."""
    return json.dumps(why["causes"])


def why(yard, about):
    return yard.wire.api(f"/endpoints/{about}/why")


def test_a_dockerfile_is_built_and_answers(yard, engine):
    done = yard.deploy(HELLO, "dh", *WARM)
    assert "build" in done.err and "test" in done.err, done
    answer = yard.wire.ok("POST", "/v2/dh/runsync", {"input": {"name": "Grace"}})
    assert answer["status"] == "COMPLETED" and answer["output"]["greeting"] == "Hello, Grace!", answer
    worker = answer["workerId"]
    [container] = engine.containers(worker=worker)
    assert answer["output"]["container"] == container["Names"][0].strip("/") == f"runyard-{worker}"
    assert container["Labels"]["runyard.data"] == name_of(yard)
    assert engine.inspect(container["Id"])["HostConfig"]["NetworkMode"].startswith("runyard-")
    release = yard.wire.api("/endpoints/dh/releases")["releases"][0]
    assert release["image"]["id"].startswith("sha256:"), release
    log = yard.cli("logs", "dh", "--build", 1).out
    assert "requirements.txt" in log and "handler.py" in log, log
    printed = yard.cli("logs", "dh").out
    assert "Starting Serverless Worker" in printed, printed
    # Another release of the same folder is built from the cache, and the old container goes.
    yard.deploy(HELLO, "dh", *WARM)
    until(lambda: not engine.containers(worker=worker), 30)


def test_a_plan_after_apply_is_empty_for_images(yard, engine, tmp_path):
    applied = yard.cli("apply", HELLO, "--yes", limit=240)
    assert applied.out.strip().endswith("/v2/docker-hello"), applied
    assert yard.cli("plan", HELLO, "--json").json["action"] == "none"
    # What is exported asks for the same.
    copy = tmp_path / "docker-hello"
    shutil.copytree(HELLO, copy)
    (copy / "runyard.toml").write_text(yard.cli("export", "docker-hello").out)
    assert yard.cli("plan", copy, "--json").json["changes"] == []
    # The other example's file, where a small image stands in for gigabytes of packages and weights.
    shutil.copytree("examples/stable-diffusion", tmp_path / "sd")
    for file in ("Dockerfile", "handler.py", "test_input.json"):
        (tmp_path / "sd" / file).unlink()
    image(tmp_path / "sd", more="ARG MODEL_ID")
    yard.cli("apply", tmp_path / "sd", "--yes", limit=240)
    assert yard.cli("plan", tmp_path / "sd", "--json").json["action"] == "none"
    changed = (tmp_path / "sd/runyard.toml").read_text().replace("stable-diffusion-v1-5/stable", "me/stable")
    (tmp_path / "sd/runyard.toml").write_text(changed)
    found = {change["path"]: change["old"] for change in yard.cli("plan", tmp_path / "sd", "--json").json["changes"]}
    assert found.pop("build.args")["MODEL_ID"].startswith("stable-diffusion-v1-5") and not found, found


def test_a_killed_container_costs_an_attempt(yard, engine):
    yard.deploy(HELLO, "dh", *WARM)
    job = yard.wire.run("dh", {"sleep": 4})
    running = until(lambda: yard.wire.job(job)["status"] == "IN_PROGRESS" and yard.wire.job(job), 20)
    [container] = engine.containers(worker=running["worker"])
    engine.kill(container["Id"])
    done = yard.wire.wait("dh", job)
    assert done["status"] == "COMPLETED", done
    found = yard.wire.job(job)
    assert found["attempt"] == 2 and found["worker"] != running["worker"], found
    told = says(yard.wire.why(job))
    assert running["worker"] in told and "SIGKILL" in told, told
    assert "an attempt was lost" in yard.cli("why", job).out


def test_servers_and_agents_are_killed(yard, engine):
    yard.deploy(HELLO, "dh", *WARM)
    [first] = engine.containers(endpoint=yard.wire.workers("dh")[0]["endpoint"])
    job = yard.wire.run("dh", {"sleep": 3})
    until(lambda: yard.wire.job(job)["status"] == "IN_PROGRESS", 20)
    yard.kill()
    yard.start()
    assert yard.wire.wait("dh", job)["status"] == "COMPLETED"
    assert yard.wire.job(job)["attempt"] == 1, "the container outlived the server"
    assert [c["Id"] for c in engine.containers(data=name_of(yard))] == [first["Id"]]
    # With the agent its containers go: the next one finds and removes them.
    job = yard.wire.run("dh", {"sleep": 2})
    until(lambda: yard.wire.job(job)["status"] == "IN_PROGRESS", 20)
    yard.kill()
    os.kill(yard.agent_pid(), signal.SIGKILL)
    yard.start()
    assert yard.wire.wait("dh", job)["status"] == "COMPLETED"
    left = engine.containers(data=name_of(yard))
    assert first["Id"] not in [c["Id"] for c in left] and len(left) == 1, left
    yard.close()
    assert not [n for n in engine.networks() if n["Labels"].get("runyard.data") == name_of(yard)]


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_the_engine_ends_under_a_job(yard, engine, end):
    yard.deploy(HELLO, "dh", *WARM)
    # Long enough that the next daemon finds the container at work and ends it.
    job = yard.wire.run("dh", {"sleep": 20})
    running = until(lambda: yard.wire.job(job)["status"] == "IN_PROGRESS" and yard.wire.job(job), 20)
    getattr(engine, end)()
    engine.start()
    done = yard.wire.wait("dh", job, 90)
    assert done["status"] == "COMPLETED", done
    found = yard.wire.job(job)
    assert (found["attempt"], found["retries"]) == (2, 0), "the engine's end costs the job nothing"
    told = says(yard.wire.why(job))
    assert running["worker"] in told and "engine" in told, told


def test_containers_reach_the_agent_and_nothing_else(yard, engine, project):
    yard.deploy(image(project), "probe", *WARM)
    [network] = [n for n in engine.networks() if n["Labels"]["runyard.data"] == name_of(yard)]
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    seen = yard.wire.do("probe", {"env": ["RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_POD_ID"]})["output"]
    assert seen["env"]["RUNPOD_WEBHOOK_GET_JOB"].startswith(f"http://{gateway}:"), seen
    assert not yard.wire.do("probe", {"connect": [gateway, yard.port]})["output"]["reached"]
    with socket.create_server((gateway, 0)) as other:
        assert yard.wire.do("probe", {"connect": [gateway, other.getsockname()[1]]})["output"]["reached"]


def test_what_containers_get(yard, engine, project):
    image(project)
    flags = ("--memory", "300m", "--cpus", "0.5", "--pids", "200", "--shm", "100m", "--volume", "models")
    yard.deploy(project, "probe", *WARM, *flags, "--env", "MINE=1")
    [container] = engine.containers(data=name_of(yard))
    host = engine.inspect(container["Id"])["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (300 << 20, 500_000_000, 200), host
    given = {"write": "/runpod-volume/kept", "env": ["RUNPOD_VOLUME_ID", "MINE", "RUNPOD_MEM_GB"]}
    first = yard.wire.do("probe", given)["output"]
    assert first["size"] == 1 and first["shm"] == 100, first
    assert first["env"] == {"RUNPOD_VOLUME_ID": "models", "MINE": "1", "RUNPOD_MEM_GB": "1"}, first
    # The volume outlives the container.
    yard.cli("endpoints", "restart", "probe")
    until(lambda: container["Id"] not in [c["Id"] for c in engine.containers(data=name_of(yard))], 30)
    assert yard.wire.do("probe", given)["output"]["size"] == 2


def test_memory_that_runs_out_is_named(yard):
    yard.deploy(HELLO, "dh", *WARM, "--memory", "200m", "--requeues", "0")
    job = yard.wire.run("dh", {"oom": 400 << 20})
    done = yard.wire.wait("dh", job, 60)
    assert done["status"] == "FAILED", done
    found = yard.wire.why(job)
    assert found["code"] == "out_of_memory" and "too much memory" in found["sentence"], found


def test_images_that_cannot_run_are_named(yard, engine):
    cases = [
        ("gone", "registry.invalid/no/such:v1", "registry_unreachable", "registry.invalid/no/such:v1"),
        ("arm", "ry-test/arm:1", "wrong_platform", "linux/arm64"),
        ("mute", "ry-test/mute:1", "no_command", "ry-test/mute:1"),
    ]
    engine.load_foreign("ry-test/arm:1", "arm64", ["/x"])
    engine.load("ry-test/mute:1", archive(x="x"))
    for name, reference, code, part in cases:
        done = yard.cli("deploy", "--image", reference, "--name", name, code=3, limit=180)
        assert part in done.err, done
        found = why(yard, name)
        assert code in [cause["code"] for cause in found["causes"]] and part in says(found), found
        job = yard.wire.run(name, {})
        assert part in says(yard.wire.why(job)), yard.wire.why(job)
        assert part in yard.cli("why", name).out


def test_a_missing_program_is_named(yard):
    done = yard.cli("deploy", "--image", BASE, "--name", "lost", "--command", "pythn -u x.py", code=3, limit=180)
    assert "pythn" in done.err, done
    causes = why(yard, "lost")["causes"]
    assert "command_not_found" in [cause["code"] for cause in causes], causes


def test_an_image_that_goes_away_is_named(yard, engine, project):
    """A release that served, whose image somebody removed: the next start says so."""
    yard.deploy(image(project), "probe", "--idle", "1s", "--max", "1")
    release = yard.wire.api("/endpoints/probe/releases")["releases"][0]
    until(lambda: not engine.containers(data=name_of(yard)), 30)
    assert engine.call("DELETE", f"/images/{release['image']['id']}?force=true")[0] == 200
    job = yard.wire.run("probe", {})
    told = until(lambda: (w := yard.wire.why(job))["code"] == "image_not_found" and w, 30, say=lambda: yard.wire.why(job))
    assert release["image"]["name"] in told["sentence"], told


def test_a_build_that_fails_is_told(yard, project):
    image(project, more="RUN echo so far so good && exit 7")
    (project / ".dockerignore").write_text("secret.txt\n")
    (project / "secret.txt").write_text("s")
    done = yard.deploy(project, "broken", code=3)
    assert "so far so good" in done.err and "7" in done.err, done
    assert "so far so good" in yard.cli("logs", "broken", "--build", 1).out
    assert "build_failed" in [cause["code"] for cause in why(yard, "broken")["causes"]]
    # One for other machines is not even begun.
    done = yard.deploy(project, "broken", "--platform", "linux/arm64", code=3)
    assert "is for linux/arm64" in done.err and "so far so good" not in done.err, done
    # The ignored file never came along.
    image(project, more="RUN test ! -e secret.txt")
    yard.deploy(project, "broken", *WARM)
    assert yard.wire.do("broken", {})["status"] == "COMPLETED"
    # A folder with a Dockerfile still deploys without Docker, where that is wanted.
    (project / "requirements.txt").write_text("runpod\n")
    yard.deploy(project, "broken", *WARM, "--handler", "handler.py")
    assert not yard.wire.do("broken", {})["output"]["node"].startswith("runyard-")


def test_a_pushed_dockerfile_is_built(yard, project):
    image(project, more="RUN echo built from a commit")
    yard.cli("endpoints", "create", "pushed")
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "in a container")
    git(project, "push", "--quiet", f"http://git:{yard.key()}@127.0.0.1:{yard.port}/git/pushed.git", "main")
    build = until(lambda: next(
        (b for b in yard.cli("git", "show", "pushed", "--json").json["builds"] if b["state"] in ("deployed", "failed")), None
    ), 120)
    assert build["state"] == "deployed", build
    assert yard.wire.do("pushed", {})["output"]["node"].startswith("runyard-")
    assert "built from a commit" in yard.cli("logs", "pushed", "--build", 1).out


def test_one_image_two_lives(yard, engine, project):
    image(project, start=START, command='["./start.sh"]')
    # The variable forgotten: it fails by its own words.
    done = yard.deploy(project, "dual", *WARM, code=3)
    assert "MODE_TO_RUN" in done.err, done
    # In the other life: it runs, and never asks.
    done = yard.deploy(project, "dual", *WARM, "--env", "MODE_TO_RUN=pod", "--start-timeout", "4s", code=3)
    assert "never asked for a job" in done.err, done
    # The image chooses the other life, and nobody chose this one.
    image(project, start=START, command='["./start.sh"]', more="ENV MODE_TO_RUN=pod")
    done = yard.deploy(project, "dual", *WARM, "--start-timeout", "4s", code=3)
    assert "never asked for a job" in done.err and "MODE_TO_RUN" in done.err, done
    told = says(why(yard, "dual"))
    assert "never asked for a job" in told and "MODE_TO_RUN" in told, told
    image(project, start=START, command='["./start.sh"]', more="ENV MODE_TO_RUN=once")
    done = yard.deploy(project, "dual", *WARM, code=3)
    assert "ended with code 0" in done.err and "MODE_TO_RUN" in done.err, done
    told = says(why(yard, "dual"))
    assert "code 0" in told and "MODE_TO_RUN" in told, told
    # As an endpoint, and as a pod by hand from the very image.
    yard.deploy(project, "dual", *WARM, "--env", "MODE_TO_RUN=serverless")
    assert yard.wire.do("dual", {})["status"] == "COMPLETED"
    image_id = yard.wire.api("/endpoints/dual/releases")["releases"][0]["image"]["id"]
    body = json.dumps({"Image": image_id, "Env": ["MODE_TO_RUN=pod"], "HostConfig": {"NetworkMode": "none"}})
    pod = json.loads(engine.call("POST", "/containers/create", body)[1])["Id"]
    try:
        engine.call("POST", f"/containers/{pod}/start")
        said = f"/containers/{pod}/logs?stdout=1"
        until(lambda: "the pod is ready" in engine.call("GET", said)[1], 20)
        assert engine.inspect(pod)["State"]["Running"] and engine.inspect(pod)["Image"] == image_id
    finally:
        engine.call("DELETE", f"/containers/{pod}?force=true")


def test_gpus_are_asked_for(make_yard, engine, project):
    yard = make_yard(gpus=2, env={"RUNYARD_DOCKER_HOST": engine.address, "RUNYARD_CUDA_VERSION": "12.4"}).start()
    names = ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "RUNPOD_GPU_COUNT"]
    yard.deploy(image(project), "one", *WARM, "--gpus", "1")
    yard.deploy(image(project), "two", *WARM, "--gpus", "1")
    seen = [yard.wire.do(name, {"env": names})["output"]["env"] for name in ("one", "two")]
    assert sorted(env["NVIDIA_VISIBLE_DEVICES"] for env in seen) == ["0", "1"], seen
    assert all(env["CUDA_VISIBLE_DEVICES"] is None and env["RUNPOD_GPU_COUNT"] == "1" for env in seen), seen
    assert "prestart" in engine.gpu_log.read_text()
    # An image that wants a newer CUDA than the driver has never runs.
    image(project, more="ENV NVIDIA_REQUIRE_CUDA=cuda>=12.6")
    done = yard.deploy(project, "one", "--gpus", "1", code=3)
    assert "12.6" in done.err and "12.4" in done.err, done


def test_the_case_studys_dockerfile_builds_with_a_secret(make_yard, engine, tmp_path):
    """Where its base image is there. Here that is a stand-in: pip has nothing to do, and the download writes down the
    secret that it was shown."""
    path = path_to_kit()
    if path is None:
        missing("no command line of Docker's builds by BuildKit here")
    yard = make_yard(env={"RUNYARD_DOCKER_HOST": engine.address, "PATH": path}).start()
    stand_in = tmp_path / "base"
    stand_in.mkdir()
    (stand_in / "python").write_text('#!/bin/sh\n[ "$1" = download_model.py ] || exec python3 "$@"\n'
                                     'mkdir -p "$3" && cat /run/secrets/hf_token > "$3/token"\n')
    (stand_in / "python").chmod(0o755)
    (stand_in / "Dockerfile").write_text(
        f"FROM {BASE}\nRUN rm /usr/local/bin/python\nCOPY python /usr/local/bin/python\n"
        "RUN printf '#!/bin/sh\\n' > /usr/local/bin/pip\n"
    )
    name = "pytorch/pytorch:2.7.0-cuda12.6-cudnn9-runtime"
    subprocess.run(["docker", "build", "-q", "-t", name, stand_in], check=True, capture_output=True,
                   env={**os.environ, "DOCKER_HOST": engine.address})
    (tmp_path / "token.txt").write_text("hf_sesame")
    told = "import runpod; runpod.serverless.start({'handler': lambda job: open('/app/model/token').read()})"
    done = yard.deploy("examples/stable-diffusion", "sd", *WARM, "--secret", f"id=hf_token,src={tmp_path}/token.txt",
                       "--command", f'python -c "{told}"', code=None)
    assert done.code == 0, done
    assert yard.wire.do("sd", {"prompt": "x"})["output"] == "hf_sesame"
    kept = subprocess.run(["grep", "-rl", "hf_sesame", yard.data], capture_output=True, text=True, check=False)
    assert not any(f"/{place}/" in kept.stdout for place in ("run", "bundles", "logs")), kept.stdout


def path_to_kit():
    """The path with a command line first that builds by BuildKit. There may be several, with and without."""
    folders = os.environ["PATH"].split(os.pathsep)
    for folder in folders:
        docker = os.path.join(folder, "docker")
        if os.access(docker, os.X_OK) and "--secret" in subprocess.run(
            [docker, "build", "--help"], env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True,
            check=False,
        ).stdout:
            return os.pathsep.join([folder, *folders])
    return None


def test_without_an_engine_everything_else_works(make_yard, project, tmp_path):
    yard = make_yard(env={"RUNYARD_DOCKER_HOST": f"unix://{tmp_path}/no.sock"}).start()
    done = yard.deploy(HELLO, "dh", code=3)
    assert "no.sock" in done.err, done
    yard.deploy("examples/hello", "hello", *WARM)
    assert yard.wire.do("hello", {"name": "Ada"})["status"] == "COMPLETED"


def test_the_clis_container_by_hand(engine):
    """What the suite starts from: the base image runs."""
    body = json.dumps({"Image": BASE, "Cmd": ["python", "-c", "import runpod; print(runpod.__version__)"],
                       "HostConfig": {"NetworkMode": "none"}})
    container = json.loads(engine.call("POST", "/containers/create", body)[1])["Id"]
    engine.call("POST", f"/containers/{container}/start")
    engine.call("POST", f"/containers/{container}/wait")
    said = engine.call("GET", f"/containers/{container}/logs?stdout=1&stderr=1")[1]
    engine.call("DELETE", f"/containers/{container}?force=true")
    assert "1.12.0" in said, said


def test_a_container_gets_secrets_in_its_environment_alone(yard, engine, tmp_path):
    """A value is in the container's environment, which its engine keeps, and in nothing else that names it."""
    yard.cli("secret", "set", "IT", given="of-a-container")
    flags = ("--env", "A=<{{ RUNPOD_SECRET_IT }}>", "--secret-env", "B")
    folder = image(tmp_path / "probe")
    yard.cli("deploy", folder, "--name", "ep", *WARM, *flags, env={"B": "own-of-it"}, limit=300)
    done = yard.wire.do("ep", {"env": ["A", "B"], "print": "it is of-a-container and own-of-it"}, limit=60)
    assert done["output"]["env"] == {"A": "<of-a-container>", "B": "own-of-it"}
    (found,) = engine.containers(data=name_of(yard))
    labels = json.dumps(found)
    assert "of-a-container" not in labels and "own-of-it" not in labels
    text = yard.cli("logs", "ep").out
    assert "it is •••• and ••••" in text and "own-of-it" not in text
