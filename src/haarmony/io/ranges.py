"""Value ranges: which of a file's values black and white stand for.

    unit = clip((value − LO) / (HI − LO), 0, 1)

There is no hidden stretch: (LO, HI) is what the caller says, else what the sample type says, else the
smallest and the largest value of the whole file, never of one slice; and it is always told.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Shaped

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
    unit = values.astype(np.float64)
    # Each is scaled by itself, since HI − LO of two large numbers may overflow.
    scale = max(abs(lo), abs(hi))
    unit = (unit / scale - lo / scale) / (hi / scale - lo / scale)
    return np.clip(unit, 0, 1, out=unit).astype(np.float32)


def told(value_range: tuple[int | float, int | float], *, why: str) -> str:
    """A note that says which values black and white stand for, and why these."""
    lo, hi = value_range
    return f"values from {lo:.7g} to {hi:.7g} shown from black to white ({why})"
