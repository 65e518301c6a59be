"""A handler that says hello, and that does on request everything a worker can do, good or bad.

`{"name": "Ada"}` or `{"prompt": "..."}` gives a friendly echo. The other inputs make the worker sleep, print,
fail, exit or crash, so that one can see what the platform does then. It also understands the inputs of
RunPod's mock worker (`mock_return`, `mock_delay`, ...), with the same flags: `--generator`, `--async_generator`,
`--return_aggregate_stream`. The README lists them all.
"""

import argparse
import asyncio
import ctypes
import os
import sys
import time

import runpod
from runpod.serverless.modules import rp_http

MODES = ("handler", "async", "generator", "async_generator")
DEAD_RESULT_URL = "http://127.0.0.1:9/nobody-listens/$ID?"
log = runpod.RunPodLogger()
kept = []
live_result_url = []


# What happens before the answer. A generator of pauses, so that the plain handlers can sleep and the
# asynchronous ones can wait, and all the rest is written once.


def happenings(job):
    """Do what the input asks for, in order; yield the seconds to pause."""
    given = job["input"]
    yield from mock_happenings(job, given)
    for line in range(int(given.get("print", 0))):
        print(f"line {line + 1} of {given['print']}", flush=True)
    if "stderr" in given:
        print(given["stderr"], file=sys.stderr, flush=True)
    if "sleep" in given:
        yield float(given["sleep"])
    if "oom" in given:
        allocate(int(given["oom"]))
    if given.get("fail"):
        raise RuntimeError("Asked to fail." if given["fail"] is True else str(given["fail"]))
    if "exit" in given:
        sys.stdout.flush()
        os._exit(int(given["exit"]))
    if given.get("segfault"):
        ctypes.string_at(0)


def mock_happenings(job, given):
    """The mock worker's side effects: logs, progress, delay, then crash or error."""
    for entry in given.get("mock_logs") or []:
        entry = entry if isinstance(entry, dict) else {"message": entry}
        write = getattr(log, str(entry.get("level", "info")).lower(), log.info)
        write(str(entry.get("message", "")), job["id"])

    progress = given.get("mock_progress") or {}
    for update in progress.get("updates", []):
        yield float(progress.get("wait_time", 0))
        runpod.serverless.progress_update(job, update)

    yield float(given.get("mock_delay", 0))
    if given.get("mock_crash"):
        sys.stdout.flush()
        os._exit(1)
    if given.get("mock_error"):
        raise RuntimeError("Mock error")

    if (given.get("mock_external") or {}).get("error_job_return"):
        lose_result()
    elif live_result_url:
        rp_http.JOB_DONE_URL = live_result_url.pop()


def lose_result():
    """Have this job's result posted to where nobody listens; the next job puts the address right again."""
    if not live_result_url:
        live_result_url.append(rp_http.JOB_DONE_URL)
    rp_http.JOB_DONE_URL = DEAD_RESULT_URL


def allocate(size):
    """Take memory and touch each page, in pieces, so that a limit is met while growing."""
    piece = 16 * 1024 * 1024
    while size > 0:
        kept.append(bytearray(b"\x01" * min(piece, size)))
        size -= piece
    kept.clear()


# The answer.


def answer(job):
    """The output of the plain handlers."""
    given = job["input"]
    if any(key.startswith("mock_") for key in given):
        output = given.get("mock_return", "Hello World!")
        return {"refresh_worker": True, "mock_return": output} if given.get("mock_refresh") else output
    if "soft_error" in given:
        return {"error": str(given["soft_error"])}
    if given.get("refresh"):
        return {"refresh_worker": True, **echo(given)}
    if "stream" in given:
        return list(pieces(job))
    return echo(given)


def echo(given):
    """A greeting, and the input as it arrived."""
    if "prompt" in given:
        return {"greeting": f"You said: {given['prompt']}", "input": given}
    return {"greeting": f"Hello, {given.get('name', 'world')}!", "input": given}


def pieces(job):
    """The outputs of the generators: `mock_return` item by item, or `stream` pieces, or the greeting by word."""
    given = job["input"]
    if any(key.startswith("mock_") for key in given):
        yield from given.get("mock_return", ["Hello World!"])
    elif "stream" in given:
        for piece in range(int(given["stream"])):
            yield {"piece": piece + 1, "of": int(given["stream"])}
    else:
        yield from echo(given)["greeting"].split(" ")


# The four kinds of handler.


def handler(job):
    """Answers at once."""
    for pause in happenings(job):
        time.sleep(pause)
    return answer(job)


async def async_handler(job):
    """Answers at once, and lets other jobs run while it waits."""
    for pause in happenings(job):
        await asyncio.sleep(pause)
    return answer(job)


def generator_handler(job):
    """Answers piece by piece, `every` seconds apart."""
    for pause in happenings(job):
        time.sleep(pause)
    for piece in pieces(job):
        yield piece
        time.sleep(float(job["input"].get("every", 0)))


async def async_generator_handler(job):
    """Answers piece by piece, and lets other jobs run while it waits."""
    for pause in happenings(job):
        await asyncio.sleep(pause)
    for piece in pieces(job):
        yield piece
        await asyncio.sleep(float(job["input"].get("every", 0)))


def configuration():
    """The worker's configuration from flags and environment; the SDK's own flags pass by unread."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--generator", action="store_true")
    parser.add_argument("--async_generator", action="store_true")
    parser.add_argument("--return_aggregate_stream", action="store_true")
    flags, _ = parser.parse_known_args()

    mode = os.environ.get("HELLO_MODE", "handler")
    mode = "generator" if flags.generator else "async_generator" if flags.async_generator else mode
    if mode not in MODES:
        raise SystemExit(f"HELLO_MODE={mode} is none of {', '.join(MODES)}.")
    handlers = dict(zip(MODES, (handler, async_handler, generator_handler, async_generator_handler)))
    config = {"handler": handlers[mode]}

    if flags.return_aggregate_stream or os.environ.get("HELLO_AGGREGATE") == "1":
        config["return_aggregate_stream"] = True
    concurrency = int(os.environ.get("CONCURRENCY_MODIFIER", "0"))
    if concurrency and mode.startswith("async"):
        config["concurrency_modifier"] = lambda current: concurrency
    return config


if __name__ == "__main__":
    runpod.serverless.start(configuration())
