"""`function` against SciPy's Spearman, and its gradient."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from haarmony.metrics import function, score


def test_against_scipy(triple):
    f, _, b = triple
    region = b > 25.5
    assert function(f, b) == pytest.approx(spearmanr(f[region], b[region])[0])
    assert (
        score(*triple, metrics=["function"])["function"]
        == function(f, b, convention="cddfuse")
        == function(f, b)
    )


def test_region_is_strictly_above_a_tenth():
    """Of max 100 the levels 5 and 10 do not count, whatever f shows there."""
    b = np.array([[100, 80, 60, 10, 5, 0]], np.uint8)
    for f in ([30, 20, 10, 255, 0, 9], [30, 20, 10, 0, 255, 77]):
        f = np.array([f], np.uint8)
        assert function(f, b) == pytest.approx(1)
    assert function(255 - b, b) == pytest.approx(-1)


def test_ranks_ignore_a_monotone_display(triple):
    _, _, b = triple
    assert function((b / 255) ** 4, b / 255) == pytest.approx(1)


def test_nothing_to_correlate(triple):
    f, _, _ = triple
    flat = np.full_like(f, 200)
    for pair in ((f, np.zeros_like(f)), (flat, f), (f, flat), (f[:1, :1], f[:1, :1])):
        assert function(*pair) == 0


def test_ascent_lifts_it(triple):
    """Pixels outside the uptake have no part in it."""
    a, b = (torch.tensor(x / 255.0) for x in triple[1:])
    g = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(g, b), g)
    step = gradient * (0.1 / gradient.abs().max())
    assert function(torch.clamp(a + step, 0, 1), b) > function(a, b) + 0.02
    assert (gradient[b <= 0.1 * b.max()] == 0).all()


def test_gradient_of_ranks_is_their_mean_slope():
    rng = torch.Generator().manual_seed(3)
    a, b = torch.rand((2, 96, 96), generator=rng)
    towards_b = 0.04 * (b - b.mean())
    g = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(g, b), g)
    change = function(torch.clamp(a + towards_b, 0, 1), b) - function(a, b)
    assert float(change) > 0.02
    assert float((gradient * towards_b).sum()) == pytest.approx(float(change), rel=0.1)
