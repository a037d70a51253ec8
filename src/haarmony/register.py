"""Alignment: where the second source shows what the first one does, found by mutual information.

What is maximised over a transform T of `haarmony.transform` is

    NMI = (H(a) + H(b)) / H(a, b),        1 (nothing in common) to 2 (each follows from the other),

where both overlap (Studholme, Hill and Hawkes 1999, doi:10.1016/S0031-3203(98)00091-0). `find` tries a few
hundred poses of small pictures, then lets SimpleITK (extra `register`) climb from the best one by Mattes'
mutual information. `look` stops after the first part: it says whether a pair seems misaligned at all. Volumes
climb by NMI itself (`haarmony.poses`), whose maximum does not depend on how thick their slices are.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from haarmony import poses, volumes
from haarmony.colour import to_luma
from haarmony.io import Picture, Volume, to_unit
from haarmony.io.picture import BLOCK
from haarmony.transform import Transform, apply, resampled, rotation, swapped, turned

__all__ = [
    "KINDS",
    "Transform",
    "align",
    "apply",
    "find",
    "is_misaligned",
    "look",
    "pose",
    "require",
    "turned",
]

KINDS = ("none", "rigid", "affine", "auto")

SMALL = 64
"""Longest side of the pictures that poses are tried on."""
LEAST = 8
"""Shortest side that they need."""
TURNS = (-10.0, -5.0, 0.0, 5.0, 10.0)
"""Degrees that are tried."""
REACH = 6
"""Pixels of the small pictures that are tried in each direction: a tenth of the longest side."""
LEVELS = 16
"""Grey levels of the small pictures: more have too few pixels each."""
GAIN = 0.1
"""By what share NMI − 1 has to be larger elsewhere before a pair counts as misaligned."""
AWAY = 1.5
"""Pixels of the small pictures that things have to move by for that, a quarter of the side off the centre."""


def require() -> None:
    """Raise `ModuleNotFoundError` where SimpleITK is not installed, before any work is spent."""
    _sitk()


def _sitk() -> Any:
    return importlib.import_module("SimpleITK")  # whose calls have no types


def align(
    a: Picture | Volume, b: Picture | Volume, how: str = "auto", *, transform: Transform | None = None
) -> tuple[Picture | Volume, Transform | None, str]:
    """The second source in the first one's place, or what seems wrong with where it is.

    Args:
        a: First source.
        b: Second source, as for `find`.
        how: One of `KINDS`: "auto" aligns rigidly what `look` finds misaligned; "none" only says so. What
            `find` finds is applied where it raises NMI.
        transform: One to use instead.

    Returns:
        The second source, the transform that was applied, and in words what was done or should be; "" where
        there is nothing to say.

    Raises:
        ValueError: As for `find`, `look` and `apply`.
        ModuleNotFoundError: SimpleITK is needed and not installed.
    """
    if how not in KINDS:
        raise ValueError(f"unknown registration {how!r}; it is one of {', '.join(KINDS)}")
    if transform is not None:
        return apply(b, transform), transform, f"moved {transform.moved()}, as saved"
    seen = look(a, b) if how in ("none", "auto") else None
    if how == "none" and seen is not None:
        where = " in the slice looked at" if isinstance(a, Volume) else ""
        said = f"the pair seems misaligned{where}, {seen.described()}"
        return b, None, f"{said}; --register rigid aligns it"
    if how == "none" or (how == "auto" and seen is None):
        return b, None, "seems aligned, so it stays" if how == "auto" else ""
    found = find(a, b, "affine" if how == "affine" else "rigid")
    if found.after <= found.before:
        return b, None, f"stays, since nothing better was found than how it lies ({found.described()})"
    return apply(b, found), found, f"moved {found.described()}"


def find(a: Picture | Volume, b: Picture | Volume, kind: str = "rigid") -> Transform:
    """Where `b` shows what `a` does.

    Args:
        a: First source, whose place stays.
        b: Second source: a picture of the same size, or a volume that overlaps `a` by its affine.
        kind: "rigid": shift and rotation; "affine": scale and shear, too.

    Returns:
        The transform; the same pair gives the same one on the same machine.

    Raises:
        ValueError: Sizes differ, volumes hardly overlap or have too few slices, or `kind` is unknown.
        ModuleNotFoundError: The sources are pictures and SimpleITK is not installed.
    """
    if kind not in ("rigid", "affine"):
        raise ValueError(f"unknown registration {kind!r}; it is one of {', '.join(KINDS)}")
    if isinstance(a, Volume) and isinstance(b, Volume):
        return _find_volume(a, b, kind)
    pixels = _pair(a, b)
    pose = _pose(*pixels)
    start = swapped(pose.matrix)
    x, y = (to_luma(to_unit(one)) for one in pixels)
    matrix = _climb(_image(x), _image(y), kind, start, shrinks=_shrinks(max(x.shape), SMALL))
    return _judged(x, y, swapped(matrix), pose.centre, kind)


def look(a: Picture | Volume, b: Picture | Volume) -> Transform | None:
    """Whether a pair seems misaligned: where a coarse search finds it to lie, None where nothing speaks.

    Args:
        a: First source.
        b: Second source, as for `find`. Of volumes one slice of both is looked at, near the middle.

    Returns:
        A shift and a turn in the plane, in pixels, as well as pictures of 64 pixels show them. Measured by
        benchmarks/registration.py: how often it finds what was moved, and how often it is wrong.

    Raises:
        ValueError: Sizes differ.
    """
    found = pose(a, b)
    return found if found is not None and is_misaligned(found) else None


def pose(a: Picture | Volume, b: Picture | Volume) -> Transform | None:
    """Where the coarse search of `look` finds a pair to lie, whether it seems misaligned or not.

    Args:
        a: First source.
        b: Second source, as for `look`.

    Returns:
        As `look`; None for volumes that share no slice.

    Raises:
        ValueError: Sizes differ.
    """
    if isinstance(a, Volume) and isinstance(b, Volume):
        shown = _shared_slice(a, b)
        if shown is None:
            return None
        a, b = shown
    return _pose(*_pair(a, b))


def is_misaligned(found: Transform) -> bool:
    """Whether a pose speaks clearly enough for being the right one."""
    side = 2 * found.centre.max() + 1
    away = np.hypot(found.shift, np.radians(found.turn) * side / 4) * SMALL / side
    if away < AWAY or found.after - 1 < (1 + GAIN) * (found.before - 1):
        return False
    # At the rim of what was tried there is a slope, but no summit: pairs with little in common have those.
    return bool(found.shift * SMALL / side <= REACH - 1)


def _shared_slice(a: Volume, b: Volume) -> tuple[Picture, Picture] | None:
    """The slice nearest to the first's middle where the second has something, of both."""
    plane = volumes.plane_of(a)
    count = volumes.count(a, plane)
    for k in sorted(range(count), key=lambda k: abs(k - count // 2)):
        try:
            x, y = volumes.aligned(a, b, plane=plane, slices=(k, k + 1))
        except ValueError:  # nothing there
            continue
        return volumes.as_picture(x), volumes.as_picture(y)
    return None


def _pair(a: Picture | Volume, b: Picture | Volume) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of two pictures of one size."""
    if isinstance(a, Volume) or isinstance(b, Volume):
        raise ValueError("one source is a volume, the other a picture; give two of a kind")
    if a.pixels.shape[:2] != b.pixels.shape[:2]:
        sizes = " and ".join("×".join(map(str, picture.pixels.shape[:2])) for picture in (a, b))
        raise ValueError(f"pictures of different sizes ({sizes}); bring them to one size")
    return a.pixels, b.pixels


def _pose(x: np.ndarray, y: np.ndarray) -> Transform:
    """The best of a few hundred shifts and turns of small pictures, then of finer ones around it."""
    shape = x.shape[:2]
    factor = max(1, -(-max(shape) // SMALL))
    if min(shape) < LEAST * factor:  # so long a picture shows nothing when it is small
        return Transform(np.eye(3), (np.array(shape) - 1) / 2, "pose", 1.0, 1.0)
    a, b = _levels(_small(x, factor)), _small(y, factor)
    low, high = float(b.min()), float(b.max())
    centre, nowhere = (np.array(a.shape) - 1) / 2, np.zeros(2)

    def moved(turn: float, shift: np.ndarray) -> np.ndarray:
        return _levels(resampled(b, turned(centre, turn, shift)), low, high)

    reach = min(REACH, min(a.shape) // 4)
    steps = range(-reach, reach + 1, 2)
    # Of poses that are as good, the one that moves less.
    tried = []
    for turn in TURNS:
        rotated = moved(turn, nowhere)
        for row in steps:
            for column in steps:
                here, there = _cuts(a.shape, row, column)
                least = -abs(turn) - abs(row) - abs(column)
                tried.append((_nmi(a[here], rotated[there]), least, turn, row, column))
    best, _, turn, row, column = max(tried)
    still, shift = _nmi(a, moved(0.0, nowhere)), rotation(turn) @ (row, column)
    for by in (1.0, 0.5):
        around = []
        for more in (-2.5 * by, 0.0, 2.5 * by):
            for r in (-by, 0.0, by):
                for c in (-by, 0.0, by):
                    pose = turn + more, shift + np.array([r, c])
                    around.append((_nmi(a, moved(*pose)), -abs(more) - abs(r) - abs(c), pose))
        best, _, (turn, shift) = max(around, key=lambda one: one[:2])
    scale = np.diag([factor, factor, 1.0])
    scale[:2, 2] = (factor - 1) / 2  # the middle of a small picture's first pixel
    matrix = scale @ turned(centre, turn, shift) @ np.linalg.inv(scale)
    if best <= still:
        matrix, best = np.eye(3), still
    return Transform(matrix, (np.array(shape) - 1) / 2, "pose", still, best)


def _cuts(shape: tuple[int, ...], row: int, column: int) -> tuple[Any, Any]:
    """What two pictures share, of which the second is moved by whole pixels, in each of them."""
    spans = [(max(0, -by), n - max(0, by)) for by, n in zip((row, column), shape, strict=True)]
    here = tuple(slice(first, last) for first, last in spans)
    there = tuple(
        slice(first + by, last + by) for (first, last), by in zip(spans, (row, column), strict=True)
    )
    return here, there


def _small(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of the luma over blocks of factor × factor; what is left over at the ends is cut."""
    height, width = (n // factor for n in pixels.shape[:2])
    small = np.empty((height, width), np.float32)
    step = max(1, BLOCK // (factor * pixels.shape[1]))  # of a large picture a few rows at a time
    for top in range(0, height, step):
        part = to_luma(to_unit(pixels[top * factor : (top + step) * factor, : width * factor]))
        rows = small[top : top + step]
        rows[:] = part[: len(rows) * factor].reshape(-1, factor, width, factor).mean((1, 3))
    return small


def _levels(x: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Grey levels 0 to LEVELS − 1 of the values between two, by default all that there are."""
    low = float(x.min()) if low is None else low
    high = float(x.max()) if high is None else high
    return np.clip((x - low) * (LEVELS / max(high - low, 1e-6)), 0, LEVELS - 1).astype(np.int64)


def _nmi(x: np.ndarray, y: np.ndarray) -> float:
    joint = np.bincount((x * LEVELS + y).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS)
    # H = log2 N − Σ n log2 n / N
    both, first, second = (
        np.log2(x.size) - (n * np.log2(np.maximum(n, 1))).sum() / x.size
        for n in (joint, joint.sum(1), joint.sum(0))
    )
    return float((first + second) / both) if both > 0 else 1.0


def _judged(x: np.ndarray, y: np.ndarray, matrix: np.ndarray, centre: np.ndarray, kind: str) -> Transform:
    """The transform with its NMI where both have something, and without it the same."""
    inside = resampled(np.ones_like(y), matrix) > 0.5
    low, high = float(y.min()), float(y.max())
    a = _levels(x)
    before, after = (
        _nmi(a[there], _levels(moved[there], low, high))
        for moved, there in ((y, np.ones_like(inside)), (resampled(y, matrix), inside))
    )
    return Transform(matrix, centre, kind, before, after)


def _find_volume(a: Volume, b: Volume, kind: str) -> Transform:
    """In the scanner's frame."""
    a, b = _grey(a), _grey(b)
    matrix, before, after = poses.climb(a, b, kind)
    centre = (volumes.to_mm(a) @ [*((np.array(a.shape) - 1) / 2), 1])[:3]
    return Transform(matrix, centre, kind, before, after)


def _grey(volume: Volume) -> Volume:
    if volume.voxels.ndim == 3:
        return volume
    slices = [to_luma(to_unit(volume.voxels[:, :, k])) for k in range(volume.shape[2])]
    return replace(volume, voxels=np.stack(slices, axis=2).astype(np.float32))


def _image(x: np.ndarray) -> Any:
    sitk = _sitk()

    return sitk.GetImageFromArray(np.ascontiguousarray(x, np.float32))


def _shrinks(longest: int, coarsest: int) -> list[int]:
    """By what to shrink, coarse to fine: from about `coarsest` pixels to four times as many."""
    coarse = max(1, longest // coarsest)
    return sorted({max(1, coarse // n) for n in (1, 2, 4)}, reverse=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """So that sums are made in one order; what a method is told by itself does not reach its parts."""
    process = _sitk().ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def _climb(fixed: Any, moving: Any, kind: str, start: np.ndarray, *, shrinks: list[int]) -> np.ndarray:
    """From a matrix to the nearest maximum of mutual information, coarse to fine; rigid, then affine."""
    sitk = _sitk()

    centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    # Mutual information grows where less overlaps. So that all overlaps, the edges go on.
    margin = [n // 4 for n in moving.GetSize()]
    moving, matrix = sitk.ZeroFluxNeumannPad(moving, margin, margin), start
    for stage in ("rigid", "affine") if kind == "affine" else ("rigid",):
        transform = sitk.Euler2DTransform() if stage == "rigid" else sitk.AffineTransform(2)
        transform.SetCenter(centre)
        transform.SetMatrix(matrix[:-1, :-1].ravel().tolist())
        at = matrix @ [*centre, 1]
        transform.SetTranslation((at[:-1] - centre).tolist())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0, minStep=1e-3, numberOfIterations=200, gradientMagnitudeTolerance=1e-8
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel(shrinks)
        method.SetSmoothingSigmasPerLevel([float(shrink) for shrink in shrinks])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
        method.SetInitialTransform(transform, inPlace=True)
        try:
            with _one_thread():
                method.Execute(fixed, moving)
        except RuntimeError as error:  # nothing that varies
            problem = str(error).strip().splitlines()[-1]
            raise ValueError(f"cannot be registered ({problem})") from error
        matrix = np.eye(3)
        matrix[:-1, :-1] = np.reshape(transform.GetMatrix(), (2, 2))
        matrix[:-1, -1] = np.array(transform.GetTranslation()) + centre - matrix[:-1, :-1] @ centre
    return matrix
