"""Wavelet fusers: choose-max on the detail coefficients, the mean of the approximations, transform back.

f = W⁻¹[ (A_a + A_b) / 2, stronger(D_a, D_b) ]. The decimated transform is the compact one; the stationary one
keeps every position at every scale, so that f moves with the picture and edges ring less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from haarmony.classical.selection import stronger

WAVELET = "db2"
LEVELS = 4


def wavelet(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Choose-max in the discrete wavelet transform (after Li, Manjunath & Mitra 1995)."""
    import pywt

    levels = min(LEVELS, pywt.dwtn_max_level(a.shape, WAVELET))
    c_a, c_b = (pywt.wavedec2(x, WAVELET, level=levels) for x in (a, b))
    f = pywt.waverec2(_merge(c_a, c_b), WAVELET)
    return np.asarray(f)[: a.shape[0], : a.shape[1]]


def stationary(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Choose-max in the stationary wavelet transform (after Rockinger 1997)."""
    import pywt

    levels = min(LEVELS, pywt.dwtn_max_level(a.shape, WAVELET))
    # The transform is periodic and wants multiples of 2^levels. A mirrored border, half the coarsest filter's
    # length to each side, keeps the picture's opposite edges out of each other.
    border = (pywt.Wavelet(WAVELET).dec_len - 1) * 2**levels // 2
    widths = [(border, border + -n % 2**levels) for n in a.shape]
    c_a, c_b = (
        pywt.swt2(np.pad(x, widths, mode="symmetric"), WAVELET, level=levels, trim_approx=True, norm=True)
        for x in (a, b)
    )
    f = pywt.iswt2(_merge(c_a, c_b), WAVELET, norm=True)
    return np.asarray(f)[border : border + a.shape[0], border : border + a.shape[1]]


def _merge(c_a: list[Any], c_b: list[Any]) -> list[Any]:
    """Merge two transforms, [A, (H, V, D), …] each."""
    (A_a, *D_a), (A_b, *D_b) = c_a, c_b
    return [(A_a + A_b) / 2, *(tuple(map(stronger, d_a, d_b)) for d_a, d_b in zip(D_a, D_b, strict=True))]
