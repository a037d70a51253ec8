"""Draw the paths between a picture and noise: forward, back by DDPM and by DDIM, and what codes are good for.

    python benchmarks/path.py [--model ddpm-mri] [--seed 42] [--steps 50] [-o PNG]

All that the sheet shows is made by the model itself, eight pictures a row:

    1     forward: x_t of a sample, t from 0 to T, √ᾱ_t x_0 + √(1 − ᾱ_t) ε
    2, 3  DDPM: x_t on the way from noise to a picture, and the estimates x̂_0 at the same steps
    4, 5  DDIM from the same x_T, η = 0, likewise
    6     the pictures of codes between two x_T, on the great circle
    7     twice there and back: a sample, its code by DDIM backwards, the picture of that code, and their
          difference, 8 times

What lies outside [−1, 1] is clipped. Prints how far a sample is from itself, there and back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from haarmony import write
from haarmony.cli import answer
from haarmony.codec import Codec, decode_channels, encode_channels
from haarmony.diffusion.process import Process
from haarmony.fusing_path import from_latent, to_latent
from haarmony.generator import Code, Generator, Pictures
from haarmony.io import from_unit

COLUMNS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ddpm-mri")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=50, help="of DDIM; DDPM takes twenty times as many")
    parser.add_argument("-o", "--out", type=Path, default=Path("path.png"))
    options = parser.parse_args()

    if options.steps < COLUMNS:
        parser.error(f"--steps must be at least {COLUMNS}, got {options.steps}")
    generator, steps, seed = Generator(options.model), options.steps, options.seed
    diffusion = generator.card.diffusion
    codec = diffusion.make_codec()
    samples = generator.sample(2, sampler="ddim", eta=0.0, steps=steps, seed=seed)
    codes = generator.encode(samples, steps=steps)
    again = generator.decode(codes, steps=steps)
    difference = np.abs(again - samples)
    rows = [
        forward(Process(diffusion.make_schedule()), codec, samples[0], seed=seed),
        *back(generator, codec, "ddpm", steps=min(20 * steps, diffusion.timesteps), seed=seed),
        *back(generator, codec, "ddim", steps=steps, seed=seed),
        generator.interpolate(*generator.noise(2, seed=seed), COLUMNS, steps=steps),
        np.stack([samples, shown(codec, codes), again, 8 * difference], axis=1).reshape(
            8, *samples.shape[1:]
        ),
    ]
    sheet = np.vstack([np.hstack([np.moveaxis(x, 0, 2) for x in row]) for row in rows]).clip(0, 1)
    write(options.out, from_unit(sheet[..., 0] if sheet.shape[2] == 1 else sheet, np.dtype(np.uint8)))
    mean, largest = 255 * difference.mean(), 255 * difference.max()
    print(f"there and back in {steps} steps: mean difference {mean:.2f} levels of 255, largest {largest:.1f}")
    length = np.sqrt(np.square(codes).mean((1, 2, 3)))
    print(f"the codes' length, of white noise's: {', '.join(f'{x:.3f}' for x in length)}")


def forward(process: Process, codec: Codec, x: np.ndarray, *, seed: int) -> Pictures:
    """x_t of one picture, t evenly spaced from 0, by the same ε."""
    x_0 = encode_channels(codec, to_latent(x[None]))
    eps = np.random.default_rng(seed).standard_normal(x_0.shape, dtype=np.float32)
    ts = np.linspace(0, process.schedule.T, COLUMNS).round().astype(int)
    return shown(codec, np.concatenate([x_0, *(process.diffuse(x_0, eps, int(t)) for t in ts[1:])]))


def back(
    generator: Generator, codec: Codec, sampler: str, *, steps: int, seed: int
) -> tuple[Pictures, Pictures]:
    """x_t after some steps of sampling, and x̂_0 at them."""
    kept = np.linspace(0, steps - 1, COLUMNS).round().astype(int)
    seen: list[tuple[Code, Code]] = []

    def watch(i: int, t: int, x_t: Code, x_0: Code) -> None:
        if i in kept:
            seen.append((x_t, x_0))

    generator.sample(1, sampler=sampler, steps=steps, seed=seed, eta=0.0, callback=watch)
    x_t, x_0 = (shown(codec, np.concatenate(each)) for each in zip(*seen, strict=True))
    return x_t, x_0


def shown(codec: Codec, z: Code) -> Pictures:
    """What is on the codec's grid, as pictures."""
    return from_latent(decode_channels(codec, z))


if __name__ == "__main__":
    sys.exit(answer(main))
