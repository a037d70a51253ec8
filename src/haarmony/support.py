"""What the sources support: the values that a fused picture may take at each pixel.

A generative model must not invent. At each pixel the fused luma, or each fused colour, stays within the span
of both sources over the 3×3 neighbourhood, widened by a margin, and where both are zero (air) it is zero:

    lo = min over 3×3 of min(a, b) − margin,   hi = max over 3×3 of max(a, b) + margin,   f ← clip(f, lo, hi).

Where both are equal all over the neighbourhood there is nothing to choose, and f is that value exactly.

Where the sources differ much that leaves room for a checkerboard of pixels, which raises some scores. So,
where a model asks for it, the finest diagonal Haar detail d of the fused luma is first held to the sources':

    |d_f| ≤ max over 3×3 blocks of max(|d_a|, |d_b|),   d = (x_00 − x_01 − x_10 + x_11) / 2 of each 2×2 block.

Training by Algorithm 1 and serving project every refined estimate with the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float

from haarmony.codec.haar import dwt, idwt


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
    f: Float[Any, "*b h w"],
    a: Float[Any, "*#b h w"],
    b: Float[Any, "*#b h w"],
    *,
    margin: float,
    diagonal: bool = False,
) -> Float[Any, "*b h w"]:
    """The nearest picture to `f` that the sources support.

    Args:
        f: Fused luma, any floats; NumPy or torch.
        a: First source, float in [0, 1], the same shape, or one for a batch of fused pictures.
        b: Second source, likewise.
        margin: How far `f` may leave the span, in full scale (0.01: 1 % of it).
        diagonal: Hold the finest diagonal detail, too, before the span.

    Returns:
        `f`'s shape and type, in [0, 1]; air exactly zero, and what both sources agree on exactly that.

    Raises:
        ValueError: `diagonal` with an odd height or width.
    """
    xp = array_namespace(f, a, b)
    if diagonal:
        f = _hold_diagonal(f, a, b)
    lo, hi = span(a, b)
    f = xp.minimum(xp.maximum(f, lo - margin), hi + margin)
    f = xp.clip(f, 0, 1) * xp.astype((a > 0) | (b > 0), f.dtype)
    agreed = ~_over_3x3(a != b, xp.logical_or)
    return xp.where(agreed, xp.astype(a, f.dtype), f)


def _hold_diagonal(f: Any, a: Any, b: Any) -> Any:
    """`f`, the last of its four finest Haar bands held to the sources'."""
    xp = array_namespace(f, a, b)
    ll, lh, hl, of_f = dwt(_pictures(f))
    most = xp.maximum(*(xp.abs(dwt(_pictures(x))[3]) for x in (a, b)))
    most = _over_3x3(most, xp.maximum)
    return xp.reshape(idwt(ll, lh, hl, xp.minimum(xp.maximum(of_f, -most), most)), f.shape)


def _pictures(x: Any) -> Any:
    return array_namespace(x).reshape(x, (-1, 1, *x.shape[-2:]))


def _over_3x3(x: Any, pick: Callable[[Any, Any], Any]) -> Any:
    xp = array_namespace(x)
    for axis in (-2, -1):
        x = xp.moveaxis(x, axis, -1)
        inner = pick(x[..., 1:], x[..., :-1])  # neighbours in pairs: (i, i + 1)
        x = xp.concat([inner[..., :1], pick(inner[..., 1:], inner[..., :-1]), inner[..., -1:]], axis=-1)
        x = xp.moveaxis(x, -1, axis)
    return x
