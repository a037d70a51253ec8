"""Function, alignment and the sentences that warn of them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from haarmony.explain.checks import Alignment, Function, Patch, alignment_of, function_of, warnings_of
from haarmony.metrics import METRICS
from haarmony.phantom import head

FINE = Function(0.9, None)


@pytest.fixture(scope="module")
def uptake():
    """Uptake in the middle, air around it."""
    x = gaussian_filter(np.random.default_rng(0).standard_normal((128, 128)), 4)
    x = 0.5 + 0.12 * x / x.std()
    x[:16] = x[-16:] = 0
    return np.clip(x, 0, 1)


def test_a_picture_that_shows_the_uptake_keeps_its_order(uptake):
    of = function_of([uptake**2], [uptake], [np.zeros_like(uptake)])
    assert of.value == pytest.approx(1)
    assert of.worst is not None
    assert of.worst.value == pytest.approx(1)
    assert of.worst.slice is None


def test_the_whole_is_the_metric(uptake):
    rng = np.random.default_rng(1)
    f = np.clip(uptake + 0.1 * rng.standard_normal(uptake.shape), 0, 1)
    of = function_of([f], [uptake], [np.zeros_like(uptake)])
    assert of.value == pytest.approx(float(METRICS["function"].function(f, uptake)), abs=1e-6)


def test_the_patch_whose_order_is_reversed_is_found(uptake):
    f = uptake.copy()
    f[48:80, 64:96] = 1 - f[48:80, 64:96]
    worst = function_of([f], [uptake], [np.zeros_like(uptake)]).worst
    assert (worst.row, worst.column, worst.side) == (48, 64, 32)
    assert worst.value == pytest.approx(-1)


def test_where_the_other_source_is_brighter_no_patch_counts(uptake):
    f = 1 - uptake
    of = function_of([f], [uptake], [np.ones_like(uptake)])
    assert of.value == pytest.approx(-1)
    assert of.worst is None


def test_of_a_volume_the_slice_is_named(uptake):
    f = uptake.copy()
    f[32:64, 32:64] = 1 - f[32:64, 32:64]
    none = np.zeros_like(uptake)
    worst = function_of([uptake, f, uptake], [uptake] * 3, [none] * 3).worst
    assert (worst.slice, worst.row, worst.column) == (1, 32, 32)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_without_uptake_or_variation_there_is_no_function(value):
    f, b = np.random.default_rng(0).random((64, 64)), np.full((64, 64), value)
    assert function_of([f], [b], [f]) == Function(None, None)


def test_uptake_that_hardly_varies_has_no_worst_patch(uptake):
    b = 0.5 + 0.01 * (uptake - 0.5)
    assert function_of([1 - uptake], [b], [np.zeros_like(b)]).worst is None


def test_alignment_of_a_pair_as_it_came_and_moved():
    a, b = head(seed=3).pair("CT", 16)
    there, moved = (alignment_of(a, x) for x in (b, shift(b, (7, -6), order=1)))
    assert not there.misaligned
    assert there.shift < 1.5
    assert moved.misaligned
    assert moved.shift == pytest.approx(np.hypot(7, 6), abs=1.5)
    assert 1 <= moved.nmi < moved.nmi_there <= 2


@pytest.mark.parametrize(
    ("of", "alignment", "flagged", "says"),
    [
        (FINE, None, 0.0, ()),
        (Function(None, None), Alignment(0.4, 0.0, 1.2, 1.2, False), 0.05, ()),
        (Function(0.3, Patch(None, 0, 0, 32, -0.3)), None, 0.0, ()),
        (
            Function(0.12, None),
            None,
            0.0,
            (
                "the fused picture hardly follows the functional source's uptake (Spearman 0.12);"
                " read that source beside it",
            ),
        ),
        (
            Function(0.8, Patch(None, 16, 48, 32, -0.41)),
            None,
            0.0,
            ("at row 16, column 48 (32 pixels wide) more uptake looks darker (Spearman -0.41)",),
        ),
        (
            Function(0.8, Patch(7, 16, 48, 32, -0.41)),
            None,
            0.0,
            ("at slice 7, row 16, column 48 (32 pixels wide) more uptake looks darker (Spearman -0.41)",),
        ),
        (
            FINE,
            Alignment(8.06, 2.5, 1.05, 1.09, True),
            0.0,
            (
                "the sources seem misaligned, by 8.1 px and 2.5°; what lies side by side in the fused picture"
                " may not belong together; align them first",
            ),
        ),
        (
            FINE,
            None,
            0.083,
            ("8.3% of the picture shows what neither source does; see the map of unsupported structure",),
        ),
    ],
)
def test_what_is_said(of, alignment, flagged, says):
    assert warnings_of(of, alignment, flagged) == says
