"""Metrics from sums over pixels: EN, SD, SF, AG, MSE, RMSE, PSNR, CC, SCC, SCD.

All but EN are differentiable in torch, with finite gradients on flat pictures too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, eight_bit, on_pictures
from haarmony.metrics.information import entropy


def mean(x: Float[Any, "*b h w"]) -> Float[Any, "*b"]:
    """Mean over pixels, one value per image."""
    return array_namespace(x).mean(x, axis=(-2, -1))


def sqrt(x: Float[Any, "..."]) -> Float[Any, "..."]:
    """Square root whose gradient at 0 is 0 instead of infinite."""
    xp = array_namespace(x)
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, xp.ones_like(x))), xp.zeros_like(x))


def pearson(
    x: Float[Any, "*b h w"], y: Float[Any, "*b h w"], *, where: Float[Any, "*b h w"] | None = None
) -> Float[Any, "*b"]:
    """Pearson correlation r(x, y) per image, 0 where one of the two is constant.

    Args:
        x: (B, H, W) grey levels.
        y: (B, H, W) grey levels.
        where: 1 on the pixels that count and 0 elsewhere; all count without it.
    """
    xp = array_namespace(x)
    w = xp.ones_like(x) if where is None else where
    count = xp.sum(w, axis=(-2, -1), keepdims=True)
    count = xp.where(count > 0, count, xp.ones_like(count))
    x, y = ((v - xp.sum(w * v, axis=(-2, -1), keepdims=True) / count) * w for v in (x, y))
    count = count[..., 0, 0]
    var_x, var_y, cov = (xp.sum(v, axis=(-2, -1)) / count for v in (x * x, y * y, x * y))
    varies = (var_x > ROUNDING**2) & (var_y > ROUNDING**2)
    return xp.where(
        varies, cov / xp.sqrt(xp.where(varies, var_x * var_y, xp.ones_like(cov))), xp.zeros_like(cov)
    )


@on_pictures()
def en(
    f: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony"
) -> Float[np.ndarray | np.floating, "*b"]:
    """Entropy of the 256-level histogram, EN = −Σ p log2 p, alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        convention: see `haarmony.metrics.convention`.

    Returns:
        Bits in [0, 8], as NumPy; larger is richer, noise included.

    Raises:
        ValueError: pictures that `grey_levels` refuses, an unknown convention.

    Source: Roberts, van Aardt and Ahmed 2008, doi:10.1117/1.2945910.
    """
    return np.array([entropy(np.bincount(x.ravel())) for x in eight_bit(f)])


@on_pictures(undefined=("matlab",))
def sd(f: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony") -> Float[Any, "*b"]:
    """Population standard deviation of the grey levels (contrast), in [0, 127.5]; not defined in `matlab`.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        convention: see `haarmony.metrics.convention`.

    Raises:
        ValueError: pictures that `grey_levels` refuses, an unknown convention, `matlab`.
    """
    return sqrt(mean((f - mean(f)[:, None, None]) ** 2))


@on_pictures(smallest=2)
def sf(f: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony") -> Float[Any, "*b"]:
    """Spatial frequency, SF = sqrt(mean (∂_x f)² + mean (∂_y f)²), first differences.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 2×2.
        convention: see `haarmony.metrics.convention`; `matlab` computes on values in 0–1.

    Returns:
        In [0, 255 √2]; larger is sharper, noise included.

    Raises:
        ValueError: pictures that `grey_levels` refuses, an unknown convention.

    Source: Eskicioglu and Fisher 1995, doi:10.1109/26.477498.
    """
    dx, dy = mean((f[:, :, 1:] - f[:, :, :-1]) ** 2), mean((f[:, 1:, :] - f[:, :-1, :]) ** 2)
    return sqrt(dx + dy) / (255 if convention == "matlab" else 1)


@on_pictures(smallest=2)
def ag(f: Shaped[Any, "*b h w"], *, convention: Convention = "haarmony") -> Float[Any, "*b"]:
    """Average gradient, AG = mean sqrt((g_x² + g_y²) / 2), by central differences (one-sided at the border).

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 2×2.
        convention: see `haarmony.metrics.convention`; `matlab` divides the sum by (H − 1)(W − 1), not H W.

    Returns:
        In [0, 255]; larger is sharper, noise included.

    Raises:
        ValueError: pictures that `grey_levels` refuses, an unknown convention.

    Source: Cui et al. 2015, doi:10.1016/j.optcom.2014.12.032.
    """
    xp = array_namespace(f)
    gx = xp.concat(
        [f[:, :, 1:2] - f[:, :, :1], (f[:, :, 2:] - f[:, :, :-2]) / 2, f[:, :, -1:] - f[:, :, -2:-1]], axis=2
    )
    gy = xp.concat([f[:, 1:2] - f[:, :1], (f[:, 2:] - f[:, :-2]) / 2, f[:, -1:] - f[:, -2:-1]], axis=1)
    H, W = f.shape[1:]
    return mean(sqrt((gx * gx + gy * gy) / 2)) * (
        H * W / ((H - 1) * (W - 1)) if convention == "matlab" else 1
    )


@on_pictures()
def mse(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Mean squared error against both sources, MSE = (mean (f − a)² + mean (f − b)²) / 2.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`; `matlab` computes on values in 0–1.

    Returns:
        In [0, 65025] ([0, 1] in `matlab`); smaller is closer.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    value = (mean((f - a) ** 2) + mean((f - b) ** 2)) / 2
    return value / 255**2 if convention == "matlab" else value


@on_pictures()
def rmse(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Root mean squared error against both sources, RMSE = (sqrt mean (f − a)² + sqrt mean (f − b)²) / 2.

    Differentiable in torch.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`; `matlab` computes on values in 0–1.

    Returns:
        In [0, 255] ([0, 1] in `matlab`); smaller is closer. At most the square root of MSE.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    value = (sqrt(mean((f - a) ** 2)) + sqrt(mean((f - b) ** 2))) / 2
    return value / 255 if convention == "matlab" else value


@on_pictures()
def psnr(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Peak signal-to-noise ratio against both sources, PSNR = 10 log10(peak² / MSE).

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: the peak is 255, in `cddfuse` the fused picture's own maximum; `matlab` sets a peak of 255
            against the MSE of values in 0–1 and so lies 48.13 dB higher.

    Returns:
        Decibels; larger is closer; infinite where f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    xp = array_namespace(f)
    error = (mean((f - a) ** 2) + mean((f - b) ** 2)) / 2
    peak = xp.max(f, axis=(1, 2)) if convention == "cddfuse" else xp.ones_like(error) * 255
    valid = (error > 0) & (peak > 0)
    one = xp.ones_like(error)
    value = 10 * xp.log10(xp.where(valid, peak, one) ** 2 / xp.where(valid, error, one))
    value = xp.where(valid, value, xp.where(error > 0, -one, one) * float("inf"))
    return value + 20 * float(np.log10(255)) if convention == "matlab" else value


@on_pictures()
def cc(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Correlation with both sources, CC = (r(f, a) + r(f, b)) / 2, alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [−1, 1]; larger is closer; a constant picture correlates 0.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.
    """
    return (pearson(f, a) + pearson(f, b)) / 2


@on_pictures(smallest=3)
def scc(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Spatial correlation coefficient, SCC = (r(Lf, La) + r(Lf, Lb)) / 2: correlation of fine detail.

    L is the high-pass filter [[−1, −1, −1], [−1, 8, −1], [−1, −1, −1]] inside the picture. Differentiable in
    torch, alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 3×3.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [−1, 1]; larger is closer; 1 for f = a = b; a picture without detail correlates 0.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Zhou, Civco and Silander 1998, doi:10.1080/014311698215973.
    """

    def detail(x: Any) -> Any:
        rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
        return 9 * x[:, 1:-1, 1:-1] - (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:])

    f, a, b = (detail(x) for x in (f, a, b))
    return (pearson(f, a) + pearson(f, b)) / 2


@on_pictures()
def scd(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Sum of the correlations of differences, SCD = r(a, f − b) + r(b, f − a), alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [−2, 2]; larger keeps more of both; a constant picture or difference correlates 0.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Aslantas and Bendes 2015, doi:10.1016/j.aeue.2015.09.004.
    """
    return pearson(a, f - b) + pearson(b, f - a)
