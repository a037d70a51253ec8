"""Spread, lesions and real pairs, for benchmarks/explain.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from explain_planted import MODALITIES, Fused, luma, planted
from scipy.ndimage import binary_dilation, uniform_filter
from scipy.stats import rankdata

from haarmony import Fuser
from haarmony.classical import CLASSICAL
from haarmony.io import read_picture
from haarmony.phantom import Lesion, head

NOISES = (0.0, 0.02, 0.05, 0.10, 0.20)
"""Standard deviations of noise added to both sources, in full scale; the last is the end of the ramp."""
PATCH, BLOCK = 48, 8
LESIONS = (0.05, 0.07, 0.10, 0.15, 0.20, 0.40)
"""Contrasts of lesions, in full scale."""
SPREAD_HEIGHTS, LESION_HEIGHTS, PLACES = (5, 35), (14, 32), 3
SETS = {
    "harvard/CT-MRI": ("MRI", "CT", ("medical",)),
    "harvard/PET-MRI": ("MRI", "PET", ("medical",)),
    "harvard/SPECT-MRI": ("MRI", "SPECT", ("medical",)),
    "roadscene": ("visible", "infrared", ("infrared", "dif-fusion")),
}
SAID = {
    "hardly": "hardly follows",
    "darker": "reversed",
    "misaligned": "misaligned",
    "neither": "unsupported",
}
"""Words of each warning, and a name for it."""


@dataclass(frozen=True)
class Spreads:
    """Mean spread in the head, a row a picture.

    Attributes:
        noise: (picture, level), the sources with noise of each of `NOISES`.
        missing: By source and filling, (picture, 4): inside the patch and outside, as it was and missing.
        correlated: By question, (picture, 2): Spearman's and Pearson's correlation of blocks.
        pooled: The same of all pictures' blocks together, (2,).
    """

    noise: np.ndarray
    missing: dict[tuple[str, str], np.ndarray]
    correlated: dict[str, np.ndarray]
    pooled: dict[str, np.ndarray]


def spreads(fuser: Fuser, heads: Sequence[int], *, seed: int = 42) -> Spreads:
    """Explain phantoms as they are, with noise, with noise that grows from left to right, with a hole."""
    rng = np.random.default_rng(seed)
    noise, missing, blocks = [], {}, {}
    for number in heads:
        for z in SPREAD_HEIGHTS:
            for modality in MODALITIES:
                a, b = (luma(x) for x in head(seed=number).pair(modality, z))
                inside = (a > 0) | (b > 0)
                clean = fuser.explain(a, b)
                levels = [float(clean.spread[inside].mean())]
                for sigma in NOISES[1:]:
                    seen = fuser.explain(*(_noisy(x, sigma, rng) for x in (a, b)))
                    levels.append(float(seen.spread[inside].mean()))
                    if sigma == 0.10:
                        errors = np.abs(seen.fused - clean.fused)
                        _keep(blocks, "error of the noisy picture", errors, seen.spread, inside)
                noise.append(levels)
                _keep(blocks, "difference of the sources", np.abs(a - b), clean.spread, inside)
                ramp = np.broadcast_to(np.linspace(0, NOISES[-1], a.shape[1], dtype=np.float32), a.shape)
                seen = fuser.explain(*(_noisy(x, ramp, rng) for x in (a, b)))
                _keep(blocks, "noise put in", ramp, seen.spread, inside)
                row, column = _hole(inside, rng)
                hole = np.zeros_like(inside)
                hole[row : row + PATCH, column : column + PATCH] = True
                for source in "ab":
                    for filling in ("black", "noise"):
                        put = np.zeros_like(a) if filling == "black" else rng.random(a.shape, np.float32)
                        x = np.where(hole, put, a if source == "a" else b)
                        seen = fuser.explain(x, b) if source == "a" else fuser.explain(a, x)
                        figures = [
                            float(one.spread[where & inside].mean())
                            for where in (hole, ~hole)
                            for one in (clean, seen)
                        ]
                        missing.setdefault((source, filling), []).append(figures)
    each = {name: np.array([_correlations(*one) for one in some]) for name, some in blocks.items()}
    pooled = {name: np.array(_correlations(*np.concatenate(some, axis=1))) for name, some in blocks.items()}
    holes = {key: np.array(rows) for key, rows in missing.items()}
    return Spreads(np.array(noise), holes, each, pooled)


def _noisy(x: np.ndarray, sigma: float | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = sigma * rng.standard_normal(x.shape, np.float32)
    return np.where(x > 0, np.clip(x + noise, 1 / 255, 1), 0).astype(np.float32)


def _hole(inside: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Where a patch lies in the head by more than nine tenths."""
    while True:
        row, column = rng.integers(inside.shape[0] - PATCH), rng.integers(inside.shape[1] - PATCH)
        if inside[row : row + PATCH, column : column + PATCH].mean() > 0.9:
            return row, column


