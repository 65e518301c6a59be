"""A user's program, as one finds it in RunPod's documentation: it knows `runpod` and an endpoint's name, and
nothing of where the server is (`RUNPOD_ENDPOINT_BASE_URL` is read by the SDK itself). It prints what it saw as JSON.

    python endpoint_client.py ENDPOINT STREAMING_ENDPOINT
"""

import asyncio
import json
import os
import sys
import time

import aiohttp
import runpod
from runpod import AsyncioEndpoint, AsyncioJob

runpod.api_key = os.environ["MY_KEY"]
PICTURE = {"prompt": "the year two zero two six", "seed": 1}
SLOW = {"prompt": "one", "steps": 200, "delay": 0.2}


def ended(job, limit=20):
    """The first final status; `CANCELLED` is one too."""
    until = time.monotonic() + limit
    while job.status() not in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT") and time.monotonic() < until:
        time.sleep(0.2)
    return job.status()


def in_progress(job, limit=20):
    until = time.monotonic() + limit
    while job.status() != "IN_PROGRESS" and time.monotonic() < until:
        time.sleep(0.1)
    return job.status()


def with_threads(name, streaming):
    seen = {}
    endpoint = runpod.Endpoint(name)
    seen["run_sync"] = endpoint.run_sync({"input": PICTURE}, timeout=60)

    job = endpoint.run({"input": {**PICTURE, "seed": 2}})
    seen["run"] = {"output": job.output(timeout=60), "status": job.status()}
    seen["stream_of_a_plain_handler"] = list(endpoint.run({"input": PICTURE}).stream())
    seen["stream"] = list(runpod.Endpoint(streaming).run({"input": {"stream": 5, "every": 0.2}}).stream())

    running = endpoint.run({"input": SLOW})
    in_progress(running)
    waiting = [endpoint.run({"input": SLOW}) for _ in range(3)]
    seen["health"] = endpoint.health()
    seen["purge_queue"] = endpoint.purge_queue()
    seen["purged"] = [ended(job) for job in waiting]
    seen["before_cancel"] = running.status()
    seen["cancel"] = running.cancel()
    seen["after_cancel"] = ended(running)
    return seen


async def with_asyncio(name, streaming):
    seen = {}
    async with aiohttp.ClientSession() as session:
        endpoint = AsyncioEndpoint(name, session)
        job = await endpoint.run(PICTURE)
        seen["run"] = {"output": await job.output(timeout=60), "status": await job.status()}
        streamed = await AsyncioEndpoint(streaming, session).run({"stream": 4, "every": 0.1})
        seen["stream"] = [chunk async for chunk in streamed.stream()]

        running = await endpoint.run(SLOW)
        until = time.monotonic() + 20
        while await running.status() != "IN_PROGRESS" and time.monotonic() < until:
            await asyncio.sleep(0.1)
        same = AsyncioJob(name, running.job_id, session, running.headers)
        seen["status"] = await same.status()
        seen["health"] = await endpoint.health()
        seen["cancel"] = await running.cancel()
        seen["after_cancel"] = await same.status()
    return seen


def refused(name):
    """What the SDK says with a wrong key."""
    key, runpod.api_key = runpod.api_key, "not-a-key"
    try:
        runpod.Endpoint(name).run({"input": {}})
    except Exception as error:  # noqa: BLE001: it is what is looked at
        return f"{type(error).__name__}: {error}"
    finally:
        runpod.api_key = key
    return "nothing"


if __name__ == "__main__":
    name, streaming = sys.argv[1:3]
    print(json.dumps({
        "version": runpod.__version__,
        "threads": with_threads(name, streaming),
        "asyncio": asyncio.run(with_asyncio(name, streaming)),
        "refused": refused(name),
    }))
