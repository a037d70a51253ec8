"""The valid files that `fuzz.py` damages, made of the phantom by the product's writers and by others'."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Seed(NamedTuple):
    """A valid file: what is edited, and how the file is made of it."""

    data: bytes
    pack: Callable[[bytes], bytes] = bytes


@cache
def _pixels() -> dict[str, np.ndarray]:
    from haarmony.phantom import head

    plane = head(seed=1, size=32)
    grey, colour = plane.picture("CT", 16), plane.picture("PET", 16)
    deep = grey.astype(np.uint16) * 257
    return {"grey": grey, "colour": colour, "grey16": deep, "colour16": colour.astype(np.uint16) * 257}


@cache
def png_seeds() -> list[Seed]:
    """Of the product's writer, and interlaced, with palette, alpha and text; chunks with right checksums."""
    from PIL import Image, PngImagePlugin

    from haarmony.io import Picture, encode

    made = [encode(Path("a.png"), Picture(pixels, (0, 1))) for pixels in _pixels().values()]
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Phantom", zip=True)
    for mode, options in (("P", {}), ("1", {}), ("RGBA", {"pnginfo": text, "dpi": (72, 72)}), ("LA", {})):
        made.append(_saved(Image.fromarray(_pixels()["colour"]).convert(mode), "PNG", **options))
    rows = [_rows(one) for one in made[:4]]
    return [Seed(one, _mended) for one in made] + [Seed(one) for one in made[:3]] + rows


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return struct.pack(">I", length) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _mended(data: bytes) -> bytes:
    """A PNG whose checksums are right, whatever else is wrong, so that a decoder looks further."""
    made, at = data[:8], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        made += _chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length], length)
        at += 12 + length
    return made


