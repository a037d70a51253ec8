"""Volumes through the shipped model and by themselves: orientation, grids, slices, colour, refusals."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform

from haarmony import Fuser, Picture, Volume, read, volumes, write


def ramped(codes="RAS", shape=(18, 20, 22), spacing=(1.0, 1.0, 1.0)):
    """A volume in any stored orientation whose value is linear in the scanner's x, y, z."""
    ras = nib.Nifti1Image(np.zeros(shape), np.diag([*spacing, 1.0]))
    stored = ras.as_reoriented(ornt_transform(io_orientation(ras.affine), axcodes2ornt(codes)))
    index = np.indices(stored.shape).reshape(3, -1)
    x, y, z = stored.affine[:3, :3] @ index + stored.affine[:3, 3:]
    value = (x + 20 * y + 400 * z) / 20000
    return Volume(value.reshape(stored.shape).astype(np.float32), (0.0, 1.0), stored.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA"])
@pytest.mark.parametrize("plane", volumes.PLANES)
def test_slices_are_upright_and_come_back(codes, plane):
    volume = ramped(codes)
    assert aff2axcodes(volume.affine) == tuple(codes)
    seen = []

    def keep(a, b):
        seen.append(a)
        return b

    fused = volumes.by_slices(volume, volume, keep, plane=plane)
    np.testing.assert_array_equal(fused.voxels, volume.voxels)
    step = {"R": 1, "L": -1, "A": 20, "P": -20, "S": 400, "I": -400}
    rows, columns, along = volumes.PLANES[plane]
    np.testing.assert_allclose(np.diff(seen[3], axis=0) * 20000, step[rows], atol=0.05)
    np.testing.assert_allclose(np.diff(seen[3], axis=1) * 20000, step[columns], atol=0.05)
    np.testing.assert_allclose((seen[4] - seen[3]) * 20000, step[along], atol=0.05)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("m", 1e-3), ("um", 1e3)])
def test_the_second_is_read_where_the_first_lies(codes, unit, scale):
    a, b = ramped("LAS"), ramped(codes, shape=(9, 10, 11), spacing=(2.0, 2.0, 2.0))
    b = Volume(b.voxels, b.value_range, np.diag([scale] * 3 + [1.0]) @ b.affine, unit)
    first, second = volumes.aligned(a, b)
    assert first is a
    inside = volumes.upright(second.voxels, a.affine, "axial")[3:, 1:, :-1]  # b ends at x 16, y 18, z 20
    expected = volumes.upright(a.voxels, a.affine, "axial")[3:, 1:, :-1]
    np.testing.assert_allclose(inside[:, 1:], expected[:, 1:], atol=1e-5)
    assert second.notes == ("second source resampled by its affine, from " + " × ".join(map(str, b.shape))
                            + " voxels to 18 × 20 × 22",)  # fmt: skip


def test_a_shift_by_half_a_voxel_and_what_lies_outside():
    a = ramped()
    moved = a.affine.copy()
    moved[0, 3] = 4.5
    _, b = volumes.aligned(a, Volume(a.voxels, a.value_range, moved))
    np.testing.assert_array_equal(b.voxels[:4], 0)
    np.testing.assert_allclose(b.voxels[4], a.voxels[0], atol=1e-6)  # on the outer face of its first voxels
    np.testing.assert_allclose(b.voxels[5:], (a.voxels[:13] + a.voxels[1:14]) / 2, atol=1e-6)
    moved[0, 3] = 40
    with pytest.raises(ValueError, match="do not overlap"):
        volumes.aligned(a, Volume(a.voxels, a.value_range, moved))


