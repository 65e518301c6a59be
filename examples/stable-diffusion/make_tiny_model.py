"""Makes a tiny Stable Diffusion pipeline with random weights: `python make_tiny_model.py FOLDER`.

It has all the parts of a real one and a few megabytes, needs no download, and draws noise: enough to prove the
handler on a machine without a GPU. The same folder every time, as the weights are seeded.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = 77
WIDTH = 32


def letters():
    """The letters that CLIP's tokenizer writes the 256 bytes with: printable ones as they are, the others moved."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def tokenizer():
    """A tokenizer that knows single letters only, each inside and at the end of a word."""
    known = [*letters(), *(letter + "</w>" for letter in letters()), START, END]
    return CLIPTokenizer(
        vocab={token: place for place, token in enumerate(known)},
        merges=[],
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=WORDS,
    )


def pipeline():
    """All parts with random weights. Like Stable Diffusion 1.5, it draws 8 pixels for each number it thinks in."""
    torch.manual_seed(0)
    words = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=WORDS,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(WIDTH, 2 * WIDTH),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    decoder = AutoencoderKL(
        sample_size=128,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 16, WIDTH, WIDTH),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
    )
    schedule = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=decoder,
        text_encoder=CLIPTextModel(text),
        tokenizer=words,
        unet=unet,
        scheduler=schedule,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main():
    """Make it and say how large it is."""
    parser = argparse.ArgumentParser(description="Make a tiny Stable Diffusion pipeline with random weights.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    pipeline().save_pretrained(folder, safe_serialization=True)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB in {folder}")


if __name__ == "__main__":
    main()
