"""`haarmony fuse` on volumes, value ranges and 16 bit: what comes out, by nibabel and by the bytes."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from haarmony import colour
from haarmony.io import read, to_unit, write

AFFINE = np.array([[0.0, -2, 0, 90], [0, 0, 3, -60], [1.5, 0, 0, 7], [0, 0, 0, 1]])  # S, L, A
SHAPE = (17, 20, 18)
ACROSS = {"axial": 0, "sagittal": 1, "coronal": 2}
"""The stored axis that crosses each plane."""


def unit(values, lo, hi):
    return np.clip((values - float(lo)) / (float(hi) - float(lo)), 0, 1)


def store(path, values, affine=AFFINE):
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


@pytest.fixture
def fuse(run, model):
    return lambda *argv: run("fuse", *argv, "--model", model)


@pytest.fixture
def values(tmp_path, monkeypatch):
    """In the working directory a.nii.gz of int16 and b.nii.gz of float32, on one grid; their values."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a = rng.integers(-1000, 2000, SHAPE).astype(np.int16)
    b = rng.normal(5, 1, SHAPE).astype(np.float32)
    store("a.nii.gz", a)
    store("b.nii.gz", b)
    return a, b


def test_a_pair_of_volumes_by_nibabel_and_by_the_bytes(values, fuse):
    a, b = values
    code, out, err = fuse("a.nii.gz", "b.nii.gz", "-o", "f.nii.gz")
    lo, hi = int(a.min()), int(a.max())
    told = f"values from {lo} to {hi} and {b.min():.7g} to {b.max():.7g}"
    assert (code, len(out)) == (0, 1)
    assert out[0].startswith("f.nii.gz: fused in ")
    assert out[0].endswith(told)
    why = "shown from black to white (the smallest and the largest of the volume)"
    assert err == [
        f"a.nii.gz: values from {lo} to {hi} {why}",
        f"b.nii.gz: values from {b.min():.7g} to {b.max():.7g} {why}",
    ]
    expected = lo + (hi - lo) * np.maximum(unit(a, lo, hi), unit(b, b.min(), b.max()))

    image = nib.load("f.nii.gz")
    assert (image.shape, nib.aff2axcodes(image.affine)) == (SHAPE, ("S", "L", "A"))
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_allclose(image.get_fdata(), expected, atol=(hi - lo) / 65535)

    data = gzip.decompress(Path("f.nii.gz").read_bytes())

    def field(kind, at, count=1):
        return np.frombuffer(data, kind, count, at).tolist()

    assert field("<i4", 0) == [348]
    assert field("<i2", 40, 4) == [3, *SHAPE]
    assert field("<i2", 70, 2) == [512, 16]  # uint16
    assert field("<f4", 80, 3) == [1.5, 2, 3]
    assert field("<f4", 108) == [352]
    assert data[123] == 2  # mm
    assert field("<i2", 252, 2) == [0, 2]  # the source's: as nibabel writes an affine
    assert field("<f4", 280, 12) == AFFINE[:3].ravel().tolist()
    assert data[344:352] == b"n+1\0\0\0\0\0"
    slope, inter = field("<f4", 112, 2)
    levels = np.frombuffer(data, "<u2", offset=352).reshape(SHAPE, order="F")
    np.testing.assert_allclose(slope * levels + inter, expected, atol=(hi - lo) / 65535)


def test_a_second_source_on_another_grid_is_resampled(values, fuse):
    a, _ = values
    smooth = np.add.outer(np.add.outer(np.arange(9.0), np.arange(10.0)), np.arange(9.0)).astype(np.float32)
    coarse = AFFINE @ np.diag([2.0, 2, 2, 1])
    store("c.nii.gz", smooth, coarse)
    code, _, err = fuse("a.nii.gz", "c.nii.gz", "-o", "f.nii.gz", "--range-a", "-1000,9000")
    assert code == 0
    assert err[-1] == (
        "f.nii.gz: second source resampled by its affine, from 9 × 10 × 9 voxels to 17 × 20 × 18"
    )
    image = nib.load("f.nii.gz")
    np.testing.assert_array_equal(image.affine, AFFINE)
    at = np.indices(SHAPE)[:, :, :19, :17] / 2  # the coarse grid ends there
    expected = -1000 + 10000 * np.maximum(unit(a[:, :19, :17], -1000, 9000), at.sum(0) / 25)
    np.testing.assert_allclose(image.get_fdata()[:, :19, :17], expected, atol=0.5)


