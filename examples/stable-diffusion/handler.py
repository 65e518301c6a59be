"""Stable Diffusion: a prompt becomes a PNG, drawn by a diffusers pipeline from a folder of the image.

The pipeline is loaded once, when the worker starts, from `MODEL_DIR` (`/app/model`, where the Dockerfile puts
the weights), onto the GPU if there is one. Nothing is downloaded at run time.
"""

import base64
import io
import os
import secrets
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import runpod  # noqa: E402
import torch  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

MODEL_DIR = Path(os.environ.get("MODEL_DIR") or "/app/model")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Refused(Exception):
    """The input cannot be drawn; the text says why and what to send instead."""


def load():
    """The pipeline on its device: half precision on a GPU, where it is faster; full on a CPU, which has no other."""
    if not (MODEL_DIR / "model_index.json").is_file():
        raise SystemExit(
            f"There is no pipeline in {MODEL_DIR}. Build the image, which downloads one, or set MODEL_DIR to a "
            "folder with one; make_tiny_model.py makes a tiny one to try with."
        )
    if DEVICE == "cpu":
        # One core is left to everybody else: threads that wait for each other stand still when a core is shared.
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, min(int(os.environ.get("OMP_NUM_THREADS") or 1), cores - 1)))
    began = time.monotonic()
    precision = torch.float16 if DEVICE == "cuda" else torch.float32
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_DIR, dtype=precision, local_files_only=True)
    pipeline = pipeline.to(DEVICE)
    pipeline.set_progress_bar_config(disable=True)
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"pipeline loaded in {time.monotonic() - began:.1f} s on {name}", flush=True)
    return pipeline


pipeline = load()


def number(given, name, default, low, high, kind):
    """One numeric input within its limits."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or kind(value) != value:
        raise Refused(f"`{name}` must be a {'whole ' if kind is int else ''}number from {low} to {high}, not {value!r}.")
    return kind(value)


def side(given, name):
    """The width or the height: what the model was trained for, unless another multiple of 8 is asked for."""
    trained = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    value = number(given, name, trained, 64, 1024, int)
    if value % 8:
        raise Refused(f"`{name}` must be a multiple of 8, not {value}.")
    return value


def wishes(given):
    """The checked input, as the pipeline calls it, and the seed."""
    prompt = given.get("prompt") if isinstance(given, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refused('`prompt` must be a text, for example {"prompt": "a red boat at dawn"}.')
    negative = given.get("negative_prompt")
    if negative is not None and not isinstance(negative, str):
        raise Refused("`negative_prompt` must be a text.")
    seed = number(given, "seed", secrets.randbelow(2**32), 0, 2**63 - 1, int)
    return seed, {
        "prompt": prompt,
        "negative_prompt": negative,
        "num_inference_steps": number(given, "steps", 30, 1, 150, int),
        "guidance_scale": number(given, "guidance", 7.5, 0, 30, float),
        "width": side(given, "width"),
        "height": side(given, "height"),
    }


def handler(job):
    """Draw the prompt; tell how far it is after each step."""
    try:
        seed, call = wishes(job["input"])
    except Refused as refusal:
        return {"statusCode": 400, "body": str(refusal)}

    def tell(pipe, step, timestep, tensors):
        done, of = step + 1, pipe.num_timesteps
        runpod.serverless.progress_update(job, {"step": done, "of": of, "percent": 100 * done // of})
        return tensors

    # Noise from the CPU is the same on every machine.
    noise = torch.Generator("cpu").manual_seed(seed)
    image = pipeline(**call, generator=noise, callback_on_step_end=tell).images[0]
    out = io.BytesIO()
    image.save(out, format="PNG")
    return {"statusCode": 200, "body": base64.b64encode(out.getvalue()).decode()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
