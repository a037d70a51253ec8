"""Unsupported structure, for benchmarks/explain.py: its tolerances fitted, structures planted and looked for.

A look's tolerance t = Σ w_i x_i of its terms x_i is a conditional quantile of its excess e over pixels where
nothing was planted, so w minimises the pinball loss of quantile regression (Koenker & Bassett, 1978),

    mean of ρ_q(e − t) / (0.02 + s),     ρ_q(u) = max(q u, (q − 1) u),     q = 0.997,

weighted so that flat regions and edges count alike. Then all looks are scaled to one rate of their own at
which together they flag `RATE` of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from haarmony import Fuser
from haarmony.classical import CLASSICAL
from haarmony.colour import to_luma
from haarmony.explain.unsupported import FLAGGED, excesses, looks, terms, unsupported
from haarmony.io import to_unit
from haarmony.phantom import head

MODALITIES = ("CT", "PET", "SPECT")
FITTED, FITTED_HEIGHTS = range(200, 212), (-22, -1, 11, 23, 35, 56)
HELD_OUT, HEIGHTS = range(300, 312), (-16, 5, 17, 41)
QUANTILE = 0.997
RATE = 0.008
"""Part of the pixels that the looks flag together when fitted: a margin below 0.01."""
KINDS = ("blob", "edge", "texture")
CONTRASTS, AREAS = (0.05, 0.07, 0.10, 0.20, 0.50), (9, 20, 50, 130, 400)
RIMS = (0.0, 1.0, 2.0)
PART = 0.1
"""Part of a structure's pixels, and at least two of them, that must be flagged for it to count."""


@dataclass(frozen=True, eq=False)
class Fused:
    """Lumas of a pair and what was made of it, and where it is not air."""

    name: str
    a: np.ndarray
    b: np.ndarray
    f: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        return (self.a > 0) | (self.b > 0)


@dataclass(frozen=True)
class Structure:
    """What was planted into which picture, and whether enough of it is flagged, planted or not."""

    kind: str
    contrast: float
    area: int
    found: bool
    by_chance: bool


def luma(x: np.ndarray) -> np.ndarray:
    return to_luma(to_unit(x)).astype(np.float32)


def phantoms(fuser: Fuser, heads: Iterable[int], heights: Sequence[int]) -> Iterator[Fused]:
    """Phantom pairs of every head, height and modality, fused, each with a seed of its own."""
    for number, (seed, z, modality) in enumerate(product(heads, heights, MODALITIES)):
        a, b = head(seed=seed).pair(modality, z)
        yield Fused(modality, *(luma(x) for x in (a, b, fuser(a, b, seed=number))))


