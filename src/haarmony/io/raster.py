"""Raster pictures: PNG, TIFF, JPEG, BMP and GIF in, PNG and TIFF out.

The format is told from the bytes, not from the file's name. Pillow reads and writes all but two kinds: it quietly cuts
PNG with 16-bit colour to 8 bit, so that goes through pypng; and TIFF, with its many sample types, goes through tifffile.
"""

from __future__ import annotations

import io
import logging
import warnings
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from haarmony.io.picture import INTEGERS, Picture, from_unit

MAX_PIXELS = 2**27  # 11585 × 11585; a file that claims more is taken for a decompression bomb
ORIENTATION = 0x0112  # EXIF and TIFF 6.0 tag 274
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, either byte order

TIFF_GREY, TIFF_COLOUR = (0, 1), (2, 3, 6)  # photometric: white is zero, black is zero; RGB, palette, YCbCr

# tifffile reports damage to a logger, which prints on stderr unless somebody handles it; damage is raised here.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode(data: bytes) -> Picture:
    """The picture that a file's bytes hold.

    Args:
        data: The whole file.

    Raises:
        ValueError: One line without the file's name: what is wrong and what to do.
    """
    pixels, notes = _decode_tiff(data) if data[:4] in TIFF_MAGIC else _decode_pillow(data)
    top = np.iinfo(pixels.dtype).max if pixels.dtype in INTEGERS else 1
    return Picture(np.ascontiguousarray(pixels), (0.0, float(top)), notes=tuple(notes))


def _damaged(error: BaseException) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(f"is damaged or unfinished ({reason}); copy or save it again")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"claims {width} × {height} pixels, more than the {MAX_PIXELS} that are read; crop it first"
        )


def _check_frames(count: int) -> None:
    if count > 1:
        raise ValueError(
            f"holds {count} pictures (animated or multi-page); save the one you want as its own file"
        )


def _decode_pillow(data: bytes) -> tuple[np.ndarray, list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow's remarks on size, palettes and EXIF: each is dealt with here
        try:
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF"))
            frames = getattr(image, "n_frames", 1)
            if frames == 1 and image.width * image.height <= MAX_PIXELS:
                image.load()
            orientation = image.getexif().get(ORIENTATION, 1)
        except UnidentifiedImageError:
            raise ValueError(
                "is no PNG, TIFF, JPEG, BMP or GIF picture, or a damaged one; save it as PNG"
            ) from None
        except Image.DecompressionBombError:
            raise ValueError(
                f"claims more than the {MAX_PIXELS} pixels that are read; crop it first"
            ) from None
        except Exception as error:
            raise _damaged(error) from error
        _check_size(*image.size)
        _check_frames(frames)
        pixels, notes = _from_pillow(image, data)
    return _orient(pixels, orientation, notes)


def _from_pillow(image: Image.Image, data: bytes) -> tuple[np.ndarray, list[str]]:
    depth = data[24] if image.format == "PNG" else 8  # IHDR: bit depth of a sample
    if image.mode == "CMYK":
        raise ValueError("is a CMYK picture; convert it to RGB first")
    if image.mode == "1":
        return np.asarray(image.convert("L")), ["1-bit picture converted to 8-bit grey"]
    if image.mode in ("I", "I;16"):
        pixels = np.asarray(image).astype(np.uint16)
        return _drop_alpha(pixels, None if _key(image) is None else pixels != _key(image))
    if depth == 16:
        return _png_16(data)
    notes = []
    if image.mode in ("P", "PA"):
        notes.append("palette converted to RGB")
    elif depth < 8:
        notes.append(f"{depth}-bit grey converted to 8 bit")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"has pixels of the kind {image.mode}; save it as 8- or 16-bit grey or RGB")
    transparent = image.mode in ("LA", "PA", "RGBA") or _key(image) is not None
    grey = image.mode in ("L", "LA")
    if not transparent:
        return np.asarray(image.convert("L" if grey else "RGB")), notes
    rgba = np.asarray(image.convert("RGBA"))
    pixels, more = _drop_alpha(rgba[..., 0] if grey else rgba[..., :3], rgba[..., 3] == 255)
    return pixels, notes + more


def _key(image: Image.Image) -> object:
    """The value or palette entries that a PNG or GIF declares transparent (PNG chunk tRNS)."""
    return image.info.get("transparency")


