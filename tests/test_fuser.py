"""The shipped model, as a user calls it: sizes, types, colour, air, determinism, clear refusals."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from haarmony import Fuser, Picture, fuse, metrics
from haarmony.colour import luma
from haarmony.fuser import check_pair
from haarmony.fusing_path import fuse_luma
from haarmony.io import to_unit
from haarmony.phantom import head
from haarmony.support import span


@pytest.fixture(scope="module")
def fuser():
    return Fuser("medical", threads=1)


@pytest.fixture(scope="module")
def pairs():
    phantom = head(seed=7, size=96)
    return {second: phantom.pair(second, 16) for second in ("PET", "SPECT", "CT")}


def grey(pixels):
    return pixels if pixels.ndim == 2 else np.rint(luma(pixels.astype(np.float64))).astype(np.uint8)


@pytest.mark.parametrize("second", ["PET", "SPECT", "CT"])
def test_the_fused_picture_keeps_both_sources_and_invents_nothing(fuser, pairs, second):
    a, b = pairs[second]
    fused = fuser(a, b)
    assert fused.shape == b.shape
    assert fused.dtype == np.uint8
    f, a, b = grey(fused), grey(a), grey(b)
    assert_array_equal(f[(a == 0) & (b == 0)], 0)
    lo, hi = span(a.astype(float), b.astype(float))
    # 1.5 % margin, half a level of rounding on either side and in the luma of the rounded RGB.
    assert (f >= lo - 0.015 * 255 - 1.5).all()
    assert (f <= hi + 0.015 * 255 + 1.5).all()
    assert metrics.ssim(f, a, b) > 0.9 * metrics.ssim(np.maximum(a, b), a, b)
    assert metrics.vif(f, a, b) > 0.9 * metrics.vif(np.maximum(a, b), a, b)


@pytest.mark.parametrize("shape", [(16, 16), (17, 16), (33, 61), (64, 31), (97, 130)])
def test_any_size_comes_back_exactly(fuser, shape):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    b[:5, :5] = a[:5, :5] = 0
    fused = fuser(a, b)
    assert fused.shape == shape
    assert_array_equal(fused[:5, :5], 0)


def test_a_crop_fuses_like_the_whole(fuser):
    """Statistics are local: away from the crop's border only the noise differs."""
    a, b = head(seed=3, size=256).pair("CT", 16)
    whole, crop = fuser(a, b).astype(int), fuser(a[64:192, 64:192], b[64:192, 64:192]).astype(int)
    difference = np.abs(whole[96:160, 96:160] - crop[32:96, 32:96])
    assert np.percentile(difference, 99) <= 6
    assert difference.mean() < 1.5


def test_strips_of_a_large_picture_give_the_whole(fuser, monkeypatch):
    rng = np.random.default_rng(0)
    z, condition = (rng.standard_normal((1, c, 72, 24), dtype=np.float32) for c in (16, 96))
    t = np.array([500])
    for network in (fuser._engine.denoise, fuser._engine.refine):
        monkeypatch.setattr("haarmony.engine.STRIP", 72 * 24)
        whole = network(z, condition, t)
        monkeypatch.setattr("haarmony.engine.STRIP", 16 * 24)
        np.testing.assert_allclose(network(z, condition, t), whole, atol=1e-5)


def test_seed_decides_the_bytes(fuser, pairs):
    a, b = pairs["CT"]
    first = fuser(a, b)
    assert_array_equal(first, fuser(a, b))
    assert_array_equal(first, Fuser("medical", threads=2)(a, b))
    assert_array_equal(first, fuse(a, b))
    other = fuser(a, b, seed=1)
    assert not np.array_equal(first, other)
    assert np.abs(first.astype(int) - other).mean() < 3


def test_torch_engine_agrees_with_onnx(fuser, pairs):
    torch_fuser = Fuser("medical", engine="torch", threads=1)
    for second, (a, b) in pairs.items():
        a, b = to_unit(a), to_unit(b)
        np.testing.assert_allclose(fuser(a, b), torch_fuser(a, b), atol=1e-3, err_msg=second)


