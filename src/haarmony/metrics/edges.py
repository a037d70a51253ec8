"""Edges by Sobel: how much of the sources' the fused picture keeps (Qabf), which it adds (Nabf), and EI.

For each source x in {a, b}, strength g and orientation α from Sobel's s_x, s_y:

    G = min(g_x, g_f) / max(g_x, g_f)        A = 1 − |α_x − α_f| / (π/2)
    Q_xf = Tg / (1 + exp(kg (G − Dg))) · Ta / (1 + exp(ka (A − Da)))
    Qabf = Σ (Q_af g_a + Q_bf g_b) / Σ (g_a + g_b)
    Nabf = Σ n ((1 − Q_af) g_a + (1 − Q_bf) g_b) / Σ (g_a + g_b),  n = 1 where g_f > g_a and g_f > g_b, else 0
    EI   = mean sqrt(s_x² + s_y²) of f
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, on_pictures
from haarmony.metrics.statistics import mean, sqrt

Tg, kg, Dg = 0.9994, -15.0, 0.5
Ta, ka, Da = 0.9879, -22.0, 0.8


def _sobel(x: Float[Any, "*b h w"], *, border: float = 1.0) -> tuple[Any, Any]:
    """Sobel's s_x and s_y; beyond the border lie the border's pixels × `border`."""
    xp = array_namespace(x)
    H, W = x.shape[-2:]
    x = xp.concat([x[..., :1, :] * border, x, x[..., -1:, :] * border], axis=-2)
    x = xp.concat([x[..., :1] * border, x, x[..., -1:] * border], axis=-1)
    (nw, n, ne), (w, _, e), (sw, s, se) = ([x[..., i : i + H, j : j + W] for j in range(3)] for i in range(3))
    # These sums keep the order of MATLAB's conv2: on values in 0–1 it decides whether s_x is 0 or 1e-17.
    s_x = sw - (se + 2 * e + ne) + 2 * w + nw
    return s_x, se - ne + 2 * s - 2 * n + sw - nw


def gradient_norm(x: Float[Any, "*b h w"]) -> Float[Any, "*b h w"]:
    """Sobel's sqrt(s_x² + s_y²), the border replicated; its gradient in torch is finite."""
    s_x, s_y = _sobel(x)
    return sqrt(s_x * s_x + s_y * s_y)


def _edges(x: Float[Any, "*b h w"], *, border: float, tolerance: float) -> tuple[Any, Any]:
    """Strength g and orientation α in (−π/2, π/2]."""
    xp = array_namespace(x)
    s_x, s_y = _sobel(x, border=border)
    vertical = xp.abs(s_x) <= tolerance
    alpha = xp.atan(s_y / xp.where(vertical, xp.ones_like(s_x), s_x))
    # 1e-12 keeps the gradient at 0 finite.
    return xp.sqrt(s_x * s_x + s_y * s_y + 1e-12), xp.where(vertical, xp.full_like(alpha, math.pi / 2), alpha)


def _preservation(
    f: Float[Any, "b h w"],
    sources: Float[Any, "two b h w"],
    *,
    mended: bool = True,
    tolerance: float = ROUNDING,
) -> tuple[Any, Any, Any]:
    """Q_xf and strength g_x of both sources (2, B, H, W), and g_f; `qabf` says what is mended."""
    xp = array_namespace(f)
    g_f, alpha_f = _edges(f, border=float(mended), tolerance=tolerance)
    g_x, alpha_x = _edges(sources, border=float(mended), tolerance=tolerance)
    G = xp.minimum(g_x, g_f) / xp.maximum(g_x, g_f)
    A = 1 - xp.abs(alpha_x - alpha_f) * (2 / math.pi)
    if mended:
        A = xp.abs(A)
    else:
        G = xp.where(xp.abs(g_x - g_f) <= tolerance, g_f, G)
    return Tg * Ta / ((1 + xp.exp(kg * (G - Dg))) * (1 + xp.exp(ka * (A - Da)))), g_x, g_f


@on_pictures(smallest=3)
def qabf(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Edge preservation by the equation above, differentiable in torch.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 3×3.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `cddfuse` and `matlab` surround the pictures with zeros, take orientations −π/2 and π/2
            for opposite, and where both strengths are equal use the strength itself for G. `haarmony` mends
            these: the border is replicated, A = ||α_x − α_f| − π/2| / (π/2), and G = 1. `matlab` computes on
            values in 0–1, rounded to 8 bits, and so has no gradient.

    Returns:
        In [0, 1], at best 0.975 for f = a = b; 1 where neither source has an edge.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Xydeas and Petrović 2000, doi:10.1049/el:20000267.
    """
    xp, dtype = array_namespace(f), f.dtype
    mended, tolerance = convention == "haarmony", ROUNDING
    if convention == "matlab":  # the suite reads 8-bit files as double in 0–1 and compares without tolerance
        f, a, b = (xp.astype(xp.round(x), xp.float64) / 255 for x in (f, a, b))
        tolerance = 0.0
    Q, g_x, _ = _preservation(f, xp.stack([a, b]), mended=mended, tolerance=tolerance)
    kept, edges = mean(xp.sum(Q * g_x, axis=0)), mean(xp.sum(g_x, axis=0))
    some = edges > ROUNDING / 255
    value = xp.where(some, kept / edges, xp.ones_like(kept))
    return xp.astype(value, dtype)


@on_pictures(smallest=3, undefined=("matlab",))
def nabf(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Fusion artefacts by the equation above: edges of f that neither source has so strong, or so directed.

    Edges, Q and weights are those of `qabf` in `haarmony`, with which Qabf + Nabf ≤ 1: the rest to 1 is what
    fusion lost. The weights are the sources' strengths, so edges added where both are flat hardly count.
    Differentiable in torch but for the steps of n. In `cddfuse` alike; not defined in `matlab`.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 3×3.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0, 1]; smaller adds less; 0 for f = a = b. Where neither source has an edge, the part of the
        picture in which f has one.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Petrović and Xydeas 2004, doi:10.1007/978-3-540-24672-5_30, each source with its own weight as in
    Shreyamsha Kumar 2013, doi:10.1007/s11760-012-0361-x.
    """
    xp = array_namespace(f)
    Q, g_x, g_f = _preservation(f, xp.stack([a, b]))
    added = xp.astype(xp.all(g_f > g_x + ROUNDING, axis=0), f.dtype)
    return mean(added * xp.sum((1 - Q) * g_x, axis=0)) / mean(xp.sum(g_x, axis=0))


@on_pictures(smallest=3)
def ei(f: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony") -> Float[Any, "*b"]:
    """Edge intensity, EI = mean sqrt(s_x² + s_y²) of Sobel's gradients, the border replicated.

    Differentiable in torch, alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 3×3.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0, 255 √20]; larger is sharper, noise included.

    Raises:
        ValueError: pictures that `grey_levels` refuses, an unknown convention.
    """
    return mean(gradient_norm(f))
