"""Jobs through runyard: POST /run, then one long poll for the result."""

import asyncio
import os

import aiohttp
from loop import run_async

URL, HEADERS = os.environ["BENCH_URL"], {"authorization": os.environ["BENCH_KEY"]}
BODY = {"input": {"text": "a short input of 38 bytes"}}


async def main():
    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=HEADERS, connector=limits) as session:

        async def one_job():
            async with session.post(f"{URL}/run", json=BODY) as reply:
                job = await reply.json()
            async with session.get(f"{URL}/status-sync/{job['id']}?wait=60000") as reply:
                ended = await reply.json()
            if ended["status"] != "COMPLETED":
                raise SystemExit(f"a job did not complete: {ended}")

        await run_async(one_job)


asyncio.run(main())
