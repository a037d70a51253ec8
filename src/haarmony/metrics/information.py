"""Mutual information between the fused picture and its sources, from exact joint histograms of 256 levels.

I(x; y) = H(x) + H(y) − H(x, y)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from haarmony.metrics.convention import Convention, eight_bit, on_pictures


def entropy(counts: Int[np.ndarray, " n"]) -> float:
    """Entropy of a histogram, −Σ p log2 p, in bits."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def _information(x: np.ndarray, y: np.ndarray, top: int) -> float:
    joint = np.bincount((np.minimum(x, top).astype(np.uint16) * 256 + np.minimum(y, top)).ravel())
    return entropy(np.bincount(x.ravel())) + entropy(np.bincount(y.ravel())) - entropy(joint)


@on_pictures()
def mi(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Mutual information with both sources, I(f; a) and I(f; b).

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes the mean over the sources in bits, `cddfuse` the sum in nats, `matlab`
            the sum in bits, with the grey levels 254 and 255 counted as one in the joint histogram.

    Returns:
        At least 0, as NumPy; MI(x, x, x) is the entropy of x (`cddfuse`, `matlab`: twice).

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Qu, Zhang and Yan 2002, doi:10.1049/el:20020212.
    """
    top = 254 if convention == "matlab" else 255
    levels = (eight_bit(x) for x in (f, a, b))
    value = np.array(
        [_information(x, y, top) + _information(x, z, top) for x, y, z in zip(*levels, strict=True)]
    )
    return value * {"haarmony": 0.5, "cddfuse": math.log(2), "matlab": 1.0}[convention]
