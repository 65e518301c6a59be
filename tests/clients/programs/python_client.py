"""Programs with `runpod` 1.12.0 whose server is away for a while: what they do is RunPod's own, retries and all.

    python python_client.py CASE
"""

import asyncio
import json
import os
import sys
import time

import aiohttp
import requests
import runpod
from runpod import AsyncioEndpoint

runpod.api_key = os.environ["RUNPOD_API_KEY"]


def say(word):
    """Tells the test where the program is."""
    print(word, flush=True)


def submits_to_nobody():
    """Nobody listens when the program submits; a refused connection is tried again."""
    say("submits")
    job = runpod.Endpoint("tasks").run({"n": 1})
    return job.output(timeout=60)


def waits():
    """The server goes while the program waits for the result."""
    job = runpod.Endpoint("tasks").run({"sleep": 4, "n": 2})
    while job.status() != "IN_PROGRESS":
        time.sleep(0.05)
    say("waits")
    return {"output": job.output(timeout=60), "status": job.status()}


def streams():
    """The server goes while the program reads a stream."""
    seen = []
    for piece in runpod.Endpoint("vllm").run({"prompt": " ".join("abcdefghijkl"), "every": 0.4}).stream():
        seen.append(piece["choices"][0]["tokens"][0].strip())
        if len(seen) == 3:
            say("streams")
    return seen


def waits_in_one_request():
    """The server ends, as on an upgrade, while it holds the program's one request."""
    say("waits")
    return runpod.Endpoint("tasks").run_sync({"sleep": 3, "n": 3}, timeout=60)


def loses_its_request():
    """The server is killed while it holds the program's one request: a POST is not tried again, and says so."""
    endpoint = runpod.Endpoint("tasks")
    say("waits")
    try:
        return {"output": endpoint.run_sync({"sleep": 2, "n": 4}, timeout=60)}
    except requests.exceptions.ConnectionError as error:
        return {"error": type(error).__name__}


def polls():
    """More reads than the endpoint allows; a read is tried again when the server says so."""
    job = runpod.Endpoint("parked").run({"n": 5})
    began = time.monotonic()
    states = [job.status() for _ in range(22)]
    return {"states": states, "took": time.monotonic() - began}


def with_tasks():
    """The asyncio client does not retry and looks at no status code: it needs JSON in every answer."""

    async def run():
        seen = {}
        async with aiohttp.ClientSession() as session:
            say("submits")
            endpoint = AsyncioEndpoint("tasks", session)
            try:
                await endpoint.run({"n": 1})
            except aiohttp.ClientConnectorError:
                seen["refused"] = True
            say("refused")
            sys.stdin.readline()
            job = await endpoint.run({"n": 1})
            seen["output"] = await job.output(timeout=60)
            nowhere = AsyncioEndpoint("nowhere", session)
            seen["nowhere"] = await nowhere.health()
            seen["purge"] = await AsyncioEndpoint("parked", session).purge_queue()
        return seen

    return asyncio.run(run())


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
