"""Explanations of known content, made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from haarmony.explain import Explanation
from haarmony.explain.checks import Alignment, Function, Patch
from haarmony.explain.unsupported import unsupported
from haarmony.io import Picture, Volume

AFFINE = np.array([[0, -2.0, 0, 9], [0, 0, 1.5, -7], [3.0, 0, 0, 4], [0, 0, 0, 1]])
"""I leads up, J to the left, K to the front."""


def of_arrays(shape: tuple[int, ...] = (48, 40), *, seed: int = 0) -> Explanation:
    """Random maps; the first row and the last column are air; spread and score leave their scales."""
    rng = np.random.default_rng(seed)
    inside = np.ones(shape, bool)
    inside[0] = False
    inside[..., -1] = False
    share_a = np.where(inside, rng.random(shape), 0).astype(np.float32)
    told = inside & (rng.random(shape) < 0.9)
    share_a[rng.random(shape) < 0.1] = 0
    share_a = np.where(told, share_a, 0).astype(np.float32)
    levels = np.where(inside, rng.integers(1, 256, shape), 0).astype(np.uint8)
    fused = Picture(levels, (0, 255)) if len(shape) == 2 else Volume(levels, (-1000.0, 1550.0), AFFINE)
    patch = Patch(None if len(shape) == 2 else 3, 8, 16, 32, -0.5)
    lo, hi = fused.value_range
    return Explanation(
        fused=fused,
        spread=np.where(inside, rng.exponential(0.03 * (hi - lo), shape), 0).astype(np.float32),
        unsupported=np.where(inside, rng.exponential(0.4, shape) ** 2, 0).astype(np.float32),
        share_a=share_a,
        share_b=np.where(told, 1 - share_a, 0).astype(np.float32),
        inside=inside,
        values=(float(lo), float(hi)),
        seeds=(7, 8, 9),
        function=Function(0.25, patch),
        alignment=Alignment(1.5, 5.0, 1.1, 1.2, True),
        plane="" if len(shape) == 2 else "coronal",
    )


def planted() -> tuple[Explanation, tuple[slice, slice]]:
    """A picture in which a square of 5×5 is brighter than both its flat sources, and where it is."""
    y, x = np.mgrid[:64, :80]
    a, b = (0.3 + 0.001 * x).astype(np.float32), (0.4 + 0.001 * y).astype(np.float32)
    f, where = (a + b) / 2, (slice(20, 25), slice(50, 55))
    f[where] += np.float32(0.3)
    explanation = of_arrays((64, 80))
    flat = np.ones_like(f, bool)
    fused = Picture(f, (0.0, 1.0))
    return replace(
        explanation, fused=fused, unsupported=unsupported(f, a, b), inside=flat, values=(0.0, 1.0)
    ), where