def _keep(
    blocks: dict[str, list[np.ndarray]], name: str, x: np.ndarray, spread: np.ndarray, inside: np.ndarray
) -> None:
    """Means of both over the blocks that lie in the head."""
    means = [uniform_filter(v.astype(np.float64), BLOCK)[::BLOCK, ::BLOCK] for v in (inside, x, spread)]
    blocks.setdefault(name, []).append(np.stack(means[1:])[:, means[0] > 0.999])


def _correlations(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    return np.corrcoef(rankdata(x), rankdata(y))[0, 1], np.corrcoef(x, y)[0, 1]


def print_spreads(of: Spreads) -> None:
    print("| noise in both sources | mean spread | against none |\n|---|---:|---:|")
    for sigma, column in zip(NOISES, of.noise.T, strict=True):
        print(f"| {sigma:.0%} | {column.mean():.4%} | {(column / of.noise[:, 0]).mean():.2f} |")
    print("\n| a patch missing of | filled with | inside, before | missing | outside, before | missing |")
    print("|---|---|---:|---:|---:|---:|")
    for (source, filling), rows in of.missing.items():
        print(f"| {source} | {filling} |", " | ".join(f"{x:.4%}" for x in rows.mean(axis=0)), "|")
    print("\n| spread against | Spearman, a picture | worst | pooled | Pearson, a picture | pooled |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, rows in of.correlated.items():
        (spearman, pearson), worst, pooled = rows.mean(axis=0), rows[:, 0].min(), of.pooled[name]
        print(
            f"| {name} | {spearman:.2f} | {worst:.2f} | {pooled[0]:.2f} | {pearson:.2f} | {pooled[1]:.2f} |"
        )


@dataclass(frozen=True)
class Shown:
    """How much of one lesion a method shows: its contrast over the source's, both against the ring."""

    method: str
    source: str
    contrast: float
    ratio: float

    @property
    def survives(self) -> bool:
        return self.ratio >= 0.499  # half, but for rounding: the average has exactly that


def lesions(fuser: Fuser, heads: Sequence[int], *, seed: int = 42) -> list[Shown]:
    """Put lesions into one source, brighter or darker than what is there, and fuse with and without them."""
    rng = np.random.default_rng(seed)
    methods: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"Haarmony (medical)": fuser}
    methods |= {rule.title: rule.function for rule in CLASSICAL.values()}
    found = []
    for number in heads:
        for z in LESION_HEIGHTS:
            for modality in MODALITIES:
                a, b = (luma(x) for x in head(seed=number).pair(modality, z))
                without = {name: method(a, b) for name, method in methods.items()}
                shapes = [*_shapes(number, z, rng)]
                for source, x in (("MRI beside " + modality, a), (modality, b)):
                    for contrast in LESIONS:
                        y = x
                        for shape, core, _ in shapes:
                            y = y + _sign(x[core].mean(), contrast, rng) * contrast * shape
                        y = np.where(x > 0, np.clip(y, 1 / 255, 1), 0).astype(np.float32)
                        for name, method in methods.items():
                            change = method(*((y, b) if x is a else (a, y))) - without[name]
                            for _, core, ring in shapes:
                                put, shown = (v[core].mean() - v[ring].mean() for v in (y - x, change))
                                found.append(Shown(name, source, contrast, float(shown / put)))
    return found


def _shapes(number: int, z: int, rng: np.random.Generator) -> Iterator[tuple[Any, Any, Any]]:
    """Lesions that lie apart in the brain: the part of a pixel that each fills, its inside, a ring around."""
    taken = None
    left = PLACES
    while left:
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.75)
        centre = (float(out * 60 * np.cos(angle)), float(-16 + out * 80 * np.sin(angle)), float(z))
        lesion = Lesion("planted", centre, float(rng.uniform(4, 7)))
        shape = head(seed=number, lesions=(lesion,)).lesion("planted", z)
        near = binary_dilation(shape > 0, iterations=6)
        if taken is not None and (taken & near).any():
            continue
        taken, left = near if taken is None else taken | near, left - 1
        yield shape, shape > 0.9, near & ~binary_dilation(shape > 0, iterations=2)


