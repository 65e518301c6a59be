"""The closed loop of every load program here: `clients` at a time, each with its next job when the last one is
answered, for so many seconds; prints every latency in microseconds as JSON."""

import asyncio
import json
import sys
import threading
import time


def arguments():
    """The number of clients and the seconds, from the command line."""
    return int(sys.argv[1]), float(sys.argv[2])


def tell(micros, seconds):
    print(json.dumps({"micros": micros, "seconds": seconds}))


async def run_async(one_job):
    """`one_job` is a coroutine function. One job goes first: it waits until a worker is there."""
    clients, seconds = arguments()
    await one_job()
    began, micros = time.monotonic(), []

    async def client():
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            await one_job()
            micros.append(int((time.monotonic() - asked) * 1e6))

    await asyncio.gather(*(client() for _ in range(clients)))
    tell(micros, time.monotonic() - began)


def run_threads(one_job):
    """The same with a thread for each client."""
    clients, seconds = arguments()
    one_job()
    began, micros = time.monotonic(), []

    def client():
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            one_job()
            micros.append(int((time.monotonic() - asked) * 1e6))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(micros, time.monotonic() - began)
