"""What the fused picture tells of its sources, from exact histograms of 256 levels: MI, NMI, CE, NCIE.

I(x; y) = H(x) + H(y) − H(x, y)

Counts have no gradient, so all of these come as NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from haarmony.metrics.convention import Convention, eight_bit, on_pictures


def entropy(counts: Int[np.ndarray, " n"]) -> float:
    """Entropy of a histogram, −Σ p log2 p, in bits."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def _information(x: np.ndarray, y: np.ndarray, top: int = 255) -> float:
    joint = np.bincount((np.minimum(x, top).astype(np.uint16) * 256 + np.minimum(y, top)).ravel())
    both = entropy(np.bincount(x.ravel())) + entropy(np.bincount(y.ravel()))
    return max(both - entropy(joint), 0.0)  # below it by rounding alone


@on_pictures()
def mi(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Mutual information with both sources, I(f; a) and I(f; b).

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: `haarmony` takes the mean over the sources in bits, `cddfuse` the sum in nats, `matlab`
            the sum in bits, with the grey levels 254 and 255 counted as one in the joint histogram.

    Returns:
        At least 0, as NumPy; MI(x, x, x) is the entropy of x (`cddfuse`, `matlab`: twice).

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Qu, Zhang and Yan 2002, doi:10.1049/el:20020212.
    """
    top = 254 if convention == "matlab" else 255
    levels = (eight_bit(x) for x in (f, a, b))
    value = np.array(
        [_information(x, y, top) + _information(x, z, top) for x, y, z in zip(*levels, strict=True)]
    )
    return value * {"haarmony": 0.5, "cddfuse": math.log(2), "matlab": 1.0}[convention]


@on_pictures()
def nmi(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Normalised mutual information, NMI = 2 I(f; a) / (H(f) + H(a)) + 2 I(f; b) / (H(f) + H(b)).

    MI favours the source of larger entropy; this does not. Alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0, 2], as NumPy; larger keeps more; 2 for f = a = b. Two constant pictures share nothing: 0.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Hossny, Nahavandi and Creighton 2008, doi:10.1049/el:20081754.
    """

    def shared(x: np.ndarray, y: np.ndarray) -> float:
        both = entropy(np.bincount(x.ravel())) + entropy(np.bincount(y.ravel()))
        return 2 * _information(x, y) / both if both else 0.0

    levels = (eight_bit(x) for x in (f, a, b))
    return np.array([shared(x, y) + shared(x, z) for x, y, z in zip(*levels, strict=True)])


@on_pictures()
def ce(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Cross entropy, CE = (D(a, f) + D(b, f)) / 2 with D(x, f) = Σ p_x log2(p_x / p_f) over grey levels.

    As in published code the sum goes over the levels that both pictures have. So it is no divergence: levels
    that f lacks cost nothing, D can be negative, and pictures without a common level score 0 as do equal
    histograms. Read it beside MI. Alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        Bits, at least −log2(e) / e > −0.531, as NumPy; smaller is closer; 0 for f = a = b.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Bulanon, Burks and Alchanatis 2009, doi:10.1016/j.biosystemseng.2009.02.009.
    """

    def divergence(x: np.ndarray, y: np.ndarray) -> float:
        p_x, p_y = (np.bincount(v.ravel(), minlength=256) / v.size for v in (x, y))
        common = (p_x > 0) & (p_y > 0)
        return float((p_x[common] * np.log2(p_x[common] / p_y[common])).sum())

    levels = (eight_bit(x) for x in (f, a, b))
    return np.array([(divergence(y, x) + divergence(z, x)) / 2 for x, y, z in zip(*levels, strict=True)])


@on_pictures()
def ncie(
    f: Shaped[Any, "*b h w"],
    a: Shaped[Any, "*b h w"],
    b: Shaped[Any, "*b h w"],
    *,
    convention: Convention = "haarmony",
) -> Float[np.ndarray | np.floating, "*b"]:
    """Nonlinear correlation information entropy, NCIE = 1 + Σ λ/3 log256(λ/3).

    λ are the eigenvalues of the nonlinear correlations of f, a and b: 1 on the diagonal and beside it
    I(x; y) / 8, mutual information to the base 256. Alike in every convention.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.

    Returns:
        In [0.8018, 1], as NumPy; larger is more closely related. It starts at 1 − log256 3, for pictures that
        share nothing, so tables differ in its third digit. The sources' relation to each other counts too.

    Raises:
        ValueError: pictures that `grey_levels` refuses, unequal shapes, an unknown convention.

    Source: Wang, Shen and Zhang 2005, doi:10.1016/j.physd.2004.11.001.
    """
    values = []
    for pictures in zip(*(eight_bit(x) for x in (f, a, b)), strict=True):
        R = np.eye(3)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            R[i, j] = R[j, i] = _information(pictures[i], pictures[j]) / 8
        share = np.linalg.eigvalsh(R) / 3
        share = share[share > 0]
        values.append(1 + float((share * np.log2(share)).sum()) / 8)
    return np.array(values)
