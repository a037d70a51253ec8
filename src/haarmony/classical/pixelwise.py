"""Fusers that look at one pixel at a time: f = w_a a + w_b b, or the larger of the two."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def average(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return (a + b) / 2."""
    return np.asarray((a + b) / 2)


def maximum(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return max(a, b): the baseline that papers leave out and few of them beat."""
    return np.asarray(np.maximum(a, b))


def pca(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return w_a a + w_b b with the weights of `pca_weights` (Naidu & Raol 2008)."""
    w_a, w_b = pca_weights(a, b)
    return w_a * a + w_b * b


def pca_weights(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> tuple[float, float]:
    """Return |v| / Σ|v| for v = (cos θ, sin θ), the leading eigenvector of the sources' 2×2 covariance.

    With variances p, q and covariance c, θ = ½ atan2(2c, p − q). Where no direction leads (two constants, or
    equal variances without correlation) the sources weigh the same.
    """
    (p, c), (_, q) = np.cov(a.ravel(), b.ravel(), bias=True)
    if np.hypot(2 * c, p - q) < 1e-12:
        return 0.5, 0.5
    theta = np.arctan2(2 * c, p - q) / 2
    v = np.abs([np.cos(theta), np.sin(theta)])
    w_a, w_b = v / v.sum()
    return float(w_a), float(w_b)
