"""Text to speech: an English sentence becomes a WAV in base64, many times faster than it is spoken.

The voice (8 MB, in ONNX) comes with the package and is loaded once, when the worker starts. Long texts are
spoken sentence by sentence, with progress after each.
"""

import base64
import io
import os
import time
import wave

import numpy as np
import runpod
from hibari import Hibari

MOST_LETTERS = 20_000
# One core is left to everybody else: threads that spin for each other stand still when a core is shared.
THREADS = max(1, min(int(os.environ.get("OMP_NUM_THREADS") or 1), len(os.sched_getaffinity(0)) - 1))

began = time.monotonic()
voice = Hibari(threads=THREADS)
voice("Ready.")
print(f"voice loaded in {time.monotonic() - began:.1f} s: {THREADS} thread(s)", flush=True)


class Refused(Exception):
    """The input cannot be spoken; the text says why and what to send instead."""


def number(given, name, default, low, high, kind):
    """One numeric input within its limits."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or kind(value) != value:
        raise Refused(f"`{name}` must be a {'whole ' if kind is int else ''}number from {low} to {high}, not {value!r}.")
    return kind(value)


def wishes(given):
    """The checked input: text, speed, seed."""
    text = given.get("text") if isinstance(given, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise Refused('`text` must be a text, for example {"text": "Your endpoint is ready."}.')
    if len(text) > MOST_LETTERS:
        raise Refused(f"The text has {len(text):,} letters; the most is {MOST_LETTERS:,}.")
    return text, number(given, "speed", 1.0, 0.5, 2.0, float), number(given, "seed", 0, 0, 2**63 - 1, int)


def wav(samples):
    """A mono WAV of 16 bits out of samples in -1..1."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(voice.sample_rate)
        file.writeframes(np.int16(np.rint(np.clip(samples, -1.0, 1.0) * 32767)).tobytes())
    return out.getvalue()


def handler(job):
    """Speak the text; tell how far it is after each sentence."""
    try:
        text, speed, seed = wishes(job["input"])
        sentences = voice.phonemize(text)
        if not sentences:
            raise Refused(f"There is nothing to say in {text[:80]!r}.")
    except Refused as refusal:
        return {"error": str(refusal)}

    noise, spoken = np.random.default_rng(seed), []
    for done, sentence in enumerate(sentences, start=1):
        spoken.append(voice.from_ids(voice.ids(sentence), speed, noise))
        runpod.serverless.progress_update(job, {"sentence": done, "of": len(sentences)})
    samples = np.concatenate(spoken)
    return {
        "audio_base64": base64.b64encode(wav(samples)).decode(),
        "format": "wav",
        "sample_rate": voice.sample_rate,
        "seconds": round(len(samples) / voice.sample_rate, 2),
    }


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
