"""Downloads a Stable Diffusion pipeline into a folder, at build time: `python download_model.py ID FOLDER`.

Only what the handler loads is kept, in half precision, which is half the size. A token for a gated model
is read from the build secret `hf_token`, if there is one, and stays out of the image.
"""

import argparse
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

TOKEN = Path("/run/secrets/hf_token")


def main():
    """Download, then write the folder anew, as one set of safetensors."""
    parser = argparse.ArgumentParser(description="Download a Stable Diffusion pipeline into a folder.")
    parser.add_argument("id", help="for example stable-diffusion-v1-5/stable-diffusion-v1-5, or a folder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--revision", default=None, help="a branch, a tag or a commit")
    asked = parser.parse_args()

    token = TOKEN.read_text().strip() if TOKEN.is_file() else None
    pipeline = StableDiffusionPipeline.from_pretrained(
        asked.id, revision=asked.revision, token=token, dtype=torch.float16, use_safetensors=True
    )
    pipeline.save_pretrained(asked.folder, safe_serialization=True)
    size = sum(file.stat().st_size for file in asked.folder.rglob("*") if file.is_file())
    print(f"{asked.id}: {size / 1e6:,.1f} MB in {asked.folder}")


if __name__ == "__main__":
    main()
