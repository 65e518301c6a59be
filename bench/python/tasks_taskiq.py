"""The taskiq broker on Redis lists: one task that gives back what it gets."""

import os

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

URL = os.environ["BENCH_URL"]
broker = ListQueueBroker(URL).with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=60))


@broker.task
async def echo(value: dict) -> dict:
    return value
