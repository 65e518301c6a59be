"""OpenAI's client with many retries, started while the server is away: it says when it tried again the first time,
and in the end what it was answered.
"""

import json
import logging

import openai


class Told(logging.Handler):
    """Passes the client's own word on that it tries again to stdout, once."""

    told = False

    def emit(self, record):
        if not self.told and record.getMessage().startswith("Retrying request"):
            self.told = True
            print("tries again", flush=True)


logging.getLogger("openai").addHandler(Told())
logging.getLogger("openai").setLevel(logging.INFO)
client = openai.OpenAI(max_retries=12)
ask = [{"role": "user", "content": "good morning to you"}]
answer = client.chat.completions.create(model="parrot-1", messages=ask)
print(json.dumps({"text": answer.choices[0].message.content}))
