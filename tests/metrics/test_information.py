"""MI by hand and by another formula."""

import numpy as np
import pytest

from haarmony.metrics import en, mi

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