def _png_16(data: bytes) -> tuple[np.ndarray, list[str]]:
    import png

    try:
        width, height, rows, info = png.Reader(bytes=data).asDirect()  # tRNS becomes an alpha channel
        planes = info["planes"]
        pixels = np.vstack([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, planes)
    except Exception as error:
        raise _damaged(error) from error
    colours = pixels[..., 0] if planes < 3 else pixels[..., :3]
    return _drop_alpha(colours, pixels[..., -1] == 65535 if planes in (2, 4) else None)


def _drop_alpha(pixels: np.ndarray, opaque: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    if opaque is None:
        return pixels, []
    if not opaque.all():
        raise ValueError(
            "has transparent pixels, whose colour means nothing; flatten it onto a background first"
        )
    return pixels, ["alpha channel dropped: every pixel is opaque"]


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


def _decode_tiff(data: bytes) -> tuple[np.ndarray, list[str]]:
    import tifffile

    try:
        tiff = tifffile.TiffFile(io.BytesIO(data))
        page = tiff.pages.first
        frames = max(len(tiff.pages), tiff.series[0].size // page.size)
        photometric, planes, bits = int(page.photometric), page.samplesperpixel, page.bitspersample
        orientation = page.tags.valueof(ORIENTATION, 1)
    except Exception as error:
        raise _damaged(error) from error
    _check_size(page.imagewidth, page.imagelength)
    _check_frames(frames)
    if photometric not in (*TIFF_GREY, *TIFF_COLOUR) or bits not in (1, 8, 16, 32, 64):
        raise ValueError(
            f"is a TIFF of {bits}-bit {_photometric(page)} pixels; save it as 8- or 16-bit grey or RGB"
        )
    pixels = _tiff_array(page, data)
    notes = []
    if planes > 1 and page.planarconfig == 2:  # one plane after the other
        pixels = np.moveaxis(pixels, 0, -1)
    if bits == 1:
        pixels, notes = pixels.astype(np.uint8) * np.uint8(255), ["1-bit picture converted to 8-bit grey"]
    if photometric == 0 and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
        notes.append("inverted, because the file stores white as 0")
    if photometric == 3:
        # Colour maps are 16 bit, (3, 2ᵇ), whatever the depth of the indices.
        pixels, notes = (page.colormap.T[pixels] >> 8).astype(np.uint8), ["palette converted to RGB"]
    colours = 1 if photometric in TIFF_GREY else 3
    if pixels.ndim == 3 and pixels.shape[2] > colours:
        if pixels.shape[2] > colours + 1:
            raise ValueError(f"has {pixels.shape[2]} channels; save it as grey or RGB")
        top = np.iinfo(pixels.dtype).max if pixels.dtype in INTEGERS else 1
        opaque = pixels[..., -1] == top
        pixels, more = _drop_alpha(pixels[..., 0] if colours == 1 else pixels[..., :3], opaque)
        notes += more
    return _orient(pixels, orientation, notes)


def _photometric(page: Any) -> str:
    return "CMYK" if page.photometric == 5 else str(getattr(page.photometric, "name", page.photometric))


def _tiff_array(page: Any, data: bytes) -> np.ndarray:
    try:
        return np.asarray(page.asarray())
    except Exception as error:
        if "imagecodecs" not in str(error):
            raise _damaged(error) from error
    # LZW and JPEG inside TIFF are Pillow's, where it keeps the depth: it cuts 16-bit colour to 8 bit.
    whole = page.dtype == np.uint8 or (page.dtype in (np.uint16, np.float32) and page.samplesperpixel == 1)
    if not whole or page.photometric == 0:
        raise ValueError(f"is compressed by {page.compression.name}; save it uncompressed or with deflate")
    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=("TIFF",)))
    except Exception as error:
        raise _damaged(error) from error


def encode_png(file: IO[bytes], pixels: np.ndarray) -> None:
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


def encode_tiff(file: IO[bytes], pixels: np.ndarray) -> None:
    """Write `pixels` as uncompressed TIFF: uint8, uint16 or float32, as they are."""
    import tifffile

    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    tifffile.imwrite(file, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb", metadata=None)


ENCODERS = {".png": encode_png, ".tif": encode_tiff, ".tiff": encode_tiff}
