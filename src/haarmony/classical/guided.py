"""Guided-filter fusion (Li, Kang & Hu 2013): two scales, weighted by saliency that follows edges.

    B_n = mean₃₁(I_n),  D_n = I_n − B_n                                                            eqs. 6, 7
    S_n = gauss(|laplace(I_n)|),  P_n = 1 where S_n is the largest, else 0                         eqs. 8–10
    W_n^B = G_{r1, eps1}(P_n, I_n),  W_n^D = G_{r2, eps2}(P_n, I_n), normalised over n             eqs. 11, 12
    f = Σ W_n^B B_n + Σ W_n^D D_n                                                                  eqs. 13–15

G_{r, eps}(P, I) is the guided filter (He, Sun & Tang 2013): per window the linear function of I nearest P.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

BASE_SIZE = 31
SALIENCY_RADIUS, SALIENCY_SIGMA = 5, 5.0
R1, EPS1 = 45, 0.3
R2, EPS2 = 7, 1e-6


def guided_filter_fusion(
    a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Fuse by guided-filtered weights on a base and a detail layer, with the paper's parameters."""
    from scipy.ndimage import uniform_filter

    sources = np.stack([a, b])
    base = np.stack([uniform_filter(I_n, BASE_SIZE, mode="nearest") for I_n in sources])
    S = np.stack([_saliency(I_n) for I_n in sources])
    P = (S == S.max(axis=0)).astype(float)
    W_B, W_D = (_weights(P, sources, r, eps) for r, eps in ((R1, EPS1), (R2, EPS2)))
    f: np.ndarray = np.sum(W_B * base + W_D * (sources - base), axis=0)  # eqs. 13-15
    return f


def guided_filter(
    P: Float[np.ndarray, "h w"], guide: Float[np.ndarray, "h w"], *, r: int, eps: float
) -> Float[np.ndarray, "h w"]:
    """Filter `P` along the edges of `guide`.

    In each window k of n_k pixels, a_k and b_k minimise Σ (a_k I + b_k − P)² + n_k eps a_k²; the output at
    i is mean(a_k) I_i + mean(b_k) over the windows that hold i (He, Sun & Tang 2013, eqs. 5, 6 and 8).

    Args:
        P: What to filter.
        guide: I, the same shape.
        r: Windows are (2r + 1)², cut at the picture's border.
        eps: Contrast, as a variance, below which the guide is flat.
    """
    from scipy.ndimage import uniform_filter

    def box(x: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(x, 2 * r + 1, mode="constant"))

    inside = box(np.ones_like(P))

    def mean(x: np.ndarray) -> np.ndarray:
        return np.asarray(box(x) / inside)

    mean_I, mean_P = mean(guide), mean(P)
    a_k = (mean(guide * P) - mean_I * mean_P) / (mean(guide * guide) - mean_I**2 + eps)
    b_k = mean_P - a_k * mean_I
    return np.asarray(mean(a_k) * guide + mean(b_k))


def _saliency(x: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, laplace

    H = np.abs(laplace(x, mode="nearest"))
    return np.asarray(gaussian_filter(H, SALIENCY_SIGMA, radius=SALIENCY_RADIUS, mode="nearest"))


def _weights(P: np.ndarray, guides: np.ndarray, r: int, eps: float) -> np.ndarray:
    W = np.stack([guided_filter(P_n, I_n, r=r, eps=eps) for P_n, I_n in zip(P, guides, strict=True)])
    # As in the authors' code: weights stay in [0, 1], and a pixel with no weight at all is shared.
    W = np.clip(W, 0, 1) + 1e-12
    return np.asarray(W / W.sum(axis=0))
