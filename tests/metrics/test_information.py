"""MI, NMI, CE, NCIE by hand and by other formulas."""

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import entropy

from haarmony.metrics import CONVENTIONS, ce, en, mi, ncie, nmi

HALF = np.array([[0, 0, 200, 200]], np.uint8)


def test_by_hand():
    """b is independent of f, a decides it: one bit in all."""
    b = np.array([[7, 9, 7, 9]], np.uint8)
    assert mi(HALF, HALF, b) == pytest.approx(0.5)
    assert mi(HALF, HALF, b, convention="cddfuse") == pytest.approx(np.log(2))
    assert mi(HALF, HALF, b, convention="matlab") == pytest.approx(1)


def test_matlab_merges_the_top_levels_in_the_joint_histogram_only():
    """H(f) = 1.5, H(f, f) merged = 1: MI = 2 (2 · 1.5 − 1)."""
    f = np.array([[10, 10, 254, 255]], np.uint8)
    assert mi(f, f, f, convention="matlab") == pytest.approx(4)
    assert mi(f, f, f, convention="haarmony") == pytest.approx(1.5)


def test_divergence_form(triple):
    """I(x; y) = Σ p(x, y) log2 p(x, y) / (p(x) p(y))."""
    f, a, b = triple
    total = 0
    for x in (a, b):
        p = np.histogram2d(f.ravel(), x.ravel(), bins=256, range=[[0, 256]] * 2)[0] / f.size
        outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
        total += (p[p > 0] * np.log2(p[p > 0] / outer[p > 0])).sum()
    assert mi(f, a, b) == pytest.approx(total / 2)
    assert mi(f, a, b) == mi(f, b, a)


def test_extremes(triple):
    f, _, _ = triple
    black = np.zeros_like(f)
    assert mi(f, f, f) == pytest.approx(en(f))
    assert mi(f, f, f, convention="cddfuse") == pytest.approx(2 * np.log(2) * en(f))
    assert mi(f, black, black) == mi(black, f, f) == pytest.approx(0)


def shared(x, y):
    """I(x; y) and H(x) + H(y) in bits."""
    joint = np.histogram2d(x.ravel(), y.ravel(), bins=256, range=[[0, 256]] * 2)[0]
    both = entropy(joint.sum(1), base=2) + entropy(joint.sum(0), base=2)
    return both - entropy(joint.ravel(), base=2), both


def test_nmi_by_hand():
    """One bit of f's one is in a, none in b; of c's two bits one is in f: 2 · 1 / (1 + 2)."""
    b, c = (np.array([x], np.uint8) for x in ([7, 9, 7, 9], [1, 2, 3, 4]))
    assert nmi(HALF, HALF, b) == pytest.approx(1)
    assert nmi(HALF, c, c) == pytest.approx(4 / 3)
    assert nmi(HALF, HALF, HALF) == nmi(c, 255 - c, c) == 2


def test_ce_by_hand():
    """(¼ log2 ¼ / ½ + ¾ log2 ¾ / ½ + 0) / 2; a level that only one picture has counts nothing."""
    a = np.array([[0, 200, 200, 200]], np.uint8)
    assert ce(HALF, a, HALF) == pytest.approx((-0.25 + 0.75 * np.log2(1.5)) / 2)
    assert ce(HALF, HALF, 1 + HALF) == ce(HALF, 1 + HALF, 1 + HALF) == 0
    assert ce(np.zeros_like(HALF), HALF, HALF) == pytest.approx(0.5 * np.log2(0.5))


def test_ncie_by_hand():
    """R of ones has the eigenvalues 3, 0, 0, no relation 1, 1, 1; one bit shared by f and a 1 ± ⅛ and 1."""
    levels, b = np.arange(256, dtype=np.uint8).reshape(16, 16), np.array([[7, 9, 7, 9]], np.uint8)
    assert ncie(levels, levels[::-1], 255 - levels) == pytest.approx(1)
    nothing = np.zeros_like(levels)
    assert ncie(nothing, levels, nothing) == pytest.approx(1 - np.log(3) / np.log(256))
    shares = np.array([9 / 24, 8 / 24, 7 / 24])
    assert ncie(HALF, HALF, b) == pytest.approx(1 + (shares * np.log(shares)).sum() / np.log(256))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_against_other_formulas(triple, convention):
    f, a, b = triple
    mutual, both = zip(*(shared(x, f) for x in (a, b)), strict=True)
    expected = 2 * (mutual[0] / both[0] + mutual[1] / both[1])
    assert nmi(f, a, b, convention=convention) == pytest.approx(expected)
    p_f, p_a, p_b = (np.histogram(x, bins=256, range=(0, 256))[0] / x.size for x in triple)
    terms = [np.where(p_f > 0, rel_entr(p, np.maximum(p_f, 1e-9)), 0).sum() for p in (p_a, p_b)]
    assert ce(f, a, b, convention=convention) == pytest.approx(sum(terms) / 2 / np.log(2))
    ab, af, bf = shared(a, b)[0] / 8, mutual[0] / 8, mutual[1] / 8
    # λ = 1 + x with x³ − (ab² + af² + bf²) x − 2 ab af bf = 0
    share = (1 + np.roots([1, 0, -(ab**2 + af**2 + bf**2), -2 * ab * af * bf]).real) / 3
    assert ncie(f, a, b, convention=convention) == pytest.approx(1 - entropy(share, base=256))


@pytest.mark.parametrize("metric", [nmi, ce, ncie])
def test_extremes_of_the_others(triple, metric):
    f, a, b = triple
    black = np.zeros_like(f)
    assert metric(f, a, b) == pytest.approx(metric(f, b, a))
    assert metric(black, black, black) == pytest.approx(1 - np.log(3) / np.log(256) if metric is ncie else 0)
    assert nmi(black, a, b) == nmi(a, black, black) == 0
    assert ce(f, f, f) == 0
    assert 0.802 < ncie(f, a, b) < ncie(f, f, f) < 1
    assert ce(black, a, b) < 0 < ce(f, a, b)  # black wins


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_independent_pictures_share_nothing_and_not_less(convention):
    """Every pair of levels once, which rounding leaves at −4e-15 bits or so."""
    for n in (3, 5, 7, 11, 13):
        y, x = (v.astype(np.uint8) for v in np.mgrid[:n, :n])
        assert 0 <= mi(x, y, y, convention=convention) < 1e-12
