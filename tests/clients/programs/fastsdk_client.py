"""A program with `fastsdk`, whose service is the endpoint's URL. It asks the worker for its OpenAPI document through a
job, reads statuses with POST, and calls what the document describes.

    python fastsdk_client.py
"""

import json
import os
import time

import fastsdk

base, key = os.environ["BASE_URL"], os.environ["RUNPOD_API_KEY"]


def settled(call):
    try:
        return {"value": call()}
    except Exception as error:  # noqa: BLE001: it is what is looked at
        return {"error": type(error).__name__, "message": str(error)}


def cancelled():
    job = client.submit_job("sleep", text="x")
    until = time.monotonic() + 30
    while not job.platform_job_id and time.monotonic() < until:
        time.sleep(0.05)
    settled(job.cancel)
    return {"id": job.platform_job_id, "ended": settled(lambda: job.wait_for_result(timeout_s=30))}


client = fastsdk.connect(f"{base}/tasks", api_key=key, provider="runpod")
shouted = client.submit_job("shout", text="good morning").wait_for_result()
print(json.dumps({
    "shouted": shouted,
    "failed": settled(lambda: client.submit_job("fail", text="not today").wait_for_result()),
    "cancelled": cancelled(),
}, default=str))
