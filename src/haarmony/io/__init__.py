"""Reading and writing pictures, one file a family of formats: `read(path)` and `write(path, picture)`.

What reading had to convert stands in `Picture.notes`; what it cannot convert without guessing it refuses, in
one line that names the file, the problem and what to do. Writing is whole or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from haarmony.io import raster
from haarmony.io.files import check_place, remove_leftover, replacing
from haarmony.io.picture import Picture, check_pixels, from_unit, to_unit
from haarmony.io.volume import Volume

__all__ = [
    "Picture",
    "Volume",
    "check_pixels",
    "check_place",
    "check_target",
    "from_unit",
    "read",
    "read_picture",
    "remove_leftover",
    "replacing",
    "to_unit",
    "write",
]


def read(path: str | os.PathLike[str]) -> Picture | Volume:
    """Read a picture, or a volume.

    Args:
        path: The file; its kind is told from its content.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be opened.
        ValueError: If it is neither, is damaged, or holds what cannot be read without guessing. One line: the
            path, the problem, what to do.
    """
    return read_picture(path)


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, TIFF, JPEG, BMP or GIF picture, grey or RGB, 8 or 16 bit, or float TIFF in [0, 1].

    Args:
        path: The file; its kind is told from its content.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be opened.
        ValueError: If it is no picture, is damaged, or holds what one grey or RGB picture in [0, 1] cannot:
            several frames, transparency, CMYK, other sample types, NaN. One line: the path, the problem, what
            to do.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a picture")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is a device or a pipe, not a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise type(error)(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise ValueError(f"{path}: is an empty file")
    try:
        return raster.decode(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
    if not path.is_dir() and path.suffix.lower() not in raster.ENCODERS:
        kind = f"{path.suffix} pictures" if path.suffix else "a name without an ending"
        raise ValueError(f"{path}: cannot write {kind}; end the name in {', '.join(raster.ENCODERS)}")
    check_place(path)
    if os.path.lexists(path) and not overwrite:  # also a link that leads nowhere
        raise FileExistsError(f"{path}: exists already; --overwrite (in Python overwrite=True) replaces it")


def write(
    path: str | os.PathLike[str], picture: Picture | Shaped[np.ndarray, "..."], *, overwrite: bool = True
) -> None:
    """Write a picture as PNG or TIFF, whole or not at all: `PATH.part` first, then renamed.

    uint8 and uint16 are kept as they are; floats become float32 in TIFF and are rounded to 16 bit in PNG.

    Args:
        path: Ends in .png, .tif or .tiff; its folder exists.
        picture: A picture, or its pixels: (H, W) or (H, W, 3); uint8, uint16, or float in [0, 1].
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ValueError: If the name's ending is none of these (JPEG would change the luma), or the pixels are no
            picture.
        FileExistsError: If the file is there and `overwrite` is false.
        OSError: If it cannot be written: `path` is a folder, its own is missing or closed, the disk is full.
    """
    path = Path(path)
    pixels = picture.pixels if isinstance(picture, Picture) else picture
    check_pixels(pixels)
    check_target(path, overwrite=overwrite)
    try:
        with replacing(path) as file:
            raster.ENCODERS[path.suffix.lower()](file, pixels)
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror or error})") from error
