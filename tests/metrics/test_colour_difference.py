"""CIEDE2000 against published pairs of colours, and where it is measured."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from haarmony.metrics import CONVENTIONS, ciede2000, score

RED, DARK, GREY = (200, 40, 30), (12, 12, 12), (90, 90, 90)


def test_the_library_is_the_formula():
    """The first and the hardest rows of Sharma, Wu and Dalal's test data."""
    rows = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ]
    for first, second, expected in rows:
        assert deltaE_ciede2000(np.array(first), np.array(second)) == pytest.approx(expected, abs=5e-5)


@pytest.fixture
def coloured():
    """A source of a red uptake on black, left and right, and a dark rim that is no uptake."""
    c = np.zeros((12, 10, 3), np.uint8)
    c[2:6, 1:9] = RED
    c[8:, :] = (5, 0, 5)
    return c


def test_only_the_uptake_counts(coloured):
    f = coloured.copy()
    assert ciede2000(f, coloured) == 0
    f[8:] = 255
    assert ciede2000(f, coloured) == 0
    f[2:6, 1:5] = GREY
    lab = [rgb2lab(np.array(x, float) / 255) for x in (RED, GREY)]
    assert ciede2000(f, coloured) == pytest.approx(deltaE_ciede2000(*lab) / 2)
    assert ciede2000(np.full((12, 10), 90, np.uint8), coloured) == pytest.approx(deltaE_ciede2000(*lab))


def test_washing_out_costs(coloured):
    washed = coloured // 2 + 127
    assert ciede2000(washed, coloured) > ciede2000(coloured // 2 + coloured // 4, coloured) > 5


def test_black_source_has_no_uptake(coloured):
    assert ciede2000(coloured, np.zeros_like(coloured)) == 0


def test_form_does_not_matter(coloured):
    f = np.full((12, 10), 90, np.uint8)
    expected = ciede2000(f, coloured)
    assert ciede2000(f.astype(np.uint16) * 257, coloured / 255) == pytest.approx(expected, rel=1e-5)
    batch = torch.tensor(np.moveaxis(np.stack([coloured, coloured // 2]), -1, 1))
    values = ciede2000(torch.full((2, 1, 12, 10), 90, dtype=torch.uint8), batch)
    assert values[0] == pytest.approx(expected)
    assert values.shape == (2,)


def test_refused(coloured):
    with pytest.raises(ValueError, match=r"shapes differ: f \(11, 10, 3\), c \(12, 10, 3\)"):
        ciede2000(coloured[1:], coloured)
    with pytest.raises(ValueError, match="c has values from 0 to 200"):
        ciede2000(coloured, coloured.astype(float))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_score_finds_the_coloured_source(coloured, convention):
    f, grey = np.full((12, 10), 90, np.uint8), coloured[..., 0]
    expected = ciede2000(f, coloured)
    symbols = {"convention": convention, "metrics": ["CIEDE2000", "EN"]}
    assert score(f, coloured, grey, **symbols)["CIEDE2000"] == expected
    assert score(f, grey, coloured, **symbols) == {"CIEDE2000": expected, "EN": 0}
    # A grey picture stored as RGB is grey, and of two coloured sources the more colourful one counts.
    assert np.isnan(score(f, grey, np.stack([grey] * 3, axis=-1), **symbols)["CIEDE2000"])
    assert score(f, coloured // 2, coloured, **symbols)["CIEDE2000"] == expected


def test_score_of_colour_is_that_of_its_rounded_luma(triple):
    f, a, b = triple
    hot = np.stack([b, b // 2, b // 3], axis=-1)
    luma = np.rint(hot @ [0.299, 0.587, 0.114]).astype(np.uint8)
    everything = [m for m in score(f, a, luma) if m != "CIEDE2000"]
    expected = score(f, a, luma, metrics=everything)
    assert score(np.stack([f] * 3, -1), a, hot, metrics=everything) == pytest.approx(expected)
    batch = [torch.tensor(x)[None, None] for x in (f, a)]
    values = score(*batch, torch.tensor(np.moveaxis(hot, -1, 0))[None], metrics=everything)
    assert {k: float(v[0]) for k, v in values.items()} == pytest.approx(expected, rel=1e-4)
