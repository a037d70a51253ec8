"""What tiles change and what they save, as one Markdown table.

    python benchmarks/tiles.py [--size 2048] [--tile 768] [--models medical,infrared]
    python benchmarks/tiles.py --large 8192 [--kind grey|colour] [--models medical] [--range-a LO,HI]

Phantom pairs with grain, for each model: how a picture fused in tiles and one fused whole differ, in grey
levels of 255, the ratio of their times in the same minutes, and the peak memory of a process of its own for
either (Linux). `--large` fuses one pair as `haarmony fuse a.png b.png -o out.png` does, which takes tiles by
itself above 2048×2048 pixels: grey of 16 bit, or the first in colour of 8 bit; reading and writing included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from haarmony import Fuser, weights, write
from haarmony.cli import answer
from haarmony.io import to_unit
from haarmony.phantom import head

PEAK = 'print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'
COMMAND = f"""
import sys
from haarmony.cli import main
code = main(["fuse", "a.png", "b.png", "-o", "out.png", *sys.argv[1:]])
{PEAK}
sys.exit(code)
"""
CALL = f"""
import sys
import numpy as np
from haarmony import Fuser
a, b = np.load("pair.npy")
Fuser(sys.argv[1])(a, b, tile=int(sys.argv[2]))
{PEAK}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=768)
    parser.add_argument("--large", type=int, help="side of a pair that the command fuses, instead")
    parser.add_argument("--kind", choices=("grey", "colour"), default="grey")
    parser.add_argument("--range-a", help="of --large: the first's values for black and white")
    parser.add_argument(
        "--models", type=lambda text: text.split(","), default=["medical", "infrared", "dif-fusion"]
    )
    options = parser.parse_args()
    for name, least in (("size", 16), ("tile", 1), ("large", 16)):
        if (number := getattr(options, name)) is not None and number < least:
            parser.error(f"argument --{name}: {number} is less than {least}")
    for model in options.models:
        weights.load_card(weights.find(model))
    with tempfile.TemporaryDirectory() as folder:
        if options.large:
            _large(Path(folder), options.models, options.large, options.kind, options.range_a)
        else:
            _compare(Path(folder), options.models, options.size, options.tile)


def _compare(folder: Path, models: list[str], size: int, tile: int) -> None:
    print("| model | size | whole | tiled | 99.9th percentile | maximum | time, tiled of whole |")
    print("|---|---|" + 5 * "--:|")
    a, b = _pair(size)
    np.save(folder / "pair.npy", np.stack([a, b]))
    for model in models:
        peaks = [_peak(folder, CALL, model, str(side)) for side in (0, tile)]
        fuser, spent, fused = Fuser(model), [], []
        for side in (0, tile):
            start = time.perf_counter()
            fused.append(to_unit(fuser(a, b, tile=side)))
            spent.append(time.perf_counter() - start)
        difference = 255 * np.abs(fused[0] - fused[1])
        cells = [model, f"{size}×{size}", *(f"{peak:.0f} MB" for peak in peaks)]
        cells += [f"{np.percentile(difference, 99.9):.3f}", f"{difference.max():.3f}"]
        print("|", " | ".join([*cells, f"{spent[1] / spent[0]:.2f}"]), "|", flush=True)


def _large(folder: Path, models: list[str], size: int, kind: str, range_a: str | None) -> None:
    a, b = _pair(size)
    write(
        folder / "a.png",
        np.stack([a >> 8, b >> 8, a >> 8], axis=2).astype(np.uint8) if kind == "colour" else a,
    )
    write(folder / "b.png", (b >> 8).astype(np.uint8) if kind == "colour" else b)
    del a, b
    ranged = [] if range_a is None else ["--range-a", range_a]
    print("| model | size | sources | seconds | peak memory |", "|---|---|---|--:|--:|", sep="\n")
    for model in models:
        start = time.perf_counter()
        peak = _peak(folder, COMMAND, "--overwrite", "--model", model, *ranged)
        seconds = time.perf_counter() - start
        print(
            f"| {model} | {size}×{size} | {' '.join([kind, *ranged])} | {seconds:.0f} | {peak:.0f} MB |",
            flush=True,
        )


def _pair(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two grey pictures of 16 bit, so that less than a level of 255 shows: one head beside another."""
    grain = np.random.default_rng(0)
    small = min(size, 512)
    made = []
    for x in head(seed=3, size=small).pair("CT", 16):
        x = np.tile(to_unit(x), (-(-size // small),) * 2)[:size, :size]
        x += 0.01 * grain.standard_normal(x.shape, dtype=np.float32)
        made.append((65535 * np.clip(x, 0, 1)).astype(np.uint16))
    return made[0], made[1]


def _peak(folder: Path, code: str, *argv: str) -> float:
    """Peak memory in MB of a process of its own that runs `code`, which prints it last."""
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode:  # it has said why
        raise SystemExit(done.returncode)
    return int(done.stdout.split()[-1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(answer(main))