def _rows(data: bytes) -> Seed:
    """A PNG whose rows are edited before they are packed."""
    chunks = _chunks(data)
    whole = b"".join(content for name, content in chunks if name == b"IDAT")
    before, after = _chunk(*chunks[0]), _chunk(b"IEND", b"")
    return Seed(
        zlib.decompress(whole), lambda rows: data[:8] + before + _chunk(b"IDAT", zlib.compress(rows)) + after
    )


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def tiff_seeds() -> list[Seed]:
    """Of the product's writer, and with compression, tiles, planes, pages, BigTIFF, palette, OME."""
    import tifffile
    from PIL import Image

    from haarmony.io import Picture, encode, to_unit

    pixels = _pixels()
    of = [*pixels.values(), to_unit(pixels["grey16"]), to_unit(pixels["colour16"])]
    made = [encode(Path("a.tif"), Picture(one, (0, 1))) for one in of]
    grey, colour, deep = pixels["grey"], pixels["colour"], pixels["colour16"]
    for array, options in (
        (deep, {"compression": "zlib", "predictor": True}),
        (grey, {"compression": "zlib", "rowsperstrip": 8}),
        (colour, {"tile": (16, 16), "photometric": "rgb"}),
        (np.moveaxis(deep, -1, 0), {"planarconfig": "separate", "photometric": "rgb"}),
        (grey, {"bigtiff": True, "byteorder": ">"}),
        (to_unit(grey), {"compression": "zlib"}),
        (np.stack([grey, grey]), {"imagej": True}),
        (grey, {"ome": True}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        made.append(file.getvalue())
    image = Image.fromarray(colour)
    for compression in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"):
        made.append(_saved(image, "TIFF", compression=compression))
    made += [_saved(image.convert(mode), "TIFF", compression="tiff_lzw") for mode in ("P", "1", "L", "RGBA")]
    return [Seed(one) for one in made]


@cache
def jpeg_seeds() -> list[Seed]:
    """Baseline, progressive, with EXIF, CMYK, and a camera's of two pictures."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Phantom"
    grey, colour = (Image.fromarray(_pixels()[name]) for name in ("grey", "colour"))
    options: list[dict[str, Any]] = [{}, {"progressive": True}, {"exif": exif}, {"restart_marker_rows": 1}]
    made = [_saved(image, "JPEG", **option) for option in options for image in (grey, colour)]
    made += [
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(colour, "MPO", save_all=True, append_images=[grey]),
    ]
    return [Seed(one) for one in made]


@cache
def nifti_seeds() -> list[Seed]:
    """Of the product's writer, plain and packed, the latter edited before and after; NIfTI-2 and doubles."""
    import nibabel

    from haarmony.io import Volume, encode, to_unit

    pixels = _pixels()
    kinds = [np.repeat(pixels[name][:, :, None], 4, axis=2) for name in pixels]
    kinds = [kinds[0], kinds[1], kinds[2], to_unit(kinds[2])]
    affine = np.array([[-1, 0.1, 0, 5], [0.1, 1, 0, 6], [0, 0, 2.5, 7], [0, 0, 0, 1]], float)
    volumes = [Volume(voxels, (-1000.0, 3000.0), affine) for voxels in kinds]
    plain = [encode(Path("a.nii"), volume) for volume in volumes]
    for kind, dtype in (
        (nibabel.Nifti2Image, "f8"),
        (nibabel.Nifti1Image, "i2"),
        (nibabel.Nifti1Image, ">f4"),
    ):
        image = kind(kinds[0].astype(dtype), affine)
        image.header.set_data_dtype(dtype)
        plain.append(image.to_bytes())
    packed = [Seed(gzip.compress(one, mtime=0)) for one in plain[:3]]
    return (
        [Seed(one) for one in plain]
        + packed
        + [Seed(one, lambda x: gzip.compress(x, 1, mtime=0)) for one in plain]
    )


@cache
def dicom_seeds() -> list[Seed]:
    """Grey of 8 and 16 bit, signed, RGB, several frames; plain, big-endian, RLE, JPEG and JPEG 2000."""
    from PIL import Image
    from pydicom import Dataset, encaps, uid

    def made(pixels: np.ndarray, syntax: str, data: bytes | None = None, **tags: Any) -> bytes:
        colour = pixels.shape[-1] == 3
        dataset = Dataset()
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dataset.SOPClassUID, dataset.SOPInstanceUID = uid.CTImageStorage, "1.2.3.4"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.1", "CT"
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0 if colour else -1024
        dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (
            (3, "RGB") if colour else (1, "MONOCHROME2")
        )
        if colour:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = (
            data or pixels.astype(pixels.dtype.newbyteorder(">" if "1.2.2" in syntax[-5:] else "<")).tobytes()
        )
        if data is not None or syntax in (uid.RLELossless, uid.JPEG2000Lossless):
            dataset["PixelData"].VR = "OB"
        if data is None and syntax in (uid.RLELossless, uid.JPEG2000Lossless):
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            dataset["PixelData"].VR = "OW"
            dataset.compress(uid.UID(syntax), generate_instance_uid=False)
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()

    pixels = _pixels()
    signed = (pixels["grey16"].astype(np.int32) // 16 - 1024).astype(np.int16)
    kinds = [pixels["grey"], pixels["grey16"], signed, pixels["colour"]]
    files = [made(one, uid.ExplicitVRLittleEndian) for one in kinds]
    files += [made(kinds[1], uid.ImplicitVRLittleEndian), made(kinds[1], uid.ExplicitVRBigEndian)]
    for syntax in (uid.RLELossless, uid.JPEG2000Lossless):
        files += [made(one, syntax) for one in kinds]
    jpeg = encaps.encapsulate([_saved(Image.fromarray(kinds[0]), "JPEG")])
    files.append(made(kinds[0], uid.JPEGBaseline8Bit, jpeg))
    groups = []
    for k in range(3):
        group, place, measures = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, measures.PixelSpacing, measures.SliceThickness = [0, 0, 2 * k], [1, 1], 2
        group.PlanePositionSequence, group.PixelMeasuresSequence = [place], [measures]
        groups.append(group)
    stack = np.stack([pixels["grey16"]] * 3)
    files.append(
        made(stack, uid.ExplicitVRLittleEndian, NumberOfFrames=3, PerFrameFunctionalGroupsSequence=groups)
    )
    return [Seed(one) for one in files]


@cache
def card_seeds() -> list[Seed]:
    """The shipped models' cards."""
    from haarmony.weights import SHIPPED

    return [Seed(path.read_bytes()) for path in sorted(SHIPPED.glob("*/card.toml"))]


@cache
def recipe_seeds() -> list[Seed]:
    """The recipes beside this folder."""
    folder = Path(__file__).resolve().parents[1] / "recipes"
    return [Seed(path.read_bytes()) for path in sorted(folder.glob("*.toml"))]


@cache
def transform_seeds() -> list[Seed]:
    """What registration saves, of pictures and of volumes."""
    from haarmony.transform import Transform, turned

    flat = turned(np.array([63.5, 63.5]), 5.0, np.array([6.0, -4.0]))
    deep = np.eye(4)
    deep[:3, 3] = 5.0, -4.0, 0.1
    made = [
        Transform(flat, np.array([63.5, 63.5]), "rigid", 1.07, 1.11),
        Transform(deep, np.array([0.0, -18.5, 7.25]), "affine", 1.0, 1.25),
    ]
    return [Seed(one.encoded()) for one in made]


SEEDS: dict[str, Callable[[], list[Seed]]] = {
    "png": png_seeds,
    "tiff": tiff_seeds,
    "jpeg": jpeg_seeds,
    "nifti": nifti_seeds,
    "dicom": dicom_seeds,
    "card": card_seeds,
    "recipe": recipe_seeds,
    "transform": transform_seeds,
}
