"""Structural similarity (SSIM) and visual information fidelity (VIF) of the fused picture to each source.

    SSIM(x, f) = mean of (2 μ_x μ_f + C1)(2 σ_xf + C2) / ((μ_x² + μ_f² + C1)(σ_x² + σ_f² + C2))
    VIF(x, f)  = Σ log(1 + g² σ_x² / (σ_v² + σ_n²)) / Σ log(1 + σ_x² / σ_n²),  g = σ_xf / σ_x²,  σ_v² = σ_f² − g σ_xf

with moments over local windows inside the picture, for VIF summed over four scales. Both are differentiable in torch.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import Convention, on_pictures
from haarmony.metrics.statistics import mean
from haarmony.metrics.windows import gaussian, window_mean

SIGMA_N_SQUARED = 2.0  # VIF's neural noise
EPS = 1e-10


def _moments(x: Float[Any, "three_b h w"], weights: tuple[float, ...]) -> tuple[Any, Any, Any, Any, Any]:
    """From f, a, b in one batch: μ_x, μ_f, σ_x², σ_f², σ_xf, each (2B, h, w) for x = a then b."""
    xp = array_namespace(x)
    B = x.shape[0] // 3
    f, sources = xp.concat([x[:B], x[:B]], axis=0), x[B:]
    m = window_mean(xp.concat([x, x * x, sources * f], axis=0), weights)
    mu, variance = m[: 3 * B], m[3 * B : 6 * B] - m[: 3 * B] ** 2
    mu_f, var_f = (xp.concat([v[:B], v[:B]], axis=0) for v in (mu, variance))
    return mu[B:], mu_f, variance[B:], var_f, m[6 * B :] - mu[B:] * mu_f


@on_pictures(smallest=7)
def ssim(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Structural similarity to both sources: 7×7 uniform window, sample covariance, C1 = (0.01 L)², C2 = (0.03 L)².

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 7×7.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes L = 255 and the mean over the sources; `cddfuse` L = 2 and the sum, an accident of
            floating point input that every published table shares. Not defined in `matlab`.

    Returns:
        In [−1, 1] (`cddfuse`: [−2, 2]); SSIM(x, x, x) is 1 (2).

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    xp = array_namespace(f)
    L, n = (2, 7) if convention == "cddfuse" else (255, 7)
    C1, C2 = (0.01 * L) ** 2, (0.03 * L) ** 2
    # float64: σ² is a difference of numbers near 255², and C2 can be as small as 0.0036.
    x = xp.astype(xp.concat([f, a, b], axis=0), xp.float64)
    mu_x, mu_f, var_x, var_f, cov = _moments(x, (1 / n,) * n)
    sample = n * n / (n * n - 1)
    product = (2 * mu_x * mu_f + C1) * (2 * sample * cov + C2)
    value = mean(product / ((mu_x**2 + mu_f**2 + C1) * (sample * (var_x + var_f) + C2)))
    value = value[: f.shape[0]] + value[f.shape[0] :]
    return xp.astype(value if convention == "cddfuse" else value / 2, f.dtype)


@on_pictures(smallest=41)
def vif(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Pixel-domain visual information fidelity to both sources.

    Four scales with Gaussian windows of N = 17, 9, 5, 3 pixels, σ = N/5, each scale after the first smoothed by its own
    window and halved; σ_n² = 2.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 41×41 (the
            last scale's window must fit).
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes the mean over the sources, `cddfuse` the sum. Not defined in `matlab`.

    Returns:
        At least 0; 1 (`cddfuse`: 2) for f = a = b, more where f enhances contrast. A constant source counts as kept whole.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Sheikh and Bovik 2006, doi:10.1109/TIP.2005.859378.
    """
    xp = array_namespace(f)
    x = xp.concat([f, a, b], axis=0)
    kept: Any = 0
    total: Any = 0
    for n in (17, 9, 5, 3):
        if n < 17:
            x = window_mean(x, gaussian(n), stride=2)
        _, _, var_x, var_f, cov = _moments(x, gaussian(n))
        shared = (var_x > EPS) & (var_f > EPS) & (cov > 0)  # elsewhere f tells nothing of x: g = 0
        g = xp.where(shared, cov / (xp.where(shared, var_x, xp.ones_like(cov)) + EPS), xp.zeros_like(cov))
        noise = xp.clip(var_f - g * cov, EPS) + SIGMA_N_SQUARED
        var_x = xp.clip(var_x, 0)
        kept = kept + xp.sum(xp.log1p(g * g * var_x / noise), axis=(1, 2))
        total = total + xp.sum(xp.log1p(var_x / SIGMA_N_SQUARED), axis=(1, 2))
    some = total > 0
    one = xp.ones_like(total)
    value = xp.where(some, kept / xp.where(some, total, one), one)
    value = value[: f.shape[0]] + value[f.shape[0] :]
    return value if convention == "cddfuse" else value / 2