def test_colour_volumes(values, fuse):
    rgb = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    store("rgb.nii.gz", rgb.view(kind)[..., 0])
    assert fuse("a.nii.gz", "rgb.nii.gz", "-o", "f.nii", "--range-a", "-1000,2000")[0] == 0
    image = nib.load("f.nii")
    assert (image.get_data_dtype(), image.shape) == (kind, SHAPE)
    assert np.frombuffer(Path("f.nii").read_bytes(), "<i2", 2, 70).tolist() == [128, 24]
    np.testing.assert_array_equal(image.affine, AFFINE)
    fused = np.stack([np.asarray(image.dataobj)[channel] for channel in "RGB"], axis=3)
    expected = np.maximum(
        unit(values[0], -1000, 2000), colour.to_luma(to_unit(rgb.reshape(-1, 1, 3))).reshape(SHAPE)
    )
    np.testing.assert_allclose(
        colour.to_luma(to_unit(fused.reshape(-1, 1, 3))).reshape(SHAPE), expected, atol=0.5 / 255 + 1e-3
    )
    assert np.ptp(fused.astype(int), axis=3).max() > 50
    assert fuse("a.nii.gz", "rgb.nii.gz", "-o", "g.nii", "--colour", "grey")[0] == 0
    assert nib.load("g.nii").get_data_dtype() == np.uint16


@pytest.mark.parametrize("plane", [*ACROSS, "auto"])
def test_slices_along_a_plane(values, fuse, plane):
    axis = ACROSS.get(plane, 2)  # acquired across the longest voxels
    argv = ("--plane", plane, "--slices", "2:5")
    assert fuse("a.nii.gz", "b.nii.gz", "-o", "f.nii.gz", *argv)[0] == 0
    assert fuse("a.nii.gz", "b.nii.gz", "-o", "whole.nii.gz")[0] == 0
    image, whole = nib.load("f.nii.gz"), nib.load("whole.nii.gz")
    cut = tuple(slice(2, 5) if i == axis else slice(None) for i in range(3))
    np.testing.assert_array_equal(image.get_fdata(), whole.get_fdata()[cut])
    np.testing.assert_array_equal(image.affine, whole.slicer[cut].affine)


def test_one_slice_makes_a_picture_upright(values, fuse):
    a, b = values
    code, _, err = fuse(
        "a.nii.gz", "b.nii.gz", "-o", "f.png", "--plane", "axial", "--slices", "4:5", "--quiet"
    )
    assert (code, err) == (0, [])
    expected = np.maximum(unit(a, a.min(), a.max()), unit(b, b.min(), b.max()))[4]
    pixels = read("f.png").pixels
    assert pixels.dtype == np.uint16
    # Rows lead to the back, columns to the patient's left: the last axis turned round, then the second.
    np.testing.assert_allclose(pixels, 65535 * expected.T[::-1], atol=1)
    says = "g.png: a picture holds one slice, not 18; choose one with --slices, or end the name in .nii or"
    refused(fuse("a.nii.gz", "b.nii.gz", "-o", "g.png"), says)
    assert not Path("g.png").exists()


def test_ranges_are_used_and_told(values, fuse):
    a, b = values
    code, out, _ = fuse(
        "a.nii.gz", "b.nii.gz", "-o", "f.nii.gz", "--range-a", "0,80", "--range-b", "4.5,6.5", "--quiet"
    )
    assert (code, out) == (0, [])
    expected = 80 * np.maximum(unit(a, 0, 80), unit(b, 4.5, 6.5))
    np.testing.assert_allclose(nib.load("f.nii.gz").get_fdata(), expected, atol=80 / 65535)
    _, out, err = fuse("a.nii.gz", "b.nii.gz", "-o", "g.nii.gz", "--range-a", "0,80", "--range-b", "4.5,6.5")
    assert out[0].endswith("; values from 0 to 80 and 4.5 to 6.5")
    assert err == [
        "a.nii.gz: values from 0 to 80 shown from black to white (as asked)",
        "b.nii.gz: values from 4.5 to 6.5 shown from black to white (as asked)",
    ]
    assert Path("f.nii.gz").read_bytes() == Path("g.nii.gz").read_bytes()


def refused(done, says):
    code, out, err = done
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--slices", "3"], "--slices: '3' is not LO:HI"),
        (["--slices", "1:2:3"], "--slices: '1:2:3' is not LO:HI"),
        (["--slices", "a:b"], "--slices: 'a:b' is not LO:HI"),
        (["--slices", "5:3"], "slices 5:3 are not among the 18 coronal ones"),
        (["--slices", "0:19"], "slices 0:19 are not among the 18 coronal ones"),
        (["--slices", "-1:4"], "slices -1:4 are not among the 18 coronal ones"),
        (["--plane", "axial", "--slices", "0:18"], "slices 0:18 are not among the 17 axial ones"),
        (["--range-a", "5"], "--range-a: '5' is not LO,HI"),
        (["--range-a", "a,b"], "--range-a: 'a,b' is not LO,HI"),
        (["--range-b", "1,2,3"], "--range-b: '1,2,3' is not LO,HI"),
        (["--range-b", "5,1"], "--range-b: a value range is LO,HI"),
        (["--range-b", "1,1"], "--range-b: a value range is LO,HI"),
        (["--range-a", "nan,1"], "--range-a: a value range is LO,HI"),
        (["--range-a", "0,inf"], "--range-a: a value range is LO,HI"),
        (["--tile", "3"], "tile must be 0 (never) or at least 32 pixels"),
    ],
)
def test_bad_options_are_one_line(values, fuse, argv, says):
    refused(fuse("a.nii.gz", "b.nii.gz", "-o", "f.nii.gz", *argv), says)
    assert sorted(os.listdir()) == ["a.nii.gz", "b.nii.gz"]