def test_sample_type_comes_back(fuser, pairs):
    a, b = pairs["PET"]
    eight = fuser(a, b)
    wide = fuser(a.astype(np.uint16) * 257, b.astype(np.uint16) * 257)
    assert wide.dtype == np.uint16
    np.testing.assert_allclose(wide / 257, eight, atol=0.6)
    for dtype in (np.float32, np.float64):
        floats = fuser(to_unit(a).astype(dtype), to_unit(b).astype(dtype))
        assert floats.dtype == dtype
        np.testing.assert_allclose(255 * floats, eight, atol=0.6)
    assert fuser(a, b.astype(np.uint16) * 257).dtype == np.uint16  # the deeper of the two


def test_colour_follows_the_coloured_source(fuser, pairs):
    a, b = pairs["PET"]
    fused = fuser(a, b)
    y = fuser(a, b, colour="grey")
    assert y.shape == a.shape
    assert np.abs(luma(fused.astype(float)) - y).max() <= 1.0  # rounding of the channels and of the luma
    assert_array_equal(fuser(a, b, colour="second"), fused)
    no_colour = fuser(a, b, colour="first")  # the first source is grey
    assert_array_equal(no_colour, np.repeat(y[..., None], 3, axis=2))
    assert_array_equal(fuser(b, a), fused)  # a coloured source is recognised in either place


def test_grey_pictures_stored_as_rgb_fuse_to_grey(fuser, pairs):
    a, b = pairs["CT"]
    fused = fuser(np.repeat(a[..., None], 3, axis=2), np.repeat(b[..., None], 3, axis=2))
    assert fused.shape == (*a.shape, 3)
    assert_array_equal(fused, np.repeat(fuser(a, b)[..., None], 3, axis=2))


def test_pictures_give_a_picture_with_the_first_ones_geometry(fuser, pairs):
    a, b = pairs["PET"]
    first = Picture(
        a, (0, 255), spacing=(0.9, 0.9), metadata={"scanner": "phantom"}, notes=("palette converted",)
    )
    fused = fuser(first, Picture(b.astype(np.uint16) * 257, (0, 65535)))
    assert isinstance(fused, Picture)
    assert fused.value_range == (0, 65535)
    assert (fused.spacing, fused.metadata, fused.notes) == ((0.9, 0.9), {"scanner": "phantom"}, ())
    grey_pair = fuser(Picture(a, (0, 255)), Picture(np.repeat(a[..., None], 3, axis=2), (0, 255)))
    assert grey_pair.pixels.shape == a.shape


def test_every_step_is_shown_and_the_last_is_the_result(fuser, pairs):
    a, b = pairs["CT"]
    seen = []
    fused = fuser(to_unit(a), to_unit(b), steps=3, callback=lambda *args: seen.append(args))
    assert [(done, of) for done, of, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert_array_equal(seen[-1][2], fused)
    for _, _, estimate in seen:
        assert_array_equal(estimate[(a == 0) & (b == 0)], 0)


def test_any_number_of_steps(fuser, pairs):
    a, b = (x[::4, ::4] for x in pairs["CT"])
    results = [fuser(a, b, steps=steps).astype(int) for steps in (1, 2, 25)]
    assert np.abs(results[0] - results[2]).mean() < 3


def test_fuse_luma_is_what_the_fuser_runs(fuser, pairs):
    a, b = (to_unit(x) for x in pairs["CT"])
    assert_array_equal(fuse_luma(fuser._engine, fuser.card.diffusion, a, b), fuser(a, b))


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        (np.zeros((16, 20)), np.zeros((20, 16)), "20×16 the first, 16×20 the second"),
        (np.zeros((15, 64)), np.zeros((15, 64)), "64×15 pixels; each side must be at least 16"),
        (np.full((16, 16), np.nan), np.zeros((16, 16)), "first source: pixels must be finite"),
        (np.zeros((16, 16)), np.full((16, 16), 255.0), "second source: .* run from 255 to 255"),
        (np.zeros((16, 16, 4)), np.zeros((16, 16)), r"not \(16, 16, 4\)"),
        (np.zeros((16, 16), np.int32), np.zeros((16, 16)), "not int32"),
    ],
)
def test_what_is_no_pair_is_refused(a, b, problem):
    with pytest.raises(ValueError, match=problem):
        check_pair(a, b)


