"""Reading and writing, one file a family of formats: `read(path)` and `write(path, picture or volume)`.

What reading had to convert stands in the result's `notes`; what it cannot convert without guessing it
refuses, in one line that names the file, the problem and what to do. Writing is whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from haarmony.io import nifti, raster
from haarmony.io.files import check_place, check_regular, remove_leftover, replacing, resolved
from haarmony.io.guards import plain
from haarmony.io.nifti import ENDINGS as VOLUME_ENDINGS
from haarmony.io.nifti import ending as volume_ending
from haarmony.io.picture import Picture, check_pixels, from_unit, to_unit
from haarmony.io.ranges import check_range
from haarmony.io.volume import Volume

__all__ = [
    "VOLUME_ENDINGS",
    "Picture",
    "Volume",
    "check_kind",
    "check_pixels",
    "check_place",
    "check_range",
    "check_regular",
    "check_target",
    "encode",
    "from_unit",
    "read",
    "read_picture",
    "remove_leftover",
    "replacing",
    "resolved",
    "to_unit",
    "volume_ending",
    "write",
    "write_bytes",
]


def read(
    path: str | os.PathLike[str], *, value_range: tuple[int | float, int | float] | None = None
) -> Picture | Volume:
    """Read a picture (see `read_picture`), or a NIfTI volume.

    Args:
        path: The file, or a folder that holds one DICOM series (`haarmony.io.dicom` has windows and a choice
            among several); its kind is told from its content.
        value_range: The file's values that 0.0 and 1.0 shall stand for, what lies outside is clipped; pixels
            are then float32, but 16-bit levels of a picture of 8 or 16 bit, where the range is no wider than
            65535. None takes the sample type's for 8- and 16-bit pictures, RGB, and floats within [0, 1];
            else the smallest and the largest of the whole file, which a note says.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be opened.
        ValueError: If it is neither, is damaged, or holds what cannot be read without guessing, or if the
            range is none. One line: the path, the problem, what to do.
    """
    from haarmony.io import dicom

    used = None if value_range is None else check_range(value_range)
    if dicom.is_dicom(path):
        return dicom.read_dicom(path, value_range=used)
    path = _existing(path)
    try:
        with open(path, "rb") as file:
            if nifti.is_nifti(file):
                return nifti.read(file, value_range=used)
    except OSError as error:
        raise type(error)(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {plain(error)}") from error
    return read_picture(path, value_range=used)


def read_picture(
    path: str | os.PathLike[str], *, value_range: tuple[int | float, int | float] | None = None
) -> Picture:
    """Read a PNG, TIFF, JPEG, BMP or GIF picture, grey or RGB, 8 or 16 bit, or float TIFF.

    Args:
        path: The file; its kind is told from its content.
        value_range: As for `read`.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be opened.
        ValueError: If it is no picture, is damaged, or holds what one grey or RGB picture in [0, 1] cannot:
            several frames, transparency, CMYK, other sample types, NaN. One line: the path, the problem, what
            to do.
    """
    used = None if value_range is None else check_range(value_range)
    path = _existing(path)
    try:
        with open(path, "rb") as file:
            raster.check_file(file.read(raster.HEAD), os.fstat(file.fileno()).st_size)
            file.seek(0)
            data = file.read()
    except OSError as error:
        raise type(error)(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        return raster.decode(data, value_range=used)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a picture")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is a device or a pipe, not a file")
    return path


def check_target(path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Refuse a place that `write` could not write to, before any work is spent on it.

    Args:
        path: The file to be written.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ValueError: If the name's ending is none that is written.
        FileExistsError: If the file is there and `overwrite` is false.
        OSError: If `path` is a folder, or its own folder is missing or cannot be written to.
    """
    path = Path(path)
    if not path.is_dir() and path.suffix.lower() not in raster.ENCODERS and volume_ending(path) is None:
        kind = f"{path.suffix} pictures" if path.suffix else "a name without an ending"
        endings = f"{', '.join(raster.ENCODERS)}, or for a volume in {' or '.join(VOLUME_ENDINGS)}"
        raise ValueError(f"{path}: cannot write {kind}; end the name in {endings}")
    if path.name.lower() in (*raster.ENCODERS, *VOLUME_ENDINGS):
        raise ValueError(f"{path}: is an ending without a name before it")
    check_place(path)
    if os.path.lexists(path) and not overwrite:  # also a link that leads nowhere
        raise FileExistsError(f"{path}: exists already; --overwrite (in Python overwrite=True) replaces it")


def check_kind(path: str | os.PathLike[str], content: object) -> None:
    """Refuse a name whose ending is not for what is to be written: a picture, its pixels, or a volume.

    Raises:
        ValueError: A volume for a picture's file, or the other way round.
    """
    path = Path(path)
    if isinstance(content, Volume) and volume_ending(path) is None:
        raise ValueError(f"{path}: cannot hold a volume; end the name in {' or '.join(VOLUME_ENDINGS)}")
    if not isinstance(content, Volume) and volume_ending(path) is not None:
        raise ValueError(f"{path}: is a volume's name; for a picture end it in {', '.join(raster.ENCODERS)}")


def write(
    path: str | os.PathLike[str],
    picture: Picture | Volume | Shaped[np.ndarray, "..."],
    *,
    overwrite: bool = True,
) -> None:
    """Write a picture as PNG or TIFF, or a volume as NIfTI, whole or not at all: `PATH.part`, then renamed.

    uint8 and uint16 are kept as they are; floats become float32 in TIFF and are rounded to 16 bit in PNG. A
    volume is written as 8 bit where it is uint8, else as 16 bit, scaled to its `value_range` by the header,
    and in colour as RGB24.

    Args:
        path: Ends in .png, .tif or .tiff, or for a volume in .nii or .nii.gz; its folder exists.
        picture: A picture, or its pixels: (H, W) or (H, W, 3); uint8, uint16, or float in [0, 1]. Or a
            volume.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ValueError: If the name's ending is none of these (JPEG would change the luma), or the pixels are no
            picture.
        FileExistsError: If the file is there and `overwrite` is false.
        OSError: If it cannot be written: `path` is a folder, its own is missing or closed, the disk is full.
    """
    path = Path(path)
    content = picture.pixels if isinstance(picture, Picture) else picture
    if not isinstance(content, Volume):
        check_pixels(content)
    check_target(path, overwrite=overwrite)
    check_kind(path, content)
    with _written(path) as file:
        _encode(path, content, file)


def encode(path: Path, picture: Picture | Volume) -> bytes:
    """What `write` would write to `path`, whose ending says the format; errors are those of `write`."""
    check_kind(path, picture)
    buffer = BytesIO()
    _encode(path, picture.pixels if isinstance(picture, Picture) else picture, buffer)
    return buffer.getvalue()


def write_bytes(path: Path, content: bytes) -> None:
    """Write what `encode` made, whole or not at all; errors are those of `write`."""
    with _written(path) as file:
        file.write(content)


def _encode(path: Path, content: Volume | np.ndarray, file: BufferedWriter | BytesIO) -> None:
    if isinstance(content, Volume):
        nifti.write(file, content, packed=volume_ending(path) == ".nii.gz")
    else:
        raster.ENCODERS[path.suffix.lower()](file, content)


@contextmanager
def _written(path: Path) -> Iterator[BufferedWriter]:
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror or error})") from error
