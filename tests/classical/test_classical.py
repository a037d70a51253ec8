"""Every classical fuser: what all of them promise, then each rule's own arithmetic."""

import json

import numpy as np
import pytest
from PIL import Image

from haarmony.classical import CLASSICAL, keep_air
from haarmony.classical.guided import guided_filter
from haarmony.classical.pixelwise import pca_weights
from haarmony.classical.pyramid import (
    KERNEL,
    LIFT,
    expand,
    laplacian_pyramid,
    ratio_pyramid,
    rebuild_laplacian,
    rebuild_ratio,
    reduce,
)
from haarmony.classical.selection import stronger

SIZES = [(16, 16), (17, 16), (16, 31), (33, 47), (63, 64), (100, 41)]
every_fuser = pytest.mark.parametrize("name", CLASSICAL)
every_size = pytest.mark.parametrize("shape", SIZES, ids=lambda shape: "×".join(map(str, shape)))


def scene(shape, seed):
    """Smooth ground, texture and a bright block, in (0, 1)."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    picture = 0.4 + 0.2 * np.sin(x / (5 + seed)) * np.cos(y / 7) + 0.1 * rng.random(shape)
    picture[3 + seed : 9 + seed, 4:10] += 0.2
    return picture


def test_the_table_names_every_family():
    assert list(CLASSICAL) == [
        "average",
        "maximum",
        "pca",
        "laplacian",
        "laplacian_maximum",
        "ratio",
        "wavelet",
        "stationary",
        "guided",
    ]
    assert len({fuser.title for fuser in CLASSICAL.values()}) == len(CLASSICAL)


@every_fuser
@every_size
def test_equal_sources_come_back(name, shape):
    a = scene(shape, 1)
    assert CLASSICAL[name].function(a, a) == pytest.approx(a, abs=1e-12)


@every_fuser
@every_size
def test_swapping_the_sources_changes_nothing(name, shape):
    a, b = scene(shape, 1), scene(shape, 2)
    assert CLASSICAL[name].function(a, b) == pytest.approx(CLASSICAL[name].function(b, a), abs=1e-12)


@every_fuser
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_size_range_and_dtype(name, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, (37, 22)).astype(dtype) for _ in range(2))  # worst case for overshoot
    kept = a.copy(), b.copy()
    f = CLASSICAL[name].function(a, b)
    assert f.shape == a.shape
    assert f.dtype == dtype
    assert f.min() >= 0
    assert f.max() <= 1
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


@every_fuser
def test_float32_agrees_with_float64(name):
    a, b = (scene((64, 48), seed).astype(np.float32) for seed in (1, 2))
    exact = CLASSICAL[name].function(a.astype(np.float64), b.astype(np.float64))
    assert CLASSICAL[name].function(a, b) == pytest.approx(exact, abs=1e-7)


@every_fuser
def test_air_stays_exactly_zero(name):
    a, b = scene((64, 64), 1), scene((64, 64), 2)
    air = np.zeros((64, 64), bool)
    air[:, :20] = air[50:] = True
    a[air] = b[air] = 0
    a[10, 10] = 0.5  # not air: one source sees something
    f = CLASSICAL[name].function(a, b)
    air[10, 10] = False
    assert (f[air] == 0).all()
    assert f[~air].mean() > 0.3


@every_fuser
def test_constant_sources(name):
    a, b = np.full((32, 40), 0.25), np.full((32, 40), 0.75)
    f = CLASSICAL[name].function(a, b)
    assert f == pytest.approx(np.full_like(a, 0.75 if name.endswith("maximum") else 0.5), abs=1e-12)


multi_scale = [name for name in CLASSICAL if CLASSICAL[name].family != "pixel-wise"]


@pytest.mark.parametrize("name", multi_scale)
def test_texture_against_a_flat_source_is_kept_whole(name):
    """All detail is a's: f is a with its coarse level half way to b's (guided: f is a, b has no saliency)."""
    m, b = 0.3, 0.6
    a = m + 0.2 * np.where(np.indices((128, 128)) % 4 < 2, 1, -1).prod(
        axis=0
    )  # period 4: gone two levels down
    f = CLASSICAL[name].function(a, np.full_like(a, b))
    coarse = (m + b) / 2
    expected = {
        "guided": a,
        "laplacian_maximum": a - m + b,
        "ratio": (a + LIFT) / (m + LIFT) * (coarse + LIFT) - LIFT,
    }.get(name, a - m + coarse)
    inside = slice(48, 80)  # away from what borders do to the coarse level
    assert f[inside, inside] == pytest.approx(np.clip(expected, 0, 1)[inside, inside], abs=1e-3)


@every_fuser
def test_two_edges_in_one_picture(name):
    """A vertical edge in a, a horizontal one in b: f has both, at half strength where the rule is linear."""
    a, b = np.full((64, 64), 0.3), np.full((64, 64), 0.3)
    a[:, 32:] = 0.7
    b[32:] = 0.7
    f = CLASSICAL[name].function(a, b)
    expected = {"average": 0.2, "pca": 0.2, "maximum": 0.4, "ratio": 0.3, "guided": 0.3}.get(name, 0.4)
    assert f[8, 32] - f[8, 31] == pytest.approx(expected, abs=0.03)
    assert f[32, 8] - f[31, 8] == pytest.approx(expected, abs=0.03)


def test_average_and_maximum_by_hand():
    a, b = scene((20, 24), 1), scene((20, 24), 2)
    assert np.array_equal(CLASSICAL["average"].function(a, b), (a + b) / 2)
    assert np.array_equal(CLASSICAL["maximum"].function(a, b), np.where(a > b, a, b))


def test_keep_air_clips_and_does_not_stretch():
    a = np.array([[0.0, 0.0, 0.5, 0.1]])
    b = np.array([[0.0, 0.2, 0.0, 0.1]])
    assert keep_air(np.array([[0.4, -0.3, 1.7, 0.2]]), a, b) == pytest.approx(np.array([[0, 0, 1, 0.2]]))


def test_stronger_keeps_the_sign_and_shares_a_tie():
    c_a, c_b = np.array([-3.0, 1.0, 2.0, -2.0, 0.0]), np.array([2.0, -4.0, 2.0, 2.0, 0.0])
    assert np.array_equal(stronger(c_a, c_b), [-3, -4, 2, 0, 0])


def test_pca_weights_by_hand():
    """Covariance [[4, 2], [2, 1]] · s: the leading eigenvector is (2, 1)/√5, the weights 2/3 and 1/3."""
    a = np.zeros((16, 16))
    a[:8] = 0.8
    assert pca_weights(a, a / 2) == pytest.approx((2 / 3, 1 / 3))
    f = CLASSICAL["pca"].function(a, a / 2)
    assert f == pytest.approx(a * 5 / 6)


@pytest.mark.parametrize("slope", [1.0, -0.4])
def test_pca_weights_against_a_solver(slope):
    rng = np.random.default_rng(3)
    a = rng.random((30, 20))
    b = slope * a + 0.3 * rng.random((30, 20))
    v = np.abs(np.linalg.eigh(np.cov(a.ravel(), b.ravel()))[1][:, -1])
    assert pca_weights(a, b) == pytest.approx(tuple(v / v.sum()))


def test_pca_weights_where_nothing_leads():
    flat, varied = np.full((16, 16), 0.3), scene((16, 16), 1)
    assert pca_weights(flat, np.full((16, 16), 0.7)) == (0.5, 0.5)
    assert pca_weights(varied, flat) == pytest.approx((1, 0))
    y, x = np.indices((16, 16)) % 2.0  # equal variances, no correlation
    assert pca_weights(y, x) == (0.5, 0.5)


@every_size
def test_pyramids_rebuild_the_picture(shape):
    x = scene(shape, 1)
    assert rebuild_laplacian(laplacian_pyramid(x)) == pytest.approx(x, abs=1e-14)
    assert rebuild_ratio(ratio_pyramid(x)) == pytest.approx(x, abs=1e-14)


def test_pyramid_levels_halve_and_stop():
    def shapes(n):
        return [level.shape for level in laplacian_pyramid(np.zeros((n, n)))]

    assert shapes(256) == [(8, 8), (16, 16), (32, 32), (64, 64), (128, 128), (256, 256)]
    assert shapes(37) == [(5, 5), (10, 10), (19, 19), (37, 37)]
    assert shapes(16) == [(4, 4), (8, 8), (16, 16)]


def test_reduce_and_expand_by_hand():
    """REDUCE is Σ w_m w_n x(2i + m, 2j + n), EXPAND 4 Σ w_m w_n x((i − m)/2, (j − n)/2), whole k only."""
    x = np.random.default_rng(0).random((12, 15))
    i, j, w = 3, 4, np.outer(KERNEL, KERNEL)
    reduced = (w * x[2 * i - 2 : 2 * i + 3, 2 * j - 2 : 2 * j + 3]).sum()
    assert reduce(x)[i, j] == pytest.approx(reduced)
    assert reduce(x).shape == (6, 8)
    big = expand(x, (24, 29))
    assert big.shape == (24, 29)
    assert big[6, 8] == pytest.approx(
        (np.outer([1, 6, 1], [1, 6, 1]) / 64 * x[2:5, 3:6]).sum()
    )  # an even, even place: three neighbours along each axis
    assert big[7, 9] == pytest.approx(x[3:5, 4:6].mean())  # odd, odd: the four around it
    for shape in [(9, 14), (10, 13)]:
        ones = np.ones(shape)
        assert reduce(ones) == pytest.approx(1)
        assert expand(reduce(ones), shape) == pytest.approx(1)


def test_stationary_wavelet_moves_with_the_picture():
    a, b = scene((200, 200), 1), scene((200, 200), 2)
    shifted = CLASSICAL["stationary"].function(np.roll(a, 3, axis=1), np.roll(b, 3, axis=1))
    inside = slice(96, 104)  # out of reach of the border at the coarsest scale
    moved = np.roll(CLASSICAL["stationary"].function(a, b), 3, axis=1)
    assert shifted[inside, inside] == pytest.approx(moved[inside, inside], abs=1e-12)
    decimated = CLASSICAL["wavelet"].function(np.roll(a, 3, axis=1), np.roll(b, 3, axis=1))
    moved = np.roll(CLASSICAL["wavelet"].function(a, b), 3, axis=1)
    assert np.abs(decimated[inside, inside] - moved[inside, inside]).max() > 1e-3


@pytest.mark.parametrize(("r", "eps"), [(2, 1e-6), (3, 0.3), (45, 0.3)])
def test_guided_filter_is_a_local_linear_regression(r, eps):
    """Ridge regression in every window, solved by least squares; then the mean of the predictions."""
    rng = np.random.default_rng(5)
    guide, P = rng.random((13, 17)), rng.integers(0, 2, (13, 17)).astype(float)

    def window(i, j):
        return slice(max(i - r, 0), i + r + 1), slice(max(j - r, 0), j + r + 1)

    slope, offset = np.zeros_like(P), np.zeros_like(P)
    for k in np.ndindex(P.shape):
        inside = guide[window(*k)].ravel()
        design = np.vstack([np.c_[inside, np.ones_like(inside)], [np.sqrt(inside.size * eps), 0]])
        target = np.append(P[window(*k)].ravel(), 0)
        slope[k], offset[k] = np.linalg.lstsq(design, target, rcond=None)[0]
    expected = [slope[window(*k)].mean() * guide[k] + offset[window(*k)].mean() for k in np.ndindex(P.shape)]
    assert guided_filter(P, guide, r=r, eps=eps) == pytest.approx(np.reshape(expected, P.shape), abs=1e-8)


def test_guided_filter_keeps_what_its_guide_explains():
    guide = scene((40, 40), 1)
    assert guided_filter(3 * guide - 0.5, guide, r=5, eps=0.0) == pytest.approx(3 * guide - 0.5, abs=1e-9)
    flat = np.full((40, 40), 0.6)
    assert guided_filter(flat, guide, r=5, eps=0.1) == pytest.approx(flat, abs=1e-12)


def test_published_fused_pictures(shared):
    """Others' average and maximum equal ours to rounding; so does their Laplacian, of maximum base."""
    folder = shared / "golden/cddfuse"
    for case in json.loads((folder / "expected.json").read_text()):
        a, b, theirs = (_luma(folder / case[key]) for key in ("a", "b", "fused"))
        name = case["fused"].rsplit("_", 1)[1].removesuffix(".png")
        ours = CLASSICAL["laplacian_maximum" if name == "laplacian" else name].function(a, b)
        if name == "laplacian":
            assert np.abs(ours - theirs).mean() < 0.3 / 255
            averaged = CLASSICAL[name].function(a, b)
            assert np.corrcoef(averaged.ravel(), theirs.ravel())[0, 1] > 0.8
        else:
            assert np.abs(ours - theirs).max() <= (0.5 / 255 + 1e-9 if name == "average" else 0)


def _luma(path):
    rgb = np.asarray(Image.open(path).convert("RGB"), float)
    return np.rint(rgb @ [0.299, 0.587, 0.114]) / 255