def test_slices_of_one_grid_are_cut_and_not_resampled():
    a = ramped("LAS")
    nudged = a.affine + 1e-5 * np.eye(4, k=3)  # as float32 headers leave it
    levels = np.random.default_rng(0).integers(0, 256, (*a.shape, 3), dtype=np.uint8)
    first, second = volumes.aligned(a, Volume(levels, (0.0, 255.0), nudged), plane="coronal", slices=(4, 9))
    np.testing.assert_array_equal(second.voxels, levels[:, 4:9])
    assert (second.voxels.dtype, second.notes) == (np.uint8, ())
    np.testing.assert_array_equal(second.affine, first.affine)


def test_how_much_of_the_first_the_second_covers_is_said():
    a = ramped()
    slab = Volume(a.voxels[:, :, :4], a.value_range, a.affine)  # four of 22 slices
    _, b = volumes.aligned(a, slab)
    assert b.notes[1:] == ("second source covers about 18% of these; elsewhere it counts as black",)
    np.testing.assert_allclose(b.voxels[:, :, :4], slab.voxels, atol=1e-6)
    assert not b.voxels[:, :, 4:].any()
    assert len(volumes.aligned(slab, a)[1].notes) == 1
    with pytest.raises(ValueError, match=r"has nothing where slices 9:12 of the first lie$"):
        volumes.aligned(a, slab, slices=(9, 12))


def test_fine_grids_in_metres_and_coarse_ones():
    for length in (1e-6, 1e-5, 1e5):
        affine = np.diag([length, length, length, 1.0])
        volume = Volume(np.zeros((2, 2, 2), np.uint8), (0.0, 255.0), affine, "m")
        assert volume.spacing == (length, length, length)
        affine[2] = affine[1]
        with pytest.raises(ValueError, match="cannot be inverted"):
            Volume(volume.voxels, (0.0, 255.0), affine, "m")


@pytest.fixture(scope="module")
def fuser():
    return Fuser("medical", threads=1)


def test_slices_fuse_like_pictures_and_keep_the_grid(fuser, tmp_path):
    a = ramped("LPS")
    b = Volume(np.ascontiguousarray(a.voxels[::-1]), (0.0, 1.0), a.affine)
    told = []
    fused = fuser(a, b, slices=(5, 8), callback=lambda i, n, cut: told.append((i, n, cut.shape)))
    assert told == [(1, 3, (20, 18)), (2, 3, (20, 18)), (3, 3, (20, 18))]
    np.testing.assert_allclose(fused.affine @ [1, 2, 0, 1], a.affine @ [1, 2, 5, 1])
    alone = fuser(a.voxels[:, :, 6].T, b.voxels[:, :, 6].T)
    np.testing.assert_array_equal(fused.voxels[:, :, 1].T, alone)
    write(tmp_path / "f.nii.gz", fused)
    assert read(tmp_path / "f.nii.gz").shape == (18, 20, 3)


def test_a_ramp_fused_with_itself_is_that_ramp(fuser):
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (16, 1))
    fused = fuser(ramp, ramp)
    assert np.abs(fused.astype(int) - ramp).max() <= 1
    twelve = Picture((ramp / np.float32(4095)).astype(np.float32), (0, 4095))
    np.testing.assert_allclose(fuser(twelve, twelve).pixels, twelve.pixels, atol=1 / 65535)


def test_colour_and_empty_slices(fuser):
    a = ramped()
    rgb = np.zeros((18, 20, 22, 3), np.uint8)
    rgb[5:9, 5:9, 4:9] = 250, 100, 10
    grey = Volume(np.where(np.arange(22) < 12, a.voxels, 0).astype(np.float32), (0.0, 1.0), a.affine)
    fused = fuser(grey, Volume(rgb, (0.0, 255.0), a.affine), slices=(7, 14))
    assert fused.voxels.shape == (18, 20, 7, 3)
    assert not fused.voxels[:, :, 5:].any()
    assert np.ptp(fused.voxels[6, 6, 0]) > 0.5


