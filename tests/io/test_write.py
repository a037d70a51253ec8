"""Writing: the pixels come back exactly, by our reader and by another's; whole or not at all."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import png
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from haarmony.io import Picture, check_target, raster, read, write

RNG = np.random.default_rng(0)
OLD = b"what was there before"
SHAPES = [(16, 21), (16, 21, 3), (1, 1), (1, 7, 3)]


def random(shape, dtype):
    if np.dtype(dtype).kind == "f":
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def decode_png(data):
    """Our own PNG decoder (W3C PNG, chapters 5 and 9), for what Pillow cuts to 8 bit."""
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(name + body),)
        chunks[name] = chunks.get(name, b"") + body
        at += 12 + length
    width, height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    channels, size = {0: 1, 2: 3}[kind], depth // 8
    step, stride = channels * size, width * channels * size
    stream, above, rows = zlib.decompress(chunks[b"IDAT"]), bytearray(stride), []
    assert interlace == 0
    for y in range(height):
        rule, row = stream[y * (stride + 1)], bytearray(stream[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for i in range(stride):
            a, b, c = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, nearest)[rule]) % 256
        rows.append(np.frombuffer(bytes(row), f">u{size}"))
        above = row
    pixels = np.stack(rows).astype(f"u{size}").reshape(height, width, channels)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_bit(dtype, shape, tmp_path):
    pixels = random(shape, dtype)
    write(tmp_path / "f.png", pixels)
    np.testing.assert_array_equal(decode_png((tmp_path / "f.png").read_bytes()), pixels)
    if pixels.dtype == np.uint8 or pixels.ndim == 2:  # a third opinion
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "f.png")), pixels)
    else:
        rows = png.Reader(bytes=(tmp_path / "f.png").read_bytes()).asRGB()[2]
        np.testing.assert_array_equal(np.array([list(row) for row in rows]).reshape(shape), pixels)
    picture = read(tmp_path / "f.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.pixels.dtype, picture.notes) == (dtype, ())


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".TIF"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_tiff_keeps_every_bit(dtype, shape, ending, tmp_path):
    path = tmp_path / f"f{ending}"
    pixels = random(shape, dtype)
    write(path, pixels)
    stored = pixels.astype(np.float32) if dtype == np.float64 else pixels
    assert stored.astype(stored.dtype.newbyteorder("<")).tobytes() in path.read_bytes()
    np.testing.assert_array_equal(tifffile.imread(path).reshape(shape), stored)
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), stored)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, stored)
    assert picture.pixels.dtype == stored.dtype


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float_png_is_rounded_to_16_bit(shape, tmp_path):
    pixels = random(shape, np.float32)
    write(tmp_path / "f.png", pixels)
    np.testing.assert_array_equal(
        decode_png((tmp_path / "f.png").read_bytes()), np.rint(pixels.astype(np.float64) * 65535)
    )


INTEGER_PIXELS = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: st.one_of(
        arrays(dtype, array_shapes(min_dims=2, max_dims=2, max_side=9)),
        arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
    )
)
FLOAT_PIXELS = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1, width=32)
)


@settings(max_examples=60, deadline=None)
@given(pixels=INTEGER_PIXELS | FLOAT_PIXELS, encode=st.sampled_from([raster.encode_png, raster.encode_tiff]))
def test_round_trip(pixels, encode):
    file = io.BytesIO()
    encode(file, pixels)
    back = raster.decode(file.getvalue()).pixels
    if pixels.dtype == np.float32 and encode is raster.encode_png:
        assert np.abs(back / 65535 - pixels).max() <= 0.5 / 65535 + 1e-9
    else:
        np.testing.assert_array_equal(back, pixels)
        assert back.dtype == pixels.dtype


def test_views_and_other_byte_orders_and_pictures(tmp_path):
    pixels = random((12, 10, 3), np.uint16)
    for view in (pixels[::-1, ::2], pixels.swapaxes(0, 1), pixels[..., ::-1], pixels[..., 1]):
        for name in ("f.png", "f.tif"):
            write(tmp_path / name, Picture(view, (0, 65535)))
            np.testing.assert_array_equal(read(tmp_path / name).pixels, view)


def test_same_pixels_same_bytes(tmp_path):
    pixels = random((40, 30, 3), np.uint16)
    for name in ("a.png", "a.tif"):
        write(tmp_path / name, pixels)
        first = (tmp_path / name).read_bytes()
        write(tmp_path / name, pixels)
        assert (tmp_path / name).read_bytes() == first


def refused(kind, path, pixels=None, **options):
    before = sorted(path.parent.rglob("*")) if path.parent.is_dir() else []
    with pytest.raises(kind) as caught:
        write(path, np.zeros((4, 5), np.uint8) if pixels is None else pixels, **options)
    assert "\n" not in str(caught.value)
    assert (sorted(path.parent.rglob("*")) if path.parent.is_dir() else []) == before
    return str(caught.value)


@pytest.mark.parametrize("name", ["f.jpg", "f.JPEG", "f.bmp", "f.png.gz", "f"])
def test_other_endings_are_refused(name, tmp_path):
    message = refused(ValueError, tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: cannot write ")
    assert message.endswith("end the name in .png, .tif, .tiff, or for a volume in .nii or .nii.gz")


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    assert refused(FileNotFoundError, tmp_path / "no" / "f.png") == (
        f"{tmp_path / 'no' / 'f.png'}: there is no folder {tmp_path / 'no'}; make it first"
    )
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert refused(IsADirectoryError, folder) == f"{folder}: is a folder; name a file in it"
    file = tmp_path / "file"
    file.write_bytes(OLD)
    assert refused(NotADirectoryError, file / "f.png") == f"{file / 'f.png'}: {file} is not a folder"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refused(PermissionError, tmp_path / "f.png") == (
        f"{tmp_path / 'f.png'}: the folder {tmp_path} cannot be written to"
    )


def test_an_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path):
    path = tmp_path / "f.png"
    path.write_bytes(OLD)
    message = refused(FileExistsError, path, overwrite=False)
    assert message == f"{path}: exists already; --overwrite (in Python overwrite=True) replaces it"
    assert path.read_bytes() == OLD
    with pytest.raises(FileExistsError):
        check_target(path, overwrite=False)
    check_target(path)
    write(path, np.full((4, 5), 7, np.uint8))
    assert (read(path).pixels == 7).all()
    write(tmp_path / "new.png", np.zeros((4, 5), np.uint8), overwrite=False)


def test_pixels_are_checked_before_anything_is_touched(tmp_path):
    path = tmp_path / "f.png"
    path.write_bytes(OLD)
    assert "row 0, column 0 holds nan" in refused(ValueError, path, np.full((4, 5), np.nan))
    assert "run from 2 to 2" in refused(ValueError, path, np.full((4, 5), 2.0))
    assert "not int64" in refused(ValueError, path, np.zeros((4, 5), np.int64))
    assert "(4, 5, 4)" in refused(ValueError, path, np.zeros((4, 5, 4), np.uint8))
    assert path.read_bytes() == OLD


def full_disk(file, pixels):
    file.write(b"half a picture")
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(file, pixels):
    file.write(b"half a picture")
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["f.png", "f.tif"])
def test_a_full_disk_leaves_the_old_file_and_no_part(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(OLD)
    monkeypatch.setitem(raster.ENCODERS, path.suffix, full_disk)
    assert refused(OSError, path) == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == OLD
    path.unlink()
    refused(OSError, path)
    monkeypatch.setitem(raster.ENCODERS, path.suffix, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(path, np.zeros((4, 5), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "f.png"
    path.write_bytes(OLD)

    def fail(source, target):
        assert (str(source), target) == (f"{path}.part", path)
        assert (read(source).pixels == 9).all()  # whole before it takes its name
        raise PermissionError(errno.EACCES, "Permission denied", str(source))

    monkeypatch.setattr(os, "replace", fail)
    message = refused(PermissionError, path, np.full((4, 5), 9, np.uint8))
    assert message == f"{path}: cannot be written (Permission denied)"
    assert path.read_bytes() == OLD


def test_a_part_left_by_a_crash_is_replaced_and_one_that_is_a_folder_reported(tmp_path):
    path, part = tmp_path / "f.png", tmp_path / "f.png.part"
    part.write_bytes(OLD)
    write(path, np.full((4, 5), 7, np.uint8))
    assert list(tmp_path.iterdir()) == [path]
    part.mkdir()
    assert refused(OSError, path) == f"{path}: cannot be written (Is a directory)"
    assert (read(path).pixels == 7).all()


def test_import_is_light(tmp_path):
    code = """if True:
        import sys, numpy as np, haarmony.io as h, haarmony.colour
        h.write("light.png", np.zeros((4, 5), "u1"))
        h.read("light.png")
        heavy = {"tifffile", "png", "scipy", "torch", "matplotlib", "nibabel", "rich"}
        print(sorted(heavy & set(sys.modules)))"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [".nii.gz", ".nii", ".png", ".TIF"])
def test_an_ending_is_no_name(tmp_path, name):
    with pytest.raises(ValueError, match=r"without (a name|an ending)"):
        check_target(tmp_path / name)
