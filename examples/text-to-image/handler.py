"""Text to image: a prompt with numbers in it becomes a PNG of handwritten digits.

Everything a big diffusion worker shows is here in small: prompt, seed, steps, guidance, progress per step,
and an image as base64 in the answer. The model is loaded once, when the worker starts.
"""

import base64
import io
import re
import time

import numpy as np
import runpod
from PIL import Image

from model import SIDE, Flow

SCALE = 8
MOST_DIGITS = 24
UNITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORDS = {
    **{word: str(value) for value, word in enumerate(UNITS + TEENS)},
    **{word: str(value) for value, word in zip(range(20, 100, 10), TENS)},
}

flow = Flow()


class Refused(Exception):
    """The input cannot be drawn; the text says why and what to send instead."""


def digits_of(prompt):
    """The digits of a prompt in groups: 'the year two zero two six, then 1 3' -> ['2026', '13'].

    Words and single digits that follow each other are one number; a longer number stands for itself.
    """
    groups, last = [], None
    for token in re.findall(r"\d+|[a-z]+|[.,;:!?]", prompt.lower()):
        digits = WORDS.get(token, token if token.isascii() and token.isdigit() else None)
        if digits is None:
            last = None
        elif last is None or not alone(token) or not alone(last):
            groups.append(digits)
            last = token
        elif last in TENS and digits in "123456789":
            groups[-1] = groups[-1][:-1] + digits
            last = token
        else:
            groups[-1] += digits
            last = token
    return groups


def alone(token):
    """Whether a token is a word or a single digit, which joins its neighbours."""
    return token in WORDS or len(token) == 1


def number(given, name, default, low, high, kind):
    """One numeric input within its limits."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or kind(value) != value:
        what = "a whole number" if kind is int else "a number"
        raise Refused(f"`{name}` must be {what} from {low} to {high}, not {value!r}.")
    return kind(value)


def wishes(given):
    """The checked input: groups of digits, seed, steps, guidance, delay."""
    prompt = given.get("prompt") if isinstance(given, dict) else None
    if not isinstance(prompt, str):
        raise Refused('`prompt` must be a text, for example {"prompt": "the year two zero two six"}.')
    groups = digits_of(prompt)
    count = sum(map(len, groups))
    if count == 0:
        raise Refused(f"The prompt names no number, and this model draws only digits: {prompt!r}.")
    if count > MOST_DIGITS:
        raise Refused(f"The prompt has {count} digits; the most is {MOST_DIGITS}.")
    return (
        groups,
        number(given, "seed", 0, 0, 2**63 - 1, int),
        number(given, "steps", 24, 1, 200, int),
        number(given, "guidance", 2.5, 0, 10, float),
        number(given, "delay", 0, 0, 10, float),
    )


def png(pictures, groups):
    """Dark ink on white paper, eight times enlarged, with a gap between groups."""
    half, drawn = np.full((SIDE, SIDE // 2), -1.0, dtype=np.float32), iter(pictures)
    columns = [half[:, :1]]
    for place, group in enumerate(groups):
        if place:
            columns.append(half)
        for _ in group:
            columns += [next(drawn), half[:, :1]]
    edge = np.full((1, sum(column.shape[1] for column in columns)), -1.0, dtype=np.float32)
    strip = np.concatenate([edge, np.concatenate(columns, axis=1), edge])
    image = Image.fromarray(np.uint8(np.rint((1.0 - strip) * 127.5)), mode="L")
    image = image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def handler(job):
    """Draw the prompt's digits; tell how far it is after each step."""
    try:
        groups, seed, steps, guidance, delay = wishes(job["input"])
    except Refused as refusal:
        return {"statusCode": 400, "body": str(refusal)}

    digits = [int(digit) for group in groups for digit in group]
    pictures = None
    for step, pictures in flow.draw(digits, seed, steps, guidance):
        runpod.serverless.progress_update(job, {"step": step, "of": steps, "percent": 100 * step // steps})
        if delay:
            time.sleep(delay)
    return {"statusCode": 200, "body": base64.b64encode(png(pictures, groups)).decode()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
