"""A program with `langchain-runpod`, whose base URL is an argument of its classes.

    python langchain_client.py
"""

import asyncio
import json
import os

from langchain_core.messages import HumanMessage
from langchain_runpod import ChatRunPod, RunPod

base = {"api_base": os.environ["BASE_URL"], "api_key": os.environ["RUNPOD_API_KEY"], "poll_interval": 0.1}
plain = RunPod(endpoint_id="tasks", temperature=0.5, max_tokens=10, **base)
tokens = RunPod(endpoint_id="vllm", **base)
chat = ChatRunPod(endpoint_id="tasks", **base)


def settled(call):
    try:
        return {"value": call()}
    except Exception as error:  # noqa: BLE001: it is what is looked at
        return {"error": type(error).__name__, "message": str(error)}


async def asynchronous():
    return {
        "invoke": await tokens.ainvoke("good morning"),
        "stream": [piece async for piece in plain.astream("hi")],
        "many": await tokens.abatch(["one", "two", "three"]),
    }


print(json.dumps({
    "invoke": plain.invoke("good morning", stop=["x"]),
    "tokens": tokens.invoke("good morning"),
    "stream": list(plain.stream("hi")),
    "chat": chat.invoke([HumanMessage("good morning")]).content,
    "asynchronous": asyncio.run(asynchronous()),
    "failed": settled(lambda: plain.invoke("x", fail="not today")),
    "stranger": settled(lambda: RunPod(endpoint_id="tasks", **{**base, "api_key": "nobody"}).invoke("x")),
    "nowhere": settled(lambda: RunPod(endpoint_id="nowhere", **base).invoke("x")),
}))
