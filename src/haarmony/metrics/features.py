"""Feature mutual information (FMI) of the fused picture with its sources, window by window.

In every 3×3 window the nine grey levels of x, stretched to 0–1 and divided by their sum, are taken for a
distribution p over the window's places 1 to 9, those of f for q. Their joint distribution is taken to be

    P(i, j) = φ M(i, j) + (1 − φ) p(i) q(j),    φ = min(1, |r| / ρ)

M couples p and q as closely as can be (Fréchet's bound), ρ is the correlation of the places i and j under M,
r that of the nine values of p with those of q; for r < 0 the places of x run backwards. Then

    FMI(x, f) = mean of 2 (H(p) + H(q) − H(P)) / (H(p) + H(q)) over all windows inside the picture
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from haarmony.metrics.convention import Convention, eight_bit, on_pictures

PLACES, STEPS = (np.arange(n, dtype=np.float32)[:, None] for n in (9, 17))
# Cumulative sums down the rows, as products: these are fast.
UP_TO, BEFORE = np.tri(8, 9, dtype=np.float32), np.tri(17, 16, -1, dtype=np.float32)
UNIT = 2**29  # cumulative sums as integers leave a bit to tell those of p from those of q
BLOCK = 8192  # windows at a time: what is computed for them stays in the cache


def _terms(p: Float[np.ndarray, "*k n"]) -> Float[np.ndarray, "*k n"]:
    """−p log p, 0 where p is 0."""
    return -p * np.log(np.maximum(p, np.float32(1e-30)))


def _distributions(levels: np.ndarray) -> Float[np.ndarray, "9 n"]:
    """Windows (9, N) as distributions over their places; uniform where they are flat."""
    low, high = levels.min(axis=0), levels.max(axis=0)
    values = np.where(high > low, levels - low, 1).astype(np.float32)
    return values / values.sum(axis=0)


def _closest(p: Float[np.ndarray, "9 n"], q: Float[np.ndarray, "9 n"]) -> tuple[np.ndarray, ...]:
    """The 17 cells (17, N) in which M can be above 0: places i and j, and M there.

    M shares out [0, 1]: its cells are the intervals between the cumulative sums of p and q, put in order.
    """
    of_p, of_q = (np.minimum(UP_TO @ v * UNIT, UNIT).astype(np.int32) * 2 for v in (p, q))
    order = np.concatenate([of_p + 1, of_q[::-1]])
    for apart in (8, 4, 2, 1):  # Batcher's bitonic merge, of rising sums with falling ones
        low, high = order.reshape(-1, 2, apart, p.shape[1]).swapaxes(0, 1)
        order = np.stack([np.minimum(low, high), np.maximum(low, high)], axis=1).reshape(order.shape)
    i = BEFORE @ (order & 1).astype(np.float32)
    M = np.diff(order >> 1, axis=0, prepend=np.int32(0), append=np.int32(UNIT)).astype(np.float32) / UNIT
    return i, STEPS - i, M


def _shared(p: Float[np.ndarray, "9 n"], q: Float[np.ndarray, "9 n"]) -> Float[np.ndarray, " n"]:
    """2 (H(p) + H(q) − H(P)) / (H(p) + H(q)) of N pairs."""
    dp, dq = p - p.mean(axis=0), q - q.mean(axis=0)
    spread = np.sum(dp * dp, axis=0) * np.sum(dq * dq, axis=0)  # at least 1e-4, or 0 where one is flat
    r = np.sum(dp * dq, axis=0) / np.sqrt(np.maximum(spread, 1e-6))
    p = np.where(r < 0, p[::-1], p)
    i, j, M = _closest(p, q)
    mean_i, mean_j = (np.sum(v * PLACES, axis=0) for v in (p, q))
    covariance = np.sum(M * (i - mean_i) * (j - mean_j), axis=0)
    variances = np.sum(p * (PLACES - mean_i) ** 2, axis=0) * np.sum(q * (PLACES - mean_j) ** 2, axis=0)
    phi = np.minimum(np.abs(r) * np.sqrt(variances) / np.maximum(covariance, 1e-6), 1)
    # H(P) is that of (1 − φ) p q everywhere, corrected in the cells of M.
    N, pairs = p.shape[1], np.arange(p.shape[1], dtype=np.float32)
    rest, both = 1 - phi, _terms(p).sum(axis=0) + _terms(q).sum(axis=0)
    apart = rest * p.take((i * N + pairs).astype(np.intp)) * q.take((j * N + pairs).astype(np.intp))
    joint = rest * both + _terms(rest) + np.sum(_terms(apart + phi * M) - _terms(apart), axis=0)
    return np.where(both > 1e-6, 2 * (both - joint) / np.maximum(both, 1e-6), 0)


@on_pictures(smallest=3, undefined=("matlab",))
def fmi(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Feature mutual information of pixels, the mean of FMI(a, f) and FMI(b, f).

    The fast form, by the equations of `haarmony.metrics.features`: places count down the columns, a window
    that is equal in x and f scores 1, a flat window is uniform and shares nothing with another. Pictures are
    rounded to 8 bits. In `cddfuse` alike; not defined in `matlab`.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it, at least 3×3.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0, 1], as NumPy; larger keeps more; 1 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention, `matlab`.

    Source: Haghighat, Aghagolzadeh and Seyedarabi 2011, doi:10.1016/j.compeleceng.2011.07.012; the fast form
    from Haghighat and Razian 2014, doi:10.1109/ICAICT.2014.7036000.
    """
    H, W = f.shape[1:]
    values = []
    for pictures in zip(*(eight_bit(x) for x in (f, a, b)), strict=True):
        windows = [
            np.stack([x[i : H - 2 + i, j : W - 2 + j].ravel() for j in range(3) for i in range(3)])
            for x in pictures
        ]
        q, total = _distributions(windows[0]), 0.0
        for x in windows[1:]:
            p, differ = _distributions(x), np.flatnonzero((x != windows[0]).any(axis=0))
            total += p.shape[1] - len(differ)
            for i in range(0, len(differ), BLOCK):
                some = differ[i : i + BLOCK]
                total += float(_shared(p.take(some, axis=1), q.take(some, axis=1)).sum())
        values.append(total / (2 * q.shape[1]))
    return np.array(values)
