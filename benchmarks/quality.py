"""Score models beside the pixel-wise maximum on the validation split, and print the README's table.

    python benchmarks/quality.py DATA [--models medical,infrared] [--steps 1,2,4] [--pairs N]

DATA holds the pairs that the models' recipes name and their splits.json. Scores follow the `cddfuse`
convention: the 8-bit luma of what `haarmony fuse` would write, against the 8-bit lumas of the sources.
`function` is the Spearman correlation with the second source inside its uptake; `outside` the share of
pixels, in percent, that lie more than 2 % of full scale outside the 3×3 range of both sources.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from haarmony import Fuser, jobs, metrics, settings
from haarmony.cli import answer
from haarmony.colour import to_luma
from haarmony.io import from_unit, read, to_unit
from haarmony.support import span
from haarmony.training.data import files
from haarmony.training.recipe import PairSet, Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
COLUMNS = ("SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=lambda text: text.split(","), default="medical,infrared")
    parser.add_argument("--steps", type=lambda text: [int(n) for n in text.split(",")], default=[])
    parser.add_argument("--pairs", type=int, help="score only N pairs of each set, evenly spaced")
    options = parser.parse_args()
    if options.pairs is not None and options.pairs < 1:
        parser.error(f"argument --pairs: {options.pairs} is not above 0")

    sets = []
    for model in options.models:
        recipe = settings.load(RECIPES / f"{model}.toml", Recipe)
        data = recipe.data.model_copy(update={"root": str(options.data)})
        fuser = Fuser(model)
        rows: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"pixel-wise maximum": _maximum}
        for steps in options.steps or [fuser.card.diffusion.steps]:
            fuser.check_steps(steps)
            rows[f"Haarmony, {steps} steps"] = partial(fuser, steps=steps)
        sets += [(pair_set, files(data, pair_set, "val"), rows) for pair_set in data.sets]
    print("| set | pairs | method | " + " | ".join(COLUMNS) + " | function | outside |")
    print("|---" * (len(COLUMNS) + 5) + "|")
    for pair_set, found, rows in sets:
        show(pair_set, found, rows, most=options.pairs)


def show(
    pair_set: PairSet,
    found: list[jobs.Pair],
    rows: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
    *,
    most: int | None,
) -> None:
    """The lines of one set, a method each, over at most so many of its pairs, evenly spaced."""
    picked = np.linspace(0, len(found) - 1, min(most or len(found), len(found))).round().astype(int)
    scores: dict[str, list[list[float]]] = {name: [] for name in rows}
    for i in picked:
        a, b = read(found[i].a).pixels, read(found[i].b).pixels
        try:
            for name, fuse in rows.items():
                scores[name].append(_score(fuse(a, b), a, b))
        except ValueError as error:
            raise ValueError(f"{found[i].a} with {found[i].b}: {error}") from None
    for name, each in scores.items():
        sd, sf, *others, function, outside = np.mean(each, axis=0)
        cells = [pair_set.name, str(len(picked)), name, f"{sd:.1f}", f"{sf:.1f}"]
        cells += [f"{value:.3f}" for value in others]
        cells += [f"{function:.3f}" if pair_set.functional else "–", f"{outside:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def _luma(pixels: np.ndarray) -> np.ndarray:
    """8-bit luma, as the published tables read their images."""
    return from_unit(to_luma(to_unit(pixels)), np.uint8)


def _maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(_luma(a), _luma(b))


def _score(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> list[float]:
    f, a, b = _luma(fused), _luma(a), _luma(b)
    values = metrics.score(f, a, b, convention="cddfuse", metrics=COLUMNS)
    lo, hi = span(a.astype(np.float64), b.astype(np.float64))
    outside = 100 * float(np.mean((f < lo - 0.02 * 255) | (f > hi + 0.02 * 255)))
    return [*(float(values[name]) for name in COLUMNS), float(metrics.function(f, b)), outside]


if __name__ == "__main__":
    sys.exit(answer(main))
