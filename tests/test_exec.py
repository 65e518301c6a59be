"""Commands beside workers and what workers use, by the command line: containers on a real engine, processes in their
sandbox.
"""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time

import pytest
from test_docker import image, name_of

from support import handlers
from support.wire import Wire, until

WARM = ("--idle", "10m", "--max", "1")
IDLE = """
import runpod
runpod.serverless.start({"handler": lambda job: job["input"]})
"""


@pytest.fixture
def in_container(make_yard, engine, project):
    """A yard with one worker that is a container."""
    yard = make_yard(env={"RUNYARD_DOCKER_HOST": engine.address}).start()
    yard.deploy(image(project), "box", *WARM, "--memory", "300m")
    return yard, worker_of(yard, "box")


@pytest.fixture(scope="module")
def process_yard(shared_yard, tmp_path_factory):
    """A yard with one worker that is a process."""
    folder = handlers.write(tmp_path_factory.mktemp("exec") / "plain", IDLE)
    shared_yard.deploy(folder, "plain", *WARM)
    return shared_yard


def worker_of(yard, endpoint):
    return until(lambda: next((w["id"] for w in yard.wire.workers(endpoint) if w["state"] == "idle"), None), 30)


def exec_in(yard, worker, *command, code=0, given="", **more):
    return yard.cli("exec", worker, *more.pop("flags", ()), "--", *command, code=code, given=given, **more)


