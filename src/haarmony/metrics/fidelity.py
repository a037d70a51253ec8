"""Fidelity to the functional source: does the fused picture still show the tracer where there is uptake?

    function = Spearman correlation of f with b over {b > 0.1 max b}

Other metrics can be won by hiding the second source; this one cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, as_numpy, on_pictures
from haarmony.metrics.statistics import pearson


def uptake(b: Float[Any, "b h w"]) -> Any:
    """Where the grey levels `b` are above 10 % of their picture's maximum: a mask, (B, H, W)."""
    return b > 0.1 * array_namespace(b).max(b, axis=(1, 2), keepdims=True) + ROUNDING


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


@on_pictures()
def function(
    f: Shaped[Any, "*b h w"], b: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony"
) -> Float[np.ndarray | np.floating, "*b"]:
    """Spearman correlation of `f` with the second source where that is above 10 % of its maximum.

    Args:
        f: fused luma, as `haarmony.metrics.convention.grey_levels` takes it.
        b: second (functional) source's luma, the same shape.
        convention: Haarmony's own metric, alike in every convention.

    Returns:
        In [−1, 1], as NumPy; larger shows the tracer better; 0 where either is constant there.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    f, b = as_numpy(f), as_numpy(b)
    values = []
    for x, y, where in zip(f, b, uptake(b), strict=True):
        x, y = x[where], y[where]
        ranks = [
            _ranks(v)[None] if v.size and np.ptp(v) > ROUNDING else np.zeros((1, v.size)) for v in (x, y)
        ]
        values.append(float(pearson(*ranks)))
    return np.array(values)


@on_pictures()
def function_pearson(f: Shaped[Any, "*b h w"], b: Shaped[Any, "*b h w"]) -> Float[Any, "*b"]:
    """Pearson's twin of `function`, on the same region and differentiable in torch: for training.

    Args:
        f: fused luma, as `haarmony.metrics.convention.grey_levels` takes it.
        b: second (functional) source's luma, the same shape.

    Returns:
        In [−1, 1]; 0 where either is constant there.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes.
    """
    return pearson(f, b, where=array_namespace(b).astype(uptake(b), b.dtype))
