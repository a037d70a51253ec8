"""Two questions of a whole pair: does the fused picture still show the function, and is the pair aligned?

    function     Spearman's ρ of the fused luma with the functional source's, where that is above a tenth of
                 its maximum (`haarmony.metrics.fidelity.function`), for the whole and for local patches in
                 which that source outshines the other: there a fused picture is expected to follow it
    alignment    where the largest normalised mutual information puts the second source (`haarmony.register`)

The thresholds of the warnings stand here; docs/explain.md says how often they fire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haarmony import register
from haarmony.io import Picture, Volume
from haarmony.metrics.fidelity import function

PATCH = 32
"""Side in pixels of a patch; patches overlap by half."""
UPTAKE = 0.1
"""Part of the functional source's maximum above which there is uptake."""
ENOUGH = 0.5
"""Part of a patch that must have uptake for its figure to count, and of that to outshine the other source."""
VARIED = 0.04
"""Standard deviation, in full scale, that the uptake in a patch must have: in a flat one noise decides."""
WEAK = 0.3
"""Function below which a warning says that the picture hardly follows the uptake."""
REVERSED = -0.4
"""Function of a patch below which a warning says that it shows the uptake reversed."""
MANY = 0.05
"""Part of a picture that may be unsupported without a warning."""


@dataclass(frozen=True)
class Patch:
    """A square of a picture, or of a slice of a volume.

    Attributes:
        slice: The slice's place in the fused volume, as stored and counted from 0; None for a picture.
        row: Its first row, of the slice upright.
        column: Its first column.
        side: Its side in pixels.
        value: Its function.
    """

    slice: int | None
    row: int
    column: int
    side: int
    value: float


@dataclass(frozen=True)
class Function:
    """How well the order of the uptake is kept.

    Attributes:
        value: Spearman's ρ over all uptake, in [−1, 1]; None where there is none, or nothing varies.
        worst: The patch of the least ρ; None where no patch counts.
    """

    value: float | None
    worst: Patch | None


@dataclass(frozen=True)
class Alignment:
    """Where the second source seems to lie, as a coarse search finds it.

    Attributes:
        shift: How far, in pixels of the first source.
        turn: Degrees.
        nmi: Normalised mutual information as the pair lies, 1 to 2.
        nmi_there: The same at that place.
        misaligned: Whether it speaks for that place strongly enough.
    """

    shift: float
    turn: float
    nmi: float
    nmi_there: float
    misaligned: bool


def function_of(
    fused: Sequence[np.ndarray], functional: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> Function:
    """The function of a picture, or of the slices of a volume.

    Args:
        fused: Lumas (H, W) in [0, 1], one a slice.
        functional: The functional source's, likewise.
        other: The other source's.
    """
    f, b = (np.concatenate(x, axis=1) for x in (fused, functional))
    least = UPTAKE * float(b.max())
    there = b > least
    if not there.any() or np.ptp(b[there]) == 0 or np.ptp(f[there]) == 0:
        return Function(None, None)
    found = [
        Patch(k if len(fused) > 1 else None, row, column, side, value)
        for k, (x, y, z) in enumerate(zip(fused, functional, other, strict=True))
        for row, column, side, value in _patches(x, y, z, least)
    ]
    worst = min(found, key=lambda patch: patch.value, default=None)
    return Function(float(function(f, b)), worst)


def _patches(
    f: np.ndarray, b: np.ndarray, other: np.ndarray, least: float
) -> Iterator[tuple[int, int, int, float]]:
    from scipy.stats import rankdata

    side = min(PATCH, *f.shape)
    rows, columns = (sorted({*range(0, n - side, side // 2), n - side}) for n in f.shape)
    for row in rows:
        for column in columns:
            x, y, z = (v[row : row + side, column : column + side] for v in (f, b, other))
            where = y > least
            varied = where.mean() >= ENOUGH and y[where].std() >= VARIED and np.ptp(x[where]) > 0
            if varied and (y > z)[where].mean() >= ENOUGH:
                ranks = rankdata(x[where]), rankdata(y[where])
                yield row, column, side, float(np.corrcoef(*ranks)[0, 1])


def alignment_of(a: Any, b: Any) -> Alignment | None:
    """Where the second source seems to lie; None for volumes that share no slice.

    Args:
        a: First source, a `Picture`, an array or a `Volume`.
        b: Second source, likewise.
    """
    if not isinstance(a, Volume):
        a, b = (x if isinstance(x, Picture) else Picture(x, (0.0, 1.0)) for x in (a, b))
    found = register.pose(a, b)
    if found is None:
        return None
    misaligned = register.is_misaligned(found)
    return Alignment(found.shift, found.turn, found.before, found.after, misaligned)


def warnings_of(of: Function, alignment: Alignment | None, flagged: float) -> tuple[str, ...]:
    """What a reader should know, in plain words; see `haarmony.explain.Explanation`."""
    said = []
    if of.value is not None and of.value < WEAK:
        said.append(
            f"the fused picture hardly follows the functional source's uptake (Spearman {of.value:.2f});"
            " read that source beside it"
        )
    if of.worst is not None and of.worst.value < REVERSED:
        at = "" if of.worst.slice is None else f"slice {of.worst.slice}, "
        said.append(
            f"at {at}row {of.worst.row}, column {of.worst.column} ({of.worst.side} pixels wide) more uptake"
            f" looks darker (Spearman {of.worst.value:.2f})"
        )
    if alignment is not None and alignment.misaligned:
        said.append(
            f"the sources seem misaligned, by {alignment.shift:.1f} px and {alignment.turn:.1f}°; what lies"
            " side by side in the fused picture may not belong together; align them first"
        )
    if flagged > MANY:
        said.append(
            f"{flagged:.1%} of the picture shows what neither source does;"
            " see the map of unsupported structure"
        )
    return tuple(said)
