"""MS-SSIM against torchmetrics scale by scale, against plain SciPy, and where the answer is known."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from haarmony.metrics import ms_ssim, score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def reference(x, f):
    k = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window, x, f, value = np.outer(k, k) / k.sum() ** 2, x.astype(float), f.astype(float), 1

    def mean(v):
        return convolve2d(v, window, mode="valid")

    for scale, weight in enumerate(WEIGHTS):
        var_x, var_f, cov = (
            mean(x * x) - mean(x) ** 2,
            mean(f * f) - mean(f) ** 2,
            mean(x * f) - mean(x) * mean(f),
        )
        term = (2 * cov + 58.5225) / (var_x + var_f + 58.5225)
        if scale == 4:
            term = term * (2 * mean(x) * mean(f) + 6.5025) / (mean(x) ** 2 + mean(f) ** 2 + 6.5025)
        value *= max(term.mean(), 0) ** weight
        H, W = (n // 2 * 2 for n in x.shape)
        x, f = (v[:H, :W].reshape(H // 2, 2, W // 2, 2).mean((1, 3)) for v in (x, f))
    return value


@pytest.mark.parametrize("convention", ["haarmony", "cddfuse"])
def test_against_the_definition(large, convention):
    maximum, a, b = large
    for f in (maximum, a // 2 + b // 2):
        expected = (reference(a, f) + reference(b, f)) / 2
        assert ms_ssim(f, a, b, convention=convention) == pytest.approx(expected, rel=1e-5)


def test_against_torchmetrics(large):
    """Its last term takes in windows beyond the border; with those cut off it is the same."""
    f, *sources = (torch.tensor(x, dtype=torch.float64)[None, None] for x in large)
    expected = 0
    for x in sources:
        y, value = f, 1
        for scale, weight in enumerate(WEIGHTS):
            options = {
                "data_range": 255.0,
                "return_contrast_sensitivity": scale < 4,
                "return_full_image": scale == 4,
            }
            _, term = structural_similarity_index_measure(y, x, **options)
            value *= float((term[..., 5:-5, 5:-5] if scale == 4 else term).mean()) ** weight
            x, y = (torch.nn.functional.avg_pool2d(v, 2) for v in (x, y))
        expected += value / 2
    assert ms_ssim(*large) == pytest.approx(expected, rel=1e-5)
    whole = [multiscale_structural_similarity_index_measure(f, x, data_range=255.0) for x in sources]
    assert ms_ssim(*large) == pytest.approx(float(sum(whole)) / 2, rel=0.03)


def test_where_the_answer_is_known(large):
    f, a, b = large
    assert ms_ssim(f, f, f) == pytest.approx(1, rel=1e-6)
    assert ms_ssim(f, a, b) == pytest.approx(ms_ssim(f, b, a))
    assert ms_ssim(f, f, a) == pytest.approx((1 + ms_ssim(f, a, a)) / 2)
    assert ms_ssim(255 - f, f, f) == 0  # contrasts are opposed on every scale
    for level in (0, 137, 255):
        flat = np.full_like(f, level)
        assert ms_ssim(flat, flat, flat) == pytest.approx(1)
    luminance = (2 * 100 * 200 + 6.5025) / (100**2 + 200**2 + 6.5025)
    dim, bright = np.full_like(f, 100), np.full_like(f, 200)
    assert ms_ssim(dim, bright, bright) == pytest.approx(luminance**0.1333)


def test_score_leaves_out_what_does_not_fit(triple, large):
    assert "MS-SSIM" not in score(*triple)
    assert score(*large)["MS-SSIM"] == ms_ssim(*large)
    assert "VIF" not in score(*(x[:40] for x in triple))
    with pytest.raises(ValueError, match="ms_ssim needs at least 176×176 pixels, these are 52×61"):
        score(*triple, metrics=["MS-SSIM"])


def test_gradients(large):
    """Against central differences in float64, and finite where the powers' are not."""
    f, a, b = (torch.tensor(x / 255.0) for x in large)
    step = (
        torch.randn(f.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (f > 0) * 1e-7
    )
    f = 0.02 + 0.9 * f
    g = f.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ms_ssim(g, a, b), g)
    ahead, behind = (ms_ssim(f + s * step, a, b) for s in (1, -1))
    assert float(ahead - behind) == pytest.approx(2 * float((gradient * step).sum()), rel=1e-4)
    for x, y in ((0 * a, 0 * a), (1 - a, a), (0 * a + 0.3, a)):
        g = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(ms_ssim(g, y, y), g)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.tensor, lambda x: x / 255, lambda x: torch.tensor(x / 255).float()]
)
def test_forms_and_batches(large, kind):
    f, a, b = large
    expected = [ms_ssim(f, a, b), ms_ssim(a, b, f)]
    for shape in ((2, 208, 183), (2, 1, 208, 183)):
        values = ms_ssim(*(kind(np.stack(x).reshape(shape)) for x in ((f, a), (a, b), (b, f))))
        assert np.asarray(values) == pytest.approx(np.array(expected), rel=1e-5)