def fit(pictures: Iterable[Fused], *, pixels: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of each look's tolerance, from so many pixels of each picture."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {}
    for picture in pictures:
        f, a, b = (x.astype(np.float64) for x in (picture.f, picture.a, picture.b))
        at = rng.choice(np.flatnonzero(picture.inside), pixels)
        of = terms(f, a, b)
        for name, excess in excesses(f, a, b).items():
            rows = np.stack([excess, of["grain"][1], *of[name]]).reshape(2 + len(of[name]), -1)
            found.setdefault(name, []).append(rows[:, at])
    tables = {name: np.concatenate(rows, axis=1) for name, rows in found.items()}
    weights = {name: _regressed(*rows[:2], rows[2:]) for name, rows in tables.items()}
    ratios = {name: rows[0] / (weights[name] @ rows[2:]) for name, rows in tables.items()}
    low, high = 0.0, RATE
    for _ in range(30):  # bisection: the rate of each look at which together they come to RATE
        rate = (low + high) / 2
        levels = {name: np.quantile(ratio, 1 - rate) for name, ratio in ratios.items()}
        flagged = np.any([ratios[name] > level for name, level in levels.items()], axis=0).mean()
        low, high = (rate, high) if flagged < RATE else (low, rate)
    return {name: weights[name] * level for name, level in levels.items()}


def _regressed(excess: np.ndarray, s: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weights above 0 of the terms `x` (k, n) at the least pinball loss."""
    if len(x) == 1:
        return np.ones(1)  # scaled afterwards

    def loss(log_w: np.ndarray) -> float:
        u = excess - np.exp(log_w) @ x
        return float((np.maximum(QUANTILE * u, (QUANTILE - 1) * u) / (0.02 + s)).mean())

    start = np.log([0.01, *(0.05,) * (len(x) - 1)])
    options = {"maxiter": 800, "xatol": 1e-2, "fatol": 1e-7}
    return np.exp(minimize(loss, start, method="Nelder-Mead", options=options).x)


def print_fit(weights: dict[str, np.ndarray]) -> None:
    print(f"| look | weights, {RATE:.1%} of pixels flagged together |\n|---|---|")
    for name, of in weights.items():
        print(f"| {name} | {', '.join(f'{w:.2g}' for w in of)} |")


def planted(
    pictures: Sequence[Fused], number: int, *, seed: int = 42, kinds: Sequence[str] = KINDS, rim: float = 0
) -> list[Structure]:
    """Plant structures one at a time, each into a picture of its own choice, and see which are flagged."""
    rng, untouched = np.random.default_rng(seed), {}
    found = []
    for _ in range(number):
        i, kind = int(rng.integers(len(pictures))), kinds[rng.integers(len(kinds))]
        contrast, area = (float(np.exp(rng.uniform(*np.log([x[0], x[-1]])))) for x in (CONTRASTS, AREAS))
        picture, pixels = pictures[i], round(area)
        if i not in untouched:
            untouched[i] = unsupported(picture.f, picture.a, picture.b) >= FLAGGED
        f, where = plant(picture, kind, contrast, pixels, rng, rim=rim)
        flagged = unsupported(f, picture.a, picture.b) >= FLAGGED
        enough = max(2, PART * pixels)
        hit, chance = (bool(x[where].sum() >= enough) for x in (flagged, untouched[i]))
        found.append(Structure(kind, contrast, pixels, hit, chance))
    return found


def plant(
    picture: Fused, kind: str, contrast: float, area: int, rng: np.random.Generator, *, rim: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The fused luma with a structure, and the disc of `area` pixels that it fills, anywhere in the head.

    Every pixel of it is `contrast` above or below what was there, as far as black and white leave room: all
    above or all below for a blob, half against half for an edge, and by turns for a texture, of which there
    are checkerboards and stripes of one or two pixels, and grain. `rim` is the sigma in pixels of a Gaussian
    that makes the structure soft, its largest difference still being `contrast`.
    """
    rows, columns = np.indices(picture.f.shape)
    at = rng.choice(np.flatnonzero(picture.inside))
    y, x = (v - v.ravel()[at] + rng.uniform(-0.4, 0.4) for v in (rows, columns))
    where = np.zeros(picture.f.shape, bool)
    apart = np.where(picture.inside, np.hypot(x, y), np.inf)
    where.ravel()[np.argsort(apart, axis=None, kind="stable")[:area]] = True
    if kind == "blob":
        sign = np.ones(where.shape)
    elif kind == "edge":
        angle = rng.uniform(0, 2 * np.pi)
        sign = np.where(x * np.cos(angle) + y * np.sin(angle) >= 0, 1, -1)
    else:
        cell = rng.integers(1, 3)
        grain = rng.integers(2, size=where.shape)
        patterns = (rows // cell + columns // cell, rows // cell, columns // cell, grain)
        sign = 1 - 2 * (patterns[rng.integers(len(patterns))] % 2)
    towards = 1 if picture.f[where].mean() < 0.5 else -1  # where there is room
    pattern = sign * where
    if rim:
        pattern = gaussian_filter(pattern.astype(np.float64), rim)
        pattern /= np.abs(pattern).max()
    return np.clip(picture.f + np.float32(towards * contrast) * pattern, 0, 1).astype(np.float32), where


def print_planted(found: Sequence[Structure]) -> None:
    print("| planted | structures | flagged | the same places untouched |\n|---|---:|---:|---:|")
    for name, some in groups(found).items():
        rates = (np.mean([getattr(one, of) for one in some]) for of in ("found", "by_chance"))
        print(f"| {name} | {len(some)} |", " | ".join(f"{rate:.1%}" for rate in rates), "|")


def print_soft(pictures: Sequence[Fused], number: int, *, seed: int = 42) -> None:
    """Blobs alone, whose rims are ever softer."""
    bands = [f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in pairwise(CONTRASTS)]
    print("| blobs, rim | all |", " | ".join(bands), "|\n|---|---:|" + len(bands) * "---:|")
    for rim in RIMS:
        of = groups(planted(pictures, number, seed=seed, kinds=("blob",), rim=rim))
        rows = [of["all"], *(of.get(f"contrast {band}", []) for band in bands)]
        rates = [f"{np.mean([one.found for one in some]):.0%}" if some else "" for some in rows]
        print(f"| {f'σ = {rim:g} px' if rim else 'hard'} |", " | ".join(rates), "|")


def groups(found: Sequence[Structure]) -> dict[str, list[Structure]]:
    """All, then by contrast, area and kind; what is empty left out."""
    of = {"all": list(found)}
    for low, high in pairwise(CONTRASTS):
        of[f"contrast {100 * low:.0f} to {100 * high:.0f} %"] = [x for x in found if low <= x.contrast < high]
    for low, high in pairwise(AREAS):
        last = high == AREAS[-1]
        of[f"{low} to {high} pixels"] = [x for x in found if low <= x.area < high + last]
    for kind in KINDS:
        of[kind] = [x for x in found if x.kind == kind]
    return {name: some for name, some in of.items() if some}


def print_untouched(pictures: Sequence[Fused]) -> None:
    print(
        "| untouched | pictures | flagged, mean | worst picture | span | edges | grain |\n|---|" + 6 * "---:|"
    )
    for name in (*dict.fromkeys(picture.name for picture in pictures), "all"):
        rows = []
        for picture in pictures:
            if name in (picture.name, "all"):
                each = looks(picture.f, picture.a, picture.b).values()
                flags = [score[picture.inside] >= FLAGGED for score in each]
                rows.append([np.any(flags, axis=0).mean(), *(flag.mean() for flag in flags)])
        mean, worst = np.mean(rows, axis=0), np.max(rows, axis=0)[0]
        cells = (mean[0], worst, *mean[1:])
        print(f"| {name} | {len(rows)} |", " | ".join(f"{cell:.2%}" for cell in cells), "|")


def print_classical(pictures: Sequence[Fused]) -> None:
    """What the classical fusers make of the same sources, every fourth of them."""
    print("| untouched, by | flagged, mean | worst picture |\n|---|---:|---:|")
    for rule in CLASSICAL.values():
        rates = []
        for picture in pictures[::4]:
            flagged = unsupported(rule.function(picture.a, picture.b), picture.a, picture.b) >= FLAGGED
            rates.append(flagged[picture.inside].mean())
        print(f"| {rule.title} | {np.mean(rates):.1%} | {np.max(rates):.1%} |")
