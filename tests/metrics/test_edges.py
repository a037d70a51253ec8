"""Qabf, Nabf and EI against their definitions in plain SciPy, and where the answer is known."""

import numpy as np
import pytest
from scipy.ndimage import convolve, sobel

from haarmony.metrics import CONVENTIONS, ei, nabf, qabf

BEST = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))  # G = A = 1


def edges(x, mode="nearest"):
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    sx, sy = (convolve(x.astype(float), k, mode=mode) for k in (kernel, -kernel.T))
    return np.hypot(sx, sy), np.where(sx == 0, np.pi / 2, np.arctan(sy / np.where(sx == 0, 1, sx)))


def reference(f, a, b, *, mode, mended=False, white=255):
    (g_f, alpha_f), kept, total = edges(f, mode), 0, 0
    for g, alpha in (edges(a, mode), edges(b, mode)):
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


def reference_shares(f, a, b):
    """What fusion lost and what it added, as parts of the sources' edges."""
    (g_f, alpha_f), lost, added, total = edges(f), 0, 0, 0
    (g_a, alpha_a), (g_b, alpha_b) = edges(a), edges(b)
    for y, x in np.ndindex(f.shape):
        artefact = g_f[y, x] > max(g_a[y, x], g_b[y, x])
        for g, alpha in ((g_a[y, x], alpha_a[y, x]), (g_b[y, x], alpha_b[y, x])):
            G = min(g, g_f[y, x]) / max(g, g_f[y, x], 1e-9)
            A = abs(abs(alpha - alpha_f[y, x]) - np.pi / 2) / (np.pi / 2)
            Q = 0.9994 / (1 + np.exp(-15 * (G - 0.5))) * 0.9879 / (1 + np.exp(-22 * (A - 0.8)))
            total, added, lost = (
                total + g,
                added + artefact * (1 - Q) * g,
                lost + (not artefact) * (1 - Q) * g,
            )
    return lost / total, added / total


@pytest.mark.parametrize("convention", ["haarmony", "cddfuse"])
def test_nabf_against_the_definition(triple, convention):
    _, a, b = triple
    sharpened = np.clip(2.0 * a - np.roll(a, 1, 0) + b / 2, 0, 255).astype(np.uint8)
    lost, added = reference_shares(sharpened, a, b)
    assert nabf(sharpened, a, b, convention=convention) == pytest.approx(added, rel=1e-5)
    assert qabf(sharpened, a, b) == pytest.approx(1 - lost - added, rel=1e-5)
    assert added > 0.05


def test_nabf_where_the_answer_is_known(triple):
    f, a, b = triple
    flat, step = np.full_like(f, 90), np.repeat(np.uint8([[0, 200]]), 30, 1).repeat(9, 0)
    assert nabf(f, f, f) == nabf(flat, a, b) == nabf(flat, flat, flat) == nabf(a // 2, a, a) == 0
    assert nabf(f, a, b) == nabf(f, b, a)
    assert nabf(step, step * 0, step * 0) == pytest.approx(2 / 60, rel=1e-3)  # two columns of it see the edge
    assert nabf(step, step // 8, step // 8) == pytest.approx(1 - qabf(step, step // 8, step // 8), rel=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_ei(triple, convention):
    f, _, _ = triple
    x = f.astype(float)
    expected = np.hypot(sobel(x, 0, mode="nearest"), sobel(x, 1, mode="nearest")).mean()
    assert ei(f, convention=convention) == pytest.approx(expected, rel=1e-6)
    assert ei(f // 2 * 2, convention=convention) == pytest.approx(2 * ei(f // 2, convention=convention))
    assert ei(np.full_like(f, 200), convention=convention) == 0
    corner = np.array([[0, 0, 1], [0, 0, 1], [0, 1, 1]], np.uint8) * 255  # as steep as can be in the middle
    assert (
        ei(corner) < 255 * 20**0.5 == pytest.approx(np.hypot(*(sobel(corner * 1.0, i)[1, 1] for i in (0, 1))))
    )
