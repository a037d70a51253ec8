"""NIfTI volumes against nibabel and by their bytes; value ranges; what is refused."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from haarmony.io import Volume, nifti, read, write

AFFINE = np.array([[0.0, -2, 0, 90], [0, 0, 3, -60], [1.5, 0, 0, 7], [0, 0, 0, 1]])


def saved(path, voxels, *, affine=AFFINE, **fields):
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    if fields:
        data = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_values_affine_and_range_as_nibabel_has_them(tmp_path, name):
    values = np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
    volume = read(saved(tmp_path / name, values))
    assert isinstance(volume, Volume)
    assert volume.value_range == (values.min(), values.max())
    lo, hi = volume.value_range
    np.testing.assert_allclose(volume.voxels * (hi - lo) + lo, values, atol=1e-3)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert (volume.unit, volume.spacing) == ("mm", (1.5, 2, 3))
    assert volume.notes == (f"values from {lo:g} to {hi:g} shown from black to white "
                            "(the smallest and the largest of the volume)",)  # fmt: skip
    windowed = read(tmp_path / name, value_range=(0, 80))
    np.testing.assert_allclose(windowed.voxels, np.clip(values / 80, 0, 1), atol=1e-7)
    assert windowed.value_range == (0, 80)


def test_slope_and_intercept_are_applied(tmp_path):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = read(saved(tmp_path / "v.nii", values, scl_slope=-2.0, scl_inter=5.0))
    assert volume.value_range == (-41, 5)
    np.testing.assert_allclose(volume.voxels, (23 - values) / 23, atol=1e-6)


@pytest.mark.parametrize("unit", ["mm", "m", "um", "unknown"])
def test_grey_goes_out_in_its_own_unit(tmp_path, unit):
    unit_voxels = np.random.default_rng(1).random((4, 5, 6)).astype(np.float32)
    write(tmp_path / "f.nii.gz", Volume(unit_voxels, (-1000.0, 3000.0), AFFINE, unit))
    image = nib.load(tmp_path / "f.nii.gz")
    assert image.get_data_dtype() == np.uint16
    np.testing.assert_allclose(image.get_fdata(), unit_voxels * 4000 - 1000, atol=4000 / 65535)
    for affine in (image.affine, image.header.get_qform(), image.header.get_sform()):
        np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == {"m": "meter", "um": "micron"}.get(unit, unit)
    write(tmp_path / "g.nii.gz", Volume(unit_voxels, (-1000.0, 3000.0), AFFINE, unit))
    assert (tmp_path / "f.nii.gz").read_bytes() == (tmp_path / "g.nii.gz").read_bytes()


def test_eight_bit_stays_and_colour_is_rgb24(tmp_path):
    voxels = np.random.default_rng(2).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    write(tmp_path / "rgb.nii", Volume(voxels, (0.0, 255.0), AFFINE))
    image = nib.load(tmp_path / "rgb.nii")
    assert (int(image.header["datatype"]), image.shape) == (128, (4, 5, 6))
    stored = np.asarray(image.dataobj)
    np.testing.assert_array_equal(np.stack([stored[c] for c in "RGB"], axis=-1), voxels)
    np.testing.assert_array_equal(read(tmp_path / "rgb.nii").voxels, voxels)
    write(tmp_path / "grey.nii", Volume(voxels[..., 0], (0.0, 255.0), AFFINE))
    data = (tmp_path / "grey.nii").read_bytes()
    assert data[352:] == voxels[..., 0].tobytes(order="F")
    np.testing.assert_array_equal(nib.load(tmp_path / "grey.nii").get_fdata(), voxels[..., 0])


CUBE = np.zeros((3, 4, 5), np.float32)
DAMAGED = {
    "cut": (CUBE, {}, lambda data: data[:-7], "7 bytes of voxels are missing"),
    "cut header": (CUBE, {}, lambda data: data[:347] + b"\0", "missing|early"),
    "nan": (np.where(np.arange(5) == 4, np.float32(np.nan), CUBE), {}, None, r"voxel \(0, 0, 4\) holds nan"),
    "4-D": (np.zeros((3, 4, 5, 2), np.uint8), {}, None, "holds 2 volumes"),
    "complex": (CUBE.astype(np.complex64), {}, None, "type complex64"),
    "bomb": (CUBE, {"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, None, "claims 30000 × 30000"),
    "no extent": (CUBE, {"dim": [3, 3, -4, 5, 1, 1, 1, 1]}, None, "damaged header"),
    "offset": (CUBE, {"vox_offset": 1e30}, None, "vox_offset"),
    "flat": (CUBE, {"srow_x": 0}, None, "an axis has no length"),
    "pair": (CUBE, {"magic": b"ni1"}, None, "one half of a pair"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_refused_in_one_line(tmp_path, case, packed, capfd):
    voxels, fields, harm, says = DAMAGED[case]
    path = saved(tmp_path / "v.nii", voxels, **fields)
    data = path.read_bytes()
    data = harm(data) if harm else data
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=says) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_no_range(tmp_path, bad):
    with pytest.raises(ValueError, match="LO below HI"):
        read(saved(tmp_path / "v.nii", CUBE), value_range=bad)


@pytest.mark.parametrize("ends", [(-1e300, 1e300), (0.0, 1e-300), (1e39, 2e39), (-1.7e308, 1.7e308)])
def test_values_that_the_header_cannot_scale_to(tmp_path, ends):
    voxels = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2)
    with pytest.raises(ValueError, match=r"^cannot write values from .*; choose another range$"):
        write(tmp_path / "f.nii", Volume(voxels, ends, AFFINE))
    assert not any(tmp_path.iterdir())
    write(tmp_path / "f.nii", Volume((255 * voxels).astype(np.uint8), (-1e30, 1e30), AFFINE))
    assert read(tmp_path / "f.nii").value_range == pytest.approx((-1e30, 1e30))


def test_a_name_must_suit_what_is_written(tmp_path):
    with pytest.raises(ValueError, match="cannot hold a volume"):
        write(tmp_path / "f.png", Volume(CUBE, (0.0, 1.0), AFFINE))
    with pytest.raises(ValueError, match="volume's name"):
        write(tmp_path / "f.nii", CUBE[0])
    assert not list(tmp_path.iterdir())


def test_ranges_of_pictures(tmp_path):
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (2, 1))
    write(tmp_path / "ramp.png", ramp)
    assert read(tmp_path / "ramp.png").value_range == (0, 65535)
    ranged = read(tmp_path / "ramp.png", value_range=(0, 4095))
    assert ranged.pixels.dtype == np.uint16
    np.testing.assert_array_equal(ranged.pixels, np.rint(ramp / 4095 * 65535))
    import tifffile

    tifffile.imwrite(tmp_path / "f.tif", (ramp - 273.15).astype(np.float32))
    warm = read(tmp_path / "f.tif")
    assert warm.value_range == pytest.approx((-273.15, 3821.85))
    assert "the smallest and the largest of the picture" in warm.notes[0]
    np.testing.assert_allclose(warm.pixels, ramp / 4095, atol=1e-6)


def test_a_range_that_falls_is_kept(tmp_path):
    """White is the least value, as in a MONOCHROME1 series: the header's slope is negative."""
    voxels = np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    write(tmp_path / "falls.nii", Volume(voxels, (999.0, 0.0), np.eye(4)))
    values = np.asarray(nib.load(tmp_path / "falls.nii").dataobj)
    np.testing.assert_allclose(values, 999 * (1 - voxels), atol=0.02)


