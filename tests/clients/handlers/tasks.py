"""A worker for the clients' tests: does what its input says and answers in the shape that the caller's client reads.
It runs many jobs at once, so that the tests do not wait for each other.
"""

import asyncio
import os

import runpod

BUCKET = os.environ.get("BUCKET", "")


def operation(name):
    """One operation of the document: a text in, JSON out."""
    text = {"name": "text", "in": "query", "required": True, "schema": {"type": "string"}}
    return {"post": {"operationId": name, "parameters": [text], "responses": {"200": {"description": "what it did"}}}}


OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "shouter", "version": "1.0.0"},
    "paths": {f"/{name}": operation(name) for name in ("shout", "sleep", "fail")},
}


async def by_path(given):
    """The way of services that carry a whole HTTP API in their jobs."""
    if given["path"] == "/openapi.json":
        return OPENAPI
    if given["path"] == "/fail":
        raise ValueError(given["text"])
    await asyncio.sleep(60 if given["path"] == "/sleep" else 0)
    return {"shouted": given["text"].upper()}


async def handler(job):
    given = job["input"]
    if not isinstance(given, dict):
        return {"echo": given}
    for step in given.get("progress", []):
        runpod.serverless.progress_update(job, step)
        await asyncio.sleep(0.3)
    await asyncio.sleep(given.get("sleep", 0))
    if "fail" in given:
        raise ValueError(given["fail"])
    if "soft_error" in given:
        return {"error": given["soft_error"]}
    if "path" in given:
        return await by_path(given)
    if "audio_base64" in given:
        return {"text": "hello", "language": "en", "segments": [{"text": "hello", "start": 0, "end": 0.5}]}
    if "size" in given:
        return {"image_url": f"{BUCKET}/picture.png", "cost": 0.01}
    if "duration" in given:
        return {"video_url": f"{BUCKET}/film.mp4"}
    if "voice" in given:
        return {"audio_url": f"{BUCKET}/speech.wav"}
    if "prompt" in given:
        return {"text": f"You said: {given['prompt']}", "asked": given}
    return {"echo": given, "keys": sorted(job)}


runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 30})
