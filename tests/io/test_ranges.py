"""Value ranges: the formula, in bounded memory, and the sample type that pictures then have."""

import tracemalloc

import numpy as np
import pytest

from haarmony.io import picture
from haarmony.io.ranges import into_unit, ranged

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("order", ["C", "F"])
def test_in_bands_as_at_once(monkeypatch, order):
    values = np.asarray(np.random.default_rng(0).normal(0, 1000, (37, 11, 3)), order=order)
    expected = np.clip((values + 500) / 1500, 0, 1)
    whole = into_unit(values, (-500.0, 1000.0))
    np.testing.assert_allclose(whole, expected, atol=1e-7)
    assert whole.dtype == np.float32
    monkeypatch.setattr(picture, "BLOCK", 100)
    np.testing.assert_array_equal(into_unit(values, (-500.0, 1000.0)), whole)


@pytest.mark.parametrize(
    "ends", [(0.0, 65535.0), (0.0, 4095.0), (29315.0, 31315.0), (-1000.0, 64000.0), (10.25, 20.5)]
)
def test_levels_of_16_bit_stay_apart(ends):
    lo, hi = ends
    levels = ranged(RAMP, ends)
    assert levels.dtype == np.uint16
    np.testing.assert_allclose(levels / 65535, np.clip((RAMP - lo) / (hi - lo), 0, 1), atol=0.5001 / 65535)
    inside = np.unique(RAMP[(lo <= RAMP) & (hi >= RAMP)])
    assert len(np.unique(ranged(inside, ends))) == len(inside)


def test_8_bit_becomes_16_and_a_wider_range_or_floats_become_floats():
    grey = RAMP.astype(np.uint8)
    np.testing.assert_array_equal(ranged(grey, (0.0, 255.0)), grey * np.uint16(257))
    for pixels, ends in (
        (RAMP, (0.0, 65536.0)),
        (RAMP / np.float32(65535), (0.0, 1.0)),
        (grey, (-1e300, 1e300)),
    ):
        assert ranged(pixels, ends).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_no_more_than_the_result_is_set_aside(dtype):
    pixels = np.ones((3000, 1000, 3), dtype)
    result = pixels.size * (4 if dtype == np.float32 else 2)
    tracemalloc.start()
    ranged(pixels, (0.0, 2.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result + 48 * 2**20  # a band in double precision, or as indices


@pytest.mark.parametrize("ends", [(0.0, 1e-310), (0.0, 5e-324), (-1e-320, 1e-320), (0.0, 1e-300)])
def test_a_range_of_next_to_nothing_brings_no_warning(ends):
    np.testing.assert_array_equal(into_unit(np.array([-9.0, 255.0, 1e300]), ends), np.float32([0, 1, 1]))
