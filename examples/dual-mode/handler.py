"""One file for both lives of a model: a pod to develop in, and a serverless worker to serve from.

`MODE_TO_RUN=pod` (the default) runs the handler once on a sample event and exits, which is what one wants in
a terminal or a notebook of a pod. `MODE_TO_RUN=serverless` takes jobs. Same code, same image; only the
environment differs.
"""

import asyncio
import json
import os
import time

import runpod

MODE = os.environ.get("MODE_TO_RUN", "pod").strip().lower()
CONCURRENCY = max(1, int(os.environ.get("CONCURRENCY_MODIFIER", "1")))
SAMPLE = {"id": "sample", "input": {"prompt": "Hello from a pod", "delay": 0.1}}


async def handler(event):
    """Pretend to work for `delay` seconds without blocking the other jobs, then count the prompt's words."""
    given = event["input"]
    began = time.monotonic()
    await asyncio.sleep(float(given.get("delay", 0)))
    prompt = str(given.get("prompt", ""))
    return {
        "mode": MODE,
        "prompt": prompt,
        "words": len(prompt.split()),
        "seconds": round(time.monotonic() - began, 2),
    }


def concurrency(current):
    """How many jobs to hold at a time. It is asked again and again; here the answer never changes."""
    return CONCURRENCY


def main():
    """Choose a life."""
    if MODE == "pod":
        print(f"pod: running the handler once on {json.dumps(SAMPLE['input'])}")
        print(json.dumps(asyncio.run(handler(SAMPLE)), indent=2))
    elif MODE == "serverless":
        runpod.serverless.start({"handler": handler, "concurrency_modifier": concurrency})
    else:
        raise SystemExit(f"MODE_TO_RUN must be `pod` or `serverless`, not {MODE!r}.")


if __name__ == "__main__":
    main()
