"""Metrics that look at the pictures through the eye's contrast sensitivity: Chen–Blum Qcb, Chen–Varshney Qcv.

Both filter with S(r), r in cycles per degree, by FFT (so the picture repeats beyond its border):

    Qcb: S = exp(−(r / 15.387)²) − 0.7622 exp(−(r / 1.3456)²),       height and width seen under 15°
    Qcv: S = 2.6 (0.0192 + 0.144 r) exp(−(0.144 r)^1.1),             height and width seen under 4°

The viewing angles are those of the MATLAB collection of Liu et al. 2012, doi:10.1109/TPAMI.2011.109, behind
nearly all published values. Both metrics are differentiable in torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import ROUNDING, Convention, on_pictures
from haarmony.metrics.edges import gradient_norm
from haarmony.metrics.statistics import mean
from haarmony.metrics.structure import wide
from haarmony.metrics.windows import gaussian, window_mean

REACH = 15  # of Qcb's Gaussians, in pixels
MASKING = 1e-4  # Qcb's Z
EPS = 1e-12  # masked contrasts below it are rounding
REGION = 16  # Qcv's, in pixels
ALPHA = 5  # Qcv's exponent of the gradient


def _cycles_per_degree(sides: tuple[int, ...], degrees: float) -> np.ndarray:
    """Frequency r of each coefficient of `rfftn`, for pictures whose sides are seen under `degrees`."""
    H, W = sides
    v, u = np.fft.fftfreq(H) * H, np.fft.rfftfreq(W) * W
    r: np.ndarray = np.hypot(v[:, None], u) / degrees
    return r


def _filtered(x: Float[Any, "*b h w"], sensitivity: np.ndarray) -> Float[Any, "*b h w"]:
    xp = array_namespace(x)
    S = xp.asarray(sensitivity, device=device(x))
    return xp.fft.irfftn(xp.fft.rfftn(x, axes=(-2, -1)) * S, s=x.shape[-2:], axes=(-2, -1))


def _masked_contrast(x: Float[Any, "*b h w"]) -> Float[Any, "*b h w"]:
    """C' = |C|³ / (C² + Z) of Peli's contrast C = (G_2 * x) / (G_4 * x) − 1."""
    xp = array_namespace(x)
    x = xp.concat([x[..., :1, :]] * REACH + [x] + [x[..., -1:, :]] * REACH, axis=-2)
    x = xp.concat([x[..., :1]] * REACH + [x] + [x[..., -1:]] * REACH, axis=-1)
    fine, coarse = (window_mean(x, gaussian(2 * REACH + 1, sigma)) for sigma in (2.0, 4.0))
    lit = xp.abs(coarse) > ROUNDING
    C = xp.where(lit, xp.abs(fine / xp.where(lit, coarse, xp.ones_like(coarse)) - 1), xp.zeros_like(coarse))
    return C**3 / (C**2 + MASKING)


@on_pictures()
def qcb(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Chen and Blum's contrast preservation, Qcb = mean (λ_a Q_af + λ_b Q_bf).

    Q_xf = min(C'_x, C'_f) / max(C'_x, C'_f) and λ_x = C'_x² / (C'_a² + C'_b²) for the masked contrast
    C' = |C|³ / (C² + 1e-4) of the filtered pictures, C = (G_2 * x) / (G_4 * x) − 1 with 31×31 Gaussians of
    σ = 2 and 4 pixels. Beyond the border lie the border's pixels; C = 0 where |G_4 * x| is below 0.001 grey
    levels; where neither picture has contrast Q_xf = 1.

    The MATLAB collection of Liu et al. first stretches every picture to 0–255, has zeros beyond the border
    and no rule for black: it divides traces of the filter by each other, and prints NaN for 0 / 0.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        In [0, 1]; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Chen and Blum 2009, doi:10.1016/j.imavis.2007.12.002.
    """
    xp, dtype = array_namespace(f), f.dtype
    f, sources = wide(f, a, b)
    r = _cycles_per_degree(tuple(f.shape[1:]), 15.0)
    sensitivity = np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
    C_f, C_x = (_masked_contrast(_filtered(x, sensitivity)) for x in (f[None], sources))
    high = xp.maximum(C_x, C_f)
    some, one = high > EPS, xp.ones_like(high)
    kept = xp.where(some, xp.minimum(C_x, C_f) / xp.where(some, high, one), one)
    power = C_x**2 + EPS**2  # λ = 1/2 where neither source has contrast
    return xp.astype(mean(xp.sum(power * kept, axis=0) / xp.sum(power, axis=0)), dtype)


def _regions(x: Float[Any, "*b h w"]) -> Float[Any, "*b rows columns"]:
    """Sums over 16×16 regions, filled up with zeros at the lower and right end."""
    xp = array_namespace(x)
    *batch, H, W = x.shape
    x = xp.concat([x, xp.zeros_like(x[..., : -H % REGION, :])], axis=-2)
    x = xp.concat([x, xp.zeros_like(x[..., : -W % REGION])], axis=-1)
    rows, columns = (n // REGION for n in x.shape[-2:])
    return xp.sum(xp.reshape(x, (*batch, rows, REGION, columns, REGION)), axis=(-3, -1))


@on_pictures(smallest=REGION)
def qcv(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[Any, "*b"]:
    """Chen and Varshney's visible error, Qcv = Σ (λ_a D_a + λ_b D_b) / Σ (λ_a + λ_b) over 16×16 regions.

    D_x = mean (S * (x − f))², λ_x = Σ |∇x|⁵ with Sobel's gradient and the border's pixels beyond the border.
    Regions at the lower and right end that are cut off are filled up with zeros. If both sources are
    constant, all regions weigh the same.

    The paper filters each region by itself. The MATLAB collection of Liu et al. filters whole pictures as
    here, but first stretches every one to 0–255, so that f is not blamed for lost contrast, and has zeros
    beyond the border, so that with λ's fifth power a bright border outweighs the picture.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 16×16.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: alike in all.

    Returns:
        Grey levels squared, at least 0; smaller is better; 0 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Chen and Varshney 2007, doi:10.1016/j.inffus.2005.10.001.
    """
    xp, dtype = array_namespace(f), f.dtype
    f, sources = wide(f, a, b)
    r = _cycles_per_degree(tuple(f.shape[1:]), 4.0)
    sensitivity = 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))
    D = _regions(_filtered(sources - f, sensitivity) ** 2) / REGION**2
    salience = _regions(gradient_norm(sources) ** ALPHA)
    salience = salience + ROUNDING**ALPHA
    value = xp.sum(salience * D, axis=(0, -2, -1)) / xp.sum(salience, axis=(0, -2, -1))
    return xp.astype(value, dtype)
