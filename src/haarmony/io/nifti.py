"""NIfTI-1 and -2 volumes (.nii, .nii.gz): in with every value in its own unit, out with the same affine.

The stored numbers become values by the header, value = scl_slope · stored + scl_inter, and values become
[0, 1] by `haarmony.io.ranges`. Out it goes the other way: 16-bit levels with a slope and an intercept, so
that a viewer shows Hounsfield units where the source had them. Colour is RGB24 (datatype 128).

nibabel reads and makes headers; the voxels are read here, since a header must not decide how much memory a
file takes: nothing is unpacked beyond what the header was allowed to claim.
"""

from __future__ import annotations

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from haarmony.io.picture import INTEGERS, from_unit
from haarmony.io.ranges import ValueRange, into_unit, measured, told
from haarmony.io.volume import MAX_VOXELS, Unit, Volume

MAX_EXTENSIONS = 2**26  # bytes between the header and the voxels
MAX_TRAILING = 2**26  # bytes behind the voxels
ENDINGS = (".nii", ".nii.gz")
GZIP_MAGIC = b"\x1f\x8b"
RGB24 = 128
# NIfTI-1, "datatype": integers of 8 to 64 bit and floats of 32 and 64.
NUMBERS = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)
FORMS = ("sform_code", "qform_code")
"""Keys of a volume's metadata: which frame its affine leads to, 1 the scanner's, 4 MNI's (NIfTI-1)."""
UNITS: dict[str, Unit] = {"mm": "mm", "meter": "m", "micron": "um"}


def ending(path: Path) -> str | None:
    """Which of both endings the file's name has: ".nii" or ".nii.gz"."""
    return next((end for end in ENDINGS if path.name.lower().endswith(end)), None)


def is_nifti(file: BufferedIOBase) -> bool:
    """Whether an open file starts as a NIfTI volume does, compressed or not; it is then back at its start."""
    head = file.read(2)
    file.seek(0)
    try:
        head = (gzip.GzipFile(fileobj=file) if head == GZIP_MAGIC else file).read(348)
    except (OSError, EOFError, zlib.error):
        head = b""
    file.seek(0)
    return _version(head) is not None


def _version(head: bytes) -> int | None:
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    return 2 if head[4:8] in (b"n+2\0", b"ni2\0") else None


def read(file: BufferedIOBase, *, value_range: ValueRange | None = None) -> Volume:
    """The volume that an open file holds.

    Args:
        file: At its start.
        value_range: The values that 0.0 and 1.0 shall stand for; None takes the smallest and the largest of
            the whole volume, and 0 to 255 for RGB24.

    Returns:
        float32 voxels, uint8 for RGB24 whose range is not given.

    Raises:
        ValueError: One line without the file's name: what is wrong and what to do.
    """
    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if packed else file
    try:
        volume = _decode(stream, value_range)
        if packed:
            _finish(stream)
        return volume
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"is damaged or unfinished ({error}); copy or save it again") from error


def _decode(stream: BufferedIOBase, value_range: ValueRange | None) -> Volume:
    header = _header(stream)
    shape, code = _shape(header), int(header["datatype"])
    if code not in (*NUMBERS, RGB24):
        kind = header._data_type_codes.label[code] if code in header._data_type_codes.label else code
        raise ValueError(f"holds voxels of the type {kind}; save it as integers, real numbers or RGB24")
    affine, unit, notes = _grid(header)
    forms = _forms(header, affine)
    stored = np.uint8 if code == RGB24 else header.get_data_dtype()
    raw = _voxels(stream, header, (*shape, 3) if code == RGB24 else shape, np.dtype(stored))
    if code == RGB24:
        voxels = raw if value_range is None else into_unit(raw, value_range)
        notes += [] if value_range is None else [told(value_range, why="as asked")]
        return Volume(voxels, value_range or (0.0, 255.0), affine, unit, forms, notes=tuple(notes))
    slope, inter = _scaling(header)
    lo, hi = sorted(slope * level + inter for level in _extremes(raw))
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise ValueError(f"scl_slope {slope:g} and scl_inter {inter:g} carry its values beyond all numbers")
    used = measured(lo, hi) if value_range is None else value_range
    why = "the smallest and the largest of the volume" if value_range is None else "as asked"
    voxels = np.empty(shape, np.float32, order="F")
    for k in range(shape[2]):  # a slice at a time: no whole volume in double precision
        voxels[..., k] = into_unit(raw[..., k].astype(np.float64) * slope + inter, used)
    return Volume(voxels, used, affine, unit, forms, notes=(*notes, told(used, why=why)))


