"""Poses of volumes: what was moved comes back to where the phantom has it, slices thick or few."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from haarmony import phantom, poses
from haarmony.io import Volume
from haarmony.register import find

HEAD = phantom.head(1, 64)


@lru_cache
def scan(modality: str, thick: float, low: float = -40, high: float = 76) -> Volume:
    """Slices of a head that no one has, so thick, in the phantom's own frame."""
    levels = np.arange(low, high, thick)
    voxels = HEAD.volume(modality, levels.tolist()).transpose(2, 1, 0)
    darkest, brightest = float(voxels.min()), float(voxels.max())
    affine = np.diag([HEAD.spacing, -HEAD.spacing, thick, 1.0])
    affine[:3, 3] = -31.5 * HEAD.spacing, -14 + 31.5 * HEAD.spacing, low
    return Volume((voxels - darkest) / (brightest - darkest), (darkest, brightest), affine)


def moving(turn: tuple[float, float, float], *shift: float) -> np.ndarray:
    """Degrees about x, y and z through the head's middle, then mm."""
    matrix, middle = np.eye(4), np.array([0, -14, 18])
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(turn)).as_matrix()
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    return matrix


def moved(volume: Volume, by: np.ndarray) -> Volume:
    return replace(volume, affine=by @ volume.affine)


def off(found: np.ndarray, true: np.ndarray, a: Volume) -> np.ndarray:
    """Mean distance in mm along x, y and z over the head, and the mean length of it."""
    head = np.argwhere(a.voxels > 0.05)
    at = a.affine[:3, :3] @ head.T + a.affine[:3, 3:]
    apart = (found - true)[:3, :3] @ at + (found - true)[:3, 3:]
    return np.append(np.abs(apart).mean(1), np.linalg.norm(apart, axis=0).mean())


@pytest.mark.parametrize(
    ("a", "b", "turn", "shift"),
    [
        (("T1", 3), ("PET", 4), (0, 0, 4), (6, -4, 3)),
        (("T1", 3), ("PET", 4), (0, 0, 0), (0, 0, 0)),
        (("T1", 3), ("SPECT", 5), (-4, 3, 2), (-3, 5, -6)),
        (("T1", 3), ("CT", 2), (0, 0, 4), (6, -4, 3)),
        (("T1", 2), ("CT", 4), (5, -4, 4), (5, 5, 7)),
    ],
)
def test_thick_slices_come_back_through_the_plane_too(a, b, turn, shift):
    by, first = moving(turn, *shift), scan(*a)
    second = moved(scan(*b), by)
    found = find(first, second)
    assert off(found.matrix, by, first)[3] < 1.0
    assert off(found.matrix, by, first)[2] < 0.7  # along z
    level = poses._Level(first, second, *poses.LEVELS[-1][:2])
    x = by[:3, :3] @ level.centre + by[:3, 3] - level.centre
    at = np.append(x, Rotation.from_matrix(by[:3, :3]).as_rotvec() * level.side / 3)
    np.testing.assert_allclose(level.matrix(at), by, atol=1e-9)
    assert found.after >= level.nmi(at) - 1e-6  # it does not stop short of what the truth has
    assert found.after >= found.before == pytest.approx(level.nmi(np.zeros(6)))


def test_a_stretch_needs_an_affine_pose():
    first, by = scan("T1", 3), moving((0, 3, 0), 4, 0, -4)
    by[:3, :3] @= np.diag([1.05, 1, 0.94])
    second = moved(scan("CT", 3), by)
    found = find(first, second, "affine")
    assert off(found.matrix, by, first)[3] < 1.0
    assert found.stretch == pytest.approx((0.94, 1.05), abs=0.01)


def test_a_second_that_covers_a_part_is_found_there():
    first, by = scan("T1", 3), moving((3, 0, -4), 6, 3, -5)
    found = find(first, moved(scan("CT", 3, -1, 50), by))
    assert off(found.matrix, by, first)[3] < 1.0


def test_a_frame_of_its_own_is_no_obstacle():
    first, by = scan("T1", 3), moving((0, 0, 4), 70, -50, 35)
    found = find(first, moved(scan("CT", 3), by))
    assert off(found.matrix, by, first)[3] < 1.0


def test_the_pose_depends_neither_on_the_unit_nor_on_the_run():
    first, second = scan("T1", 8), moved(scan("PET", 8), moving((0, 0, 4), 6, -4, 3))
    found = find(first, second)
    np.testing.assert_array_equal(find(first, second).matrix, found.matrix)
    scale = np.diag([1000.0, 1000, 1000, 1])
    finer = replace(second, affine=scale @ second.affine, unit="um")
    np.testing.assert_allclose(find(first, finer).matrix, found.matrix, atol=1e-3)


def test_a_sheared_grid_is_found_as_well():
    first, by = scan("T1", 3), moving((0, 0, 3), 5, -3, 4)
    straight = scan("CT", 3)
    shear = np.eye(4)
    shear[1, 2] = 1 / HEAD.spacing  # voxels of y a slice: the gantry tilted
    rolled = np.stack(
        [
            np.apply_along_axis(
                lambda y, k=k: np.interp(np.arange(64) + k / HEAD.spacing, np.arange(64), y), 1, s
            )
            for k, s in enumerate(np.moveaxis(straight.voxels, 2, 0))
        ],
        axis=2,
    )
    found = find(first, moved(replace(straight, voxels=rolled, affine=straight.affine @ shear), by))
    assert off(found.matrix, by, first)[3] < 1.0


def test_smoothing_takes_thick_axes_for_as_smooth_as_they_are():
    voxels = np.zeros((48, 40, 9), np.float32)
    voxels[24, 20, 4] = 1
    affine = np.diag([1.0, 1, 5, 1])
    affine[:3, 3] = -24, -20, -20
    values, to_mm = poses._smooth(Volume(voxels, (0.0, 1.0), affine), 4.0)
    assert values.shape == (12, 10, 9)
    at = np.array(np.meshgrid(*map(np.arange, values.shape), indexing="ij")).reshape(3, -1)
    mm = to_mm[:3, :3] @ at + to_mm[:3, 3:]
    weights = values.ravel() / values.sum()
    middle = mm @ weights
    spread = np.sqrt(((mm - middle[:, None]) ** 2) @ weights)
    np.testing.assert_allclose(spread[:2], 4, rtol=0.15)
    assert abs(middle).max() < 2.5  # half a thinned voxel and a bit
    assert spread[2] < 4.2
