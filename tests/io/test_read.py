"""Reading: every kind that is read, in files built by hand or by others; every kind that is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

import haarmony.io
from haarmony.io import raster, read

GREY = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
GREY16 = np.random.default_rng(2).integers(0, 65536, (9, 11), dtype=np.uint16)
RGB16 = np.random.default_rng(3).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
UNIT = np.random.default_rng(4).random((9, 11), dtype=np.float32)
KINDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG colour type: channels


def png(pixels, kind, depth, extra=b"", packed=None):
    """A PNG file byte by byte (W3C PNG, chapter 5), rows unfiltered; `extra` goes before the data."""
    height, width = pixels.shape[:2]
    rows = packed or [row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def saved(image, kind, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def with_alpha(pixels, alpha):
    return np.dstack([pixels, np.broadcast_to(np.asarray(alpha, pixels.dtype), pixels.shape[:2])])


def holed(pixels):
    alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max)
    alpha[3, 4] -= 1
    return with_alpha(pixels, alpha)


PLAIN = {
    "png grey": (png(GREY, 0, 8), GREY),
    "png rgb": (png(RGB, 2, 8), RGB),
    "png grey 16": (png(GREY16, 0, 16), GREY16),
    "png rgb 16": (png(RGB16, 2, 16), RGB16),
    "png rgb 16 with 12 significant bits": (png(RGB16, 2, 16, chunk(b"sBIT", b"\x0c\x0c\x0c")), RGB16),
    "png grey 16 in few levels": (png(GREY16 // 4096, 0, 16), GREY16 // 4096),
    "bmp grey": (saved(GREY, "BMP"), GREY),
    "bmp rgb": (saved(RGB, "BMP"), RGB),
    "gif grey": (saved(np.tile(np.arange(256, dtype=np.uint8), (2, 1)), "GIF"), None),
    "tiff grey": (tiff(GREY), GREY),
    "tiff rgb": (tiff(RGB, photometric="rgb"), RGB),
    "tiff grey 16": (tiff(GREY16), GREY16),
    "tiff grey 16 big-endian": (tiff(GREY16, byteorder=">"), GREY16),
    "tiff rgb 16": (tiff(RGB16, photometric="rgb"), RGB16),
    "tiff rgb 16 in planes": (
        tiff(np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate"),
        RGB16,
    ),
    "tiff float": (tiff(UNIT), UNIT),
    "tiff double": (tiff(UNIT.astype(np.float64)), UNIT.astype(np.float64)),
    "tiff deflate": (tiff(RGB16, photometric="rgb", compression="zlib", predictor=True), RGB16),
    "tiff tiles": (tiff(RGB, photometric="rgb", tile=(16, 16)), RGB),
    "tiff big": (tiff(RGB, photometric="rgb", bigtiff=True), RGB),
    "tiff lzw": (saved(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff lzw grey 16": (saved(GREY16, "TIFF", compression="tiff_lzw"), GREY16),
    "tiff lzw float": (saved(UNIT, "TIFF", compression="tiff_lzw"), UNIT),
    "tiff one row": (tiff(GREY[:1]), GREY[:1]),
    "tiff one column": (tiff(GREY[:, :1]), GREY[:, :1]),
    "tiff three columns": (tiff(GREY[:, :3]), GREY[:, :3]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_pixels_as_stored(name, tmp_path):
    data, pixels = PLAIN[name]
    if pixels is None:
        pixels = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    (tmp_path / "a.dat").write_bytes(data)  # told by content, not by name
    picture = read(tmp_path / "a.dat")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == pixels.dtype
    assert picture.value_range == (0, np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1)
    assert picture.notes == ()


@pytest.mark.parametrize("pixels", [GREY, RGB])
def test_jpeg(pixels, tmp_path):
    smooth = np.array(Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    read_back = read(tmp_path / "a.jpg").pixels
    assert read_back.shape == smooth.shape
    assert np.abs(read_back.astype(int) - smooth).max() <= 4


BITS = GREY > 127
WHITE_FIRST = np.uint8(255) - GREY
PALETTE = Image.fromarray(RGB).quantize(16)
OPAQUE = "transparency dropped: every pixel is opaque"
CONVERTED = {
    "png palette": (saved(PALETTE, "PNG"), np.array(PALETTE.convert("RGB")), "palette converted to RGB"),
    "gif palette": (saved(PALETTE, "GIF"), np.array(PALETTE.convert("RGB")), "palette converted to RGB"),
    "bmp palette": (saved(PALETTE, "BMP"), np.array(PALETTE.convert("RGB")), "palette converted to RGB"),
    "tiff palette": (saved(PALETTE, "TIFF"), np.array(PALETTE.convert("RGB")), "palette converted to RGB"),
    "png 1 bit": (png(BITS, 0, 1, packed=[np.packbits(row).tobytes() for row in BITS]), BITS * 255, "1-bit"),
    "png 4 bit": (
        png(GREY[:, :10], 0, 4, packed=[bytes(row[:10:2] // 16 * 16 + row[1:10:2] // 16) for row in GREY]),
        GREY[:, :10] // 16 * 17,
        "4-bit",
    ),
    "bmp 1 bit": (saved(BITS, "BMP"), BITS * 255, "1-bit"),
    "tiff 1 bit": (saved(BITS, "TIFF"), BITS * 255, "1-bit"),
    "tiff white is zero": (tiff(GREY, photometric="miniswhite"), WHITE_FIRST, "inverted"),
    "tiff white is zero 16": (tiff(GREY16, photometric="miniswhite"), 65535 - GREY16, "inverted"),
    "png grey alpha": (png(with_alpha(GREY, 255), 4, 8), GREY, OPAQUE),
    "png rgb alpha": (png(with_alpha(RGB, 255), 6, 8), RGB, OPAQUE),
    "png grey alpha 16": (png(with_alpha(GREY16, 65535), 4, 16), GREY16, OPAQUE),
    "png rgb alpha 16": (png(with_alpha(RGB16, 65535), 6, 16), RGB16, OPAQUE),
    "png unused key": (png(GREY // 2, 0, 8, chunk(b"tRNS", b"\0\xff")), GREY // 2, OPAQUE),
    "png unused key rgb": (png(RGB // 2, 2, 8, chunk(b"tRNS", b"\0\xff\0\1\0\2")), RGB // 2, OPAQUE),
    "png unused key rgb 16": (png(RGB16, 2, 16, chunk(b"tRNS", b"\0\1\0\2\0\3")), RGB16, OPAQUE),
    "tiff rgb alpha": (
        tiff(with_alpha(RGB, 255), photometric="rgb", extrasamples=["unassalpha"]),
        RGB,
        OPAQUE,
    ),
    "tiff grey alpha 16": (
        tiff(
            with_alpha(GREY16, 65535),
            photometric="minisblack",
            extrasamples=["unassalpha"],
            planarconfig="contig",
        ),
        GREY16,
        OPAQUE,
    ),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_conversions_are_said(name, tmp_path):
    data, pixels, note = CONVERTED[name]
    (tmp_path / "a.png").write_bytes(bytes(data))
    picture = read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype in (np.uint8, np.uint16)
    assert len(picture.notes) == 1
    assert note in picture.notes[0]


TURNED = {  # TIFF 6.0, tag 274: the picture meant by the stored array S
    1: lambda s: s,
    2: np.fliplr,
    3: lambda s: np.rot90(s, 2),
    4: np.flipud,
    5: lambda s: s.swapaxes(0, 1),
    6: lambda s: np.rot90(s, -1),
    7: lambda s: np.rot90(s, 2).swapaxes(0, 1),
    8: lambda s: np.rot90(s, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF lzw", "PNG 16", "JPEG"])
def test_orientation(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = RGB
    if kind == "PNG":
        data = saved(RGB, "PNG", exif=exif)
    elif kind == "PNG 16":
        stored, data = RGB16, png(RGB16, 2, 16, chunk(b"eXIf", exif.tobytes()[6:]))
    elif kind == "JPEG":
        stored = np.kron(GREY, np.ones((8, 8), np.uint8))  # flat blocks survive JPEG
        data = saved(stored, "JPEG", quality=100, exif=exif)
    elif kind == "TIFF":
        data = tiff(RGB, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        data = saved(RGB, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
    (tmp_path / "a").write_bytes(data)
    picture = read(tmp_path / "a")
    np.testing.assert_allclose(picture.pixels, TURNED[orientation](stored), atol=kind == "JPEG")
    note = f"turned upright by its orientation tag ({orientation})"
    assert picture.notes == ((note,) if orientation > 1 else ())


def test_a_camera_s_multi_picture_jpeg_is_its_first_picture(tmp_path):
    first, second = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (32, 24), "blue")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    picture = read(tmp_path / "a.jpg")
    assert picture.pixels.mean(axis=(0, 1)).round().tolist() == [254, 0, 0]
    assert picture.notes == ("first picture of a multi-picture JPEG",)


def bomb():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 60)) + chunk(b"IEND", b"")


FRAMES = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 90, 200)]
ANIMATED = {"save_all": True, "append_images": FRAMES[1:]}
PNG, JPEG, TIFF = png(RGB, 2, 8), saved(RGB, "JPEG"), tiff(RGB, photometric="rgb")
REFUSED = {
    "empty": (b"", "is an empty file"),
    "text": (b"Dear reader,\nthis is no picture.\n", "is no PNG, TIFF, JPEG, BMP or GIF"),
    "zeros": (bytes(1000), "is no PNG, TIFF, JPEG, BMP or GIF"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "is no PNG, TIFF, JPEG, BMP or GIF"),
    "png signature only": (PNG[:8], "is damaged|is no PNG"),
    "png cut in half": (PNG[: len(PNG) // 2], "is damaged or unfinished"),
    "png 16 cut in half": (png(RGB16, 2, 16)[:300], "is damaged or unfinished"),
    "png with a flipped bit": (PNG[:80] + bytes([PNG[80] ^ 1]) + PNG[81:], "is damaged or unfinished"),
    "jpeg cut in half": (JPEG[: len(JPEG) * 3 // 4], "is damaged or unfinished"),
    "tiff cut in half": (TIFF[: len(TIFF) // 2], "is damaged or unfinished"),
    "tiff header only": (TIFF[:8], "is damaged or unfinished"),
    "tiff tiles cut": (tiff(RGB, photometric="rgb", tile=(16, 16))[:-400], "is damaged or unfinished"),
    "tiff strips cut": (tiff(RGB, photometric="rgb", rowsperstrip=2)[:-1], "is damaged or unfinished"),
    "bomb": (bomb(), "claims more than"),
    "apng": (saved(FRAMES[0], "PNG", **ANIMATED), "holds 3 pictures"),
    "gif animation": (saved(FRAMES[0], "GIF", **ANIMATED), "holds 3 pictures"),
    "tiff pages": (saved(FRAMES[0], "TIFF", **ANIMATED), "holds 3 pictures"),
    "tiff imagej stack": (tiff(np.zeros((5, 8, 8), np.uint8), imagej=True), "holds 5 pictures"),
    "tiff deep page": (
        tiff(np.zeros((16, 32, 32), np.uint8), tile=(16, 16, 16), volumetric=True),
        "holds 16",
    ),
    "png grey alpha": (png(holed(GREY), 4, 8), "has transparent pixels"),
    "png rgb alpha": (png(holed(RGB), 6, 8), "has transparent pixels"),
    "png grey alpha 16": (png(holed(GREY16), 4, 16), "has transparent pixels"),
    "png rgb alpha 16": (png(holed(RGB16), 6, 16), "has transparent pixels"),
    "png used key": (png(GREY, 0, 8, chunk(b"tRNS", bytes([0, GREY[3, 4]]))), "has transparent pixels"),
    "png used key 1 bit": (
        png(BITS, 0, 1, chunk(b"tRNS", b"\0\1"), [np.packbits(row).tobytes() for row in BITS]),
        "has transparent pixels",
    ),
    "png used key 4 bit": (
        png(GREY[:, :2], 0, 4, chunk(b"tRNS", b"\0\7"), [b"\x07"] * 9),
        "has transparent pixels",
    ),
    "png used key 16": (
        png(GREY16, 0, 16, chunk(b"tRNS", int(GREY16[3, 4]).to_bytes(2, "big"))),
        "has transparent pixels",
    ),
    "png used key rgb 16": (
        png(RGB16, 2, 16, chunk(b"tRNS", RGB16[3, 4].astype(">u2").tobytes())),
        "has transparent pixels",
    ),
    "png palette with a hole": (saved(PALETTE, "PNG", transparency=3), "has transparent pixels"),
    "gif with a hole": (saved(PALETTE, "GIF", transparency=3), "has transparent pixels"),
    "tiff rgb alpha": (tiff(holed(RGB), photometric="rgb", extrasamples=["unassalpha"]), "has transparent"),
    "tiff five channels": (tiff(np.zeros((9, 11, 5), np.uint8), photometric="rgb"), "has 5 channels"),
    "jpeg cmyk": (saved(Image.new("CMYK", (8, 8)), "JPEG"), "is a CMYK picture; convert it to RGB"),
    "tiff cmyk": (saved(Image.new("CMYK", (8, 8)), "TIFF"), "is a CMYK picture; convert it to RGB"),
    "tiff lab": (saved(Image.new("LAB", (8, 8)), "TIFF"), "has 8-bit pixels of TIFF kind 8"),
    "tiff signed": (
        tiff(np.full((9, 11), -1000, np.int16)),
        "has int16 values; say which",
    ),
    "tiff 32 bit": (tiff(np.zeros((9, 11), np.uint32)), "has uint32 values; say which"),
    "tiff NaN": (tiff(np.where(np.arange(11) == 4, np.float32(np.nan), UNIT)), "row 0, column 4 holds nan"),
    "tiff 1 bit by LZW": (saved(BITS, "TIFF", compression="tiff_lzw"), "by LZW; save it uncompressed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_names_the_file(name, tmp_path, capfd):
    data, problem = REFUSED[name]
    path = tmp_path / "scan.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=problem) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("data", [PNG, JPEG, TIFF, png(RGB16, 2, 16), saved(RGB, "BMP")], ids=len)
def test_cut_anywhere_it_is_refused_or_whole(data):
    whole = raster.decode(data).pixels
    for length in range(1, len(data), 7):
        try:
            pixels = raster.decode(data[:length]).pixels
        except ValueError:
            continue
        np.testing.assert_array_equal(pixels, whole)  # only the end mark, which holds no pixels, is missing
        assert length > len(data) - 25


def test_size_limit_is_on_pixels_and_silent_below(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.tif").write_bytes(TIFF)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Pillow warns above this and raises above its double
    monkeypatch.setattr(raster, "MAX_PIXELS", 99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "a.png").pixels.shape == (9, 11, 3)
        assert read(tmp_path / "a.tif").pixels.shape == (9, 11, 3)
    monkeypatch.setattr(raster, "MAX_PIXELS", 98)
    for name in ("a.png", "a.tif"):
        with pytest.raises(ValueError, match="claims 11 × 9 pixels, more than the 98 that are read"):
            read(tmp_path / name)


def test_places_that_are_no_files(tmp_path):
    missing = tmp_path / "missing.png"
    with pytest.raises(FileNotFoundError) as caught:
        read(missing)
    assert str(caught.value) == f"{missing}: there is no such file"
    with pytest.raises(IsADirectoryError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder, not a picture"
    with pytest.raises(ValueError, match="/dev/null: is a device or a pipe"):
        read("/dev/null")


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    def denied(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(haarmony.io, "open", denied, raising=False)
    for reading in (read, haarmony.io.read_picture):
        with pytest.raises(PermissionError) as caught:
            reading(path)
        assert str(caught.value) == f"{path}: cannot be read (Permission denied)"


def test_real_pairs(shared):
    for name, dtype, ndim in (("CT-MRI/CT", np.uint8, 2), ("PET-MRI/PET", np.uint8, 3)):
        for path in sorted((shared / "data/harvard" / name).iterdir())[::50]:
            picture = read(path)
            np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(path)))
            assert (picture.pixels.dtype, picture.pixels.ndim, picture.notes) == (dtype, ndim, ())


def resolution(unit, columns=(300, 1), rows=(1200, 2)):
    return tiff(RGB, photometric="rgb", resolution=(columns, rows), resolutionunit=unit)


INCH = (25.4 / 600, 25.4 / 300)  # from row to row, from column to column
SPACED = {
    "png": (png(RGB, 2, 8, chunk(b"pHYs", struct.pack(">IIB", 2000, 4000, 1))), (0.25, 0.5)),
    "png 16": (png(RGB16, 2, 16, chunk(b"pHYs", struct.pack(">IIB", 2000, 4000, 1))), (0.25, 0.5)),
    "png shape alone": (png(RGB, 2, 8, chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0))), None),
    "png zero": (png(RGB, 2, 8, chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1))), None),
    "png silent": (PNG, None),
    "tiff inch": (resolution("inch"), INCH),
    "tiff centimetre": (resolution("centimeter"), (10 / 600, 10 / 300)),
    "tiff no unit": (resolution("none"), None),
    "tiff nothing": (resolution("inch", (0, 1), (0, 1)), None),
    "tiff turned": (
        tiff(
            RGB,
            photometric="rgb",
            resolution=((300, 1), (600, 1)),
            resolutionunit="inch",
            extratags=[(274, 3, 1, 6, True)],
        ),
        INCH[::-1],
    ),
    "tiff in words": (resolution("inch").replace(b"\x1a\x01\x05\0", b"\x1a\x01\x02\0"), None),
    "jpeg": (saved(RGB, "JPEG", dpi=(72, 72)), None),
    "bmp": (saved(RGB, "BMP", dpi=(96, 96)), None),
}


@pytest.mark.parametrize("name", SPACED)
def test_spacing_is_the_resolution_where_its_unit_is_known(name, tmp_path):
    data, spacing = SPACED[name]
    (tmp_path / "a").write_bytes(data)
    picture = read(tmp_path / "a")
    assert picture.affine is None
    assert picture.spacing == (spacing if spacing is None else pytest.approx(spacing, rel=1e-9))


@pytest.mark.parametrize("pixels", [GREY, GREY16, 1000 * UNIT], ids=["8 bit", "16 bit", "float"])
@pytest.mark.parametrize("asked", [False, True], ids=["whole", "asked"])
def test_the_range_of_a_tiff_whose_white_is_zero_is_of_the_file_s_values(tmp_path, pixels, asked):
    path, range_ = tmp_path / "p.tif", (int(pixels.max()) // 10, int(pixels.max()) // 2) if asked else None
    path.write_bytes(tiff(pixels, photometric="miniswhite"))
    picture = read(path, value_range=range_)
    whole = (pixels.min(), pixels.max()) if pixels.dtype == np.float32 else (0, np.iinfo(pixels.dtype).max)
    low, high = range_ or whole
    assert picture.value_range == (high, low)  # black, white
    expected = 1 - np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(haarmony.io.to_unit(picture.pixels), expected, atol=1e-4)
    assert 0.1 < expected.std()


def test_complex_tiff_is_refused(tmp_path, capfd):
    (tmp_path / "p.tif").write_bytes(tiff(UNIT.astype(np.complex64)))
    with pytest.raises(ValueError, match=r"p\.tif: has complex pixels; save their magnitude as its own file"):
        read(tmp_path / "p.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32])
def test_integers_without_a_usual_black_and_white_need_a_range(tmp_path, kind):
    path = tmp_path / "p.tif"
    path.write_bytes(tiff(GREY.astype(kind)))
    with pytest.raises(
        ValueError, match=rf"has {kind.__name__} values; say which are black and white \(--range"
    ):
        read(path)
    assert read(path, value_range=(0, 255)).value_range == (0, 255)
