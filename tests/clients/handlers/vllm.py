"""A worker that behaves as worker-vllm does on the wire, without a model: an asynchronous generator for 30 jobs at
once whose values are also collected.

An OpenAI call comes as `{"openai_route", "openai_input"}`; with `"stream": true` the answer is raw server-sent
events as texts, cut anywhere, else one object. `/v1/models` has no input. An error is an object under `error`.
A plain `{"prompt"}` gets lists of tokens. What the model says is made of the last message: one word a piece.
"""

import asyncio
import json

import runpod

MODEL = "parrot-1"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def error(message, kind, code):
    """What vLLM says, in the form in which the worker yields it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def words(given):
    """What the model answers, in pieces."""
    text = given["messages"][-1]["content"] if "messages" in given else given["prompt"]
    if isinstance(text, list):
        text = " ".join(part["text"] for part in text if part["type"] == "text")
    return [piece + " " for piece in f"You said: {text}".split(" ")]


def choice(given, text, last, streamed):
    """One choice of a completion or a chat."""
    finish = {"index": 0, "finish_reason": "stop" if last else None}
    if "prompt" in given:
        return {**finish, "text": text}
    return {**finish, "delta" if streamed else "message": {"role": "assistant", "content": text}}


def answer(given, choices, streamed=False, usage=None):
    kind = "text_completion" if "prompt" in given else f"chat.completion{'.chunk' if streamed else ''}"
    base = {"id": "cmpl-1", "object": kind, "created": 1, "model": MODEL, "choices": choices}
    return base if usage is None else {**base, "usage": usage}


def events(given):
    """A streamed answer as server-sent events."""
    said = words(given)
    for n, word in enumerate(said, 1):
        yield f"data: {json.dumps(answer(given, [choice(given, word, n == len(said), True)], True))}\n\n"
    if (given.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps(answer(given, [], True, USAGE))}\n\n"
    yield "data: [DONE]\n\n"


def cut(pieces):
    """The same text, cut where no event ends."""
    whole = "".join(pieces)
    for start in range(0, len(whole), 97):
        yield whole[start:start + 97]


def refusal(route, given):
    """What this call is refused with, if it is."""
    if route not in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        return error(f"Invalid route: {route}", "worker_error", 404)
    if given.get("model") != MODEL:
        return error(f"The model `{given.get('model')}` does not exist.", "NotFoundError", 404)
    if given.get("max_tokens", 1) > 4096:
        return error("This model's maximum context length is 4096 tokens. It's too long.", "BadRequestError", 400)
    return None


async def openai(route, given):
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "runyard"}]}
        return
    if refused := refusal(route, given):
        yield refused
        return
    if given.get("user") == "crash":
        raise RuntimeError("the engine is gone")
    if route == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.0, 0.5, 1.0]}
        yield {"object": "list", "model": MODEL, "data": [vector], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        return
    if not given.get("stream"):
        await asyncio.sleep(60 if given.get("user") == "slow" else 0)
        yield answer(given, [choice(given, "".join(words(given)).strip(), True, False)], usage=USAGE)
        return
    pieces = list(events(given)) if given.get("user") == "slow" else list(cut(events(given)))
    for n, piece in enumerate(pieces):
        if given.get("user") == "breaks" and n == len(pieces) // 2:
            yield error("CUDA error: an illegal memory access", "InternalServerError", 500)
            return
        yield piece
        await asyncio.sleep(60 if given.get("user") == "slow" else 0)


async def handler(job):
    given = job["input"]
    if "openai_route" in given:
        async for piece in openai(given["openai_route"], given.get("openai_input", {})):
            yield piece
        return
    for n, word in enumerate(words(given)):
        if given.get("fail_at") == n:
            raise RuntimeError("the engine is gone")
        yield {"choices": [{"tokens": [word]}], "usage": {"input": 3, "output": n + 1}}
        await asyncio.sleep(given.get("every", 0))


runpod.serverless.start({
    "handler": handler, "return_aggregate_stream": True, "concurrency_modifier": lambda current: 30,
})
