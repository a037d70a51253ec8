"""Raster pictures: PNG, TIFF, JPEG, BMP and GIF in, PNG and TIFF out.

The format is told from the bytes, not from the file's name. Pillow does most of the work; it quietly cuts PNG
with 16-bit colour to 8 bit, so that goes through pypng, and TIFF, with its many sample types, goes through
tifffile.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from haarmony.io.guards import plain, quiet, unpacked_size, unpacks_within
from haarmony.io.picture import INTEGERS, Picture, from_unit
from haarmony.io.ranges import ValueRange, measured, ranged, told

MAX_PIXELS = 2**27  # 11585 × 11585; a file that claims more is taken for a decompression bomb
MAX_BYTES = 2**30  # of a file: what all those pixels take in 16-bit RGBA
ORIENTATION = 0x0112  # EXIF and TIFF 6.0 tag 274
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, either byte order
MAGIC = (*TIFF_MAGIC, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a")
HEAD = max(map(len, MAGIC))
UNKNOWN = "is no PNG, TIFF, JPEG, BMP or GIF picture, or a damaged one; save it as PNG"
# TIFF 6.0, PhotometricInterpretation
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
RESOLUTIONS, RESOLUTION_UNIT = (282, 283), 296  # TIFF 6.0: of columns, of rows
INCH = 25.4
NONE, DEFLATE = 1, (8, 32946)  # TIFF 6.0 and its technical note 2, Compression

# PNG, section 8.2: first column, first row and the steps of each pass
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)

# tifffile reports damage to a logger, which prints on stderr if nobody handles it; here damage is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


Decoded = tuple[np.ndarray, tuple[float, float] | None, list[str], bool]
"""Pixels, their spacing, notes, and whether the least value is white, which is still to be turned round."""


class _KindError(ValueError):
    """The file may be sound, but is of a kind that is not read."""


def check_file(head: bytes, size: int) -> None:
    """Refuse a file by its first `HEAD` bytes and its size, before more of it is read.

    Raises:
        ValueError: One line without the file's name.
    """
    if not head:
        raise ValueError("is an empty file")
    if not head.startswith(MAGIC):
        raise ValueError(UNKNOWN)
    if size > MAX_BYTES:
        raise ValueError(f"is {size} bytes long, more than the {MAX_BYTES} that are read; crop it first")


def decode(data: bytes, *, value_range: ValueRange | None = None) -> Picture:
    """The picture that a file's bytes hold.

    Args:
        data: The whole file.
        value_range: The values that 0.0 and 1.0 shall stand for; None takes the sample type's, and for floats
            beyond [0, 1] the smallest and the largest.

    Raises:
        ValueError: One line without the file's name: what is wrong and what to do.
    """
    try:
        with warnings.catch_warnings():
            # Pillow remarks on size, palettes and EXIF: each is dealt with here.
            warnings.simplefilter("ignore")
            decoded = (_decode_tiff if data[:4] in TIFF_MAGIC else _decode_pillow)(data)
            pixels, spacing, notes, inverted = decoded
    except (_KindError, MemoryError):
        raise
    # Decoders raise anything on damaged files: OSError, SyntaxError, struct.error …
    except Exception as error:
        reason = plain((str(error).strip() or type(error).__name__).splitlines()[0])
        raise ValueError(f"is damaged or unfinished ({reason}); copy or save it again") from error
    used, why = value_range, "as asked"
    if used is None and pixels.dtype.kind == "f" and np.isfinite(pixels).all():
        lo, hi = float(pixels.min()), float(pixels.max())
        if lo < 0 or hi > 1:
            used, why = measured(lo, hi), "the smallest and the largest of the picture"
    if used is not None and (pixels.dtype in INTEGERS or np.isfinite(pixels).all()):
        pixels, notes = ranged(pixels, used), [*notes, told(used, why=why)]
    if pixels.dtype.kind in "iu" and pixels.dtype not in INTEGERS:
        raise ValueError(
            f"has {pixels.dtype} values; say which are black and white (--range-a, --range-b; in Python"
            " value_range=)"
        )
    low, high = used or (0.0, float(_top(pixels)))
    if inverted:  # by a range of the file's own values, as DICOM's MONOCHROME1
        pixels, low, high = _top(pixels) - pixels, high, low
    return Picture(np.ascontiguousarray(pixels), (low, high), spacing, notes=tuple(notes))


def _top(pixels: np.ndarray) -> int:
    """The value that stands for 1.0."""
    return int(np.iinfo(pixels.dtype).max) if pixels.dtype in INTEGERS else 1


def _check_extent(width: int, height: int, frames: int) -> None:
    if width * height > MAX_PIXELS:
        raise _KindError(
            f"claims {width} × {height} pixels, more than the {MAX_PIXELS} that are read; crop it first"
        )
    if frames > 1:
        raise _KindError(
            f"holds {frames} pictures (animated or multi-page); save the one to use as its own file"
        )


def _decode_pillow(data: bytes) -> Decoded:
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF"))
    except UnidentifiedImageError:
        raise _KindError(UNKNOWN) from None
    except Image.DecompressionBombError:
        raise _KindError(f"claims more than the {MAX_PIXELS} pixels that are read; crop it first") from None
    notes = []
    if image.format == "MPO":  # cameras append previews and second views to a JPEG
        notes.append("first picture of a multi-picture JPEG")
    _check_extent(*image.size, 1 if notes else getattr(image, "n_frames", 1))
    if image.format == "PNG":
        _check_png_rows(data)
    image.load()
    pixels, more = _from_pillow(image, data)
    orientation = image.getexif().get(ORIENTATION, 1)
    # Of a JPEG or a BMP it is a screen's or a printer's, and mostly made up.
    dots = image.info.get("dpi") if image.format == "PNG" else None
    spacing = _spacing(dots, INCH, orientation)
    pixels, notes = _orient(pixels, orientation, notes + more)
    return pixels, spacing, notes, False


def _from_pillow(image: Image.Image, data: bytes) -> tuple[np.ndarray, list[str]]:
    depth = data[24] if image.format == "PNG" else 8  # IHDR: bits a sample
    key = image.info.get("transparency")  # the grey level, colour or palette entries declared transparent
    if image.mode == "CMYK":
        raise _KindError("is a CMYK picture; convert it to RGB first")
    if image.mode in ("1", "L", "I", "I;16"):
        pixels = np.asarray(image).astype(np.uint16) if depth == 16 else np.asarray(image.convert("L"))
        bits = 1 if image.mode == "1" else depth
        notes = [f"{bits}-bit picture converted to 8-bit grey"] if bits < 8 else []
        scale = 255 // (2**depth - 1) if depth in (2, 4) else 1  # Pillow scales the pixels but not the key
        return _drop_alpha(pixels, None if key is None else pixels != key * scale, notes)
    if depth == 16:
        return _decode_png_16(data)
    if image.mode not in ("P", "PA", "LA", "RGB", "RGBA"):
        raise _KindError(f"has pixels of the kind {image.mode}; save it as 8- or 16-bit grey or RGB")
    notes = ["palette converted to RGB"] if image.mode in ("P", "PA") else []
    if key is None and image.mode in ("P", "RGB"):
        return np.asarray(image.convert("RGB")), notes
    rgba = np.asarray(image.convert("RGBA"))
    return _drop_alpha(rgba[..., 0] if image.mode == "LA" else rgba[..., :3], rgba[..., 3] == 255, notes)


def _decode_png_16(data: bytes) -> tuple[np.ndarray, list[str]]:
    import png

    reader = png.Reader(bytes=data)
    width, height, rows, info = reader.read()
    pixels = np.stack([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, info["planes"])
    colours = pixels[..., 0] if info["greyscale"] else pixels[..., :3]
    opaque = pixels[..., -1] == 65535 if info["alpha"] else None
    if reader.transparent is not None:
        opaque = (pixels != reader.transparent).any(axis=-1)
    return _drop_alpha(colours, opaque, [])


def _check_png_rows(data: bytes) -> None:
    """Refuse what unpacks to more or less than its rows: Pillow fills in what lacks, pypng unpacks all."""
    width, height, depth, kind, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    sides = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    least = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sides if columns > 0 and rows > 0)
    size = unpacked_size(_png_pixels(data), most := 2 * least + 64)
    if size > most:
        raise _KindError("unpacks to more than the pixels that it claims; save it again")
    if size < least:
        raise ValueError("pixels are missing at its end")


def _png_pixels(data: bytes) -> Iterator[bytes]:
    """The contents of the IDAT chunks."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _drop_alpha(
    pixels: np.ndarray, opaque: np.ndarray | None, notes: list[str]
) -> tuple[np.ndarray, list[str]]:
    if opaque is None:
        return pixels, notes
    if not opaque.all():
        raise _KindError(
            "has transparent pixels, whose colour means nothing; flatten it onto a background first"
        )
    return pixels, [*notes, "transparency dropped: every pixel is opaque"]


