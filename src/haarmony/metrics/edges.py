"""Edge preservation Qabf (Xydeas and Petrović): how much of the sources' edges, by strength and direction, f keeps.

For each source x in {a, b}, strength g and orientation α from Sobel's s_x, s_y:

    G = min(g_x, g_f) / max(g_x, g_f)        A = 1 − |α_x − α_f| / (π/2)
    Q_xf = Tg / (1 + exp(kg (G − Dg))) · Ta / (1 + exp(ka (A − Da)))
    Qabf = Σ (Q_af g_a + Q_bf g_b) / Σ (g_a + g_b)
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, on_pictures
from haarmony.metrics.statistics import sqrt

Tg, kg, Dg = 0.9994, -15.0, 0.5
Ta, ka, Da = 0.9879, -22.0, 0.8


def _sobel(x: Float[Any, "b h w"], *, replicate: bool) -> tuple[Float[Any, "b h w"], Float[Any, "b h w"]]:
    """Strength g and orientation α in [−π/2, π/2]; beyond the border is the border's pixel, or 0."""
    xp = array_namespace(x)
    keep = 1.0 if replicate else 0.0
    x = xp.concat([x[:, :1] * keep, x, x[:, -1:] * keep], axis=1)
    x = xp.concat([x[:, :, :1] * keep, x, x[:, :, -1:] * keep], axis=2)
    across, down = x[:, :, :-2] - x[:, :, 2:], x[:, 2:] - x[:, :-2]
    sx = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    sy = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    vertical = xp.abs(sx) < ROUNDING
    alpha = xp.atan(sy / xp.where(vertical, xp.ones_like(sx), sx))
    return sqrt(sx * sx + sy * sy), xp.where(vertical, xp.full_like(sx, math.pi / 2), alpha)


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
        convention: `cddfuse` and `matlab` surround the pictures with zeros, take orientations −π/2 and π/2 for
            opposite, and where both strengths are equal use the strength itself for G. `haarmony` mends these: the border
            is replicated, A = ||α_x − α_f| − π/2| / (π/2) as in the paper, and G = 1.

    Returns:
        In [0, 1], at best 0.975 for f = a = b; 1 where neither source has an edge.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Xydeas and Petrović 2000, doi:10.1049/el:20000267.
    """
    xp = array_namespace(f)
    mended, B = convention == "haarmony", f.shape[0]
    g, alpha = _sobel(xp.concat([f, a, b], axis=0), replicate=mended)
    g_f, alpha_f = (xp.concat([x[:B], x[:B]], axis=0) for x in (g, alpha))  # once for each source
    g_x, alpha_x = g[B:], alpha[B:]
    larger = xp.maximum(g_x, g_f)
    some = larger > 0
    G = xp.minimum(g_x, g_f) / xp.where(some, larger, xp.ones_like(larger))
    angle = xp.abs(alpha_x - alpha_f) / (math.pi / 2)
    if mended:
        A = xp.abs(angle - 1)
    else:
        G = xp.where(xp.abs(g_x - g_f) < ROUNDING, g_f, G)
        A = 1 - angle
    # The logistic functions' exponents stay in float32: kg (G − Dg) ≤ 7.5 and ka (A − Da) ≤ 39.6.
    Q = Tg * Ta / ((1 + xp.exp(kg * (G - Dg))) * (1 + xp.exp(ka * (A - Da))))
    kept, all_edges = (xp.sum(x, axis=(1, 2)) for x in (Q * g_x, g_x))
    kept, all_edges = kept[:B] + kept[B:], all_edges[:B] + all_edges[B:]
    some = all_edges > 0
    one = xp.ones_like(kept)
    return xp.where(some, kept / xp.where(some, all_edges, one), one)
