"""A bare worker in Python: speaks the worker protocol with aiohttp and nothing of the SDK, so that what is
measured with it is the queue and Python, not the SDK's pauses. Takes in batches, answers each job on its own."""

import asyncio
import json
import os

import aiohttp

LANES, BATCH = 4, 16
POD = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("/job-take/", "/job-take-batch/").replace("$ID", POD)
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", POD)
HEADERS = {"content-type": "application/json"}


async def answer(session, job):
    body = json.dumps({"output": job["input"]})
    async with session.post(DONE.replace("$ID", job["id"]), data=body, headers=HEADERS) as reply:
        await reply.read()


async def lane(session):
    while True:
        async with session.get(f"{TAKE}&batch_size={BATCH}&job_in_progress=1") as reply:
            jobs = await reply.json(content_type=None) if reply.status == 200 else []
        await asyncio.gather(*(answer(session, job) for job in jobs))


async def main():
    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(total=60)) as session:
        await asyncio.gather(*(lane(session) for _ in range(LANES)))


asyncio.run(main())