def _sign(level: float, contrast: float, rng: np.random.Generator) -> int:
    """Brighter or darker than `level`, by chance where there is room for both."""
    room = [sign for sign in (-1, 1) if 0 < level + sign * contrast <= 1]
    return room[rng.integers(len(room))]


def print_lesions(found: Sequence[Shown]) -> None:
    heads = " | ".join(f"{contrast:.0%}" for contrast in LESIONS)
    print(f"| lesions that survive | {heads} | all | mean ratio |\n|---|" + (len(LESIONS) + 2) * "---:|")
    for method in dict.fromkeys(one.method for one in found):
        some = [one for one in found if one.method == method]
        _row(method, some)
    ours = found[0].method
    print(f"\n| {ours}, of | {heads} | all | mean ratio |\n|---|" + (len(LESIONS) + 2) * "---:|")
    for source in dict.fromkeys(one.source for one in found):
        _row(source, [one for one in found if (one.method, one.source) == (ours, source)])


def _row(name: str, some: Sequence[Shown]) -> None:
    rates = [np.mean([one.survives for one in some if one.contrast == contrast]) for contrast in LESIONS]
    cells = [f"{rate:.0%}" for rate in (*rates, np.mean([one.survives for one in some]))]
    print(f"| {name} |", " | ".join([*cells, f"{np.mean([one.ratio for one in some]):.2f}"]), "|", flush=True)


def print_pairs(fuser: Fuser, heads: Sequence[int], data: Path | None, number: int, structures: int) -> None:
    """Phantoms, and validation pairs of `data`: what is flagged and found, function, which warnings fire."""
    print("| pairs | model | flagged | worst | planted, flagged | function | worst patch |", end=" ")
    print(" | ".join(f"says {word}" for word in SAID.values()), "|\n|---|---|" + 9 * "---:|")
    for modality in MODALITIES:
        pairs = [head(seed=seed).pair(modality, z) for seed in heads for z in SPREAD_HEIGHTS]
        _print_pairs(f"phantom MRI-{modality}", fuser, pairs, structures)
    if data is None:
        return
    splits = json.loads((data / "splits.json").read_text())
    for name, (first, second, models) in SETS.items():
        stems = splits[name]["val"]
        chosen = [stems[i] for i in np.unique(np.linspace(0, len(stems) - 1, number).astype(int))]
        pairs = [
            tuple(read_picture(next((data / name / of).glob(f"{stem}.*"))).pixels for of in (first, second))
            for stem in chosen
        ]
        for model in models:
            _print_pairs(name, Fuser(model), pairs, structures)


def _print_pairs(name: str, fuser: Fuser, pairs: Sequence[Any], structures: int) -> None:
    said, seen, rows = Counter(), [], []
    for a, b in pairs:
        one = fuser.explain(a, b)
        seen.append(Fused(name, *(luma(x) for x in (a, b, one.fused))))
        worst = one.function.worst
        rows.append((one.flagged, one.function.value, None if worst is None else worst.value))
        said.update(word for text, word in SAID.items() if any(text in line for line in one.warnings))
    flagged, function, worst = (np.array([row[i] for row in rows], float) for i in range(3))
    hits = np.mean([x.found for x in planted(seen, structures)])
    cells = [f"{flagged.mean():.2%}", f"{flagged.max():.2%}", f"{hits:.1%}", f"{np.nanmean(function):.2f}"]
    cells.append("–" if np.isnan(worst).all() else f"{np.nanmean(worst):.2f}")
    cells += [f"{said[word] / len(rows):.0%}" for word in SAID.values()]
    print(f"| {name}, {len(rows)} | {fuser.card.name} |", " | ".join(cells), "|", flush=True)
