"""How far one set of pictures is from another: the sliced Wasserstein distance on Haar bands.

Every picture is taken apart by the orthonormal Haar transform. The detail bands of each level are cut into
patches of 4×4 positions with all three bands, the coarsest average is one vector a picture, and of each kind

    SWD = E_θ [ ∫₀¹ | F⁻¹_θ(q) − G⁻¹_θ(q) | dq ] / s

compares the quantiles of both sets' projections on unit vectors θ (Rabin et al. 2012; on the patches of a
pyramid Karras et al. 2018), s being the reference's standard deviation, so that levels weigh alike. Half
the vectors are axes, single coefficients: a random mixture of many is nearly Gaussian whatever they are, and
could not tell edges from speckle of the same power. The mean over the kinds is returned.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from haarmony.codec.haar import dwt, space_to_depth

PATCH = 4
"""Side of a patch, in positions of a band."""


def sliced_wasserstein(
    x: Float[np.ndarray, "n c h w"],
    y: Float[np.ndarray, "m k H W"],
    *,
    levels: int | None = None,
    directions: int = 128,
    seed: int = 0,
) -> float:
    """The distance of the pictures x from the reference pictures y.

    Args:
        x: Pictures; their number need not be that of `y`, but small sets lie apart by chance.
        y: The reference.
        levels: Haar levels; height and width are multiples of 4 · 2^levels. None takes as many as that
            allows, at most 4.
        directions: Directions for each kind of vector, half of them axes where there are so many.
        seed: Seed of the directions.

    Returns:
        0 where both sets are alike; about 1 where they are a standard deviation of the reference apart.

    Raises:
        ValueError: The pictures cannot be halved so often or differ in shape; one reference picture.
    """
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"pictures must be of one shape, got {x.shape[1:]} and {y.shape[1:]}")
    if len(y) < 2:
        raise ValueError(f"the reference must be at least 2 pictures, got {len(y)}")
    if levels is None:
        levels = max((n for n in (1, 2, 3, 4) if not any(s % (PATCH << n) for s in x.shape[2:])), default=1)
    rng = np.random.default_rng(seed)
    of_x, of_y = _vectors(x, levels), _vectors(y, levels)
    return float(np.mean([_sliced(a, b, directions, rng) for a, b in zip(of_x, of_y, strict=True)]))


def _vectors(x: np.ndarray, levels: int) -> list[np.ndarray]:
    """Of each level the patches of its details, and the last average whole; float64 (number, length)."""
    x, found = x.astype(np.float64), []
    for _ in range(levels):
        x, *details = dwt(x)
        patches = space_to_depth(np.concatenate(details, axis=1), PATCH)
        found.append(np.moveaxis(patches, 1, -1).reshape(-1, patches.shape[1]))
    return [*found, x.reshape(len(x), -1)]


def _sliced(a: np.ndarray, b: np.ndarray, directions: int, rng: np.random.Generator) -> float:
    length = a.shape[1]
    axes = np.eye(length)[:, rng.permutation(length)[: directions // 2]]
    theta = rng.standard_normal((length, directions - axes.shape[1]))
    theta = np.hstack([axes, theta / np.linalg.norm(theta, axis=0)])
    scale = np.sqrt(np.var(b, axis=0).mean())
    distance = _wasserstein(np.sort(a @ theta, axis=0), np.sort(b @ theta, axis=0))
    return float(distance.mean() / scale)


def _wasserstein(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " k"]:
    """∫ |F⁻¹ − G⁻¹| dq of sorted columns: constant between the multiples of 1/n and 1/m."""
    n, m = len(a), len(b)
    ends = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))  # of n · m
    widths = np.diff(ends, prepend=0)
    at = ends - 1
    return (widths[:, None] * np.abs(a[at // m] - b[at // n])).sum(0) / (n * m)
