"""What tiles change and what they save: `python benchmarks/tiles.py [--size 2048] [--tile 768]`.

Phantom pairs with grain, for each shipped model that fuses: how tiled and whole differ in grey levels of
255, the ratio of their times in the same minute, and the peak memory of a process of its own for either.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from haarmony import Fuser
from haarmony.io import to_unit
from haarmony.phantom import head

MODELS = ("medical", "infrared", "dif-fusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=768)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--memory", metavar="MODEL", help="fuse once and print the peak memory alone")
    options = parser.parse_args()
    for name, least in (("size", 16), ("tile", 0 if options.memory else 1)):
        if (number := getattr(options, name)) < least:
            parser.error(f"argument --{name}: {number} is less than {least}")
    if options.memory:
        Fuser(options.memory)(*_pair(options.size), tile=options.tile)
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")
        return
    # A child's peak memory starts from its parent's, so these come while this one is small.
    for model in options.models.split(","):
        for size in (options.size // 2, options.size):
            whole, tiled = (_peak(model, size, tile) for tile in (0, options.tile))
            print(
                f"{model} {size}×{size}: {whole} MB whole, {tiled} MB in tiles of {options.tile}", flush=True
            )
    a, b = _pair(options.size)
    for model in options.models.split(","):
        fuser, spent, fused = Fuser(model), [], []
        for tile in (0, options.tile):
            start = time.perf_counter()
            fused.append(to_unit(fuser(a, b, tile=tile)))
            spent.append(time.perf_counter() - start)
        difference = 255 * np.abs(fused[0] - fused[1])
        print(
            f"{model} {options.size}×{options.size}: tiled against whole, of 255, 99.9th percentile"
            f" {np.percentile(difference, 99.9):.3f}, maximum {difference.max():.3f};"
            f" {spent[1] / spent[0]:.2f} times as long",
            flush=True,
        )


def _pair(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two grey pictures of 16 bit, so that less than a level of 255 shows."""
    grain = np.random.default_rng(0)
    small = min(size, 512)
    made = []
    for x in head(seed=3, size=small).pair("CT", 16):
        x = np.tile(to_unit(x), (-(-size // small),) * 2)[:size, :size]
        x += grain.normal(0, 0.01, x.shape).astype(np.float32)
        made.append((65535 * np.clip(x, 0, 1)).astype(np.uint16))
    return made[0], made[1]


def _peak(model: str, size: int, tile: int) -> str:
    command = [sys.executable, __file__, "--memory", model, "--size", str(size), "--tile", str(tile)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