def passes_through(yard, worker):
    """What a command gets, prints and ends with."""
    done = exec_in(yard, worker, "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.out, done.err) == ("out\n", "err\n"), done
    assert exec_in(yard, worker[:8], "cat", given="a line\nand one without end").out == "a line\nand one without end"
    # More than any pipe holds, in both directions at once.
    many = "0123456789abcdef" * 65_536
    assert exec_in(yard, worker, "cat", given=many).out == many
    assert exec_in(yard, worker, "sh", "-c", "kill -9 $$", code=137)


def ends_with_its_client(yard, worker, lives):
    """A command whose client is killed."""
    command = [yard.binary, "--data", str(yard.data), "exec", worker, "--", "sh", "-c", "echo here; exec sleep 98765"]
    client = subprocess.Popen(command, env=yard.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "here\n"
        until(lambda: lives("sleep 98765"), 10)
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    until(lambda: not lives("sleep 98765"), 15)


def top(engine, container):
    return json.dumps(json.loads(engine.call("GET", f"/containers/{container}/top")[1])["Processes"])


def test_a_command_in_a_container(in_container, engine):
    yard, worker = in_container
    passes_through(yard, worker)
    [container] = engine.containers(worker=worker)
    said = exec_in(yard, worker, "python", "-c", "import os; print(os.environ['RUNPOD_POD_ID'], os.uname().nodename)").out
    assert said == f"{worker} {container['Names'][0].strip('/')}\n", said
    done = exec_in(yard, worker, "no-such-program", code=None)
    assert done.code in (126, 127) and "no-such-program" in done.out + done.err, done
    ends_with_its_client(yard, worker, lambda line: line in top(engine, container["Id"]))
    # The worker did not notice.
    assert yard.wire.do("box", {})["workerId"] == worker


def test_a_terminal_in_a_container(in_container):
    has_a_terminal(*in_container)


def test_a_terminal_beside_a_process(process_yard):
    worker = worker_of(process_yard, "plain")
    has_a_terminal(process_yard, worker)
    # Jobs of a shell have groups of their own, and go with it all the same.
    exec_in_terminal(process_yard, worker, b"sh -c 'exec sleep 45678' & echo begun-$((1+1))\n", "begun-2", b"exit\n")
    until(lambda: not running("sleep 45678"), 10)


def exec_in_terminal(yard, worker, typed, until_it_says, then):
    """A shell in a terminal, which is typed into twice."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(yard.binary, [yard.binary, "--data", str(yard.data), "exec", "-t", worker, "--", "bash", "-i"],
                  {**yard.env, "TERM": "dumb"})
    try:
        seen = Terminal(terminal)
        os.write(terminal, typed)
        seen.waits_for(until_it_says)
        os.write(terminal, then)
        os.waitpid(pid, 0)
        pid = None
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


def has_a_terminal(yard, worker):
    """A shell in a terminal, which learns of its size."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(yard.binary, [yard.binary, "--data", str(yard.data), "exec", "-t", worker, "--", "sh"],
                  {**yard.env, "TERM": "dumb"})
    try:
        seen = Terminal(terminal)
        seen.size(30, 100)
        os.write(terminal, b"test -t 0 && echo it-is-$((40+2))\n")
        seen.waits_for("it-is-42")
        seen.size(31, 101)
        # The shell sees the new size a moment later.
        for _ in range(20):
            os.write(terminal, b"python3 -c 'import os; print(os.get_terminal_size())'\n")
            if seen.hears("columns=101, lines=31"):
                break
        assert "columns=101, lines=31" in seen.text
        os.write(terminal, b"exit 5\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        pid = None
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


class Terminal:
    """A terminal's other side."""

    def __init__(self, end):
        self.end, self.text = end, ""

    def size(self, rows, columns):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hears(self, what, limit=1.0):
        """Whether this comes within the limit."""
        deadline = time.monotonic() + limit
        while what not in self.text and time.monotonic() < deadline:
            if select.select([self.end], [], [], 0.1)[0]:
                self.text += os.read(self.end, 65536).decode(errors="replace")
        return what in self.text

    def waits_for(self, what):
        assert self.hears(what, 20), self.text


def test_a_command_beside_a_process(process_yard):
    yard, worker = process_yard, worker_of(process_yard, "plain")
    passes_through(yard, worker)
    told = exec_in(yard, worker, "python3", "-c", "import os; print(os.environ['RUNPOD_POD_ID'], os.getcwd(), os.getuid())")
    name, folder, uid = told.out.split()
    assert name == worker and folder.startswith(str(yard.data / "work" / worker)), told
    status = f"/proc/{yard.wire.workers('plain')[0]['pid']}/status"
    assert f"Uid:\t{uid}\t" in open(status).read(), "the worker's own user"
    # It sees no more than the worker does.
    done = exec_in(yard, worker, "cat", yard.data / "vault.key", code=1)
    assert "ermission denied" in done.err and not done.out, done
    done = exec_in(yard, worker, "no-such-program", code=127)
    assert "no-such-program" in done.err, done
    ends_with_its_client(yard, worker, lambda line: line in " ".join(yard.processes().values()) or running(line))
    # What it leaves behind goes with it.
    exec_in(yard, worker, "sh", "-c", "sleep 56789 & echo left")
    until(lambda: not running("sleep 56789"), 10)


def running(line):
    found = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return any(one.split(None, 1)[-1] == line and not one.startswith("Z") for one in found)


def test_commands_that_cannot_be(process_yard):
    yard, worker = process_yard, worker_of(process_yard, "plain")
    done = exec_in(yard, "nobody", "true", code=5)
    assert "nobody" in done.err, done
    done = yard.cli("exec", worker, code=2)
    done = exec_in(yard, worker, "true", flags=("-t",), code=2)
    assert "terminal" in done.err, done
    # Who may not deploy there runs nothing there.
    for access, code in (("run", 403), ("deploy", 200)):
        made = yard.wire.api("/keys", "POST", {"name": "k", "access": access, "endpoints": ["plain"]})
        assert raw_exec(yard, worker, made["key"], start(["true"]))[0] == code
    # What is no frame and what is no command is refused in words.
    for frame, words in [
        (start([]), "no command"),
        (b"\x01\x00\x00\x00\x01x", "first frame"),
        (b"\x00\xff\xff\xff\xff", "65536"),
    ]:
        status, said = raw_exec(yard, worker, yard.key(), frame)
        assert status == 409 and words in said, (status, said)
    assert yard.wire.do("plain", {"a": 1})["output"] == {"a": 1}


def start(command, **more):
    body = json.dumps({"command": command, **more}).encode()
    return b"\x00" + len(body).to_bytes(4, "big") + body


def raw_exec(yard, worker, key, body):
    """The call without the command line: (status, all that was answered)."""
    with socket.create_connection(("127.0.0.1", yard.port), 20) as connection:
        head = (f"POST /api/v1/workers/{worker}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer.decode(errors="replace")


def test_a_quiet_command_outlives_the_limits_of_bodies(make_yard, tmp_path):
    """Nothing moves for longer than a body may be silent, and the command goes on."""
    yard = make_yard()
    (yard.data / "server.toml").write_text("slow_timeout_s = 1\n")
    yard.start()
    yard.deploy(handlers.write(tmp_path / "plain", IDLE), "plain", *WARM)
    assert exec_in(yard, worker_of(yard, "plain"), "sh", "-c", "sleep 4; echo still here").out == "still here\n"


def test_what_workers_use(in_container, process_yard):
    yard, worker = in_container
    [one] = yard.cli("workers", "stats", "--json").json["stats"]
    assert (one["worker"], one["kind"], one["endpointName"]) == (worker, "container", "box"), one
    assert one["memoryLimitBytes"] == 300 << 20 and 1 << 20 < one["memoryBytes"] < 300 << 20, one
    assert one["pids"] >= 1 and one["cpuPercent"] is not None and one["receivedBytes"] > 0, one
    shown = yard.cli("workers", "stats", "box").out
    assert worker in shown and "%" in shown, shown
    # Work shows.
    busy = subprocess.Popen([yard.binary, "--data", str(yard.data), "exec", worker, "--", "sh", "-c", "while :; do :; done"],
                            env=yard.env, stdin=subprocess.DEVNULL)
    try:
        until(lambda: yard.wire.api(f"/workers/stats?worker={worker}")["stats"][0]["cpuPercent"] > 10, 30)
    finally:
        busy.kill()
        busy.wait()
    yard.cli("workers", "stats", "nothing", code=5)

    yard, worker = process_yard, worker_of(process_yard, "plain")
    [one] = yard.cli("workers", "stats", worker[:8], "--json").json["stats"]
    assert (one["worker"], one["kind"]) == (worker, "process"), one
    assert one["memoryBytes"] > 1 << 20 and one["pids"] >= 1 and one["cpuPercent"] is not None, one
    assert one["receivedBytes"] is None, one
    # A restricted key sees its own.
    yard.cli("endpoints", "create", "other")
    made = yard.wire.api("/keys", "POST", {"name": "k", "access": "read", "endpoints": ["other"]})
    assert Wire(yard.port, made["key"]).api("/workers/stats") == {"stats": []}