def _finish(stream: BufferedIOBase) -> None:
    """Read to the end, so that gzip compares its check sum; of what follows the voxels, only so much."""
    left = MAX_TRAILING
    while part := stream.read(2**20):
        left -= len(part)
        if left < 0:
            raise ValueError(f"holds more than {MAX_TRAILING} bytes behind its voxels; save it again")


def _header(stream: BufferedIOBase) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    start = stream.read(348)
    version = _version(start)
    size = 540 if version == 2 else 348
    start += stream.read(size - len(start))
    if len(start) < size:
        raise EOFError("its header ends too early")
    if start[4:7] == b"ni2" or start[344:347] == b"ni1":
        raise ValueError("is one half of a pair of .hdr and .img files; save it as one .nii file")
    try:  # unchecked: nibabel's checks mend a header in silence, or with lines on stderr
        kind: Any = Nifti2Header if version == 2 else Nifti1Header
        return kind(start, check=False)
    except HeaderDataError as error:
        raise ValueError(f"has a damaged header ({error}); save it again") from error


def _shape(header: Any) -> tuple[int, int, int]:
    dim = [int(n) for n in header["dim"]]
    extent = dim[1 : dim[0] + 1]
    if not 1 <= dim[0] <= 7 or min(extent) < 1:
        raise ValueError(f"has a damaged header (dim is {dim}); save it again")
    i, j, k, *more = [*extent, 1, 1, 1]
    if (count := math.prod(more)) > 1:
        raise ValueError(f"holds {count} volumes; save the one to use as its own file")
    if i * j * k > MAX_VOXELS:
        raise ValueError(
            f"claims {i} × {j} × {k} voxels, more than the {MAX_VOXELS} that are read; crop it first"
        )
    return i, j, k


def _grid(header: Any) -> tuple[np.ndarray, Unit, list[str]]:
    notes = []
    with np.errstate(all="ignore"):
        try:
            affine = np.asarray(header.get_best_affine(), np.float64)
        except Exception as error:  # of a quaternion, say, that is none
            raise ValueError(f"has a damaged affine ({error}); save it again") from error
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        notes.append("the header gives no orientation; nibabel's for such files taken")
    try:
        name = header.get_xyzt_units()[0]
    except KeyError:
        name = "unknown"
    unit: Unit = UNITS.get(name, "unknown")
    if unit == "unknown":
        notes.append("the header gives no unit of length; mm taken where one is needed")
    return affine, unit, notes


def _forms(header: Any, affine: np.ndarray) -> dict[str, str]:
    """Which frames the affine leads to; a qform that leads elsewhere is another one's, code 0."""
    codes = [int(header[name]) for name in FORMS]
    if max(codes) <= 0:
        return {}
    sform, qform = (min(max(0, code), 5) for code in codes)
    if sform and qform:
        with np.errstate(all="ignore"):
            try:
                qform = qform if _agree(header.get_qform(), affine) else 0
            except Exception:  # of a quaternion that is none
                qform = 0
    return dict(zip(FORMS, (str(sform), str(qform)), strict=True))


def _agree(qform: np.ndarray, affine: np.ndarray) -> bool:
    """Whether two affines are one but for what float32 and a quaternion lose, whatever the unit."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    close = np.abs(qform - affine)[:3] <= 1e-3 * np.append(lengths, lengths.min()) + 1e-6 * np.abs(affine[:3])
    return bool(close.all())


def _scaling(header: Any) -> tuple[float, float]:
    """NIfTI-1: a slope of 0 (or no number) means that the stored numbers are the values."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise ValueError(f"has a damaged header (scl_inter is {inter}); save it again")
    return slope, inter


