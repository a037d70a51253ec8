"""Qcb and Qcv against their definitions in SciPy, and where the answer is known."""

import numpy as np
import pytest
from scipy.ndimage import correlate, sobel

from haarmony.metrics import qcb, qcv


def cycles(H, W, degrees):
    """Over the whole plane, the zero frequency in its middle."""
    v, u = (np.arange(n) - n // 2 for n in (H, W))
    return np.sqrt(v[:, None] ** 2 + u[None] ** 2) / degrees


def filtered(x, S):
    return np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(x)) * S)).real


def mannos(r):
    return 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))


def reference_qcb(f, a, b):
    r = cycles(*f.shape, 15)
    S = np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
    y, x = np.mgrid[-15:16, -15:16]
    masked = []
    for picture in (f, a, b):
        seen = filtered(picture.astype(float), S)
        blurred = []
        for sigma in (2, 4):
            G = np.exp(-(x * x + y * y) / (2 * sigma**2))
            blurred.append(correlate(seen, G / G.sum(), mode="nearest"))
        C = np.abs(blurred[0] / blurred[1] - 1)
        C[np.abs(blurred[1]) <= 1e-3] = 0
        masked.append(C**3 / (C**2 + 1e-4))
    C_f, C_a, C_b = masked
    Q_a, Q_b = (np.minimum(C, C_f) / np.maximum(C, C_f).clip(1e-30) for C in (C_a, C_b))
    for Q, C in ((Q_a, C_a), (Q_b, C_b)):
        Q[np.maximum(C, C_f) <= 1e-12] = 1
    power = np.maximum(C_a**2 + C_b**2, 1e-60)
    share = np.where(C_a**2 + C_b**2 > 1e-40, C_a**2 / power, 0.5)
    return np.mean(share * Q_a + (1 - share) * Q_b)


def reference_qcv(f, a, b):
    f, a, b = (x.astype(float) for x in (f, a, b))
    S, total, weight = mannos(cycles(*f.shape, 4)), 0, 0
    for x in (a, b):
        gradient = np.hypot(*(sobel(x, axis, mode="nearest") for axis in (0, 1)))
        error = filtered(x - f, S)
        for i in range(0, f.shape[0], 16):
            for j in range(0, f.shape[1], 16):
                region = (slice(i, i + 16), slice(j, j + 16))
                salience = (gradient[region] ** 5).sum()
                total, weight = total + salience * (error[region] ** 2).sum() / 256, weight + salience
    return total / weight


@pytest.mark.parametrize("crop", [(slice(None), slice(None)), (slice(48), slice(48)), (slice(17), slice(38))])
def test_against_the_definition(triple, crop):
    """Sides odd and even, regions whole and cut off."""
    pictures = [x[crop] for x in triple]
    assert qcb(*pictures) == pytest.approx(reference_qcb(*pictures), rel=1e-6)
    assert qcv(*pictures) == pytest.approx(reference_qcv(*pictures), rel=1e-6)


@pytest.mark.parametrize("k", [0, 3, 16, 24])
def test_qcv_sees_a_wave_by_its_frequency(k):
    """Sources without a gradient: the filtered error's power, A² S(r)² / 2 (constant: A² S(0)²)."""
    wave = np.broadcast_to(60 * np.cos(2 * np.pi * k * np.arange(64) / 64), (64, 64))
    grey = np.full((64, 64), 120 / 255)
    expected = 60**2 * mannos(k / 4) ** 2 / (2 if k else 1)
    assert qcv(grey + wave / 255, grey, grey) == pytest.approx(expected, rel=1e-6)


def test_qcv_counts_where_the_sources_have_edges():
    a = np.zeros((64, 64), np.uint8)
    a[4:12, 4:12] = 200
    spoilt = [a.copy(), a.copy()]
    spoilt[0][6:10, 6:10] = 0
    spoilt[1][38:42, 38:42] = 200
    assert qcv(spoilt[0], a, a) > 100 * qcv(spoilt[1], a, a) > 0


def test_a_constant_has_no_edge_at_the_border():
    """However bright: all regions weigh the same."""
    white = np.full((64, 64), 255, np.uint8)
    f = white.copy()
    f[20:28, 20:28] = 0
    central, away = qcv(f, white, white), qcv(np.roll(f, 16, axis=1), white, white)
    assert central == pytest.approx(away, rel=1e-6)


def test_qcb_is_of_contrast():
    """A darker copy keeps all contrast; a grey picture keeps none."""
    rng = np.random.default_rng(7)
    x = 0.3 + 0.6 * rng.random((40, 40))
    assert qcb(x / 2, x, x) == pytest.approx(1)
    assert qcb(np.full_like(x, 0.5), x, x) < 1e-3
    low = 0.6 + 0.5 * (x - 0.6)
    assert 0.3 < qcb(low, x, x) < 0.9


@pytest.mark.parametrize(("metric", "same"), [(qcb, 1), (qcv, 0)])
def test_invariants(triple, metric, same):
    f, a, b = triple
    assert metric(f, f, f) == pytest.approx(same)
    assert metric(f, a, b) == pytest.approx(metric(f, b, a), rel=1e-6)
    for level in (0, 137, 255):
        flat = np.full_like(f, level)
        assert metric(flat, flat, flat) == pytest.approx(same)
