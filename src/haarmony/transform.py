"""A transform: where to look up the second source, its file, and what it does to pictures and volumes.

A `Transform` T looks the second source up at T x for what the first has at x: rows and columns of pictures,
in pixels; x, y, z of volumes, in the scanner's frame (RAS+), in mm. `haarmony.register` finds it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from haarmony import volumes
from haarmony.io import Picture, Volume, check_regular, from_unit, replacing, to_unit
from haarmony.io.volume import FARTHEST
from haarmony.text import plain

LARGEST = 2**20
"""Bytes of a transform's file that is read."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Where to look up the second source.

    Attributes:
        matrix: (3, 3) for pictures, of (row, column, 1) in pixels; (4, 4) for volumes, of (x, y, z, 1) in mm.
        centre: (2,) or (3,), the first source's centre, at which `shift` is measured.
        kind: How it was found: "rigid", "affine", or "pose" by `look`.
        before: NMI of the pair as it came.
        after: NMI with the second source looked up by `matrix`.
    """

    matrix: np.ndarray
    centre: np.ndarray
    kind: str
    before: float
    after: float

    @property
    def unit(self) -> str:
        """Of lengths: "px" or "mm"."""
        return "px" if len(self.matrix) == 3 else "mm"

    @cached_property
    def shift(self) -> float:
        """How far the centre of the first source lies from its place in the second, in `unit`."""
        return float(np.linalg.norm(self.matrix[:-1, :-1] @ self.centre + self.matrix[:-1, -1] - self.centre))

    @cached_property
    def turn(self) -> float:
        """Degrees that it turns by: of the rotation nearest to `matrix`."""
        u, _, v = np.linalg.svd(self.matrix[:-1, :-1])
        trace = float(np.trace(u @ v))
        cosine = trace / 2 if len(self.matrix) == 3 else (trace - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @cached_property
    def stretch(self) -> tuple[float, float]:
        """By what it scales at least and at most, whatever the direction; 1 and 1 of a rigid one."""
        scales = np.linalg.svd(self.matrix[:-1, :-1], compute_uv=False)
        return float(scales.min()), float(scales.max())

    def moved(self) -> str:
        """Shift and turn in words, and stretch where there is one."""
        least, most = self.stretch
        about = "about " if self.kind == "pose" else ""
        stretched = f", stretched by {least:.3f} to {most:.3f}" if max(1 - least, most - 1) > 5e-4 else ""
        return f"by {about}{self.shift:.1f} {self.unit} and {self.turn:.1f}°{stretched}"

    def described(self) -> str:
        """The same and both NMI, which are of the pair that it was found for."""
        return f"{self.moved()}, normalised mutual information {self.before:.4f} → {self.after:.4f}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        with replacing(Path(path)) as file:
            file.write(self.encoded())

    def encoded(self) -> bytes:
        """What `save` writes."""
        content = {
            "haarmony": "transform",
            "unit": self.unit,
            "kind": self.kind,
            "matrix": self.matrix.tolist(),
            "centre": self.centre.tolist(),
            "nmi_before": self.before,
            "nmi_after": self.after,
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Transform:
        """Read what `save` wrote.

        Raises:
            ValueError: It is no such file; the message names it.
            OSError: It cannot be read.
        """
        path = Path(path)
        check_regular(path, most=LARGEST)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            matrix, centre = (np.array(content[key], np.float64) for key in ("matrix", "centre"))
            size = {"px": 3, "mm": 4}[content["unit"]]
            if matrix.shape != (size, size) or centre.shape != (size - 1,):
                raise ValueError("its matrix or its centre has another size")
            if not (np.abs(matrix).max() < FARTHEST and np.abs(centre).max() < FARTHEST):  # or NaN
                raise ValueError(f"its matrix or its centre leads beyond {FARTHEST:g}")
            if abs(np.linalg.det(matrix)) < 1e-6 or (matrix[-1] != [*[0] * (size - 1), 1]).any():
                raise ValueError("its matrix cannot be inverted or is not affine")
            return cls(
                matrix,
                centre,
                str(content["kind"]),
                float(content["nmi_before"]),
                float(content["nmi_after"]),
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            why = plain(str(error)[:200])
            raise ValueError(f"{path}: is no transform that haarmony saved ({why})") from None


def apply(b: Picture | Volume, transform: Transform) -> Picture | Volume:
    """The second source in the first one's place.

    Args:
        b: A picture, which is resampled (linearly, to its own sample type; 0 where it has nothing); or a
            volume, whose affine is changed: it is resampled once, when it is fused.
        transform: As `find` gives it.

    Raises:
        ValueError: The transform is a picture's and `b` a volume, or the other way round.
    """
    if isinstance(b, Volume) != (transform.unit == "mm"):
        what = ("a volume", "pictures") if isinstance(b, Volume) else ("a picture", "volumes")
        raise ValueError(f"the transform is for {what[1]}, the second source is {what[0]}")
    if isinstance(b, Volume):
        scale = np.diag([*[volumes.MILLIMETRES[b.unit]] * 3, 1.0])
        moved = np.linalg.inv(scale) @ np.linalg.inv(transform.matrix) @ scale @ b.affine
        return replace(b, affine=moved)
    return replace(b, pixels=from_unit(resampled(to_unit(b.pixels), transform.matrix), b.pixels.dtype))


def rotation(turn: float) -> np.ndarray:
    angle = np.radians(turn)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def turned(centre: np.ndarray, turn: float, shift: np.ndarray) -> np.ndarray:
    """R (x − centre) + centre + shift as a matrix (3, 3), of (row, column, 1); `turn` in degrees."""
    matrix = np.eye(3)
    matrix[:2, :2] = rotation(turn)
    matrix[:2, 2] = centre - matrix[:2, :2] @ centre + shift
    return matrix


def resampled(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Float pixels looked up by a matrix, linearly; 0 beyond the edges."""
    from PIL import Image

    inner, size = swapped(matrix), pixels.shape[1::-1]
    inner[:2, 2] += (1 - inner[:2, :2].sum(1)) / 2  # Pillow counts from a pixel's corner
    channels = np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels[None]
    moved = [
        Image.fromarray(np.ascontiguousarray(x, np.float32)).transform(
            size, Image.Transform.AFFINE, inner[:2].ravel().tolist(), Image.Resampling.BILINEAR
        )
        for x in channels
    ]
    return np.stack([np.asarray(x) for x in moved], axis=-1) if pixels.ndim == 3 else np.asarray(moved[0])


def swapped(matrix: np.ndarray) -> np.ndarray:
    """From (row, column) to SimpleITK's (x, y), or back."""
    swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    return swap @ matrix @ swap
