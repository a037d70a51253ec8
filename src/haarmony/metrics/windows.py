"""Local filters that metrics share: separable windows inside the picture, at linear cost.

    out[i, j] = Σ_k Σ_l w[k] w[l] x[s i + k, s j + l]        (s: stride)

Each axis is one product of a banded (Toeplitz) matrix with blocks of the picture: slices, matrix products and
a concatenation, so the same lines run at BLAS speed on NumPy arrays and, differentiably, on torch tensors.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float

BLOCK = 32  # outputs per product: few enough to waste little on zeros, many enough for BLAS


@cache
def gaussian(n: int, sigma: float | None = None) -> tuple[float, ...]:
    """Weights of a Gaussian window of odd length `n` with σ = `sigma`, else n / 5, summing to one."""
    w = np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * (sigma or n / 5) ** 2))
    return tuple((w / w.sum()).tolist())


@cache
def _band(weights: tuple[float, ...], outputs: int, stride: int) -> np.ndarray:
    band = np.zeros((outputs, stride * (outputs - 1) + len(weights)))
    for i in range(outputs):
        band[i, stride * i : stride * i + len(weights)] = weights
    return band


def window_mean(
    x: Float[Any, "*b h w"], weights: tuple[float, ...], *, stride: int = 1
) -> Float[Any, "*b new_h new_w"]:
    """Weighted mean of `x` in every window that lies inside it, for the window weights ⊗ weights.

    Args:
        x: pictures, (…, H, W), H and W at least `len(weights)`.
        weights: n weights of one axis.
        stride: keep every stride-th window only.

    Returns:
        (…, (H − n) // stride + 1, (W − n) // stride + 1).
    """
    xp = array_namespace(x)
    for axis in (-2, -1):
        outputs = (x.shape[axis] - len(weights)) // stride + 1
        blocks = []
        for i in range(0, outputs, BLOCK):
            band = _band(weights, min(BLOCK, outputs - i), stride)
            T = xp.asarray(band, dtype=x.dtype, device=device(x))
            part = slice(stride * i, stride * i + band.shape[1])
            blocks.append(T @ x[..., part, :] if axis == -2 else x[..., part] @ T.T)
        x = xp.concat(blocks, axis=axis)
    return x
