"""The handler of the workers in the field: one source for every version of the SDK from 1.6.2 on.

It does what the input says, in this order: `journal` (a file: one line `start JOB WORKER` for each execution),
`progress` (updates, 0.5 s apart), `sleep` (s), `exit` (code, at once, as a crash does), `raise` and `error` (text),
`refresh`; else it answers `{"value": …, "sdk": version}`. As a generator it yields `stream` pieces before its end.

`FIELD_MODE` is the kind of handler: `plain`, `async` (`FIELD_CONCURRENCY` jobs at once), `generator`.
"""

import asyncio
import importlib.metadata
import os
import time

import runpod
from runpod.serverless.modules.rp_progress import progress_update  # 1.7.12 has it nowhere else

SDK = importlib.metadata.version("runpod")


def note(journal, job):
    """One line, in one write."""
    with open(journal, "ab", buffering=0) as file:
        file.write(f"start {job} {os.environ['RUNPOD_POD_ID']}\n".encode())


def steps(job):
    """What happens before the answer; yields the seconds to pause, so that plain handlers can sleep and others wait."""
    given = job["input"]
    if given.get("journal"):
        note(given["journal"], job["id"])
    for update in given.get("progress", []):
        progress_update(job, update)
        yield 0.5
    yield given.get("sleep", 0)
    if "exit" in given:
        os._exit(given["exit"])
    if "raise" in given:
        raise ValueError(given["raise"])


def answer(job):
    given = job["input"]
    if "error" in given:
        return {"error": given["error"]}
    output = {"value": given.get("value"), "sdk": SDK}
    return {"refresh_worker": True, **output} if given.get("refresh") else output


def plain(job):
    for pause in steps(job):
        time.sleep(pause)
    return answer(job)


async def waiting(job):
    for pause in steps(job):
        await asyncio.sleep(pause)
    return answer(job)


def pieces(job):
    for number in range(job["input"].get("stream", 0)):
        yield {"piece": number}
        time.sleep(0.1)
    yield plain(job)


mode = os.environ.get("FIELD_MODE", "plain")
config = {"handler": {"plain": plain, "async": waiting, "generator": pieces}[mode]}
if mode == "generator":
    config["return_aggregate_stream"] = True
if "FIELD_CONCURRENCY" in os.environ:
    config["concurrency_modifier"] = lambda _: int(os.environ["FIELD_CONCURRENCY"])
runpod.serverless.start(config)
