"""A picture in memory: its pixels as the file holds them, and what its values mean.

Only this package knows 8 and 16 bit. Everything else works on `to_unit(pixels)`, floats in [0, 1], and comes
back by `from_unit(values, dtype)`, the exact inverse on every 8- and 16-bit value::

    v = p / (2ᵇ − 1),    p = round(v · (2ᵇ − 1)),    b = 8, 16
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import DTypeLike

INTEGERS = (np.dtype(np.uint8), np.dtype(np.uint16))
BLOCK = 2**20
"""Values, or pixels, of a large picture that are worked on at a time, as floats."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One grey or RGB picture.

    Attributes:
        pixels: (H, W) or (H, W, 3); uint8, uint16, or float in [0, 1].
        value_range: The file's values that 0.0 and 1.0 stand for, (0, 255) for 8 bit.
        spacing: From row to row and from column to column, in mm, where known: of PNG and TIFF whose
            resolution has a unit, and of slices of volumes.
        affine: (4, 4) matrix from (row, column, 0, 1) to mm in the scanner's frame (RAS+), of slices of
            volumes.
        metadata: What else the file says, as text.
        notes: What reading converted, one plain sentence each.

    Raises:
        ValueError: If `pixels` is no such array (see `check_pixels`).
    """

    pixels: np.ndarray
    value_range: tuple[int | float, int | float]
    spacing: tuple[float, float] | None = None
    affine: np.ndarray | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_pixels(self.pixels)


def check_pixels(pixels: Shaped[np.ndarray, "..."]) -> None:
    """Refuse an array that is no picture, saying what is wrong with it.

    Args:
        pixels: What should be (H, W) or (H, W, 3), not empty; uint8, uint16, or finite float in [0, 1].

    Raises:
        ValueError: With the shape, the type or the values found instead.
    """
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or pixels.size == 0:
        raise ValueError(f"pixels must be (height, width) or (height, width, 3), not {pixels.shape}")
    check_values(pixels)


def check_values(pixels: Shaped[np.ndarray, "..."]) -> None:
    """Refuse values that are no picture's, nor a volume's, of whatever shape.

    Args:
        pixels: What should be uint8, uint16, or finite float in [0, 1]; not empty.

    Raises:
        ValueError: With the type or the values found instead.
    """
    if pixels.dtype in INTEGERS:
        return
    if pixels.dtype.kind != "f":
        raise ValueError(f"pixels must be uint8, uint16, or float in [0, 1], not {pixels.dtype}")
    if not np.isfinite(pixels).all():
        place = tuple(np.argwhere(~np.isfinite(pixels))[0])
        at = f"row {place[0]}, column {place[1]}" if pixels.ndim < 4 else f"voxel {place[:3]}"
        raise ValueError(f"pixels must be finite; {at} holds {pixels[place]}")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 1:
        raise ValueError(f"floating-point pixels must lie in [0, 1]; they run from {low:g} to {high:g}")


def to_unit(pixels: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Pixels as floats in [0, 1]: p / 255 for uint8, p / 65535 for uint16, floats as they are.

    Args:
        pixels: Any shape; uint8, uint16, or float in [0, 1].

    Returns:
        The same shape, float32 (float64 where `pixels` is).
    """
    unit = pixels.astype(np.result_type(pixels.dtype, np.float32))
    if pixels.dtype in INTEGERS:
        unit /= np.iinfo(pixels.dtype).max
    return unit


def from_unit(values: Float[np.ndarray, "*shape"], dtype: DTypeLike) -> Shaped[np.ndarray, "*shape"]:
    """Floats in [0, 1] as pixels of `dtype`; the inverse of `to_unit`.

    Args:
        values: Any shape. What rounding carried out of [0, 1] is clipped to it, never stretched.
        dtype: uint8, uint16 (rounded to nearest, halves to even) or a float type.

    Returns:
        The same shape, of `dtype`.

    Raises:
        ValueError: If a value is not a number, or `dtype` is no pixel type.
    """
    dtype = np.dtype(dtype)
    if dtype not in INTEGERS and dtype.kind != "f":
        raise ValueError(f"pixels must be uint8, uint16, or float in [0, 1], not {dtype}")
    pixels = np.empty(values.shape, dtype)
    values, out = np.atleast_1d(values), np.atleast_1d(pixels)
    for rows in bands(values.shape):
        part = values[rows]
        if np.isnan(part).any():
            raise ValueError("a value is not a number (NaN)")
        part = np.clip(part, 0, 1)
        if dtype in INTEGERS:
            # In double precision, where the product is exact enough to tell on which side of a half it lies.
            part = np.rint(np.multiply(part, np.iinfo(dtype).max, dtype=np.float64))
        out[rows] = part
    return pixels


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Parts of the first axis of an array of that shape, of about `BLOCK` values each."""
    step = max(1, BLOCK * shape[0] // max(1, math.prod(shape)))
    return (slice(top, min(top + step, shape[0])) for top in range(0, shape[0], step))
