"""A worker on the unmodified SDK: gives back what it gets. Its concurrency comes from `BENCH_CONCURRENCY`."""

import os

import runpod


async def handler(job):
    return job["input"]


concurrency = int(os.environ.get("BENCH_CONCURRENCY", "1"))
runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: concurrency})
