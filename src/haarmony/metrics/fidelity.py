"""Fidelity to the functional source: does the fused picture still show the tracer where there is uptake?

    function = Spearman correlation of f with b over {b > 0.1 max b}

Other metrics can be won by hiding the second source; this one cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, as_numpy, on_pictures
from haarmony.metrics.statistics import pearson

SMOOTHING = 4.0  # grey levels to either side over which a rank's gradient is taken


def uptake(b: Float[Any, "b h w"]) -> Any:
    """Where the grey levels `b` are above 10 % of their picture's maximum: a mask, (B, H, W)."""
    return b > 0.1 * array_namespace(b).max(b, axis=(1, 2), keepdims=True) + ROUNDING


def _ranks(x: Float[Any, " n"]) -> Any:
    """Ranks from 1, ties sharing their mean; what is constant ranks 0 throughout.

    A rank is a step function. Its gradient here is that of the values' distribution, smoothed: how many ranks
    a value passes a grey level as it moves through its neighbours.
    """
    xp, values = array_namespace(x), as_numpy(x)
    if not len(values) or np.ptp(values) <= ROUNDING:
        return xp.zeros_like(x)
    order, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place].astype(values.dtype)
    if not getattr(x, "requires_grad", False):
        return xp.asarray(ranks, device=device(x))
    below = np.concatenate([[0], np.cumsum(counts)])
    near = [below[np.searchsorted(order, order + step)][place] for step in (-SMOOTHING, SMOOTHING)]
    density = ((near[1] - near[0]) / (2 * SMOOTHING)).astype(values.dtype)
    constant = (xp.asarray(array, device=device(x)) for array in (ranks, density, values))
    rank, slope, value = constant
    return rank + slope * (x - value)


@on_pictures()
def function(
    f: Shaped[Any, "*b h w"], b: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony"
) -> Float[Any, "*b"]:
    """Spearman correlation of `f` with the second source where that is above 10 % of its maximum.

    Differentiable in torch: a rank moves with the density of its value's neighbours.

    Args:
        f: fused luma, as `haarmony.metrics.convention.grey_levels` takes it.
        b: second (functional) source's luma, the same shape.
        convention: Haarmony's own metric, alike in every convention.

    Returns:
        In [−1, 1]; larger shows the tracer better; 0 where either is constant there.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    xp = array_namespace(f, b)
    values = []
    for x, y, where in zip(f, b, uptake(b), strict=True):
        ranks = (xp.astype(_ranks(v[where]), xp.float64) for v in (x, y))
        values.append(pearson(*(rank[None] for rank in ranks)))
    return xp.astype(xp.stack(values), f.dtype)
