"""Value ranges: which of a file's values black and white stand for.

    unit = clip((value − LO) / (HI − LO), 0, 1)

There is no hidden stretch: (LO, HI) is what the caller says, else what the sample type says, else the
smallest and the largest value of the whole file, never of one slice; and it is always told.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Shaped

from haarmony.io.picture import INTEGERS, bands, from_unit

ValueRange = tuple[float, float]


def check_range(value_range: tuple[int | float, int | float]) -> ValueRange:
    """The range as floats.

    Raises:
        ValueError: It is not two finite numbers, the lesser first.
    """
    lo, hi = (float(value) for value in value_range)
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise ValueError(f"a value range is LO,HI, two finite numbers with LO below HI, not {lo:g},{hi:g}")
    return lo, hi


def measured(lo: float, hi: float) -> ValueRange:
    """The range of a file whose values run from `lo` to `hi`; one that is constant is all black."""
    return lo, hi if hi > lo else max(lo + 1, float(np.nextafter(lo, np.inf)))


def into_unit(values: Shaped[np.ndarray, "*shape"], value_range: ValueRange) -> Float32[np.ndarray, "*shape"]:
    """Values as float32 in [0, 1]: LO and what is below becomes 0, HI and what is above 1."""
    lo, hi = value_range
    # Each is scaled by itself, since HI − LO of two large numbers may overflow.
    scale = max(abs(lo), abs(hi))
    unit = np.empty_like(values, np.float32)
    for rows in bands(values.shape):
        with np.errstate(over="ignore"):  # of a range of next to nothing: beyond it is beyond it
            exact = (values[rows].astype(np.float64) / scale - lo / scale) / (hi / scale - lo / scale)
        unit[rows] = np.clip(exact, 0, 1, out=exact)
    return unit


def ranged(pixels: Shaped[np.ndarray, "*shape"], value_range: ValueRange) -> Shaped[np.ndarray, "*shape"]:
    """Pixels of a picture by a range: `into_unit`; of 8 and 16 bit as 16-bit levels, if none need share one.

    That takes half the memory of floats, and the result is written in 16 bit anyway.
    """
    lo, hi = value_range
    if pixels.dtype not in INTEGERS or hi - lo > np.iinfo(np.uint16).max:
        return into_unit(pixels, value_range)
    table = from_unit(into_unit(np.arange(np.iinfo(pixels.dtype).max + 1), value_range), np.uint16)
    levels = np.empty(pixels.shape, np.uint16)
    for rows in bands(pixels.shape):  # by which NumPy looks up as 64-bit indices
        levels[rows] = table[pixels[rows]]
    return levels


def told(value_range: tuple[int | float, int | float], *, why: str) -> str:
    """A note that says which values black and white stand for, and why these."""
    lo, hi = value_range
    return f"values from {lo:.7g} to {hi:.7g} shown from black to white ({why})"
