"""A worker for the clients' tests: does what its input says and answers in the shape that the caller's client reads.
It runs many jobs at once, so that the tests do not wait for each other.
"""

import asyncio
import os

import runpod

BUCKET = os.environ.get("BUCKET", "")

OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "shouter", "version": "1.0.0"},
    "paths": {"/shout": {"post": {
        "operationId": "shout",
        "parameters": [{"name": "text", "in": "query", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"description": "the text in capitals"}},
    }}},
}


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
        return OPENAPI if given["path"] == "/openapi.json" else {"shouted": given["text"].upper()}
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