def test_refused(fuser):
    a = ramped()
    with pytest.raises(ValueError, match="one source is a volume"):
        fuser(a, Picture(np.zeros((18, 20), np.uint8), (0, 255)))
    with pytest.raises(ValueError, match="are not among the 22 axial ones"):
        fuser(a, a, slices=(3, 23))
    with pytest.raises(ValueError, match="unknown plane 'oblique'"):
        fuser(a, a, plane="oblique")


def test_the_second_reaches_to_the_outer_faces_of_its_voxels():
    """The same field of view at 2 mm and at 1 mm: the finer rim lies outside the coarser centres."""
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 0.5
    a = Volume(np.full((16, 16, 16), 200, np.uint8), (0.0, 255.0), fine)
    b = Volume(np.full((8, 8, 8), 100, np.uint8), (0.0, 255.0), coarse)
    second = volumes.aligned(a, b)[1]
    np.testing.assert_allclose(second.voxels, 100 / 255, atol=1e-6)
    assert not [note for note in second.notes if "covers" in note]


def test_a_thick_slice_off_its_plane_is_still_there():
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    off = thick.copy()
    off[2, 3] = 0.4
    voxels = np.random.default_rng(0).integers(1, 256, (16, 16, 1), dtype=np.uint8)
    a, b = (Volume(voxels, (0.0, 255.0), affine) for affine in (thick, off))
    np.testing.assert_allclose(volumes.aligned(a, b)[1].voxels * 255, voxels, atol=1e-3)
    off = thick.copy()
    off[2, 3] = 6.0  # beyond both halves
    with pytest.raises(ValueError, match="do not overlap"):
        volumes.aligned(a, Volume(voxels, (0.0, 255.0), off))


@pytest.mark.parametrize("unit", ["mm", "um", "unknown"])
@pytest.mark.parametrize("plane", volumes.PLANES)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_a_slice_knows_where_it_lies(codes, plane, unit):
    """Every pixel is where its voxel is: values say their place."""
    a = replace(ramped(codes), unit=unit)
    cut, _ = volumes.aligned(a, a, plane=plane, slices=(3, 4))
    shown = volumes.as_picture(cut)
    if unit == "unknown":
        assert (shown.spacing, shown.affine) == (None, None)
        return
    factor = volumes.MILLIMETRES[unit]
    assert shown.spacing == pytest.approx((factor, factor))
    row, column = (n // 3 for n in shown.pixels.shape)
    at = np.linalg.inv(volumes.to_mm(a)) @ shown.affine @ [row, column, 0, 1]
    i, j, k = np.rint(at[:3]).astype(int)
    np.testing.assert_allclose(at[:3], (i, j, k), atol=1e-6)
    assert a.voxels[i, j, k] == shown.pixels[row, column]


@pytest.mark.parametrize("plane", volumes.PLANES)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SRA"])
def test_slices_seen_upright_are_found_where_they_are_stored(codes, plane):
    volume = ramped(codes)
    places = volumes.stored_at(volume, plane)
    assert sorted(places) == list(range(volumes.count(volume, plane)))
    axis = volume.voxels.shape.index(len(places))
    for k in (0, 5):
        shown = volumes.upright(volume.voxels, volume.affine, plane)[:, :, k]
        np.testing.assert_array_equal(
            np.sort(shown, None), np.sort(volume.voxels.take(places[k], axis), None)
        )


@pytest.mark.parametrize("model", ["medical"])
def test_the_worst_patch_of_a_volume_names_the_stored_slice(model):
    rng = np.random.default_rng(0)
    b = rng.uniform(0.5, 1, (18, 20, 4)).astype(np.float32)
    a = 0.8 * b
    a[:, :, 3] = 1.4 - b[:, :, 3]  # there the first source speaks against the second's uptake
    affine = np.diag([1.0, 1.0, -3.0, 1.0])  # stored from the head down, seen upright from the feet up
    of = Fuser(model).explain(*(Volume(x, (0.0, 1.0), affine) for x in (a, b)), seeds=2, plane="axial")
    assert of.function.worst.slice == 3
    assert of.plane == "axial"
