"""The universal image quality index (UQI) and the fusion metrics that are made of it: Q, Qw, Qe and Qy.

    Q_0(x, f) = 4 σ_xf μ_x μ_f / ((σ_x² + σ_f²)(μ_x² + μ_f²))       in every window
    UQI = mean (Q_0(a, f) + Q_0(b, f)) / 2
    Q   = mean (λ_a Q_0(a, f) + λ_b Q_0(b, f))                      λ_x = σ_x² / (σ_a² + σ_b²)
    Qw  = Σ c (λ_a Q_0(a, f) + λ_b Q_0(b, f)) / Σ c                 c = max(σ_a², σ_b²)
    Qe  = Qw(f, a, b) Qw(|∇f|, |∇a|, |∇b|)
    Qy  = mean of λ_a Q_0(a, f) + λ_b Q_0(b, f)  where Q_0(a, b) ≥ 0.75, else of max(Q_0(a, f), Q_0(b, f))

Windows lie inside the picture, one for every place. Where x and f are flat the σ drop out of Q_0, where both
are black it is 1; where both sources are flat λ = 1/2. All are differentiable in torch.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, on_pictures
from haarmony.metrics.edges import gradient_norm
from haarmony.metrics.statistics import mean
from haarmony.metrics.structure import moments, wide
from haarmony.metrics.windows import gaussian

EIGHT = (1 / 8,) * 8
SIMILAR = 0.75


def _ratio(x: Any, y: Any, otherwise: float) -> Any:
    """X / y, `otherwise` where y is only rounding, with finite gradients there."""
    xp = array_namespace(y)
    some, one = y > ROUNDING**2, xp.ones_like(y)
    return xp.where(some, x / xp.where(some, y, one), otherwise * one)


def _quality(
    f: Float[Any, "b h w"], a: Float[Any, "b h w"], b: Float[Any, "b h w"], weights: tuple[float, ...]
) -> tuple[Any, Any]:
    """Q_0(a, f), Q_0(b, f) and σ_a², σ_b² in every window: (2, B, h, w) float64."""
    mu_x, mu_f, var_x, var_f, cov = moments(*wide(f, a, b), weights)
    return _ratio(2 * mu_x * mu_f, mu_x**2 + mu_f**2, 1.0) * _ratio(2 * cov, var_x + var_f, 1.0), var_x


def _salient(quality: Any, variance: Any) -> Any:
    """λ_a Q_0(a, f) + λ_b Q_0(b, f)."""
    first = _ratio(variance[0], variance[0] + variance[1], 0.5)
    return first * quality[0] + (1 - first) * quality[1]


def _weighted(f: Float[Any, "b h w"], a: Float[Any, "b h w"], b: Float[Any, "b h w"]) -> Any:
    xp = array_namespace(f)
    quality, variance = _quality(f, a, b, EIGHT)
    local, c = _salient(quality, variance), xp.max(variance, axis=0)
    some = mean(c) > ROUNDING**2
    one = xp.ones_like(c)
    c = xp.where(some[:, None, None], c, one)
    return mean(c * local) / mean(c)


@on_pictures(smallest=8)
def uqi(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Universal image quality index, the mean over both sources; 8×8 windows that all weigh the same.

    Popular Python code often differs: a Gaussian window, no rule for flat windows, or SSIM's constants.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 8×8.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [−1, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Wang and Bovik 2002, doi:10.1109/97.995823.
    """
    quality, _ = _quality(f, a, b, EIGHT)
    value = mean(quality[0] + quality[1]) / 2
    return array_namespace(f).astype(value, f.dtype)


@on_pictures(smallest=8)
def q(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Piella and Heijmans' fusion quality index: Q_0 with each source in proportion to its local variance.

    8×8 windows. The MATLAB collection of Liu et al. (where it is also called Qs) puts SSIM with its constants
    and an 11×11 Gaussian window in the place of Q_0.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 8×8.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [−1, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Piella and Heijmans 2003, doi:10.1109/ICIP.2003.1247209.
    """
    return array_namespace(f).astype(mean(_salient(*_quality(f, a, b, EIGHT))), f.dtype)


@on_pictures(smallest=8)
def qw(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Piella and Heijmans' weighted fusion quality index: Q with windows in proportion to their saliency.

    Saliency is the larger of the sources' variances; if both sources are constant, every window weighs the
    same. The MATLAB collection of Liu et al. differs as in Q.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 8×8.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [−1, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Piella and Heijmans 2003, doi:10.1109/ICIP.2003.1247209.
    """
    return array_namespace(f).astype(_weighted(f, a, b), f.dtype)


@on_pictures(smallest=8)
def qe(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Piella and Heijmans' edge-dependent fusion quality index: Qw times Qw of the edge pictures (α = 1).

    Edge pictures are the norm of Sobel's gradient, with the border's pixels beyond the border; the paper
    leaves the operator open. The MATLAB collection of Liu et al. takes Prewitt's with zeros beyond the
    border, and differs as in Q.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 8×8.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [−1, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Piella and Heijmans 2003, doi:10.1109/ICIP.2003.1247209.
    """
    xp = array_namespace(f)
    edges = (gradient_norm(xp.astype(x, xp.float64)) for x in (f, a, b))
    return xp.astype(_weighted(f, a, b) * _weighted(*edges), f.dtype)


@on_pictures(smallest=7)
def qy(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Yang et al.'s similarity: both sources by variance where they are alike, else the better kept one.

    A 7×7 Gaussian window with σ = 1.5 and SSIM without constants, which is Q_0. The MATLAB collection of Liu
    et al. has constants of 2e-16 instead of rules for flat windows: there it divides rounding errors by each
    other, and prints NaN if anywhere both sources are black.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 7×7.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [−1, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Yang et al. 2008, doi:10.1016/j.inffus.2006.09.001.
    """
    xp = array_namespace(f)
    weights = gaussian(7, 1.5)
    quality, variance = _quality(f, a, b, weights)
    alike = _quality(a, b, b, weights)[0][0] >= SIMILAR
    value = mean(xp.where(alike, _salient(quality, variance), xp.max(quality, axis=0)))
    return xp.astype(value, f.dtype)
