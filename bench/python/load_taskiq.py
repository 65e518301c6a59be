"""Jobs through taskiq: kiq, then a look for the result every 2 ms, which is all that its client can do."""

import asyncio

from loop import run_async
from tasks_taskiq import broker, echo

VALUE = {"text": "a short input of 38 bytes"}


async def main():
    await broker.startup()

    async def one_job():
        task = await echo.kiq(VALUE)
        await task.wait_result(check_interval=0.002, timeout=60)

    await run_async(one_job)
    await broker.shutdown()


asyncio.run(main())
