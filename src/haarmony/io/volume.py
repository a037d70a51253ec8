"""A volume in memory: voxels on a regular grid, where that grid lies, and what the values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from haarmony.io.picture import check_values

MAX_VOXELS = 2**28
"""Of a file that is read, 1024 × 1024 × 256 say: 1 GiB as float32. What claims more is taken for a bomb."""
FARTHEST = 1e12
"""Largest number in an affine: in micrometres a thousand kilometres."""
Unit = Literal["mm", "m", "um", "unknown"]


@dataclass(frozen=True, eq=False)
class Volume:
    """One grey or RGB volume.

    Attributes:
        voxels: (I, J, K) or (I, J, K, 3); uint8, uint16, or float in [0, 1].
        value_range: The file's values that 0.0 and 1.0 stand for, Hounsfield units say.
        affine: (4, 4) matrix from voxel indices to the scanner's frame, x to the right, y to the front, z up
            (RAS+, as in NIfTI).
        unit: Of that frame's lengths.
        metadata: What else the file says, as text.
        notes: What reading converted, one plain sentence each.

    Raises:
        ValueError: `voxels` is no such array, or `affine` no invertible matrix of that shape.
    """

    voxels: np.ndarray
    value_range: tuple[float, float]
    affine: np.ndarray
    unit: Unit = "mm"
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.voxels.shape
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)) or self.voxels.size == 0:
            raise ValueError(f"voxels must be (I, J, K) or (I, J, K, 3), not {shape}")
        check_values(self.voxels)
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("the affine must be a finite matrix of 4×4")
        if np.abs(self.affine).max() > FARTHEST:
            raise ValueError(f"the affine leads beyond {FARTHEST:g} {self.unit}; correct it")
        axes = self.affine[:3, :3].astype(np.float64)
        # Of directions: of lengths, that of a fine grid in metres is next to nothing.
        if min(self.spacing) == 0 or abs(np.linalg.det(axes / self.spacing)) < 1e-6:
            raise ValueError("the affine cannot be inverted: an axis has no length")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis, colour aside."""
        i, j, k = self.voxels.shape[:3]
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis, in `unit`."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)
