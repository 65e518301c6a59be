"""Trains the model of `model.py` on a CPU, in about a minute or two, and writes `weights.npz`.

    pip install numpy scikit-learn
    python train.py

The data are the 1,797 handwritten digits that come inside scikit-learn, so nothing is downloaded. Rectified
flow: mix a picture with noise at a random time, and let the network guess "picture minus noise". One
time in eight the digit is hidden, which teaches the network what any digit looks like (for guidance).
Backpropagation and Adam are written out; an average of the weights over time is what gets stored, as
half-precision numbers. The seed is fixed: the same machine gets the same file again.
"""

import sys
import time as clock

import numpy as np
from sklearn.datasets import load_digits

from model import CLASSES, HIDDEN, INPUTS, NONE, PIXELS, WEIGHTS, features, silu

SEED = 2026
STEPS = 6000
BATCH = 256
RATE = 2e-3
AVERAGE = 0.999


def start_weights(rng):
    """He-scaled random weights; the last layer starts small, so the first guess is 'stay'."""
    sizes = (INPUTS, *HIDDEN, PIXELS)
    parameters = []
    for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        scale = np.sqrt(2.0 / rows) * (0.1 if i == len(sizes) - 2 else 1.0)
        parameters.append((rng.standard_normal((rows, columns)) * scale).astype(np.float32))
        parameters.append(np.zeros(columns, dtype=np.float32))
    return parameters


def loss_and_gradients(parameters, inputs, target):
    """Mean squared error and its gradient for every parameter, by hand."""
    values, slopes = [inputs], []
    for i in range(0, len(parameters) - 2, 2):
        value, slope = silu(values[-1] @ parameters[i] + parameters[i + 1])
        values.append(value)
        slopes.append(slope)
    error = values[-1] @ parameters[-2] + parameters[-1] - target
    gradients = [None] * len(parameters)
    flow = (2.0 / error.size) * error
    for i in range(len(parameters) - 2, -1, -2):
        gradients[i] = values[i // 2].T @ flow
        gradients[i + 1] = flow.sum(axis=0)
        if i:
            flow = (flow @ parameters[i].T) * slopes[i // 2 - 1]
    return float((error**2).mean()), gradients


def main():
    """Train, report, store."""
    rng = np.random.default_rng(SEED)
    digits = load_digits()
    pictures = (digits.data / 8.0 - 1.0).astype(np.float32)
    labels = digits.target

    parameters = start_weights(rng)
    average = [p.copy() for p in parameters]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    began, recent = clock.monotonic(), 0.0

    for step in range(1, STEPS + 1):
        pick = rng.integers(0, len(pictures), BATCH)
        noise = rng.standard_normal((BATCH, PIXELS)).astype(np.float32)
        at = rng.random(BATCH, dtype=np.float32)
        wished = np.where(rng.random(BATCH) < 0.125, NONE, labels[pick])
        mixed = (1.0 - at[:, None]) * noise + at[:, None] * pictures[pick]
        loss, gradients = loss_and_gradients(parameters, features(mixed, at, wished), pictures[pick] - noise)

        rate = RATE * min(1.0, step / 200) * (0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * step / STEPS)))
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            size = np.sqrt(second[i] / (1.0 - 0.999**step)) + 1e-8
            parameters[i] -= (rate / (1.0 - 0.9**step) * first[i] / size).astype(np.float32)
            average[i] += (1.0 - min(AVERAGE, step / (step + 10))) * (parameters[i] - average[i])
        recent = loss if step == 1 else 0.99 * recent + 0.01 * loss
        if step % 500 == 0:
            print(f"step {step:5d}  loss {recent:.4f}  {clock.monotonic() - began:6.1f} s", flush=True)

    names = [f"{'wb'[i % 2]}{i // 2}" for i in range(len(average))]
    np.savez_compressed(WEIGHTS, **{n: p.astype(np.float16) for n, p in zip(names, average)})
    count = sum(p.size for p in average)
    print(f"{count:,} parameters, {CLASSES} digits, {WEIGHTS.stat().st_size:,} bytes in {WEIGHTS.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
