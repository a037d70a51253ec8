"""SSIM against scikit-image, VIF against its definition in SciPy; invariants of both."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity

from haarmony.metrics import ssim, vif, viff
from haarmony.metrics.windows import gaussian, window_mean


@pytest.mark.parametrize(("convention", "data_range", "scale"), [("haarmony", 255, 0.5), ("cddfuse", 2, 1)])
def test_ssim_is_scikit_images(triple, convention, data_range, scale):
    f, a, b = (x.astype(float) for x in triple)
    expected = sum(structural_similarity(f, x, data_range=data_range) for x in (a, b)) * scale
    assert ssim(*triple, convention=convention) == pytest.approx(expected, rel=2e-6)


def reference_vif(x, f):
    x, f, kept, total = x.astype(float), f.astype(float), 0, 0
    for n in (17, 9, 5, 3):
        k = np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * (n / 5) ** 2))
        window = np.outer(k, k) / k.sum() ** 2

        def mean(v, window=window):
            return convolve2d(v, window, mode="valid")

        if n < 17:
            x, f = mean(x)[::2, ::2], mean(f)[::2, ::2]
        var_x, var_f = (np.maximum(mean(v * v) - mean(v) ** 2, 0) for v in (x, f))
        cov = mean(x * f) - mean(x) * mean(f)
        g, noise = cov / (var_x + 1e-10), var_f - cov**2 / (var_x + 1e-10)
        off = (var_x < 1e-10) | (var_f < 1e-10) | (g < 0)
        g, noise = np.where(off, 0, g), np.maximum(np.where(off, var_f, noise), 1e-10)
        kept += np.log10(1 + g * g * var_x / (noise + 2)).sum()
        total += np.log10(1 + var_x / 2).sum()
    return kept / total


def test_vif_is_its_definition(triple):
    f, a, b = triple
    expected = reference_vif(a, f) + reference_vif(b, f)
    assert vif(f, a, b, convention="cddfuse") == pytest.approx(expected, rel=1e-5)
    assert vif(f, a, b) == pytest.approx(expected / 2, rel=1e-5)


def reference_viff(f, a, b):
    pictures, value = [x.astype(float) for x in (f, a, b)], 0
    for n, p in ((17, 1 / 2.15), (9, 0), (5, 0.15 / 2.15), (3, 1 / 2.15)):
        k = np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * (n / 5) ** 2))
        window = np.outer(k, k) / k.sum() ** 2

        def mean(v, window=window):
            return convolve2d(v, window, mode="valid")

        if n < 17:
            pictures = [mean(v)[::2, ::2] for v in pictures]
        f, *sources = pictures
        var_f, sides = np.maximum(mean(f * f) - mean(f) ** 2, 0), []
        for x in sources:
            var_x, cov = np.maximum(mean(x * x) - mean(x) ** 2, 0), mean(x * f) - mean(x) * mean(f)
            g = np.where((var_x < 1e-10) | (var_f < 1e-10) | (cov < 0), 0, cov / (var_x + 1e-10))
            noise = np.maximum(var_f - g * cov, 1e-10) + 0.005 * 255**2
            sides.append((g, np.log10(1 + g * g * var_x / noise), np.log10(1 + var_x / (0.005 * 255**2))))
        kept = total = 0
        for (g_a, vid_a, vind_a), (g_b, vid_b, vind_b) in zip(
            *(zip(*(v.ravel() for v in side), strict=True) for side in sides), strict=True
        ):
            share = 0.5 if g_a == g_b else float(g_a < g_b)
            kept += share * vid_a + (1 - share) * vid_b + 1e-7
            total += share * vind_a + (1 - share) * vind_b + 1e-7
        value += p * kept / total
    return value


def test_viff_is_its_definition(triple):
    f, a, b = triple
    assert viff(f, a, b) == pytest.approx(reference_viff(f, a, b), rel=1e-5)
    mixed = (0.5 * a + 0.4 * b).astype(np.uint8)
    assert 0.1 < viff(mixed, a, b) == pytest.approx(reference_viff(mixed, a, b), rel=1e-5)


def test_viff_where_the_answer_is_known(triple):
    """A constant source costs nothing if f follows the other."""
    _, a, _ = triple
    a, flat = a // 2, np.full_like(a, 9)
    assert viff(2 * a, a, a) > 1
    assert viff(np.zeros_like(a), a, a) == pytest.approx(0, abs=1e-5)
    assert viff(a, flat, flat) == viff(a, a, flat) == pytest.approx(1)
    assert viff(a, a, a[::-1]) < 0.3


@pytest.mark.parametrize("metric", [ssim, vif, viff])
def test_invariants(triple, metric):
    f, a, b = triple
    for convention, whole in (("haarmony", 1), ("cddfuse", 1 if metric is viff else 2)):
        assert metric(f, f, f, convention=convention) == pytest.approx(whole, rel=1e-6)
        assert metric(f, a, b, convention=convention) == pytest.approx(metric(f, b, a, convention=convention))
        for level in (0, 137, 255):
            flat = np.full_like(f, level)
            assert metric(flat, flat, flat, convention=convention) == pytest.approx(whole)
    if metric is not viff:
        assert metric(f, f, a) == pytest.approx((1 + metric(f, a, a)) / 2)


def test_vif_of_contrast_and_blank(triple):
    _, a, _ = triple
    a = a // 2
    assert vif(2 * a, a, a) > 1
    assert vif(np.zeros_like(a), a, a) == 0
    assert vif(a, np.full_like(a, 9), np.full_like(a, 9)) == 1


def test_one_grey_level_of_haze_ruins_the_published_ssim(triple):
    f, a, b = triple
    hazy = np.maximum(f, 1)
    assert ssim(hazy, a, b, convention="cddfuse") < ssim(f, a, b, convention="cddfuse") - 0.15
    assert ssim(hazy, a, b) > ssim(f, a, b) - 0.02


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize(
    ("n", "stride", "shape"), [(17, 1, (2, 81, 50)), (9, 2, (3, 2, 75, 140)), (3, 2, (5, 4)), (7, 1, (7, 7))]
)
def test_window_mean(kind, n, stride, shape):
    x = np.random.default_rng(n).random(shape)
    window = np.outer(gaussian(n), gaussian(n))
    expected = [convolve2d(v, window, mode="valid")[::stride, ::stride] for v in x.reshape(-1, *shape[-2:])]
    values = np.asarray(window_mean(kind(x), gaussian(n), stride=stride))
    np.testing.assert_allclose(values.reshape(np.shape(expected)), expected, rtol=1e-12)
