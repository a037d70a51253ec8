"""Structural similarity (SSIM), visual information fidelity (VIF) and VIF for fusion (VIFF).

    SSIM(x, f) = mean of (2 μ_x μ_f + C1)(2 σ_xf + C2) / ((μ_x² + μ_f² + C1)(σ_x² + σ_f² + C2))
    VIF(x, f)  = Σ log(1 + g² σ_x² / (σ_v² + σ_n²)) / Σ log(1 + σ_x² / σ_n²)
                 with g = σ_xf / σ_x²,  σ_v² = σ_f² − g σ_xf

Moments are over local windows inside the picture, VIF's sums over four scales. VIFF takes in each window the
source with the smaller g and weights the scales. All are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import Convention, on_pictures
from haarmony.metrics.statistics import mean
from haarmony.metrics.windows import gaussian, window_mean

SIGMA_N_SQUARED = 2.0  # VIF's neural noise
EPS = 1e-10
VIFF_SCALES = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)
VIFF_SIGMA_N_SQUARED = 0.005 * 255**2
VIFF_EPS = 1e-7 * math.log(10)  # the paper's logarithm is decadic, ours natural


def moments(
    f: Float[Any, "b h w"], sources: Float[Any, "two b h w"], weights: tuple[float, ...]
) -> tuple[Any, ...]:
    """μ_x, μ_f, σ_x², σ_f², σ_xf of both sources x (2, B, h, w) and of f (1, B, h, w).

    Over every window inside the picture with the weights ⊗ weights. What depends on the sources alone is
    filtered apart: no gradient has to go back there.
    """
    xp, f = array_namespace(f), f[None]
    m_f = window_mean(xp.concat([f, f * f, sources * f], axis=0), weights)
    m_x = window_mean(xp.concat([sources, sources * sources], axis=0), weights)
    mu_f, mu_x = m_f[:1], m_x[:2]
    return mu_x, mu_f, m_x[2:] - mu_x * mu_x, m_f[1:2] - mu_f * mu_f, m_f[2:] - mu_x * mu_f


def wide(f: Float[Any, "b h w"], a: Float[Any, "b h w"], b: Float[Any, "b h w"]) -> tuple[Any, Any]:
    """F and both sources as float64 (which autocast leaves alone).

    σ² = E x² − μ² is a difference of numbers near 255²; SSIM's C2 can be 0.0036, VIF counts σ² from 1e-10.
    """
    xp = array_namespace(f)
    return xp.astype(f, xp.float64), xp.astype(xp.stack([a, b]), xp.float64)


@on_pictures(smallest=7, undefined=("matlab",))
def ssim(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Structural similarity to both sources.

    A 7×7 uniform window, sample covariance, C1 = (0.01 L)², C2 = (0.03 L)².

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 7×7.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes L = 255 and the mean over the sources; `cddfuse` L = 2 and the sum, an
            accident of floating point input that published tables share. Not defined in `matlab`.

    Returns:
        In [−1, 1] (`cddfuse`: [−2, 2]); SSIM(x, x, x) is 1 (2).

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    xp = array_namespace(f)
    L, n = (2, 7) if convention == "cddfuse" else (255, 7)
    sample = n * n / (n * n - 1)
    C1, C2 = (0.01 * L) ** 2, (0.03 * L) ** 2 / sample
    local = moments(*wide(f, a, b), (1 / n,) * n)
    mu_x, mu_f, var_x, var_f, cov = (xp.astype(x, f.dtype) for x in local)
    similarity = (2 * mu_x * mu_f + C1) * (2 * cov + C2) / ((mu_x**2 + mu_f**2 + C1) * (var_x + var_f + C2))
    value = xp.sum(mean(similarity), axis=0)
    return value if convention == "cddfuse" else value / 2


def _visual_information(
    f: Float[Any, "b h w"], a: Float[Any, "b h w"], b: Float[Any, "b h w"], sigma_n_squared: float
) -> Iterator[tuple[Any, Any, Any]]:
    """VIF's gain g, the information f keeps and that of the sources, in nats: (2, B, h, w) on each scale."""
    xp = array_namespace(f)
    dtype = f.dtype
    f, sources = wide(f, a, b)
    for n in (17, 9, 5, 3):
        if n < 17:
            f, sources = (window_mean(x, gaussian(n), stride=2) for x in (f, sources))
        var_x, var_f, cov = (xp.astype(x, dtype) for x in moments(f, sources, gaussian(n))[2:])
        varies = var_x > EPS
        shared = varies & (var_f > EPS) & (cov > 0)  # elsewhere f tells nothing of x: g = 0
        var_x = xp.where(varies, var_x, xp.zeros_like(var_x))
        g = xp.where(shared, cov, xp.zeros_like(cov)) / (xp.where(shared, var_x, xp.ones_like(cov)) + EPS)
        noise = xp.clip(var_f - g * cov, EPS) + sigma_n_squared
        yield g, xp.log1p(g * g * var_x / noise), xp.log1p(var_x / sigma_n_squared)


@on_pictures(smallest=41, undefined=("matlab",))
def vif(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Pixel-domain visual information fidelity to both sources.

    Four scales with Gaussian windows of N = 17, 9, 5, 3 pixels, σ = N/5, each scale after the first smoothed
    by its own window and halved; σ_n² = 2.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 41×41 (the
            last scale's window must fit).
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes the mean over the sources, `cddfuse` the sum. Not defined in `matlab`.

    Returns:
        At least 0; 1 (`cddfuse`: 2) for f = a = b, more where f enhances contrast. A constant source
        counts as kept whole.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Sheikh and Bovik 2006, doi:10.1109/TIP.2005.859378.
    """
    xp = array_namespace(f)
    kept: Any = 0.0
    total: Any = 0.0
    for _, seen, there in _visual_information(f, a, b, SIGMA_N_SQUARED):
        kept = kept + xp.sum(seen, axis=(-2, -1))
        total = total + xp.sum(there, axis=(-2, -1))
    some = total > 0
    one = xp.ones_like(total)
    value = xp.sum(xp.where(some, kept / xp.where(some, total, one), one), axis=0)
    return value if convention == "cddfuse" else value / 2


@on_pictures(smallest=41)
def viff(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Visual information fidelity for fusion, VIFF = Σ_k p_k Σ (VID_x + ε) / Σ (VIND_x + ε) over scales k.

    VID = log10(1 + g² σ_x² / (σ_v² + σ_n²)) and VIND = log10(1 + σ_x² / σ_n²) per window, on VIF's scales but
    with σ_n² = 0.005 · 255²; in each window x is the source with the smaller g. p = (1, 0, 0.15, 1) / 2.15,
    ε = 1e-7. Where g ties, the mean of both sources counts; the authors' program takes the second, and so
    depends on their order. Popular Python code prints plain VIF under this name.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 41×41.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        At least 0; 1 for f = a = b, more where f enhances contrast. Where one source is constant and f
        follows the other, nothing counts as lost.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Han, Cai, Cao and Xu 2013, doi:10.1016/j.inffus.2011.08.002.
    """
    xp = array_namespace(f)
    value: Any = 0.0
    for p, (g, seen, there) in zip(
        VIFF_SCALES, _visual_information(f, a, b, VIFF_SIGMA_N_SQUARED), strict=True
    ):
        first = (xp.astype(g[0] < g[1], f.dtype) + xp.astype(g[0] <= g[1], f.dtype)) / 2
        kept, total = (mean(first * x[0] + (1 - first) * x[1]) + VIFF_EPS for x in (seen, there))
        value = value + p * kept / total
    return value
