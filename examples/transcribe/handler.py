"""Speech to text: a recording of English speech becomes its text, with the times of its parts.

Moonshine (base, English) runs on the CPU; model and engine come in one package and are loaded once, when the
worker starts. A long recording is cut at its quietest places, and each part's text is told as progress.
"""

import base64
import binascii
import ctypes
import io
import time
import urllib.error
import urllib.request
import wave

import numpy as np
import runpod
from moonshine_cpp import MoonshineModel
from moonshine_cpp.moonshine_cpp import moonshine_lib

RATE = 16_000
# The model knows parts of up to a minute; shorter ones are faster together, as its work grows with the square.
PART_SECONDS = 20
# Quieter than this is silence, for which the model would invent words; full scale is 1.
SILENCE = 0.003
# A shorter recording ends the engine, and with it the worker.
LEAST_SAMPLES = RATE // 2
MOST_SECONDS = 4 * 3600
MOST_BYTES = 256 << 20

began = time.monotonic()
model = MoonshineModel()
print(f"moonshine loaded in {time.monotonic() - began:.1f} s", flush=True)


class Refused(Exception):
    """The input cannot be transcribed; the text says why and what to send instead."""


def recording(given):
    """The bytes of the file that the input holds or names."""
    given = given if isinstance(given, dict) else {}
    text, url = given.get("audio_base64"), given.get("audio")
    if isinstance(text, str) and text:
        text = text.partition(",")[2] if text.startswith("data:") else text
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refused(f"`audio_base64` is not base64: {error}.") from error
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return fetched(url)
    raise Refused("Send a WAV as `audio_base64`, or its address as `audio` (http or https).")


def fetched(url):
    """A file from the web, up to a size."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            content = answer.read(MOST_BYTES + 1)
    except (urllib.error.URLError, OSError) as error:
        raise Refused(f"Cannot fetch {url}: {error}.") from error
    if len(content) > MOST_BYTES:
        raise Refused(f"The file at {url} has more than {MOST_BYTES >> 20} MiB.")
    return content


def samples(content):
    """A WAV's sound: one channel, 16,000 numbers in -1..1 a second."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            seconds = file.getnframes() / rate
            if seconds > MOST_SECONDS:
                raise Refused(f"The recording lasts {seconds / 3600:.1f} hours; the most is {MOST_SECONDS // 3600}.")
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise Refused(
            f"The recording is not a WAV of whole numbers ({error or 'it is cut off'}). Convert it first: "
            "ffmpeg -i FILE -ar 16000 -ac 1 -c:a pcm_s16le speech.wav"
        ) from error
    frames = numbers(raw[: len(raw) // (channels * width) * channels * width], width)
    sound = frames.reshape(-1, channels).mean(axis=1)
    return at_rate(sound, rate)


def numbers(raw, width):
    """The values of a WAV's frames, of 8, 16, 24 or 32 bits, as floats in -1..1."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    # Each value moves to the upper end of four bytes, so that all widths have the same scale.
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return wide.reshape(-1).view("<i4").astype(np.float32) / 2**31


def at_rate(sound, rate):
    """The sound at the model's rate; what is too high for it is averaged away first."""
    if rate == RATE or not len(sound):
        return sound
    if rate > RATE:
        span = round(rate / RATE)
        sound = np.convolve(sound, np.full(span, 1 / span, np.float32), mode="same")
    count = max(1, int(len(sound) * RATE / rate))
    return np.interp(np.arange(count) * (rate / RATE), np.arange(len(sound)), sound).astype(np.float32)


def parts(sound):
    """Where to cut, as pairs of first and last sample: at the quietest tenth of a second of the last third."""
    first, most, window = 0, PART_SECONDS * RATE, RATE // 10
    while len(sound) - first > most:
        late = sound[first + most * 2 // 3 : first + most]
        loudness = np.convolve(np.square(late), np.ones(window, np.float32), mode="valid")
        last = first + most * 2 // 3 + int(loudness.argmin()) + window // 2
        yield first, last
        first = last
    yield first, len(sound)


def text_of(sound):
    """What the model hears in one part."""
    if not len(sound) or np.abs(sound).max() < SILENCE:
        return ""
    sound = np.ascontiguousarray(np.pad(sound, (0, max(0, LEAST_SAMPLES - len(sound)))), np.float32)
    heard = ctypes.c_char_p()
    data = sound.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    code = moonshine_lib.moonshine_transcribe(model.model_handle, data, len(sound), ctypes.byref(heard))
    if code != 0:
        raise RuntimeError(f"The engine failed with code {code}.")
    text = (heard.value or b"").decode("utf-8", "replace").strip()
    moonshine_lib.moonshine_free_text(heard)
    return text


def handler(job):
    """Transcribe part by part; tell each part's text as soon as it is there."""
    try:
        sound = samples(recording(job["input"]))
    except Refused as refusal:
        return {"error": str(refusal)}

    segments = []
    for first, last in parts(sound):
        text = text_of(sound[first:last])
        if text:
            segments.append({"start": round(first / RATE, 2), "end": round(last / RATE, 2), "text": text})
        percent = 100 * last // max(1, len(sound))
        runpod.serverless.progress_update(job, {"percent": percent, "text": text})
    return {
        "text": " ".join(segment["text"] for segment in segments),
        "segments": segments,
        "seconds": round(len(sound) / RATE, 2),
    }


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
