"""UQI, Q, Qw, Qe and Qy against their definitions in plain loops, and Qy's index against torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from torchmetrics.functional.image import universal_image_quality_index

from haarmony.metrics import q, qe, qw, qy, uqi

ALL = (uqi, q, qw, qe, qy)
GAUSSIAN = np.exp(-((np.arange(7) - 3) ** 2) / (2 * 1.5**2))


def index(x, y, w):
    mx, my = np.sum(w * x), np.sum(w * y)
    vx, vy, cov = np.sum(w * (x - mx) ** 2), np.sum(w * (y - my) ** 2), np.sum(w * (x - mx) * (y - my))
    mean = 1 if mx == my == 0 else 2 * mx * my / (mx**2 + my**2)
    return mean if vx + vy < 1e-9 else mean * 2 * cov / (vx + vy)


def windows(pictures, w):
    n = len(w)
    for i in range(pictures[0].shape[0] - n + 1):
        for j in range(pictures[0].shape[1] - n + 1):
            yield [x[i : i + n, j : j + n].astype(float) for x in pictures]


def reference(f, a, b):
    """Q_0(a, f), Q_0(b, f), λ_a and c of every 8×8 window."""
    w, rows = np.full((8, 8), 1 / 64), []
    for x, y, z in windows((f, a, b), w):
        vy, vz = y.var(), z.var()
        rows.append((index(y, x, w), index(z, x, w), vy / (vy + vz) if vy + vz > 1e-9 else 0.5, max(vy, vz)))
    return np.array(rows).T


def weighted(f, a, b):
    qa, qb, first, c = reference(f, a, b)
    return np.sum(c * (first * qa + (1 - first) * qb)) / np.sum(c)


def test_eight_by_eight(triple):
    qa, qb, first, _ = reference(*triple)
    assert uqi(*triple) == pytest.approx(np.mean(qa + qb) / 2, rel=1e-6)
    assert q(*triple) == pytest.approx(np.mean(first * qa + (1 - first) * qb), rel=1e-6)
    assert qw(*triple) == pytest.approx(weighted(*triple), rel=1e-6)


def test_edges(triple):
    edges = [np.hypot(*(sobel(x.astype(float), axis, mode="nearest") for axis in (0, 1))) for x in triple]
    assert qe(*triple) == pytest.approx(weighted(*triple) * weighted(*edges), rel=1e-6)


def test_qy(triple):
    w, values, switched = np.outer(GAUSSIAN, GAUSSIAN) / GAUSSIAN.sum() ** 2, [], 0
    for f, a, b in windows(triple, w):
        qa, qb = index(a, f, w), index(b, f, w)
        va, vb = (np.sum(w * (x - np.sum(w * x)) ** 2) for x in (a, b))
        first = va / (va + vb) if va + vb > 1e-9 else 0.5
        alike = index(a, b, w) >= 0.75
        switched += alike
        values.append(first * qa + (1 - first) * qb if alike else max(qa, qb))
    assert 0 < switched < len(values)
    assert qy(*triple) == pytest.approx(np.mean(values), rel=1e-6)


def test_index_is_torchmetrics(triple):
    """For one source twice Qy is the mean of Q_0 in its window; torchmetrics has no rule for flat ones."""
    rng = np.random.default_rng(3)
    a = np.clip(0.6 * triple[1] + rng.integers(5, 60, (52, 61)), 0, 255).astype(np.uint8)
    f = np.clip(0.8 * a + rng.integers(0, 20, a.shape), 0, 255).astype(np.uint8)
    expected = universal_image_quality_index(
        *(torch.tensor(x)[None, None].double() for x in (f, a)), kernel_size=(7, 7), sigma=(1.5, 1.5)
    )
    assert 0.5 < expected < 0.95
    assert qy(f, a, a) == pytest.approx(float(expected), rel=1e-5)


def test_by_hand():
    """Left f = a, right f = b; of two levels l, h in equal parts: μ = (l + h) / 2, σ = (h − l) / 2."""
    checks = np.indices((8, 8)).sum(0) % 2
    a, b = (np.where(checks, *levels).astype(np.uint8) for levels in ((150, 50), (130, 70)))
    qb = 2 * 50 * 30 / (50**2 + 30**2)  # Q_0(b, a): equal means, correlation one
    first = 50**2 / (50**2 + 30**2)
    assert uqi(a, a, b) == pytest.approx((1 + qb) / 2)
    assert q(a, a, b) == qw(a, a, b) == pytest.approx(first + (1 - first) * qb)
    assert qy(a, a, b) == pytest.approx(
        first + (1 - first) * qb, abs=1e-3
    )  # other weights, nearly the same μ, σ
    assert uqi(200 - a, a, a) == pytest.approx(-1)  # the negative
    flat = np.full_like(a, 100)
    assert uqi(flat // 2, flat, flat) == pytest.approx(2 * 50 * 100 / (50**2 + 100**2))
    assert uqi(flat, a, a) == 0


@pytest.mark.parametrize("metric", ALL)
def test_invariants(triple, metric):
    f, a, b = triple
    assert metric(f, f, f) == pytest.approx(1)
    assert metric(f, a, b) == pytest.approx(metric(f, b, a), rel=1e-6)
    for level in (0, 137, 255):
        flat = np.full_like(f, level)
        assert metric(flat, flat, flat) == pytest.approx(1)
    assert 1 > metric(a // 2, a, a) > metric(np.full_like(a, 99), a, a)


def test_weights_favour_what_is_salient():
    """Texture that is lost in a small part of the picture costs Qw more than Q."""
    a = np.full((32, 32), 100, np.uint8)
    a[:10, :10] += (80 * (np.indices((10, 10)).sum(0) % 2)).astype(np.uint8)
    flat = np.full_like(a, 100)
    assert q(flat, a, flat) > 0.6
    assert qw(flat, a, flat) < 0.01