@pytest.mark.parametrize("codes", [(4, 4), (2, 1), (4, 0), (0, 1), (3, 0), (0, 3), (1, 1)])
def test_what_the_affine_leads_to_is_kept(tmp_path, codes):
    source = saved(tmp_path / "v.nii", CUBE, affine=np.diag([2.0, 2, 2, 1]))
    image = nib.load(source)
    image.set_sform(image.affine, codes[0])
    image.set_qform(np.diag([2.0, 2, 2, 1]), codes[1])
    nib.save(image, source)
    write(tmp_path / "f.nii", read(source))
    header = nib.load(tmp_path / "f.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes
    np.testing.assert_array_equal(header.get_best_affine(), np.diag([2.0, 2, 2, 1]))


def test_a_qform_of_another_frame_lends_no_code(tmp_path):
    """As in files brought to MNI space, whose qform still is the scanner's."""
    source = saved(tmp_path / "v.nii", CUBE)
    image = nib.load(source)
    image.set_sform(AFFINE, 4)
    image.set_qform(AFFINE + 5 * np.eye(4, k=3), 1)
    nib.save(image, source)
    write(tmp_path / "f.nii", read(source))
    header = nib.load(tmp_path / "f.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 0)
    np.testing.assert_allclose(header.get_best_affine(), AFFINE)


@pytest.mark.parametrize(("unit", "scale"), [("m", 1e-3), ("mm", 1.0), ("um", 1e3)])
def test_a_shear_is_noticed_in_every_unit(tmp_path, unit, scale):
    for shear, code in ((0.0, 1), (0.2, 0)):
        affine = np.diag([scale, scale, scale, 1.0]) @ AFFINE
        affine[0, 2] += shear * scale
        write(tmp_path / "f.nii", Volume(CUBE, (0.0, 1.0), affine, unit))
        header = nib.load(tmp_path / "f.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, code)
        np.testing.assert_allclose(header.get_sform(), affine, rtol=1e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_of_any_range_go_out_as_they_are(tmp_path, packed):
    rng = np.random.default_rng(2)
    affine = np.array([[0, -2.0, 0, 9], [0, 0, 1.5, -7], [3.0, 0, 0, 4], [0, 0, 0, 1]])
    grid = Volume(rng.integers(0, 9, (5, 6, 7), np.uint8), (0.0, 1.0), affine, "um", {"sform_code": "4"})
    values = rng.normal(0, 1e6, (5, 6, 7)).astype(np.float32)
    path = tmp_path / ("v.nii.gz" if packed else "v.nii")
    with open(path, "wb") as file:
        nifti.write_values(file, values, grid, packed=packed)
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)
    np.testing.assert_array_equal(image.affine, affine)
    assert (image.get_data_dtype(), image.header.get_xyzt_units()[0]) == (np.float32, "micron")
    assert int(image.header["sform_code"]) == 4
    with open(path, "wb") as file, pytest.raises(ValueError, match="do not lie on a grid of"):
        nifti.write_values(file, values[1:], grid, packed=packed)


def test_gzip_s_check_sum_and_length_count(tmp_path):
    path = saved(tmp_path / "v.nii", CUBE)
    whole = gzip.compress(path.read_bytes())
    for data, says in (
        (whole[:-8] + bytes(4) + whole[-4:], "CRC check failed"),
        (whole[:-4] + bytes(4), "Incorrect length"),
        (whole[:-1], "ended before the end-of-stream"),
        (whole[:-8], "ended before the end-of-stream"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"is damaged or unfinished \(.*{says}"):
            read(path)
    path.write_bytes(gzip.compress(gzip.decompress(whole) + bytes(1000)))  # some writers fill up
    assert isinstance(read(path), Volume)
    path.write_bytes(whole[:-8] + whole[-8:] + gzip.compress(bytes(nifti.MAX_TRAILING + 1)))
    with pytest.raises(ValueError, match=f"holds more than {nifti.MAX_TRAILING} bytes behind its voxels"):
        read(path)
