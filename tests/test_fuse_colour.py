"""Fusing colours with a tiny trained Dif-Fusion: engines, any size, seeds, whose colour, what is refused."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from haarmony import Fuser
from haarmony.codec import Haar, decode_channels, encode_channels
from haarmony.colour import chroma, luma, merge
from haarmony.diffusion.process import Process
from haarmony.engine import OnnxDifFusion
from haarmony.fusing_path import fuse_colour
from haarmony.io import read, to_unit
from haarmony.metrics import ciede2000
from haarmony.support import span


@pytest.fixture(scope="module")
def fuser(dif_fusion):
    return Fuser(dif_fusion.model, threads=1)


@pytest.fixture(scope="module")
def pair(street):
    """A visible and an infrared picture, 72×64, in [0, 1]."""
    return [to_unit(read(street / folder / "3.png").pixels) for folder in ("visible", "infrared")]


def test_both_engines_agree_at_any_size(fuser, dif_fusion, pair):
    other = Fuser(dif_fusion.model, engine="torch", threads=1)
    for size in ((72, 64), (16, 16), (33, 50)):
        visible, infrared = (x[: size[0], : size[1]] for x in pair)
        fused = fuser(visible, infrared)
        assert fused.shape == (*size, 3)
        assert_allclose(fused, other(visible, infrared), atol=1e-3)
        assert_array_equal(fused, fuser(visible, infrared))


def test_it_is_the_equations_one_after_the_other(fuser, dif_fusion, pair):
    """Mirrored to a multiple of 32, noised to t = 5, 50, 100 in turn, observed, fused, held, cropped."""
    visible, infrared = (x[:40, :50] for x in pair)
    x = np.concatenate([np.moveaxis(visible, 2, 0), infrared[None]]).astype(np.float32)
    x = np.concatenate([x, x[:, :-25:-1]], axis=1)
    x = np.concatenate([x, x[:, :, :-15:-1]], axis=2)[None]
    assert x.shape == (1, 4, 64, 64)
    engine = OnnxDifFusion(dif_fusion.model, fuser.card)
    process, rng = Process(fuser.card.diffusion.make_schedule()), np.random.default_rng(7)
    x_0, seen = encode_channels(Haar(), 2 * x - 1), []
    for k, t in enumerate((5, 50, 100)):
        x_t = process.diffuse(x_0, rng.standard_normal((1, 64, 16, 16), dtype=np.float32), t)
        seen.append(engine.observe(x_t, np.array([k])))
    raw = (decode_channels(Haar(), engine.fuse(np.concatenate(seen, axis=1))) + 1) / 2
    lo, hi = span(x[:, :3], np.repeat(x[:, 3:], 3, axis=1))
    held = np.clip(np.clip(raw, lo - 0.015, hi + 0.015), 0, 1)[0, :, :40, :50]
    fused = fuse_colour(engine, fuser.card.diffusion, visible, infrared, seed=7)
    assert_allclose(fused, np.moveaxis(held, 0, 2), atol=1e-5)
    assert_allclose(fuser(visible, infrared, seed=7), fused, atol=1e-6)


def test_a_picture_fuses_as_the_one_it_is_mirrored_to(fuser, pair):
    visible, infrared = (x[:40, :50] for x in pair)
    pads = (0, 24), (0, 14)
    mirrored = np.pad(visible, (*pads, (0, 0)), mode="symmetric"), np.pad(infrared, pads, mode="symmetric")
    # Where no neighbour of the rim decides what is supported.
    assert_allclose(fuser(visible, infrared)[:39, :49], fuser(*mirrored)[:39, :49], atol=1e-5)


def test_long_pictures_are_fused_in_strips_that_do_not_show(fuser, pair, monkeypatch):
    visible, infrared = (np.concatenate([x, x[::-1]]) for x in pair)
    whole = fuser(visible, infrared)
    monkeypatch.setattr("haarmony.engine.STRIP", 1)
    assert_allclose(fuser(visible, infrared), whole, atol=1e-5)


def test_the_seed_decides_and_little(fuser, pair):
    first, other = fuser(*pair, seed=1), fuser(*pair, seed=2)
    assert_array_equal(first, fuser(*pair, seed=1))
    assert 0 < np.abs(first - other).mean() < 0.02


def test_whose_colour(fuser, pair):
    visible, infrared = pair
    own = fuser(visible, infrared)
    assert_allclose(fuser(visible, infrared, colour="grey"), luma(own), atol=1e-6)
    first = fuser(visible, infrared, colour="first")
    assert_allclose(first, merge(luma(own), chroma(visible)), atol=1e-6)
    assert np.abs(own - first).max() > 0.005  # its colours are its own
    # Barely trained it is nearly the visible picture, and CIEDE2000 is of the colours it gives.
    assert float(ciede2000(own, visible)) < 5 < float(ciede2000(luma(own), visible))


def test_order_depth_and_grey(fuser, pair):
    visible, infrared = pair
    fused = fuser(visible, infrared)
    assert_array_equal(fuser(infrared, visible), fused)
    wide = fuser(*(np.rint(65535 * x).astype(np.uint16) for x in pair))
    assert wide.dtype == np.uint16
    assert_allclose(wide / 65535, fused, atol=1e-3)
    grey = fuser(luma(visible), infrared)
    assert grey.shape == infrared.shape
    assert np.abs(grey - luma(visible)).mean() < 0.1


def test_it_takes_no_steps(fuser, pair, dif_fusion):
    with pytest.raises(ValueError, match="'tiny-dif-fusion' does not sample: it takes no steps, got 2"):
        fuser(*pair, steps=2)
    seen = []
    fused = fuser(*pair, callback=lambda *step: seen.append(step))
    ((done, total, shown),) = seen
    assert (done, total) == (1, 1)
    assert_array_equal(shown, luma(fused))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("features_at = [\n    5,\n    50,\n    100,\n]", "", "features_at: Field required"),
        ("    100,\n", "    1001,\n", "features_at: 1001 is more than timesteps = 1000"),
        ("    100,\n", "    0,\n", "features_at.2: Input should be greater than 0"),
        (
            'kind = "dif-fusion"',
            'kind = "dif-fission"',
            "kind: unknown kind 'dif-fission', only fusion",
        ),
        ("head_depth = 2", "", "net: no depth of a network ('head_depth')"),
        ('"head.onnx"', '"tail.onnx"', "lists no file head.onnx"),
        ("head_width = 8", "head_width = 12", "not the card's network"),
    ],
)
def test_a_bad_card_is_one_clear_line(dif_fusion, tmp_path, old, new, problem):
    model = tmp_path / "model"
    shutil.copytree(dif_fusion.model, model)
    text = (model / "card.toml").read_text(encoding="utf-8")
    assert old in text
    (model / "card.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        Fuser(model, engine="torch" if "width" in old else "onnx")
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)
