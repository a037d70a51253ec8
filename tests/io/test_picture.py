"""Pixels to floats in [0, 1] and back; what is no picture is refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haarmony.io import Picture, check_pixels, from_unit, to_unit


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_every_integer_comes_back_exactly(dtype, top):
    p = np.arange(top + 1).astype(dtype).reshape(16, -1)
    v = to_unit(p)
    assert v.dtype == np.float32
    np.testing.assert_allclose(v, np.arange(top + 1).reshape(16, -1) / top, rtol=1e-7)
    assert (v.min(), v.max()) == (0, 1)
    for unit in (v, v.astype(np.float64)):
        back = from_unit(unit, dtype)
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, p)


@pytest.mark.parametrize(
    ("dtype", "wide"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_floats_pass_unchanged(dtype, wide):
    p = np.array([[0, 0.25, 1]], dtype)
    assert to_unit(p).dtype == wide
    assert from_unit(p, dtype).dtype == dtype
    assert from_unit(to_unit(p), dtype).tolist() == to_unit(p).tolist() == [[0, 0.25, 1]]


def test_to_unit_is_a_copy():
    p = np.full((2, 2), 0.5)
    to_unit(p)[:] = 0
    assert (p == 0.5).all()


def test_rounds_to_nearest_halves_to_even_and_clips_without_stretching():
    v = np.array([0.49, 0.5, 1.5, 2.5, 254.51, -3, 300]) / 255
    assert from_unit(v, np.uint8).tolist() == [0, 0, 2, 2, 255, 0, 255]
    assert from_unit(np.array([1.0], np.float16), np.uint16).tolist() == [65535]


@given(st.floats(0, 1), st.sampled_from([np.uint8, np.uint16]))
def test_error_of_rounding_is_at_most_half_a_level(value, dtype):
    v = np.array([[value]])
    assert abs(to_unit(from_unit(v, dtype)) - v).item() <= 0.5 / np.iinfo(dtype).max + 1e-7


def test_from_unit_refuses():
    with pytest.raises(ValueError, match="NaN"):
        from_unit(np.array([0.5, np.nan]), np.uint8)
    with pytest.raises(ValueError, match="not int32"):
        from_unit(np.array([0.5]), np.int32)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((4, 5, 4), np.uint8), r"\(4, 5, 4\)"),
        (np.zeros((4, 5, 1), np.uint8), r"\(4, 5, 1\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"\(2, 4, 5, 3\)"),
        (np.zeros((0, 5), np.uint8), r"\(0, 5\)"),
        (np.zeros((4, 5), np.int16), "not int16"),
        (np.zeros((4, 5), bool), "not bool"),
        (np.zeros((4, 5), complex), "not complex128"),
        (np.array([[0.0, 0.0], [0.0, np.nan]]), "row 1, column 1 holds nan"),
        (np.array([[0.0, -np.inf]], np.float32), "row 0, column 1 holds -inf"),
        (np.array([[-0.25, 812.0]]), "run from -0.25 to 812"),
        (np.full((2, 2, 3), 1.001), "run from 1.001 to 1.001"),
    ],
)
def test_no_picture(pixels, found):
    with pytest.raises(ValueError, match=found):
        check_pixels(pixels)
    with pytest.raises(ValueError, match=found):
        Picture(pixels, (0, 1))


def test_picture_is_frozen_and_needs_only_pixels_and_range():
    picture = Picture(np.zeros((4, 5), np.uint8), (0, 255))
    assert (picture.spacing, picture.affine, picture.metadata, picture.notes) == (None, None, {}, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        picture.notes = ("changed",)
