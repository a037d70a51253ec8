"""What the sources support: the values that a fused picture may take at each pixel.

A generative model must not invent. At each pixel the fused luma stays within the span of both sources over
the 3×3 neighbourhood, widened by a margin, and where both sources are zero (air) it is zero:

    lo = min over 3×3 of min(a, b) − margin,   hi = max over 3×3 of max(a, b) + margin,   f ← clip(f, lo, hi).

Training and serving project every refined estimate with the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float


def span(
    a: Float[Any, "*b h w"], b: Float[Any, "*b h w"]
) -> tuple[Float[Any, "*b h w"], Float[Any, "*b h w"]]:
    """The smallest and the largest value of both sources in each pixel's 3×3 neighbourhood.

    Args:
        a: First source, float in [0, 1]; NumPy or torch.
        b: Second source, the same shape.

    Returns:
        (lo, hi), each of the sources' shape; at the border the neighbourhood is what lies inside.
    """
    xp = array_namespace(a, b)
    return _over_3x3(xp.minimum(a, b), xp.minimum), _over_3x3(xp.maximum(a, b), xp.maximum)


def project(
    f: Float[Any, "*b h w"], a: Float[Any, "*b h w"], b: Float[Any, "*b h w"], *, margin: float
) -> Float[Any, "*b h w"]:
    """The nearest picture to `f` that the sources support.

    Args:
        f: Fused luma, any floats; NumPy or torch.
        a: First source, float in [0, 1], the same shape.
        b: Second source, likewise.
        margin: How far `f` may leave the span, in full scale (0.01: 1 % of it).

    Returns:
        `f`'s shape and type, in [0, 1]; air exactly zero.
    """
    xp = array_namespace(f, a, b)
    lo, hi = span(a, b)
    f = xp.minimum(xp.maximum(f, lo - margin), hi + margin)
    return xp.clip(f, 0, 1) * xp.astype((a > 0) | (b > 0), f.dtype)


def _over_3x3(x: Any, pick: Callable[[Any, Any], Any]) -> Any:
    xp = array_namespace(x)
    for axis in (-2, -1):
        x = xp.moveaxis(x, axis, -1)
        inner = pick(x[..., 1:], x[..., :-1])  # neighbours in pairs: (i, i + 1)
        x = xp.concat([inner[..., :1], pick(inner[..., 1:], inner[..., :-1]), inner[..., -1:]], axis=-1)
        x = xp.moveaxis(x, -1, axis)
    return x
