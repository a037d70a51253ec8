"""Shares of both sources: exact for weighted means, nothing where there is nothing to share."""

import numpy as np
import pytest

from haarmony.colour import to_luma
from haarmony.explain import Looking
from haarmony.explain.share import DELTA, LEAST, darkened, response, shares
from haarmony.manifest import Settings


def told(f, a, b):
    """The shares of a rule of two lumas, told everywhere but in air."""
    r_a = response(f(a, b), f(darkened(a), b), a, darkened(a))
    r_b = response(f(a, b), f(a, darkened(b)), b, darkened(b))
    return shares(r_a, r_b, (a > 0) | (b > 0))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.3, 0.9, (2, 40, 48)).astype(np.float32)
    a[:8] = b[:8] = 0  # air
    return a, b


@pytest.mark.parametrize("w", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_the_weight_of_a_mean_is_its_share(pair, w):
    a, b = pair

    def f(x, y):
        return (w * x + (1 - w) * y).astype(np.float32)

    share_a, share_b = told(f, a, b)
    np.testing.assert_allclose(share_a[9:], w, atol=0.01)
    np.testing.assert_allclose(share_a[9:] + share_b[9:], 1, atol=1e-6)
    assert not share_a[:8].any()
    assert not share_b[:8].any()


def test_a_local_choice_is_seen_where_it_is_made(pair):
    a, b = pair
    left = np.arange(48) < 24

    def f(x, y):
        return np.where(left, x, y)

    share_a, share_b = told(f, a, b)
    np.testing.assert_allclose(share_a[9:, :23], 1, atol=1e-4)
    np.testing.assert_allclose(share_b[9:, 25:], 1, atol=1e-4)


@pytest.mark.parametrize(
    "colour", [(1, 0, 0), (0, 0, 1), (0.9, 0.8, 0), (0.008, 0.008, 0.008), (0.5, 0.5, 0.5)]
)
def test_the_weight_is_the_share_of_colours_and_of_dark_greys_too(colour):
    a, b = np.full((24, 24), 0.5, np.float32), np.ones((24, 24, 3), np.float32) * np.float32(colour)
    y, darker = to_luma(b), to_luma(darkened(b))
    f, without_a, without_b = (np.float32(0.5) * (p + q) for p, q in ((a, y), (darkened(a), y), (a, darker)))
    share_a, share_b = shares(
        response(f, without_a, a, darkened(a)), response(f, without_b, y, darker), np.ones(a.shape, bool)
    )
    np.testing.assert_allclose(share_b, 0.5, atol=0.01)
    np.testing.assert_allclose(share_a + share_b, 1, atol=1e-6)


def test_a_picture_that_follows_neither_or_little_has_no_shares(pair):
    everywhere, nothing = np.ones(pair[0].shape, bool), np.zeros_like(pair[0])
    for r_a in (nothing, nothing + 0.9 * np.float32(LEAST)):
        for share in shares(r_a, nothing, everywhere):
            assert not share.any()
    share_a, share_b = shares(nothing + 1.1 * np.float32(LEAST), nothing, everywhere)
    assert (share_a == 1).all()
    assert not share_b.any()


def test_a_response_is_none_against_the_source_and_to_black(pair):
    x, f = pair[0][9:], np.full_like(pair[0][9:], 0.5)
    assert not response(f, f + np.float32(0.02), x, darkened(x)).any()
    np.testing.assert_allclose(response(f, f - np.float32(0.02), x, darkened(x)), 0.02 / DELTA, rtol=1e-4)
    black = np.zeros_like(x)
    assert not response(f, f - np.float32(0.02), black, darkened(black)).any()


def test_darkening_keeps_black_and_only_black():
    x = np.array([[0, 1, 5, 10], [11, 100, 200, 255]] * 8, np.uint8)
    y = darkened(np.repeat(x, 4, axis=1))
    np.testing.assert_array_equal(y > 0, np.repeat(x, 4, axis=1) > 0)
    assert y[1, -1] == pytest.approx(1 - DELTA)
    assert y.dtype == np.float32


@pytest.mark.parametrize("w", [0.3, 0.75])
def test_looking_at_a_rule_recovers_its_weight(pair, w):
    a, b = pair
    fused = w * a + (1 - w) * b

    def rule(x, y, *, coloured=None, callback=None):
        yield (slice(0, x.shape[0]), slice(0, x.shape[1])), (w * x + (1 - w) * y).astype(np.float32)

    def several(pairs, seeds, *, coloured=None):
        made = [w * x + (1 - w) * y for x, y in pairs for _ in seeds]
        return np.stack(made).astype(np.float32)

    look = Looking(rule, several, lambda a, b, coloured: False, seeds=range(4))
    np.testing.assert_allclose(look(a, b), fused, atol=1e-6)
    seen = look.explanation(fused, a, b, plane="auto", settings=Settings(model="mean"))
    np.testing.assert_allclose(seen.share_a[9:], w, atol=0.01)
    np.testing.assert_allclose(seen.share_b[9:], 1 - w, atol=0.01)
    assert seen.spread.max() < 1e-6
    assert seen.flagged == 0
    assert not seen.share_a[:8].any()
    assert seen.inside.mean() == pytest.approx(32 / 40)


def test_the_spread_is_over_the_seeds(pair):
    a, b = pair
    steps = {seed: np.float32(seed / 100) for seed in (7, 8, 9)}

    def rule(x, y, *, coloured=None, callback=None):
        yield (slice(0, 40), slice(0, 48)), x + steps[7]

    def several(pairs, seeds, *, coloured=None):
        return np.stack([x + steps[seed] for x, y in pairs for seed in seeds])

    look = Looking(rule, several, lambda a, b, coloured: False, seeds=(7, 8, 9))
    look(a, b)
    seen = look.explanation(a, a, b, plane="auto", settings=Settings(model="mean"))
    np.testing.assert_allclose(seen.spread, 0.01, rtol=1e-3)  # standard deviation of 0.07, 0.08, 0.09
