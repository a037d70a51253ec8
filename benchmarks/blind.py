"""Sheets for reading methods blind: which fused picture would one want to read?

    python benchmarks/blind.py DATA -o SHEETS [--pairs 5] [--seed 42] [--methods haarmony,maximum,laplacian]

DATA holds the pairs that the shipped models' recipes name and their splits.json. Every SHEETS/NN.png is one
pair of the validation split: the two sources, below them what the methods made of them, A, B, C, …, in an
order drawn anew for each. SHEETS/key.json says which is which; read it last.
"""

from __future__ import annotations

import argparse
import json
import string
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from haarmony import Fuser, settings
from haarmony.cli import answer
from haarmony.compare import methods
from haarmony.io import from_unit, read, to_unit
from haarmony.training.checkpoint import replacing_folder
from haarmony.training.data import files
from haarmony.training.recipe import Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
SMALL = 300
"""Pictures less wide than this are shown twice as large."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5, help="of each set")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--methods", type=lambda text: text.split(","), default="haarmony,maximum,laplacian")
    options = parser.parse_args()
    if options.pairs < 1 or options.seed < 0:
        name, number = ("pairs", options.pairs) if options.pairs < 1 else ("seed", options.seed)
        parser.error(f"argument --{name}: {number} is too small")
    if twice := [name for name in options.methods if options.methods.count(name) > 1]:
        parser.error(f"argument --methods: '{twice[0]}' is named twice")
    if options.out.exists():
        parser.error(f"argument -o: {options.out} exists already; name a folder that does not")
    with replacing_folder(options.out) as part:  # sheets without their key are worth nothing
        count = make(part, options.data, options.methods, pairs=options.pairs, seed=options.seed)
    print(f"{options.out}: {count} sheets; key.json says which is which")


def make(out: Path, root: Path, names: list[str], *, pairs: int, seed: int) -> int:
    """Write the sheets of every set's pairs and their key; returns how many sheets."""
    rng, key = np.random.default_rng(seed), []
    for model in ("medical", "infrared"):
        recipe = settings.load(RECIPES / f"{model}.toml", Recipe)
        data = recipe.data.model_copy(update={"root": str(root)})
        fusers: dict[str, Callable[..., np.ndarray]] = {
            name: Fuser(model) if name == "haarmony" else methods.fuser(methods.find([name])[0])
            for name in names
        }
        for pair_set in data.sets:
            found = files(data, pair_set, "val")
            for i in rng.choice(len(found), min(pairs, len(found)), replace=False):
                a, b = read(found[i].a).pixels, read(found[i].b).pixels
                order = [names[j] for j in rng.permutation(len(fusers))]
                key.append({"set": pair_set.name, "stem": found[i].stem, "order": order})
                try:
                    shown = sheet([a, b], [fusers[name](a, b) for name in order])
                except ValueError as error:
                    raise ValueError(f"{found[i].a} with {found[i].b}: {error}") from None
                shown.save(out / f"{len(key):02d}.png")
    (out / "key.json").write_text(json.dumps(key, indent=1))
    return len(key)


def sheet(sources: list[np.ndarray], fused: list[np.ndarray]) -> Image.Image:
    """Sources above, results below, each result with its letter."""
    rows = [np.hstack([_coloured(picture) for picture in row]) for row in (sources, fused)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    height, one = len(rows[0]), sources[0].shape[1]
    picture = Image.fromarray(np.vstack(rows))
    scale = 2 if one < SMALL else 1
    picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for i, letter in zip(range(len(fused)), string.ascii_uppercase, strict=False):
        draw.text((scale * (i * one + 4), scale * (height + 3)), letter, fill=(255, 255, 0))
    return picture


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """As RGB of 8 bits."""
    picture = from_unit(to_unit(pixels), np.dtype(np.uint8))
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


if __name__ == "__main__":
    sys.exit(answer(main))
