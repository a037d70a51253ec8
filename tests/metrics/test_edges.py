"""Qabf against the definition in plain SciPy, and where the answer is known."""

import numpy as np
import pytest
from scipy.ndimage import convolve

from haarmony.metrics import CONVENTIONS, qabf

BEST = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))  # G = A = 1


def reference(f, a, b, *, mode, mended=False, white=255):
    def edges(x):
        kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        sx, sy = (convolve(x.astype(float), k, mode=mode) for k in (kernel, -kernel.T))
        return np.hypot(sx, sy), np.where(sx == 0, np.pi / 2, np.arctan(sy / np.where(sx == 0, 1, sx)))

    (g_f, alpha_f), kept, total = edges(f), 0, 0
    for g, alpha in (edges(a), edges(b)):
        G = np.minimum(g, g_f) / np.maximum(np.maximum(g, g_f), 1e-9)
        delta = np.abs(alpha - alpha_f)
        if mended:
            delta = np.minimum(delta, np.pi - delta)
        else:
            G = np.where(g == g_f, g * white / 255, G)
        Q = (
            0.9994
            / (1 + np.exp(-15 * (G - 0.5)))
            * 0.9879
            / (1 + np.exp(-22 * (1 - delta / (np.pi / 2) - 0.8)))
        )
        kept, total = kept + (Q * g).sum(), total + g.sum()
    return kept / total


def test_against_the_definition(triple):
    assert qabf(*triple) == pytest.approx(reference(*triple, mode="nearest", mended=True), rel=1e-5)
    assert qabf(*triple, convention="cddfuse") == pytest.approx(reference(*triple, mode="constant"), rel=1e-5)
    expected = reference(*triple, mode="constant", white=1)
    assert qabf(*triple, convention="matlab") == pytest.approx(expected, rel=5e-3)  # rounding decides some α


def test_orientation_is_undirected(triple):
    """A negative keeps every edge."""
    f, _, _ = triple
    assert qabf(255 - f, f, f) == pytest.approx(BEST, rel=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_extremes(triple, convention):
    f, a, b = triple
    black = np.zeros_like(f)
    if convention != "matlab":  # there equal strengths count as the strength, at most 1 for the steepest edge
        assert qabf(f, f, f, convention=convention) == pytest.approx(BEST, rel=1e-3)
    assert qabf(black, a, b, convention=convention) < 0.01
    assert qabf(f, black, black, convention=convention) == 1
    assert qabf(f, black, b, convention=convention) == pytest.approx(
        qabf(f, b, black, convention=convention), rel=1e-6
    )
    assert qabf(f, a, b, convention=convention) == pytest.approx(
        qabf(f, b, a, convention=convention), rel=1e-6
    )


def test_border_of_a_constant_is_no_edge():
    white = np.full((9, 9), 255, np.uint8)
    assert qabf(white // 2, white, white) == 1
    assert qabf(white // 2, white, white, convention="cddfuse") < 0.6
