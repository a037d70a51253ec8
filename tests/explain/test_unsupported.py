"""The score of unsupported structure: mixtures give none, what was planted is found where it lies."""

import importlib
import inspect

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from haarmony import Fuser
from haarmony.explain.unsupported import FLAGGED, looks, unsupported

SIZE = 96
ROWS, COLUMNS = np.indices((SIZE, SIZE))


@pytest.fixture(scope="module")
def sources():
    """Two smooth pictures with structure of their own, flat in the upper left quarter."""
    rng = np.random.default_rng(0)
    a, b = (gaussian_filter(rng.standard_normal((SIZE, SIZE)), sigma) for sigma in (2, 5))
    a, b = (0.5 + 0.1 * x / x.std() for x in (a, b))
    textured = gaussian_filter(((ROWS >= 48) | (COLUMNS >= 48)).astype(float), 3)
    return tuple(np.clip(level + textured * (x - 0.5), 0, 1) for level, x in ((0.3, a), (0.6, b)))


@pytest.mark.parametrize(
    ("mixture", "most"),
    [
        (lambda a, b: a, 0.0),
        (lambda a, b: b, 0.0),
        (lambda a, b: (a + b) / 2, 0.0),
        (lambda a, b: 0.2 * a + 0.8 * b, 0.0),
        (lambda a, b: np.maximum(a, b), 0.02),  # its kinks are in neither
    ],
)
def test_mixtures_show_nothing_of_their_own(sources, mixture, most):
    a, b = sources
    assert (unsupported(mixture(a, b), a, b) >= FLAGGED).mean() <= most


def test_a_weight_that_changes_slowly_is_a_mixture(sources):
    a, b = sources
    w = 1 / (1 + np.exp(-(COLUMNS - 48) / 8))  # |∇u| = 1/8 a pixel
    assert not (unsupported(w * a + (1 - w) * b, a, b) >= FLAGGED).any()


@pytest.mark.parametrize("middle", [(24, 24), (72, 70)], ids=["flat", "textured"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_blob_of_a_tenth_is_found_and_nothing_far_from_it(sources, middle, sign):
    a, b = sources
    apart = np.hypot(ROWS - middle[0], COLUMNS - middle[1])
    flagged = unsupported((a + b) / 2 + 0.1 * sign * (apart < 5), a, b) >= FLAGGED
    assert flagged[apart < 5].mean() > 0.25
    assert not flagged[apart > 10].any()


def test_each_look_sees_what_it_is_for():
    a, b = np.full((32, 32), 0.2), np.full((32, 32), 0.8)
    rows, columns = np.indices(a.shape)

    def seen(f):
        return {name: float(score[8:24, 8:24].max()) for name, score in looks(f, a, b).items()}

    # In 3×3 both sources are flat: the span is [0.2, 0.8].
    assert seen(np.full_like(a, 0.85)) == pytest.approx({"span": 0.05 / 0.016, "edges": 0, "grain": 0})
    checkerboard = 0.5 + 0.01 * (1 - 2 * ((rows + columns) % 2))
    found = seen(checkerboard)
    assert found["grain"] == pytest.approx(0.01 / 0.0024, rel=1e-4)  # D of ±c by turns is c
    assert found["span"] == 0
    assert found["edges"] < 0.1
    step = np.where(columns < 16, 0.2, 0.3)  # near a, of which it shows nothing but
    found = seen(step)
    assert found["edges"] > FLAGGED > found["grain"] == 0


def test_an_edge_of_another_direction_is_found():
    def soft(x):
        return 1 / (1 + np.exp(47.5 - x))

    for contrast in (0.1, 0.2):
        a, b = 0.4 + contrast * soft(ROWS), 0.45 + contrast * soft(ROWS)
        across = np.abs(COLUMNS - 47.5) < 1
        on = across & (np.abs(ROWS - 47.5) < 2)  # where the sources' edge and the turned one cross
        assert looks(0.42 + contrast * soft(COLUMNS), a, b)["edges"][on].min() >= FLAGGED
        assert looks(0.42 + contrast * soft(ROWS), a, b)["edges"].max() < 0.01


def test_a_turned_ramp_is_a_mixture_where_the_sources_differ_much():
    a, b = 0.2 + 0.004 * ROWS, 0.2 + 0.006 * ROWS  # a limit: so weak a slope is within the tolerance
    score = looks(0.2 + 0.005 * COLUMNS, a, b)["edges"][20:76, 20:76]
    assert 0.05 < score.min() < FLAGGED


def test_swapping_the_sources_changes_nothing(sources):
    a, b = sources
    f = np.clip(0.3 * a + 0.7 * b + 0.1 * (np.hypot(ROWS - 30, COLUMNS - 60) < 6), 0, 1)
    np.testing.assert_allclose(unsupported(f, a, b), unsupported(f, b, a), atol=1e-4)


def test_the_score_is_float32_and_the_largest_of_its_parts(sources):
    a, b = (x.astype(np.float32) for x in sources)
    f = np.random.default_rng(1).random(a.shape, np.float32)
    score = unsupported(f, a, b)
    assert score.dtype == np.float32
    np.testing.assert_array_equal(score, np.maximum.reduce([*looks(f, a, b).values()]))


def test_sizes_that_differ_are_named():
    x = np.zeros((20, 20))
    bare = inspect.unwrap(looks)  # without the shapes that are checked in tests alone
    with pytest.raises(ValueError, match="different sizes"):
        bare(x, x, np.zeros((20, 21)))


def test_what_is_planted_into_phantoms_is_found(benchmarks):
    planted = importlib.import_module("explain_planted")
    pictures = [*planted.phantoms(Fuser("medical", threads=1), [400], [5, 38])]
    found = planted.planted(pictures, 120, seed=3)
    assert np.mean([one.found for one in found]) >= 0.93
    assert np.mean([one.found for one in found if one.contrast >= 0.1]) >= 0.97
    assert np.mean([one.by_chance for one in found]) <= 0.04
    flagged = [(unsupported(x.f, x.a, x.b)[x.inside] >= FLAGGED).mean() for x in pictures]
    assert np.mean(flagged) <= 0.012


def test_a_fit_finds_the_tolerances_that_are_in_use(benchmarks):
    planted = importlib.import_module("explain_planted")
    pictures = planted.phantoms(Fuser("medical", threads=1), [401], [5])
    weights = planted.fit(pictures, pixels=4000)
    assert weights["span"] == pytest.approx([0.016], rel=0.05)
    assert {name: len(of) for name, of in weights.items()} == {"span": 1, "edges": 3, "grain": 3}