def test_bad_options_are_refused(fuser, pairs):
    a, b = pairs["CT"]
    for options, problem in (
        ({"steps": 0}, "steps must be in 1, …, 1000, got 0"),
        ({"steps": 1001}, "got 1001"),
        ({"colour": "mauve"}, "auto, first, second, grey"),
    ):
        with pytest.raises(ValueError, match=problem):
            fuser(a, b, **options)
    with pytest.raises(
        ValueError, match="unknown model 'nonesuch': choose one of dif-fusion, infrared, medical"
    ):
        Fuser("nonesuch")
    with pytest.raises(ValueError, match="unknown engine 'tpu'"):
        Fuser(engine="tpu")


def test_infrared_keeps_the_lamp_and_the_person():
    """What only one of the pictures shows, brightly, is bright in the fused one."""
    y, x = np.mgrid[:128, :160]
    visible, infrared = (0.3 + 0.1 * np.sin(v / 9) for v in (x, y))
    lamp, person = np.hypot(y - 40, x - 40) < 9, (abs(y - 80) < 20) & (abs(x - 110) < 6)
    visible, infrared = np.where(lamp, 0.95, visible), np.where(person, 0.9, infrared)
    fused = Fuser("infrared", threads=1)(visible, infrared)
    for shown in (lamp, person):
        assert fused[shown].mean() > 0.8
    assert fused[~(lamp | person)].mean() < 0.5


@pytest.mark.parametrize("model", ["medical", "infrared"])
def test_validation_pairs_beat_the_maximum(model, shared):
    """A few pairs of each validation set; benchmarks/quality.py scores them all."""
    from haarmony import settings
    from haarmony.training.data import files, load_pair
    from haarmony.training.recipe import Recipe
    from haarmony.training.validation import measure

    recipe = settings.load(Path(__file__).parents[1] / "recipes" / f"{model}.toml", Recipe)
    data = recipe.data.model_copy(update={"root": str(shared / "data")})
    fuser = Fuser(model, threads=1)
    for pair_set in data.sets:
        ours, maximum = [], []
        for found in files(data, pair_set, "val")[4::12]:
            pair = load_pair(found)
            functional = pair_set.functional
            ours.append(measure(fuser(pair.a, pair.b), pair, functional=functional))
            maximum.append(measure(np.maximum(pair.a, pair.b), pair, functional=functional))
        gain = {
            name: np.mean([x[name] for x in ours]) - np.mean([x[name] for x in maximum]) for name in ours[0]
        }
        assert gain["VIF"] > 0, pair_set.name
        assert gain["Qabf"] > 0, pair_set.name
        assert gain["SCD"] > 0, pair_set.name
        assert gain["SSIM"] > -0.01, pair_set.name
        assert gain.get("function", 0) > -0.02, pair_set.name


def test_a_border_is_what_the_picture_mirrored_would_show(fuser):
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 64, 96), dtype=np.float32)
    config, wide = fuser.card.diffusion, [np.pad(x, 16, mode="symmetric") for x in (a, b)]
    fused = fuse_luma(fuser._engine, config.model_copy(update={"border": 16}), a, b)
    assert_array_equal(fused, fuse_luma(fuser._engine, config, *wide)[16:-16, 16:-16])


def test_infrared_draws_no_checkerboard():
    """Finest diagonal detail nearby, of either source, bounds the fused picture's, at the edges as well."""
    rng = np.random.default_rng(6)
    a, b = (ndimage.gaussian_filter(rng.random((48, 80)), 3) for _ in range(2))
    a, b = ((x - x.min()) / np.ptp(x) for x in (a, b))

    def excess(f):
        of_f, of_a, of_b = (
            np.abs(x[::2, ::2] - x[::2, 1::2] - x[1::2, ::2] + x[1::2, 1::2]) / 2 for x in (f, a, b)
        )
        most = ndimage.maximum_filter(np.maximum(of_a, of_b), size=3, mode="nearest")
        return np.percentile(of_f - most, 99)

    infrared = Fuser("infrared")
    free = infrared.card.diffusion.model_copy(update={"diagonal": False, "border": 0})
    assert excess(infrared(a, b)) < 1.5 / 255
    assert excess(fuse_luma(infrared._engine, free, a, b)) > 15 / 255  # what the network draws by itself
