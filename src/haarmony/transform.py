"""Where to look the second source up: an affine matrix with what it was found by, in a small JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from haarmony.io import replacing
from haarmony.io.volume import FARTHEST


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

    def described(self) -> str:
        """Shift, turn and both NMI, in words."""
        moved = f"by {self.shift:.1f} {self.unit} and {self.turn:.1f}°"
        return f"{moved}, normalised mutual information {self.before:.4f} → {self.after:.4f}"

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
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
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
            raise ValueError(f"{path}: is no transform that haarmony saved ({error})") from None
