"""Where a volume lies in another's frame: the pose of largest NMI, from many starts, coarse to fine.

NMI is that of `haarmony.register`, of a joint histogram of points x_n that fill the first volume's box evenly
and on no grid (Roberts' R3 sequence), so that neither where voxel centres meet nor how thick slices are moves
its maximum::

    h[q(a(x_n)), ·] += 1, shared by the two levels that b(T x_n) lies between
    T x = centre + t + R(r) (1 + S) (x − centre),        S symmetric, 0 for rigid poses

A level smooths both volumes to about σ mm, an axis whose voxels are longer not at all, and climbs by Powell's
method (1964, doi:10.1093/comjnl/7.2.155). Of all lengths the unit is the first volume's longest side.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float

from haarmony import volumes
from haarmony.io import Volume, to_unit

LEVELS = ((1 / 60, 10_000, 1e-4), (1 / 120, 20_000, 1e-4), (0.0, 40_000, 1e-5))
"""σ of each level, in longest sides (4 and 2 mm of a head), how many points it has, and the share of NMI that
ends its climb."""
STARTS = (-0.09, -0.045, 0.0, 0.045, 0.09)
"""Shifts along each axis of the frame that are tried first, in longest sides (10 and 20 mm of a head): from
how both lie, and from where their centres meet."""
BINS = 32
"""Grey levels of the joint histogram."""
LEAST = 4
"""Slices that a volume needs along each axis: fewer do not tell where it lies across them."""
_EMPTY = 1.0
"""NMI of what overlaps too little: that of two that have nothing in common."""


def climb(a: Volume, b: Volume, kind: str) -> tuple[np.ndarray, float, float]:
    """The pose in which `b` shows what `a` does.

    Args:
        a: First source, grey.
        b: Second source, grey; it overlaps the first by its affine.
        kind: "rigid" or "affine".

    Returns:
        The matrix (4, 4), of mm in the first's frame to mm in the second's; NMI as they lie, and by the
        matrix, which is the unit where none is better.

    Raises:
        ValueError: They hardly overlap, or have too few slices.
    """
    for volume in (a, b):
        if min(volume.shape) < LEAST:
            shape = " × ".join(map(str, volume.shape))
            raise ValueError(
                f"a volume of {shape} voxels cannot be registered; it takes {LEAST} along each axis at least"
            )
    pose = np.zeros(6)
    for k, (sigma, count, least) in enumerate(LEVELS):
        level = _Level(a, b, sigma, count)
        starts = [pose]
        if k == 0:
            around = [level.side * np.array(shift) for shift in product(STARTS, repeat=3)]
            shifts = [apart + shift for apart in (np.zeros(3), level.apart) for shift in around]
            starts.append(max((np.append(shift, np.zeros(3)) for shift in shifts), key=level.nmi))
        pose = max((_powell(level, start, least) for start in starts), key=level.nmi)
    if kind == "affine":
        pose = _powell(level, np.append(pose, np.zeros(6)), least)
    before, after = level.nmi(np.zeros(6)), level.nmi(pose)
    return (level.matrix(pose), before, after) if after > before else (np.eye(4), before, before)


def _powell(level: _Level, start: np.ndarray, least: float) -> np.ndarray:
    from scipy.optimize import minimize

    found = minimize(
        lambda pose: -level.nmi(pose),
        start,
        method="Powell",
        options={"xtol": 2e-3, "ftol": least, "direc": np.eye(len(start)) * level.side / 120},
    )
    return np.asarray(found.x)


class _Level:
    """Both volumes at one smoothness, and the points that NMI is taken at."""

    def __init__(self, a: Volume, b: Volume, sigma: float, count: int) -> None:
        from scipy.ndimage import map_coordinates

        to_mm, shape = volumes.to_mm(a), np.array(a.shape)
        spacing = np.linalg.norm(to_mm[:3, :3], axis=0)
        self.side = float((spacing * shape).max())
        self.centre, other = (
            (volumes.to_mm(volume) @ [*((np.array(volume.shape) - 1) / 2), 1])[:3] for volume in (a, b)
        )
        self.apart = other - self.centre
        x, to_mm = _smooth(a, sigma * self.side)
        y, from_mm = _smooth(b, sigma * self.side)
        golden = 1.2207440846057596  # x⁴ = x + 1
        at = (0.5 + np.arange(1, count + 1)[:, None] * golden ** -np.arange(1.0, 4.0)) % 1
        at *= np.array(x.shape) - 1
        at = at[np.lexsort(np.floor(at.T[::-1]))]  # in the order in which they lie in memory, which is faster
        self._points = at @ to_mm[:3, :3].T + to_mm[:3, 3]
        values = map_coordinates(x, at.T, order=1)
        low, high = float(values.min()), float(values.max())
        self._first = np.clip((values - low) * (BINS / max(high - low, 1e-6)), 0, BINS - 1).astype(np.int64)
        low, high = float(y.min()), float(y.max())
        self._second = (y - low) * ((BINS - 1) / max(high - low, 1e-6))
        self._from_mm = np.linalg.inv(from_mm)
        inside = self._look_up(np.zeros(6))[0].mean()
        if inside < 0.002:
            raise ValueError(
                "the volumes do not overlap by their affines; align them or correct their headers"
            )
        self._least = inside / 2

    def matrix(self, pose: np.ndarray) -> Float[np.ndarray, "4 4"]:
        """That of a pose (t, r) or (t, r, S) in mm; r and S at a third of the longest side off the centre."""
        from scipy.spatial.transform import Rotation

        radius = self.side / 3
        inner = Rotation.from_rotvec(pose[3:6] / radius).as_matrix()
        if len(pose) > 6:
            i, j, k, ij, ik, jk = pose[6:] / radius
            inner = inner @ (np.eye(3) + np.array([[i, ij, ik], [ij, j, jk], [ik, jk, k]]))
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = inner, self.centre + pose[:3] - inner @ self.centre
        return matrix

    def nmi(self, pose: np.ndarray) -> float:
        """NMI where both have something; that of nothing where that is less than half of what it was."""
        from scipy.ndimage import map_coordinates

        inside, at = self._look_up(pose)
        if inside.mean() < self._least:
            return _EMPTY
        values = map_coordinates(self._second, at[inside].T, order=1, mode="nearest")
        lower = np.minimum(values.astype(np.int64), BINS - 2)
        share, cell = values - lower, self._first[inside] * BINS + lower
        counts = np.bincount(cell, 1 - share, BINS**2) + np.bincount(cell + 1, share, BINS**2)
        joint = counts.reshape(BINS, BINS) / len(values)
        both, first, second = (
            -(p * np.log2(np.maximum(p, 1e-12))).sum() for p in (joint, joint.sum(0), joint.sum(1))
        )
        return float((first + second) / both) if both > 0 else _EMPTY

    def _look_up(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which points lie in the second volume, and where all of them do."""
        matrix = self._from_mm @ self.matrix(pose)
        at = self._points @ matrix[:3, :3].T + matrix[:3, 3]
        return ((at >= -0.5) & (at <= np.array(self._second.shape) - 0.5)).all(1), at


def _smooth(volume: Volume, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Its values, smoothed to σ mm and thinned where that leaves them fine enough, and their affine in mm."""
    from scipy.ndimage import gaussian_filter

    values, to_mm = to_unit(volume.voxels), volumes.to_mm(volume)
    spacing = np.linalg.norm(to_mm[:3, :3], axis=0)
    by = np.array(
        [int(np.clip(sigma / d, 1, n // LEAST)) for d, n in zip(spacing, volume.shape, strict=True)]
    )
    for axis, factor in enumerate(by):
        whole = values.shape[axis] // factor * factor
        parts = np.moveaxis(values, axis, -1)[..., :whole]
        if factor > 1:
            values = np.moveaxis(parts.reshape(*parts.shape[:2], -1, factor).mean(-1), -1, axis)
    thin = np.diag([*by, 1.0])
    thin[:3, 3] = (by - 1) / 2
    # A mean over n voxels smooths by √((n² − 1) / 12) of them.
    left = np.sqrt(np.maximum(0, (sigma / spacing) ** 2 - (by**2 - 1) / 12)) / by
    left[left < 0.4] = 0
    return (gaussian_filter(values, left, mode="nearest", truncate=3) if left.any() else values), to_mm @ thin
