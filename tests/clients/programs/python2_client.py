"""Programs with the client of `runpod` 2.0.0rc2: the queue client that its apps call with, and the class `Endpoint`.

    python python2_client.py CASE
"""

import asyncio
import json
import os
import sys

import runpod
from runpod.apps.job import Job
from runpod.apps.targets import LiveTarget, QueueClient, _headers

tasks, vllm = LiveTarget("tasks"), LiveTarget("vllm")


def payload(**given):
    return {"input": given}


async def submitted(target, **given):
    return Job(await target.submit(payload(**given)), target)


async def settled(awaitable):
    try:
        return {"value": await awaitable}
    except Exception as error:  # noqa: BLE001: it is what is looked at
        return {"error": type(error).__name__, "message": str(error), "status": getattr(error, "status", None)}


async def operations():
    client = QueueClient("tasks", _headers)
    job = await submitted(tasks, n=1)
    seen = {"first": job._data["status"], "result": await job.result.aio(timeout=30), "last": await job.status.aio()}
    seen["invoked"] = await tasks.invoke(payload(n=2), timeout=30)
    seen["raw"] = await client.invoke(payload(sleep=1.5), timeout=3)
    seen["failed"] = await settled(tasks.invoke(payload(fail="not today"), timeout=30))
    seen["soft"] = await settled(tasks.invoke(payload(soft_error="not today"), timeout=30))
    return seen


async def cancels():
    job = await submitted(tasks, sleep=60)
    while await job.status.aio() != "IN_PROGRESS":
        await asyncio.sleep(0.05)
    cancelled = (await job.cancel.aio())._data["status"]
    return {"cancelled": cancelled, "later": (await tasks.job_status(job.id))["status"]}


async def retries_jobs():
    job = await submitted(tasks, fail="once more")
    failed = await settled(job.result.aio(timeout=30))
    again = (await job.retry.aio())._data["status"]
    done = await tasks._client.wait(dict(job._data), timeout=30)
    refused = await settled((await submitted(LiveTarget("parked"), n=1)).retry.aio())
    return {"failed": failed["error"], "again": again, "done": done["status"], "id": done["id"] == job.id,
            "refused": refused}


async def streams():
    """This client asks again without a pause, so the server has to hold."""
    asked = 0
    call = vllm._client._call

    async def counted(method, path, *rest):
        nonlocal asked
        asked += path.startswith("stream/")
        return await call(method, path, *rest)

    vllm._client._call = counted
    job = await submitted(vllm, prompt="a b c d", every=0.3)
    pieces = [piece["choices"][0]["tokens"][0] async for piece in job.stream.aio()]
    broken = await submitted(vllm, prompt="a b c", fail_at=3)

    async def read():
        return [piece async for piece in broken.stream.aio()]

    return {"pieces": pieces, "asked": asked, "broken": await settled(read())}


async def waits():
    """The server goes while the program waits; reads are tried again."""
    job = await submitted(tasks, sleep=4, n=3)
    while await job.status.aio() != "IN_PROGRESS":
        await asyncio.sleep(0.05)
    print("waits", flush=True)
    return {"output": await job.result.aio(timeout=60), "status": await job.status.aio()}


async def options():
    more = {"policy": {"executionTimeout": 5000, "ttl": 60000, "lowPriority": True}, "webhook": "https://example.com/"}
    seen = await LiveTarget("parked").submit({"input": {"__empty": True}, **more})
    return {"first": seen, "later": await LiveTarget("parked").job_status(seen["id"])}


async def endpoint():
    """The class of 1.x, which 2.0 keeps."""

    def run():
        endpoint = runpod.Endpoint("tasks")
        job = endpoint.run({"n": 1})
        seen = {"output": job.output(timeout=30), "sync": endpoint.run_sync({"input": {"n": 2}}, timeout=30)}
        seen["stream"] = list(runpod.Endpoint("vllm").run({"prompt": "a b"}).stream())
        parked = runpod.Endpoint("parked")
        parked.purge_queue()
        job = parked.run({"n": 1})
        seen["health"] = parked.health()
        seen["cancel"] = job.cancel()
        return seen

    return await asyncio.to_thread(run)


async def refused():
    os.environ["RUNPOD_API_KEY"] = "nobody"
    return {"run": await settled(tasks.submit(payload(n=1))), "status": await settled(tasks.job_status("x"))}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(globals()[sys.argv[1]]())))