def _voxels(stream: BufferedIOBase, header: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """The stored numbers, (I, J, K) or (I, J, K, 3); i runs fastest in the file, after colour."""
    offset, here = float(header["vox_offset"]), stream.tell()
    if not (here <= offset <= MAX_EXTENSIONS and offset == int(offset)):
        raise ValueError(f"has a damaged header (vox_offset is {offset:g}); save it again")
    stream.read(int(offset) - here)
    left, stored = math.prod(shape) * dtype.itemsize, bytearray()
    while left:  # so that a short file costs no more than it holds
        part = stream.read(min(left, 2**24))
        if not part:
            raise EOFError(f"{left} bytes of voxels are missing")
        stored += part
        left -= len(part)
    raw = np.frombuffer(stored, dtype)
    if len(shape) == 4:
        return raw.reshape(3, *shape[:3], order="F").transpose(1, 2, 3, 0)
    return raw.reshape(shape, order="F")


def _extremes(raw: np.ndarray) -> tuple[float, float]:
    if raw.dtype.kind == "f":
        for k in range(raw.shape[2]):
            if not np.isfinite(raw[..., k]).all():
                i, j = np.argwhere(~np.isfinite(raw[..., k]))[0]
                raise ValueError(f"voxel ({i}, {j}, {k}) holds {raw[i, j, k]}; give it a finite value first")
    return float(raw.min()), float(raw.max())


def write(file: BufferedIOBase, volume: Volume, *, packed: bool) -> None:
    """Write a volume: grey as uint8 where it is, else as uint16, either scaled to its own values; or RGB24.

    Args:
        file: To write to.
        volume: Colour is rounded to 8 bit, the only depth that RGB has in NIfTI.
        packed: Compress by gzip; equal volumes give equal bytes.

    Raises:
        ValueError: A side is longer than the format's 32767, or the value range beyond its float32.
    """
    header, dtype = _new_header(volume)
    target = gzip.GzipFile("", "wb", 6, file, mtime=0) if packed else file
    try:
        target.write(header.binaryblock + bytes(4))  # no extensions
        for k in range(volume.shape[2]):
            levels = volume.voxels[:, :, k]
            if levels.dtype != dtype:
                levels = from_unit(_unit(levels), dtype)
            target.write(np.ascontiguousarray(levels.swapaxes(0, 1), dtype.newbyteorder("<")).tobytes())
    finally:
        if packed:
            target.close()


def write_values(file: BufferedIOBase, values: np.ndarray, grid: Volume, *, packed: bool) -> None:
    """Write numbers of any range on a volume's grid, as float32 that needs no scaling.

    Args:
        file: To write to.
        values: (I, J, K), finite.
        grid: The volume whose shape, affine, frames and unit they have.
        packed: Compress by gzip; equal values give equal bytes.

    Raises:
        ValueError: Another shape than the grid's, or a side longer than the format's 32767.
    """
    if values.shape != grid.shape:
        raise ValueError(f"values of the shape {values.shape} do not lie on a grid of {grid.shape}")
    header = _grid_header(grid)
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    target = gzip.GzipFile("", "wb", 6, file, mtime=0) if packed else file
    try:
        target.write(header.binaryblock + bytes(4))  # no extensions
        for k in range(grid.shape[2]):
            target.write(np.ascontiguousarray(values[:, :, k].T, "<f4").tobytes())
    finally:
        if packed:
            target.close()


def _unit(levels: np.ndarray) -> np.ndarray:
    return levels / np.iinfo(levels.dtype).max if levels.dtype in INTEGERS else levels


def _new_header(volume: Volume) -> tuple[Any, np.dtype[Any]]:
    colour = volume.voxels.ndim == 4
    dtype = np.dtype(np.uint8 if colour or volume.voxels.dtype == np.uint8 else np.uint16)
    header = _grid_header(volume)
    header.set_data_dtype(RGB24 if colour else dtype)
    lo, hi = volume.value_range
    slope = (hi - lo) / int(np.iinfo(dtype).max)
    least, most = (float(limit) for limit in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
    if not colour and not (least <= abs(slope) <= most and abs(lo) <= most):  # it falls where white is less
        raise ValueError(
            f"cannot write values from {lo:.7g} to {hi:.7g}, beyond NIfTI's scaling; choose another range"
        )
    header.set_slope_inter(1, 0) if colour else header.set_slope_inter(slope, lo)
    return header, dtype


def _grid_header(volume: Volume) -> Any:
    """A header that says where a volume's voxels lie, and nothing of their values."""
    from nibabel.nifti1 import Nifti1Header

    if max(volume.shape) > np.iinfo(np.int16).max:
        raise ValueError(
            f"cannot write a volume of {' × '.join(map(str, volume.shape))}: a side is above 32767"
        )
    header = Nifti1Header(endianness="<")
    header.set_data_shape(volume.shape)
    sform, qform = (int(volume.metadata.get(name, 1)) for name in FORMS)
    header.set_qform(volume.affine, qform)
    header.set_sform(volume.affine, sform)
    if not _agree(header.get_qform(), volume.affine):  # a sheared grid, which it cannot hold
        header["sform_code"], header["qform_code"] = sform or qform, 0
    names = {unit: name for name, unit in UNITS.items()}
    header.set_xyzt_units(names.get(volume.unit, "unknown"), "unknown")
    header["magic"], header["vox_offset"], header["descrip"] = b"n+1", 352, b"haarmony"
    return header
