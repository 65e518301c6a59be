"""A program with OpenAI's own Python client, told of the server by the environment alone (`OPENAI_BASE_URL`).

    python openai_client.py CASE
"""

import asyncio
import json
import sys

import openai

MODEL = "parrot-1"
ASK = [{"role": "system", "content": "be short"}, {"role": "user", "content": "good morning to you"}]
client = openai.OpenAI(max_retries=0)


def settled(call):
    """The answer, or what kind of error it was and what a program can read of it."""
    try:
        return {"value": call()}
    except openai.APIStatusError as error:
        return {"error": type(error).__name__, "status": error.status_code, "message": error.message,
                "code": error.code, "type": error.type, "request_id": error.request_id}
    except openai.APIError as error:
        return {"error": type(error).__name__, "message": error.message, "code": error.code}


def chat(**more):
    return client.chat.completions.create(**{"model": MODEL, "messages": ASK, **more})


def texts(chunks):
    """The pieces of a streamed chat, its finish reason and its usage."""
    pieces, finish, usage = [], None, None
    for chunk in chunks:
        for choice in chunk.choices:
            pieces.append(choice.delta.content)
            finish = choice.finish_reason or finish
        usage = chunk.usage.to_dict() if chunk.usage else usage
    return {"pieces": pieces, "finish": finish, "usage": usage}


def whole():
    answer = chat()
    return {"text": answer.choices[0].message.content, "usage": answer.usage.to_dict(), "id": answer._request_id}


def streamed():
    return texts(chat(stream=True, stream_options={"include_usage": True}))


def completions():
    create = client.completions.create
    return {
        "whole": create(model=MODEL, prompt="one two").choices[0].text,
        "streamed": [c.choices[0].text for c in create(model=MODEL, prompt="one two", stream=True)],
    }


def models():
    return {"list": [model.id for model in client.models.list()], "one": settled(lambda: client.models.retrieve("x"))}


def embeddings():
    return client.embeddings.create(model=MODEL, input="one", encoding_format="float").data[0].embedding


def errors():
    stranger = openai.OpenAI(api_key="nobody", max_retries=0)
    nowhere = openai.OpenAI(base_url=str(client.base_url).replace("/vllm/", "/nowhere/"), max_retries=0)
    return {
        "model": settled(lambda: chat(model="gone")),
        "model_streamed": settled(lambda: texts(chat(model="gone", stream=True))),
        "length": settled(lambda: chat(max_tokens=99999)),
        "crash": settled(lambda: chat(user="crash")),
        "breaks": settled(lambda: texts(chat(user="breaks", stream=True))),
        "route": settled(lambda: client.images.generate(prompt="a cat", model=MODEL)),
        "stranger": settled(lambda: stranger.models.list()),
        "stranger_streamed": settled(lambda: stranger.chat.completions.create(model=MODEL, messages=ASK, stream=True)),
        "nowhere": settled(lambda: nowhere.models.list()),
    }


def tasks():
    """The asynchronous client, twenty at a time."""

    async def one(client, n):
        ask = [{"role": "user", "content": str(n)}]
        if n % 2:
            return (await client.chat.completions.create(model=MODEL, messages=ask)).choices[0].message.content
        chunks = await client.chat.completions.create(model=MODEL, messages=ask, stream=True)
        return "".join([chunk.choices[0].delta.content async for chunk in chunks]).strip()

    async def all_of_them():
        async with openai.AsyncOpenAI(max_retries=0) as client:
            return await asyncio.gather(*(one(client, n) for n in range(20)))

    return asyncio.run(all_of_them())


def limited():
    """More calls than the endpoint allows: with its retries the client does not notice."""
    patient = openai.OpenAI(max_retries=10)
    answers = [[model.id for model in patient.models.list()] for _ in range(22)]
    refused = [settled(lambda: client.models.list() and None) for _ in range(40)]
    return {"answers": answers, "refused": next(answer for answer in refused if "error" in answer)}


def leaves():
    """A reader that goes away after the first piece, and one that does not wait for a whole answer."""
    stream = chat(user="slow", stream=True)
    first = next(iter(stream)).choices[0].delta.content
    stream.close()
    impatient = settled(lambda: client.with_options(timeout=1).chat.completions.create(model=MODEL, messages=ASK, user="slow"))
    return {"first": first, "impatient": impatient}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
