"""Volumes as slices: the second on the first's grid, both cut along a plane and seen upright, and put back.

Voxel i of the first source lies at A i in the scanner's frame, so the second, whose affine is B, is read at

    j = B⁻¹ A i,        linearly between its voxels, 0 beyond their outer faces,

both affines in mm. Slices are shown to the model as a radiologist sees them, whatever the stored order:
axial with the front up, coronal and sagittal with the head up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from haarmony import colour
from haarmony.io import Picture, Volume, to_unit

PLANES = {"axial": "PLS", "coronal": "ILA", "sagittal": "IPL"}
"""Where rows, columns and slices of each plane lead: to R or L, A or P, S or I."""
MILLIMETRES = {"mm": 1.0, "m": 1000.0, "um": 0.001, "unknown": 1.0}
COVERED = 0.8
"""Share of the first volume that the second covers, below which a note says how much it is."""

Watch = Callable[[int, int, np.ndarray], None]
"""Called after every slice with (slices done, slices in all, the fused slice)."""


def aligned(
    a: Volume, b: Volume, *, plane: str = "axial", slices: tuple[int, int] | None = None
) -> tuple[Volume, Volume]:
    """Both volumes on the first's grid, of it the slices asked for.

    Args:
        a: First source.
        b: Second source, anywhere that overlaps it.
        plane: One of `PLANES`.
        slices: (LO, HI), the slices LO to HI − 1 along the stored axis that crosses the plane, in the stored
            order; None takes all.

    Returns:
        Both, on one grid: the first as stored, with the affine of what is left; the second as float32 where
        it had to be resampled, which a note says, as it does where the second covers little of the first.

    Raises:
        ValueError: Slices that are not there, or no overlap with the second.
    """
    axis = _crossing(a, plane)
    matrix = np.linalg.solve(to_mm(b), to_mm(a))
    reach = np.abs(matrix - np.eye(4)) @ np.array([*a.shape, 1])
    same = a.shape == b.shape and reach.max() < 1e-3  # voxels: what float32 headers leave of equal affines
    if not _overlap(a.shape, b.shape, matrix):
        raise ValueError("the volumes do not overlap by their affines; align them or correct their headers")
    if slices is not None:
        lo, hi = slices
        if not 0 <= lo < hi <= a.shape[axis]:
            raise ValueError(
                f"slices {lo}:{hi} are not among the {a.shape[axis]} {plane} ones; "
                f"LO:HI takes 0 ≤ LO < HI ≤ {a.shape[axis]}"
            )
        shift = np.eye(4)
        shift[axis, 3] = lo
        cut = (slice(None),) * axis + (slice(lo, hi),)
        a, matrix = replace(a, voxels=a.voxels[cut], affine=a.affine @ shift), matrix @ shift
        if not _overlap(a.shape, b.shape, matrix):
            raise ValueError(f"the second volume has nothing where slices {lo}:{hi} of the first lie")
        b = replace(b, voxels=b.voxels[cut]) if same else b
    return a, replace(b, affine=a.affine, unit=a.unit, notes=()) if same else _resampled(b, a, matrix)


def by_slices(
    a: Volume,
    b: Volume,
    fuse: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    plane: str = "axial",
    callback: Watch | None = None,
) -> Volume:
    """Fuse two volumes of one grid slice by slice.

    Args:
        a: First source.
        b: Second source, the same shape but for colour.
        fuse: Makes one slice, (H, W) or (H, W, 3), of two, upright; always of one type and as many channels.
        plane: One of `PLANES`.
        callback: Called after every slice.

    Returns:
        The fused volume in `a`'s stored order, with its affine, unit and value range, and `b`'s notes.
    """
    upright_a, upright_b = (upright(volume.voxels, a.affine, plane) for volume in (a, b))
    fused = target = np.empty(0)
    count = upright_a.shape[2]
    for k in range(count):
        cut = fuse(upright_a[:, :, k], upright_b[:, :, k])
        if k == 0:
            fused = np.empty((*a.shape, *cut.shape[2:]), cut.dtype, order="F")
            target = upright(fused, a.affine, plane)
        target[:, :, k] = cut
        if callback is not None:
            callback(k + 1, count, cut)
    return replace(a, voxels=fused, notes=b.notes)


def upright(
    voxels: Shaped[np.ndarray, "i j k *colour"], affine: Float[np.ndarray, "4 4"], plane: str
) -> Shaped[np.ndarray, "h w slices *colour"]:
    """A view of the voxels, so that [:, :, k] is a slice along `plane` as a radiologist sees it.

    Rows lead from front to back (axial) or from the head down, columns to the patient's left (axial, coronal)
    or to the back (sagittal). Oblique grids are taken for the nearest straight one, as nibabel does.
    """
    return _turned(voxels, _turn(affine, plane))


def _turn(affine: np.ndarray, plane: str) -> np.ndarray:
    """The orientation, as nibabel has it, that brings stored axes to a plane's."""
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    return np.asarray(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(PLANES[plane]))))


def _turned(voxels: np.ndarray, turn: np.ndarray) -> np.ndarray:
    from nibabel.orientations import apply_orientation

    return np.asarray(apply_orientation(voxels, turn))


def is_coloured(volume: Volume) -> bool:
    """Whether any slice shows colour (see `haarmony.colour.is_coloured`)."""
    return volume.voxels.ndim == 4 and any(
        colour.is_coloured(to_unit(volume.voxels[:, :, k])) for k in range(volume.shape[2])
    )


def choose(wanted: str, a: Volume, b: Volume) -> str:
    """Whose colour all slices take, "first", "second" or "grey", so that no two take another's."""
    if wanted != "auto":
        return wanted
    coloured = {name: v for name, v in (("first", a), ("second", b)) if is_coloured(v)}

    def strength(name: str) -> float:
        voxels = coloured[name].voxels
        return sum(colour.colourfulness(to_unit(voxels[:, :, k])) for k in range(voxels.shape[2]))

    return max(coloured, key=strength) if coloured else "first"


