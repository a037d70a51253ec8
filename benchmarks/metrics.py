"""Time of the metrics on this machine: `python benchmarks/metrics.py [--repeats 15]`.

One thread, NumPy arrays of 8 bits, a phantom's MRI and PET of 256×256 with their Laplacian pyramid fusion.
First milliseconds a metric in Haarmony; then the eight columns of published tables together, beside a plain
evaluator that is written here from the definitions with SciPy and scikit-image. Both have to agree.
"""

from __future__ import annotations

import argparse
import math
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import platform
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity

from haarmony.classical import CLASSICAL
from haarmony.colour import luma, merge
from haarmony.metrics import METRICS, score
from haarmony.metrics.convention import to_grey
from haarmony.phantom import head

EIGHT = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    a, coloured = head(seed=42).pair("PET", 16)
    b = to_grey(coloured)
    y = CLASSICAL["laplacian"].function(a / 255, b / 255)
    f = np.rint(255 * y).astype(np.uint8)
    fused = np.rint(255 * merge(y, coloured / 255 - luma(coloured / 255)[..., None])).astype(np.uint8)
    print(f"256×256, one thread, {platform.machine()}, {repeats} repeats; ms: median (minimum)")

    for symbol, metric in METRICS.items():
        pictures = (fused, a, coloured) if "c" in metric.inputs else (f, a, b)
        print(f"{symbol:10} {_timed(lambda p=pictures, s=symbol: score(*p, metrics=[s]), repeats)}")

    def ours() -> dict[str, float]:
        return score(f, a, b, convention="cddfuse", metrics=EIGHT)

    def theirs() -> dict[str, float]:
        return plain(*(x.astype(float) for x in (f, a, b)))

    print(f"\n{' '.join(EIGHT)}, convention cddfuse")
    spent = {"Haarmony": _Spent(), "plain": _Spent()}
    for _ in range(repeats):  # in turns, so that a busy machine slows both
        for name, work in (("Haarmony", ours), ("plain", theirs)):
            spent[name].time(work)
    for name, times in spent.items():
        print(f"{name:10} {times}")
    ratio = spent["plain"].minimum / spent["Haarmony"].minimum
    expected = theirs()
    off = {symbol: abs(value / expected[symbol] - 1) for symbol, value in ours().items()}
    worst = max(off, key=off.__getitem__)
    print(f"ratio of the minima {ratio:.1f}; values differ by at most {off[worst]:.1e}, in {worst}")
    if off[worst] > 1e-4:
        raise SystemExit(f"{worst}: Haarmony and the plain evaluator disagree")


class _Spent:
    """Times of one piece of work."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def time(self, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        self.seconds.append(time.perf_counter() - start)

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    def __str__(self) -> str:
        return f"{1e3 * float(np.median(self.seconds)):7.1f} ({1e3 * self.minimum:.1f})"


def _timed(work: Callable[[], object], repeats: int) -> _Spent:
    work()
    spent = _Spent()
    for _ in range(repeats):
        spent.time(work)
    return spent


def plain(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The eight columns from floats in 0–255, by the definitions behind published tables."""
    p = np.histogram(f, 256, (0, 256))[0] / f.size
    p = p[p > 0]
    return {
        "EN": float(-(p * np.log2(p)).sum()),
        "SD": float(f.std()),
        "SF": math.sqrt((np.diff(f, axis=0) ** 2).mean() + (np.diff(f, axis=1) ** 2).mean()),
        "MI": _mi(f, a) + _mi(f, b),
        "SCD": _correlation(a, f - b) + _correlation(b, f - a),
        "VIF": _vif(a, f) + _vif(b, f),
        "Qabf": _qabf(f, a, b),
        "SSIM": sum(structural_similarity(f, x, data_range=2) for x in (a, b)),
    }


def _mi(x: np.ndarray, y: np.ndarray) -> float:
    p = np.histogram2d(x.ravel(), y.ravel(), 256, ((0, 256), (0, 256)))[0] / x.size
    apart = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    return float((p[p > 0] * np.log(p[p > 0] / apart[p > 0])).sum())


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def _vif(x: np.ndarray, f: np.ndarray) -> float:
    kept = there = 0.0
    for n in (17, 9, 5, 3):
        w = np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * (n / 5) ** 2))
        window = np.outer(w, w) / w.sum() ** 2
        if n < 17:
            x, f = (convolve2d(v, window, "valid")[::2, ::2] for v in (x, f))
        mu_x, mu_f, xx, ff, xf = (convolve2d(v, window, "valid") for v in (x, f, x * x, f * f, x * f))
        var_x, var_f = np.maximum(xx - mu_x**2, 0), np.maximum(ff - mu_f**2, 0)
        cov = xf - mu_x * mu_f
        var_x[var_x < 1e-10] = 0
        g = np.where((var_x > 0) & (var_f >= 1e-10), np.maximum(cov, 0) / (var_x + 1e-10), 0)
        noise = np.maximum(var_f - g * cov, 1e-10) + 2
        kept += np.log(1 + g**2 * var_x / noise).sum()
        there += np.log(1 + var_x / 2).sum()
    return float(kept / there)


def _qabf(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    right, up = np.outer((1.0, 2, 1), (-1, 0, 1)), np.outer((1.0, 0, -1), (1, 2, 1))

    def edges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s_x, s_y = convolve2d(x, right, "same"), convolve2d(x, up, "same")
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = np.where(s_x == 0, np.pi / 2, np.arctan(s_y / s_x))
        return np.hypot(s_x, s_y), angle

    g_f, angle_f = edges(f)
    kept = there = 0.0
    for g_x, angle_x in (edges(a), edges(b)):
        with np.errstate(divide="ignore", invalid="ignore"):
            strength = np.where(g_x == g_f, g_f, np.minimum(g_x, g_f) / np.maximum(g_x, g_f))
        angle = 1 - np.abs(angle_x - angle_f) / (np.pi / 2)
        q_g = 0.9994 / (1 + np.exp(-15 * (strength - 0.5)))
        q_a = 0.9879 / (1 + np.exp(-22 * (angle - 0.8)))
        kept, there = kept + (q_g * q_a * g_x).sum(), there + g_x.sum()
    return float(kept / there)


if __name__ == "__main__":
    main()
