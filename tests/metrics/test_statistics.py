"""EN, SD, SF, AG, MSE, RMSE, PSNR, CC, SCC, SCD by hand and against SciPy."""

import numpy as np
import pytest
from scipy.signal import convolve2d
from scipy.stats import entropy, pearsonr

from haarmony.metrics import CONVENTIONS, ag, cc, en, mse, psnr, rmse, scc, scd, score, sd, sf

LADDER = np.array([[0, 3, 6], [4, 7, 10], [8, 11, 14]], np.uint8)  # 3 a column, 4 a row
BLACK, WHITE = np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8)


def test_ladder():
    assert sf(LADDER) == pytest.approx(5)  # sqrt(3² + 4²)
    assert ag(LADDER) == pytest.approx(np.sqrt(12.5))
    assert sd(LADDER) == pytest.approx(np.sqrt(50 / 3))
    assert en(LADDER) == pytest.approx(np.log2(9))
    assert sf(LADDER, convention="matlab") == pytest.approx(5 / 255)
    assert ag(LADDER, convention="matlab") == pytest.approx(np.sqrt(12.5) * 9 / 4)
    assert mse(LADDER, LADDER, LADDER + np.uint8(2)) == pytest.approx(2)
    assert mse(LADDER, LADDER, LADDER + np.uint8(2), convention="matlab") == pytest.approx(2 / 255**2)
    assert rmse(LADDER, LADDER + np.uint8(6), LADDER + np.uint8(2)) == pytest.approx(4)
    assert rmse(LADDER, LADDER, LADDER + np.uint8(2), convention="matlab") == pytest.approx(1 / 255)
    assert scc(LADDER, LADDER, LADDER) == 0  # no detail
    assert psnr(LADDER, LADDER, LADDER + np.uint8(2)) == pytest.approx(10 * np.log10(255**2 / 2))
    assert psnr(LADDER, LADDER, LADDER + np.uint8(2), convention="cddfuse") == pytest.approx(
        10 * np.log10(14**2 / 2)
    )
    assert psnr(LADDER, LADDER, LADDER + np.uint8(2), convention="matlab") == pytest.approx(
        20 * np.log10(255**2 / 2**0.5)
    )


def test_against_scipy(triple):
    f, a, b = (x.astype(float) for x in triple)
    assert en(triple[0]) == pytest.approx(entropy(np.bincount(triple[0].ravel()), base=2))
    r = [pearsonr(x.ravel(), y.ravel())[0] for x, y in ((f, a), (f, b), (a, f - b), (b, f - a))]
    assert cc(*triple) == pytest.approx((r[0] + r[1]) / 2)
    assert scd(*triple) == pytest.approx(r[2] + r[3])
    errors = [np.linalg.norm(f - x) / f.size**0.5 for x in (a, b)]
    assert rmse(*triple) == pytest.approx(sum(errors) / 2)
    kernel = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
    detail = [convolve2d(x, kernel, mode="valid").ravel() for x in (f, a, b)]
    r = [pearsonr(detail[0], x)[0] for x in detail[1:]]
    for convention in CONVENTIONS:
        assert scc(*triple, convention=convention) == pytest.approx((r[0] + r[1]) / 2, rel=1e-5)
    gy, gx = np.gradient(f)
    assert ag(triple[0]) == pytest.approx(np.mean(np.sqrt((gx**2 + gy**2) / 2)))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_extremes(triple, convention):
    f, a, b = triple
    same = score(f, f, f, convention=convention, metrics=["MSE", "RMSE", "PSNR", "CC", "SCC", "SCD"])
    assert same == pytest.approx({"MSE": 0, "RMSE": 0, "PSNR": np.inf, "CC": 1, "SCC": 1, "SCD": 0})
    flat = score(WHITE, BLACK, BLACK, convention=convention, metrics=["EN", "SF", "AG", "CC", "SCC", "SCD"])
    assert set(flat.values()) == {0}
    a, b = a // 2, b // 2
    assert scd(a + b, a, b, convention=convention) == pytest.approx(2)
    assert scc(255 - f, f, f, convention=convention) == pytest.approx(-1)
    for symbol in ("MI", "MSE", "RMSE", "PSNR", "CC", "SCC", "SCD"):
        one, other = (score(f, *x, convention=convention, metrics=[symbol]) for x in ((a, b), (b, a)))
        assert one == pytest.approx(other)


def test_black_fused_picture_has_no_peak():
    assert psnr(BLACK, WHITE, WHITE, convention="cddfuse") == -np.inf
    assert psnr(BLACK, WHITE, WHITE) == 0
    assert sd(np.where(np.indices((8, 8)).sum(0) % 2, 255, 0).astype(np.uint8)) == 127.5