def plane_of(volume: Volume, wanted: str = "auto") -> str:
    """The plane meant by `wanted`; "auto" is that of the slices as they were acquired.

    That is across the axis of one voxel, else the axis whose voxels are clearly the longest, else axial.

    Raises:
        ValueError: `wanted` is neither a plane nor "auto".
    """
    if wanted in PLANES:
        return wanted
    if wanted != "auto":
        raise ValueError(f"unknown plane {wanted!r}; it is auto or one of {', '.join(PLANES)}")
    axes = {_crossing(volume, plane): plane for plane in PLANES}
    if volume.shape.count(1) == 1:
        return axes[volume.shape.index(1)]
    longest = int(np.argmax(volume.spacing))
    others = max(length for axis, length in enumerate(volume.spacing) if axis != longest)
    return axes[longest] if volume.spacing[longest] > 1.1 * others else "axial"


def count(volume: Volume, plane: str) -> int:
    """How many slices along a plane a volume has."""
    return volume.shape[_crossing(volume, plane)]


def stored_at(volume: Volume, plane: str) -> list[int]:
    """Where each slice along a plane, seen upright, lies along the stored axis that crosses it."""
    axis = _crossing(volume, plane)
    along = np.arange(volume.shape[axis]).reshape([-1 if k == axis else 1 for k in range(3)])
    return [int(place) for place in upright(along, volume.affine, plane)[0, 0]]


def as_picture(volume: Volume) -> Picture:
    """The one slice of a volume, upright, with its place where the volume's unit is known."""
    from nibabel.orientations import inv_ornt_aff

    turn = _turn(volume.affine, plane_of(volume))
    pixels = np.ascontiguousarray(_turned(volume.voxels, turn)[:, :, 0])
    if volume.unit == "unknown":
        return Picture(pixels, volume.value_range, notes=volume.notes)
    affine = to_mm(volume) @ inv_ornt_aff(turn, volume.shape)
    row, column = (float(length) for length in np.linalg.norm(affine[:3, :2], axis=0))
    return Picture(pixels, volume.value_range, (row, column), affine, notes=volume.notes)


def _crossing(volume: Volume, plane: str) -> int:
    """The stored axis that crosses the plane."""
    from nibabel.orientations import io_orientation

    world = {"L": 0, "A": 1, "S": 2}[PLANES[plane][2]]
    return int(np.flatnonzero(io_orientation(volume.affine)[:, 0] == world)[0])


def to_mm(volume: Volume) -> Float[np.ndarray, "4 4"]:
    """The affine in mm, whatever unit the volume has."""
    return np.diag([*[MILLIMETRES[volume.unit]] * 3, 1.0]) @ volume.affine


def _overlap(shape_a: tuple[int, ...], shape_b: tuple[int, ...], matrix: np.ndarray) -> bool:
    """Whether two boxes of voxels overlap: no face of either has all of the other beyond it."""
    for inner, outer, to_outer in ((shape_a, shape_b, matrix), (shape_b, shape_a, np.linalg.inv(matrix))):
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in inner])).reshape(3, -1)
        at = to_outer[:3, :3] @ corners + to_outer[:3, 3:]
        if (at.max(1) <= -0.5).any() or (at.min(1) >= np.array(outer) - 0.5).any():
            return False
    return True


def _resampled(b: Volume, a: Volume, matrix: np.ndarray) -> Volume:
    from scipy import ndimage

    # A grid turned round would otherwise end a rounding error outside itself.
    matrix = np.round(matrix, 7)
    voxels = to_unit(b.voxels) if b.voxels.dtype.kind != "f" else b.voxels
    out = np.empty((*a.shape, *voxels.shape[3:]), np.float32, order="F")
    for channel in np.ndindex(*voxels.shape[3:]):
        where = (..., *channel)
        out[where] = ndimage.affine_transform(
            voxels[where], matrix[:3, :3], matrix[:3, 3], a.shape, np.float32, order=1, mode="nearest"
        )
    np.clip(out, 0, 1, out=out)
    i, j = np.ogrid[: a.shape[0], : a.shape[1]]
    for k in range(
        a.shape[2]
    ):  # a voxel reaches half its length beyond its centre, and there is nothing after
        at = [row[0] * i + row[1] * j + row[2] * k + row[3] for row in matrix[:3]]
        outside = [(x < -0.5 - 1e-6) | (x > n - 0.5 + 1e-6) for x, n in zip(at, b.shape, strict=True)]
        out[:, :, k][outside[0] | outside[1] | outside[2]] = 0
    was, now = (" × ".join(map(str, volume.shape)) for volume in (b, a))
    notes = [f"second source resampled by its affine, from {was} voxels to {now}"]
    if (covered := _covered(a.shape, b.shape, matrix)) < COVERED:
        notes.append(f"second source covers about {covered:.0%} of these; elsewhere it counts as black")
    return replace(b, voxels=out, affine=a.affine, unit=a.unit, notes=tuple(notes))


def _covered(shape_a: tuple[int, ...], shape_b: tuple[int, ...], matrix: np.ndarray) -> float:
    """The share of a's voxels that lie in voxels of b, told from some of them."""
    some = [np.linspace(0, n - 1, min(n, 40)) for n in shape_a]
    at = matrix[:3, :3] @ np.array(np.meshgrid(*some)).reshape(3, -1) + matrix[:3, 3:]
    end = np.array(shape_b)[:, None] - 0.5
    return float(((at > -0.5 - 1e-6) & (at < end + 1e-6)).all(0).mean())
