"""FMI against its definition window by window, and where the answer is known."""

import numpy as np
import pytest

from haarmony.metrics import fmi


def distribution(window):
    x = window.T.ravel().astype(float)  # down the columns
    x = np.ones(9) if x.max() == x.min() else (x - x.min()) / (x.max() - x.min())
    return x / x.sum()


def entropy(p):
    return -sum(v * np.log2(v) for v in np.ravel(p) if v > 1e-15)


def normalised_information(p, q):
    """By the whole 9×9 table between Fréchet's bound (the lower one for r < 0) and independence."""
    F, G = np.cumsum(p), np.cumsum(q)
    r = np.corrcoef(p, q)[0, 1] if np.ptp(p) * np.ptp(q) > 0 else 0
    bound = np.minimum(F[:, None], G) if r >= 0 else np.maximum(F[:, None] + G - 1, 0)
    places = np.arange(1, 10)
    sd_p, sd_q = (np.sqrt(max(v @ places**2 - (v @ places) ** 2, 0)) for v in (p, q))
    phi = 0
    if abs(r) > 1e-9 and sd_p * sd_q > 1e-9:
        phi = min(r * sd_p * sd_q / (bound - np.outer(F, G)).sum(), 1)
    M = np.diff(np.diff(np.pad(bound, ((1, 0), (1, 0))), axis=0), axis=1)
    both = entropy(p) + entropy(q)
    return 2 * (both - entropy(phi * M + (1 - phi) * np.outer(p, q))) / both if both > 1e-12 else 0


def reference(x, f):
    values = []
    for i, j in np.ndindex(x.shape[0] - 2, x.shape[1] - 2):
        window, fused = x[i : i + 3, j : j + 3], f[i : i + 3, j : j + 3]
        equal = (window == fused).all()
        values.append(1 if equal else normalised_information(distribution(window), distribution(fused)))
    return np.mean(values)


@pytest.mark.parametrize("convention", ["haarmony", "cddfuse"])
def test_against_the_definition(triple, convention):
    maximum, a, b = triple
    for f in (maximum, a // 2 + b // 2, 255 - a):
        expected = (reference(a, f) + reference(b, f)) / 2
        assert fmi(f, a, b, convention=convention) == pytest.approx(expected, rel=1e-6)


def test_where_the_answer_is_known(triple):
    f, a, b = triple
    texture = np.random.default_rng(3).integers(0, 120, (24, 31)).astype(np.uint8)
    for same in (f, f * 0, texture):
        assert fmi(same, same, same) == 1
    assert fmi(2 * texture + 9, texture, texture) == pytest.approx(
        1, abs=1e-6
    )  # of contrast it knows nothing
    assert fmi(f * 0, f * 0 + 7, f * 0 + 7) == fmi(texture, texture * 0, texture * 0) == 0
    assert fmi(f, a, b) == fmi(f, b, a)
    assert fmi(texture, texture, texture.T[:24].repeat(2, 1)[:, :31]) == pytest.approx(
        (1 + fmi(texture, *[texture.T[:24].repeat(2, 1)[:, :31]] * 2)) / 2
    )


def test_one_window_by_hand():
    """p = (½, ½, 0, …), q = (0, …, ½, ½): r = −2/7, ρ = 1, so φ = 2/7 of one bit, the rest independent."""
    x, f = np.zeros((2, 3, 3), np.uint8)
    x[:2, 0], f[1:, 2] = 80, 33
    P = np.array([1 - 2 / 7, 1 + 2 / 7]) / 2
    assert fmi(f, x, x) == pytest.approx(1 + (P * np.log2(P)).sum(), rel=1e-6)


def test_more_windows_than_fit_in_a_block():
    f, a, b = np.random.default_rng(5).integers(0, 256, (3, 128, 141)).astype(np.uint8)
    halves = [fmi(f[:, s], a[:, s], b[:, s]) for s in (slice(0, 72), slice(70, 141))]
    assert fmi(f, a, b) == pytest.approx((halves[0] * 70 + halves[1] * 69) / 139, rel=1e-6)