def _orient(pixels: np.ndarray, orientation: int, notes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Turn the stored rows and columns the way the picture is meant to be seen (TIFF 6.0, tag 274)."""
    if orientation not in range(2, 9):
        return pixels, notes
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels, [*notes, f"turned upright by its orientation tag ({orientation})"]


def _spacing(density: Any, length: float | None, orientation: int) -> tuple[float, float] | None:
    """Millimetres from row to row and from column to column, upright, or None where the file says nothing.

    Args:
        density: Columns and rows to a length, whatever the file holds there.
        length: That length in mm; None: it is unknown.
        orientation: As `_orient` takes it.
    """
    try:
        columns, rows = (float(length / number) for number in density)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not (0 < rows < math.inf and 0 < columns < math.inf):
        return None
    return (columns, rows) if orientation in range(5, 9) else (rows, columns)


def _decode_tiff(data: bytes) -> Decoded:
    import tifffile

    tiff = tifffile.TiffFile(io.BytesIO(data))
    page: Any = tiff.pages.first
    photometric, bits = int(page.photometric), page.bitspersample
    # A stack may be many pages, or one page with the rest behind it (ImageJ), or one deep page.
    _check_extent(
        page.imagewidth,
        page.imagelength,
        max(len(tiff.pages), tiff.series[0].size // page.size, page.imagedepth),
    )
    if page.dtype is not None and page.dtype.kind == "c":
        raise _KindError("has complex pixels; save their magnitude as its own file")
    if photometric == CMYK:
        raise _KindError("is a CMYK picture; convert it to RGB first")
    if page.samplesperpixel > 4:  # a limit on pixels alone bounds no memory
        raise _KindError(f"has {page.samplesperpixel} channels; save it as grey or RGB")
    kinds = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR)
    if photometric not in kinds or bits not in (1, 8, 16, 32, 64):
        raise _KindError(
            f"has {bits}-bit pixels of TIFF kind {photometric}; save it as 8- or 16-bit grey or RGB"
        )
    orientation = page.tags.valueof(ORIENTATION, 1)
    pixels, notes = _tiff_array(page, data, orientation), []
    if bits == 1:
        pixels, notes = pixels.astype(np.uint8) * np.uint8(255), ["1-bit picture converted to 8-bit grey"]
    if photometric == WHITE_IS_ZERO:
        notes.append("inverted, because the file stores white as 0")
    if photometric == PALETTE:  # its entries are 16 bit, (3, 2ᵇ), whatever the depth of the indices
        pixels, notes = (page.colormap.T[pixels] >> 8).astype(np.uint8), ["palette converted to RGB"]
    colours = 3 if photometric in (RGB, PALETTE, YCBCR) else 1
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels != colours and (channels != colours + 1 or page.extrasamples[0] not in (1, 2)):  # 1, 2: alpha
        raise _KindError(f"has {channels} channels; save it as grey or RGB")
    if channels > colours:
        opaque = pixels[..., -1] == _top(pixels)
        pixels, notes = _drop_alpha(pixels[..., 0] if colours == 1 else pixels[..., :3], opaque, notes)
    pixels, notes = _orient(pixels, orientation, notes)
    return pixels, _tiff_spacing(page, orientation), notes, photometric == WHITE_IS_ZERO


def _tiff_spacing(page: Any, orientation: int) -> tuple[float, float] | None:
    unit = page.tags.valueof(RESOLUTION_UNIT, 2)  # TIFF 6.0: inch, where the tag is missing
    try:
        tags = [page.tags[tag] for tag in RESOLUTIONS]
        density = [Fraction(*tag.value) for tag in tags if tag.count == 1]
        return _spacing(density, {2: INCH, 3: 10.0}.get(unit), orientation)
    except (KeyError, TypeError, ValueError, ArithmeticError):  # none, or no fraction
        return None


def _tiff_array(page: Any, data: bytes, orientation: int) -> np.ndarray:
    """The stored samples, channels last."""
    # tifffile fills in what a strip or tile lacks.
    if any(
        count == 0 or start + count > len(data)
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        raise ValueError("pixels are missing at its end")
    if page.photometric != YCBCR and page.compression in (NONE, *DEFLATE):
        if page.compression != NONE:
            _check_segments(page, data)
        try:
            pixels = np.asarray(page.asarray())
            planar = page.samplesperpixel > 1 and page.planarconfig == 2
            return np.moveaxis(pixels, 0, -1) if planar else pixels
        except ValueError as error:
            if "imagecodecs" not in str(error):  # the package without which tifffile knows few compressions
                raise
    # Pillow knows LZW, PackBits and JPEG, but cuts 16-bit colour to 8 bit.
    whole = page.dtype == np.uint8 or (page.dtype in (np.uint16, np.float32) and page.samplesperpixel == 1)
    if not whole or page.photometric == WHITE_IS_ZERO:
        raise _KindError(f"is compressed by {page.compression.name}; save it uncompressed or with deflate")
    with quiet():  # libtiff prints on stderr what Pillow raises
        pixels = np.asarray(Image.open(io.BytesIO(data), formats=("TIFF",)))
    # Pillow has turned it already; back, so that one place turns and says so.
    return _orient(pixels, {6: 8, 8: 6}.get(orientation, orientation), [])[0]


def _check_segments(page: Any, data: bytes) -> None:
    """Refuse a strip or tile that unpacks to more than its pixels: tifffile unpacks each whole."""
    most = math.prod(page.chunks) * page.dtype.itemsize
    if most > 64 * MAX_PIXELS:
        raise ValueError(f"has strips or tiles of {most} bytes")
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not unpacks_within((data[start : start + count],), most):
            raise _KindError("unpacks to more than the pixels that it claims; save it again")


def encode_png(file: io.BufferedWriter | io.BytesIO, pixels: np.ndarray) -> None:
    """Write `pixels` as PNG: 8 bit for uint8, else 16 bit, to which floats are rounded."""
    if pixels.dtype.kind == "f":
        pixels = from_unit(pixels, np.uint16)
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        import png

        height, width, _ = pixels.shape
        writer = png.Writer(width, height, greyscale=False, bitdepth=16)
        writer.write_packed(file, (row.astype(">u2").tobytes() for row in pixels))
    else:
        Image.fromarray(pixels).save(file, "PNG")


def encode_tiff(file: io.BufferedWriter | io.BytesIO, pixels: np.ndarray) -> None:
    """Write `pixels` as uncompressed TIFF: uint8 and uint16 as they are, floats as float32."""
    import tifffile

    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    tifffile.imwrite(file, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb", metadata=None)


ENCODERS = {".png": encode_png, ".tif": encode_tiff, ".tiff": encode_tiff}
