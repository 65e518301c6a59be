"""Says hello from inside a container, and on request stays a while or takes memory."""

import os
import platform
import time

import runpod


def handler(job):
    """Greet; `sleep` seconds first, `oom` bytes taken before."""
    given = job["input"]
    time.sleep(float(given.get("sleep", 0)))
    taken = [bytearray(b"\x01" * (1 << 20)) for _ in range(int(given.get("oom", 0)) >> 20)]
    return {
        "greeting": f"Hello, {given.get('name', 'world')}!",
        "container": platform.node(),
        "worker": os.environ.get("RUNPOD_POD_ID"),
        "taken": len(taken),
    }


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
