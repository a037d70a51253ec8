"""Multi-scale structural similarity (MS-SSIM) of the fused picture to each source, over five scales.

MS-SSIM(x, f) = cs_1^w_1 · cs_2^w_2 · cs_3^w_3 · cs_4^w_4 · SSIM_5^w_5
                with cs = mean of (2 σ_xf + C2) / (σ_x² + σ_f² + C2)
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import Convention, on_pictures
from haarmony.metrics.statistics import mean
from haarmony.metrics.structure import moments, wide
from haarmony.metrics.windows import gaussian, window_mean

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@on_pictures(smallest=176, undefined=("matlab",))
def ms_ssim(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Multi-scale structural similarity to both sources: the mean of MS-SSIM(a, f) and MS-SSIM(b, f).

    11×11 Gaussian windows with σ = 1.5 inside the picture, C1 = (0.01 · 255)², C2 = (0.03 · 255)²; each scale
    is the mean of 2×2 pixels of the one before, an odd last row or column left out. A scale's term is the
    mean over the picture, 0 if that is negative. Differentiable in torch. In `cddfuse` alike; not defined in
    `matlab`.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 176×176 (on
            the fifth scale the window must fit).
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0, 1]; MS-SSIM(x, x, x) is 1.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Wang, Simoncelli and Bovik 2003, doi:10.1109/ACSSC.2003.1292216.
    """
    xp, dtype = array_namespace(f), f.dtype
    f, sources = wide(f, a, b)
    value: Any = 1.0
    for scale, weight in enumerate(WEIGHTS, 1):
        local = moments(f, sources, gaussian(11, 1.5))
        mu_x, mu_f, var_x, var_f, cov = (xp.astype(x, dtype) for x in local)
        term = (2 * cov + C2) / (var_x + var_f + C2)
        if scale < len(WEIGHTS):
            f, sources = (window_mean(x, (0.5, 0.5), stride=2) for x in (f, sources))
        else:
            term = term * (2 * mu_x * mu_f + C1) / (mu_x * mu_x + mu_f * mu_f + C1)
        term = mean(term)
        some = term > 0  # a power's gradient at 0 is infinite
        value = value * xp.where(
            some, xp.where(some, term, xp.ones_like(term)) ** weight, xp.zeros_like(term)
        )
    return xp.sum(value, axis=0) / 2
