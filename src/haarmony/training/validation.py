"""Score a network on the validation split, through the same path that users' pictures take."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from haarmony import metrics
from haarmony.codec import Codec
from haarmony.engine_torch import TorchEngine
from haarmony.fusing_path import fuse_luma
from haarmony.nets import FusionNet
from haarmony.training.data import Pair, files, load_pair
from haarmony.training.recipe import PairSet, Recipe
from haarmony.training.task import Scores, check_finite, spaced, stacked

SHOWN = ("MI", "SCD", "VIF", "Qabf", "SSIM")
WEIGHTS = {"VIF": 1.0, "Qabf": 3.0, "SSIM": 2.0, "SCD": 0.5}
SHORTFALL_WEIGHT = 10.0
"""What a hundredth that a metric lacks to the pixel-wise maximum's costs the score: 0.1."""


def load(recipe: Recipe, *, pairs: int | None = None) -> list[tuple[PairSet, list[Pair]]]:
    """The validation pairs of every set: at most `pairs` of them, evenly spaced in the split, or all."""
    loaded, least = [], metrics.METRICS["VIF"].smallest
    for pair_set in recipe.data.sets:
        found = files(recipe.data, pair_set, "val")
        picked = spaced(found, pairs)
        loaded.append((pair_set, [load_pair(one) for one in picked]))
        for one, pair in zip(picked, loaded[-1][1], strict=True):
            if min(pair.a.shape) < least:
                size = f"{pair.a.shape[1]}×{pair.a.shape[0]}"
                raise ValueError(f"{one.a}: {size} pixels; a validation pair needs {least}×{least}")
    return loaded


def score(
    net: FusionNet,
    recipe: Recipe,
    sets: list[tuple[PairSet, list[Pair]]],
    *,
    codec: Codec | None = None,
) -> tuple[Scores, UInt8[np.ndarray, "h w"]]:
    """Mean metrics of every set (cddfuse convention), and its middle pair's a, b, fused as one picture."""
    engine = TorchEngine(net)
    scores: Scores = {}
    rows = []
    for pair_set, pairs in sets:
        each = []
        for pair in pairs:
            fused = fuse_luma(engine, recipe.diffusion, pair.a, pair.b, codec=codec, seed=recipe.seed)
            check_finite(fused, f"{pair_set.name} {pair.stem}")
            each.append(measure(fused, pair, functional=pair_set.functional))
            if pair is pairs[len(pairs) // 2]:
                rows.append(np.hstack([pair.a, pair.b, fused]))
        scores[pair_set.name] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    net.train()
    return scores, stacked([np.rint(255 * row).astype(np.uint8) for row in rows])


def measure(fused: Float[np.ndarray, "h w"], pair: Pair, *, functional: bool) -> dict[str, float]:
    """The shown metrics of one fused luma, as it would be read back from an 8-bit file."""
    f = np.rint(255 * fused) / 255
    row = {
        name: float(value)
        for name, value in metrics.score(f, pair.a, pair.b, convention="cddfuse", metrics=SHOWN).items()
    }
    if functional:
        row["function"] = float(metrics.function(f, pair.b))
    return row


def baseline(sets: list[tuple[PairSet, list[Pair]]]) -> Scores:
    """The pixel-wise maximum's mean metrics of every set: what a network must not fall below."""
    scores: Scores = {}
    for pair_set, pairs in sets:
        each = [measure(np.maximum(p.a, p.b), p, functional=pair_set.functional) for p in pairs]
        scores[pair_set.name] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    return scores


def total(scores: Scores, maximum: Scores) -> float:
    """What the best checkpoint has most of, one number from all sets.

    Mean over the sets of  Σ weight · metric − SHORTFALL_WEIGHT · Σ max(0, maximum's metric − metric);
    the second sum takes function in.
    """
    values = []
    for name, row in scores.items():
        lacks = sum(max(0.0, maximum[name][m] - row[m]) for m in (*WEIGHTS, "function") if m in row)
        values.append(sum(w * row[m] for m, w in WEIGHTS.items()) - SHORTFALL_WEIGHT * lacks)
    return float(np.mean(values))
