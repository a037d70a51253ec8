"""The sliced Wasserstein distance: cases by hand, an independent reference, and what it must notice."""

import numpy as np
import pytest
from scipy import stats

from haarmony.metrics import sliced_wasserstein
from haarmony.metrics.distribution import _sliced, _vectors, _wasserstein


def textures(n, seed, *, scale=1.0):
    return 0.5 + 0.1 * scale * np.random.default_rng(seed).standard_normal((n, 1, 64, 64))


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (7, 3), (1, 9)])
def test_in_one_dimension_it_is_scipys(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((n, 3)), 2 + rng.standard_normal((m, 3))
    expected = [stats.wasserstein_distance(a[:, k], b[:, k]) for k in range(3)]
    np.testing.assert_allclose(_wasserstein(np.sort(a, axis=0), np.sort(b, axis=0)), expected)


def test_by_hand_in_one_dimension():
    # Quantiles 0, 1 against 0, 2, 4: |0 − 0| to 1/3, |0 − 2| to 1/2, |1 − 2| to 2/3, |1 − 4| to 1.
    a, b = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0], [4.0]])
    np.testing.assert_allclose(_wasserstein(a, b), (0 / 3 + 2 / 6 + 1 / 6 + 3 / 3))


def test_a_shift_by_hand():
    """Vectors of one number: every direction is ±1, so that a shift by 3 s is a distance of 3."""
    y = np.array([[-1.0], [1.0]])
    assert _sliced(y + 3, y, 8, np.random.default_rng(0)) == pytest.approx(3)
    assert _sliced(10 * y + 30, 10 * y, 8, np.random.default_rng(0)) == pytest.approx(3)


def test_brightness_moves_the_average_alone():
    """Only the last average moves: c more on every pixel is c · 2^levels more in each of its numbers."""
    y = textures(6, 0)
    x, c, levels = y + 0.25, 0.25, 4
    distance = sliced_wasserstein(x, y, levels=levels, directions=4096)
    ll = _vectors(y, levels)[-1]
    assert ll.shape == (6, 16)
    # E|θ·1| for a unit vector of k numbers: √(k) times the mean of |a coordinate|, Γ(k/2) / (√π Γ((k+1)/2)).
    from scipy.special import gamma

    spread = np.sqrt(16) * gamma(8) / (np.sqrt(np.pi) * gamma(8.5))
    expected = c * 2**levels * spread / np.sqrt(ll.var(axis=0).mean()) / (levels + 1)
    assert distance == pytest.approx(expected, rel=0.02)


def test_a_set_is_not_far_from_itself_in_any_order_and_number():
    y = textures(8, 1)
    assert sliced_wasserstein(y, y) == 0
    assert sliced_wasserstein(y[::-1], y) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(np.repeat(y, 3, axis=0), y) == pytest.approx(0, abs=1e-12)


def test_other_textures_are_farther_than_other_draws():
    y = textures(32, 2)
    same, rougher = (sliced_wasserstein(textures(32, 3, scale=s), y) for s in (1.0, 2.0))
    deviation = textures(32, 3) - 0.5
    smoothed = 0.5 + (deviation + np.roll(deviation, 1, axis=-1)) / np.sqrt(2)  # of the same variance
    assert same < 0.25 * rougher
    assert 1.5 * same < sliced_wasserstein(smoothed, y)


def test_speckle_is_not_edges_of_the_same_power():
    """Coefficients of 48 numbers: dense and Gaussian, or all in one of twelve, of one variance either way."""
    rng = np.random.default_rng(5)
    sparse = rng.standard_normal((4000, 48)) * (rng.random((4000, 48)) < 1 / 12) * np.sqrt(12)
    dense, again = rng.standard_normal((4000, 48)), sparse[rng.permutation(4000)[:2000]]
    apart, alike = (_sliced(x, sparse, 96, np.random.default_rng(0)) for x in (dense, again))
    assert apart > 0.25  # |N(0, 1)| against mostly 0, along the axes
    assert alike < 0.1 * apart


@pytest.mark.parametrize(("side", "levels"), [(8, 1), (48, 2), (64, 4), (128, 4)])
def test_levels_are_as_many_as_the_size_allows(side, levels):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 1, side, side))
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y, levels=levels)


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (np.zeros((2, 1, 64, 64)), np.zeros((2, 1, 32, 32)), "one shape"),
        (np.zeros((2, 1, 64, 64)), np.zeros((1, 1, 64, 64)), "at least 2 pictures, got 1"),
        (np.zeros((2, 1, 36, 64)), np.zeros((2, 1, 36, 64)), "multiples of"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, y, problem):
    with pytest.raises(ValueError, match=problem):
        sliced_wasserstein(x, y)