def test_an_unknown_plane(values, fuse):
    code, out, err = fuse("a.nii.gz", "b.nii.gz", "-o", "f.nii.gz", "--plane", "oblique")
    assert (code, out) == (2, [])
    assert "--plane" in err[0]
    assert "'oblique' is not one of" in err[0]
    assert len(err) <= 3


def test_a_picture_and_a_volume_do_not_mix(values, fuse):
    write("p.png", np.zeros((20, 18), np.uint8))
    two = "one source is a volume, the other a picture"
    refused(fuse("a.nii.gz", "p.png", "-o", "f.nii.gz"), f"a.nii.gz with p.png: {two}")
    refused(fuse("p.png", "a.nii.gz", "-o", "f.png"), f"p.png with a.nii.gz: {two}")
    refused(fuse("p.png", "p.png", "-o", "f.nii.gz"), "f.nii.gz: is a volume's name")
    refused(fuse("p.png", "p.png", "-o", "f.png", "--slices", "0:1"), "slices are of volumes")
    assert sorted(os.listdir()) == ["a.nii.gz", "b.nii.gz", "p.png"]


def test_folders_of_volumes(values, fuse):
    for folder, voxels in zip(("one", "two"), values, strict=True):
        Path(folder).mkdir()
        for stem in ("p1", "p2.t1"):
            store(f"{folder}/{stem}.nii.gz", voxels)
    Path("two/p2.t1.nii.gz").write_bytes(b"no volume")
    argv = ("one", "two", "-o", "out", "--range-a", "0,80", "--plane", "axial", "--slices", "3:6")
    code, out, err = fuse(*argv)
    assert (code, out) == (1, ["out: 1 fused, 0 skipped, 1 failed"])
    assert any(line.startswith("p2.t1 failed: two/p2.t1.nii.gz: ") for line in err)
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p1.nii.gz"]
    rest = ("--range-a", "0,80", "--plane", "axial", "--slices", "3:6", "--quiet")
    assert fuse("a.nii.gz", "b.nii.gz", "-o", "alone.nii.gz", *rest)[0] == 0
    assert Path("alone.nii.gz").read_bytes() == Path("out/p1.nii.gz").read_bytes()
    with open("out/manifest.csv", newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["stem"] == "p1")
    b = values[1]
    assert [row[name] for name in ("plane", "slices", "range_a", "range_b", "values_a", "values_b")] == [
        *("axial", "3:6", "0,80", "", "0,80"),
        f"{b.min():.9g},{b.max():.9g}",
    ]
    store("two/p2.t1.nii.gz", values[1])
    assert fuse(*argv)[:2] == (0, ["out: 1 fused, 1 skipped, 0 failed"])
    assert nib.load("out/p2.t1.nii.gz").shape == (3, 20, 18)


@pytest.mark.parametrize(
    ("source", "out", "argv"),
    [
        ("png", "png", []),
        ("png", "tif", []),
        ("uint16.tif", "tif", []),
        ("uint16.tif", "png", ["--range-a", "0,4095", "--range-b", "0,4095"]),
        ("unit.tif", "tif", []),
        ("unit.tif", "png", []),
        ("kelvin.tif", "tif", []),
        ("kelvin.tif", "png", ["--range-a", "0,4095", "--range-b", "0,4095"]),
    ],
)
def test_a_12_bit_ramp_survives_the_shipped_model(tmp_path, monkeypatch, run, source, out, argv):
    monkeypatch.chdir(tmp_path)
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (16, 1))
    name, target = f"ramp.{source}", f"fused.{out}"
    if source == "png":
        write(name, ramp)
    else:
        factor = {"uint16.tif": np.uint16(1), "unit.tif": np.float32(1 / 4095), "kelvin.tif": np.float32(1)}
        tifffile.imwrite(name, ramp * factor[source])
    code, said, _ = run("fuse", name, name, "-o", target, *argv)
    assert code == 0
    top = {"png": 65535, "uint16.tif": 65535, "unit.tif": 1, "kelvin.tif": 4095}[source]
    hi = 4095 if argv else top
    assert said[0].endswith(f"; values from 0 to {hi} and 0 to {hi}")
    expected = ramp * 65535.0 / (4095 if source == "unit.tif" else hi)  # in levels of 16 bit
    fused = to_unit(read(target).pixels) * 65535.0
    assert np.abs(fused - expected).max() <= 1
    assert (np.diff(fused[0]) > 0).all()  # 4096 levels, still apart
