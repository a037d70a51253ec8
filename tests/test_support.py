"""The support guard: the local span against SciPy's rank filters, and what projection promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from haarmony.support import project, span

PICTURE = arrays(np.float64, (3, 9, 7), elements=st.floats(0, 1))


def test_span_is_the_rank_filter_over_both_sources():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 20, 17))
    lo, hi = span(a, b)
    # "nearest" repeats the border, which adds no value that the cut neighbourhood does not hold.
    expected_lo = ndimage.minimum_filter(np.minimum(a, b), size=(1, 3, 3), mode="nearest")
    expected_hi = ndimage.maximum_filter(np.maximum(a, b), size=(1, 3, 3), mode="nearest")
    np.testing.assert_array_equal(lo, expected_lo)
    np.testing.assert_array_equal(hi, expected_hi)


@settings(deadline=None)
@given(PICTURE, st.floats(0, 0.1))
def test_projection_stays_within_margin_and_keeps_air(pictures, margin):
    f, a, b = pictures[0], pictures[1], pictures[2]
    a, b = np.where(a < 0.3, 0, a), np.where(b < 0.3, 0, b)
    lo, hi = span(a, b)
    fused = project(f, a, b, margin=margin)
    assert (fused[(a == 0) & (b == 0)] == 0).all()
    tissue = (a > 0) | (b > 0)
    assert (fused >= np.maximum(lo - margin, 0))[tissue].all()
    assert (fused <= np.minimum(hi + margin, 1))[tissue].all()
    np.testing.assert_array_equal(project(fused, a, b, margin=margin), fused)


def test_a_supported_picture_is_left_alone():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 16, 16))
    np.testing.assert_array_equal(project(np.maximum(a, b), a, b, margin=0.0), np.maximum(a, b))


@pytest.mark.parametrize("array", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("diagonal", [False, True])
def test_where_both_sources_agree_the_fused_picture_is_what_they_say(array, diagonal):
    rng = np.random.default_rng(5)
    f, a = rng.random((2, 16, 18))
    b = a.copy()
    b[4, 5] += 0.25
    b[10:, 10:] *= 0.5
    fused = np.asarray(project(*(array(x) for x in (f, a, b)), margin=0.01, diagonal=diagonal))
    agreed = ~ndimage.binary_dilation(a != b, np.ones((3, 3)))
    np.testing.assert_array_equal(fused[agreed], a[agreed])
    assert (fused[~agreed] != a[~agreed]).mean() > 0.9
    np.testing.assert_array_equal(np.asarray(project(*(array(x) for x in (f, a, a)), margin=1.0)), a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_and_numpy_agree(dtype):
    rng = np.random.default_rng(2)
    f, a, b = (2 * rng.random((3, 2, 1, 16, 18)) - 0.5).clip(0).astype(dtype)
    expected = project(f, a, b, margin=0.01)
    got = project(*(torch.from_numpy(x) for x in (f, a, b)), margin=0.01)
    assert expected.dtype == dtype
    np.testing.assert_array_equal(got.numpy(), expected)


def test_no_checkerboard_but_where_the_sources_have_one():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 16, 24))
    board = (np.indices((16, 24)).sum(0) % 2).astype(float)
    a[:, :10], b[:, :10] = 0.2, 0.9
    f = np.where(np.arange(24) < 8, board, np.minimum(a, b))
    held = project(f, a, b, margin=0.0, diagonal=True)
    np.testing.assert_allclose(held[:, :8], 0.5)  # its mean, which lies between both
    np.testing.assert_array_equal(project(f, a, b, margin=0.0)[:, :8], np.where(board, 0.9, 0.2)[:, :8])

    def diagonal(x):
        return np.abs(x[::2, ::2] - x[::2, 1::2] - x[1::2, ::2] + x[1::2, 1::2]) / 2

    most = ndimage.maximum_filter(np.maximum(diagonal(a), diagonal(b)), size=3, mode="nearest")
    wild = project(0.3 + 0.4 * rng.random((16, 24)), a, b, margin=1.0, diagonal=True)  # no span
    assert (diagonal(wild) <= most + 1e-12).all()


def test_diagonal_detail_of_the_sources_own_is_left_alone():
    rng = np.random.default_rng(4)
    a, b = rng.random((2, 16, 16))
    for f in (a, b, (a + b) / 2):
        np.testing.assert_allclose(project(f, a, b, margin=0.0, diagonal=True), f, rtol=0, atol=1e-15)
