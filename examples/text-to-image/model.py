"""A rectified-flow model that draws handwritten digits, 8x8 pixels each, in numpy alone.

The network looks at a noisy picture, the time between noise (0) and picture (1) and the wished digit,
and answers with the direction in which each pixel should move. Drawing is nothing but starting from
noise and following that direction in small steps. The class NONE means "any digit"; going further away
from it than the network asks for is what `guidance` does.
"""

from pathlib import Path

import numpy as np

SIDE = 8
PIXELS = SIDE * SIDE
CLASSES = 10
NONE = CLASSES
TIME_WAVES = 8
INPUTS = PIXELS + CLASSES + 1 + 2 * TIME_WAVES
HIDDEN = (384, 384, 384)
WEIGHTS = Path(__file__).with_name("weights.npz")


def silu(x):
    """x * sigmoid(x), and its slope, written so that large negative numbers do not overflow."""
    gate = 0.5 * (1.0 + np.tanh(0.5 * x))
    return x * gate, gate * (1.0 + x * (1.0 - gate))


def features(pixels, time, digits):
    """What the network sees: pixels, the digit as one-hot, the time as sines and cosines."""
    one_hot = np.eye(CLASSES + 1, dtype=np.float32)[digits]
    angles = time[:, None] * (np.pi * 2.0 ** np.arange(TIME_WAVES) / 4.0)[None, :]
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.concatenate([pixels, one_hot, waves], axis=1).astype(np.float32)


class Flow:
    """The trained network: `velocity` for one step, `draw` for a whole picture."""

    def __init__(self, path=WEIGHTS):
        with np.load(path) as stored:
            count = len(stored.files) // 2
            self.layers = [
                (stored[f"w{i}"].astype(np.float32), stored[f"b{i}"].astype(np.float32)) for i in range(count)
            ]

    def velocity(self, pixels, time, digits):
        """The direction of every pixel; shapes (n, 64), (n,), (n,) -> (n, 64)."""
        x = features(pixels, time, digits)
        for weight, bias in self.layers[:-1]:
            x, _ = silu(x @ weight + bias)
        weight, bias = self.layers[-1]
        return x @ weight + bias

    def draw(self, digits, seed, steps, guidance):
        """Yield (step, pictures) after each step; pictures are (n, 8, 8) with values in -1..1.

        Each digit has noise of its own, so a prompt that grows keeps the digits it had.
        """
        wished = np.asarray(digits)
        anything = np.full_like(wished, NONE)
        noise = [np.random.default_rng([seed, place]).standard_normal(PIXELS) for place in range(len(wished))]
        pixels = np.stack(noise).astype(np.float32)
        for step in range(steps):
            time = np.full(len(wished), step / steps, dtype=np.float32)
            free = self.velocity(pixels, time, anything)
            bound = self.velocity(pixels, time, wished)
            pixels = pixels + (free + guidance * (bound - free)) / steps
            yield step + 1, np.clip(pixels, -1.0, 1.0).reshape(-1, SIDE, SIDE)
