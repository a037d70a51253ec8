"""Tiles: every pixel once, the whole picture's noise, the whole picture's result to within rounding."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from haarmony import Fuser, colour, tiling
from haarmony.fuser import fuse_pictures
from haarmony.fusing_path import fuse_luma, pad
from haarmony.io import to_unit
from haarmony.phantom import head
from haarmony.tiling import Noise, Tiling

BOUND = 2 / 255
"""What tiled and whole may differ by, at the 99.9th percentile."""


@pytest.fixture(scope="module")
def fuser():
    return Fuser("medical", threads=1)


@pytest.fixture(scope="module")
def pair():
    a, b = (to_unit(x)[56:456, :] for x in head(seed=3, size=520).pair("CT", 16))  # (400, 520)
    grain = np.random.default_rng(0).normal(0, 0.02, (2, *a.shape))
    return tuple(np.clip(x + g, 0, 1).astype(np.float32) for x, g in zip((a, b), grain, strict=True))


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(16, 700), st.integers(16, 700)),
    grid=st.sampled_from([1, 8, 32]),
    border=st.sampled_from([0, 5, 16]),
    side=st.integers(128, 900),
)
def test_tiles_cover_every_pixel_once_and_see_the_mirrored_picture(shape, grid, border, side):
    plan = Tiling.plan(shape, side, factor=4, grid=grid, border=border)
    x = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    padded = pad(x, 4 * grid, border=border)
    count, back = np.zeros(shape, int), np.full(shape, -1, dtype=np.float32)
    for part in plan.tiles():
        seen = part.cut(x)
        rows, columns = (slice(4 * s.start, 4 * s.stop) for s in part.seen)
        assert_array_equal(seen, padded[:, :, rows, columns])
        assert all(s.start % grid == s.stop % grid == 0 for s in part.seen)
        assert max(seen.shape) <= side + 4 * grid + 2 * max(tiling.HALO + 4 * grid, tiling.CELLS * 4 * grid)
        count[part.place] += 1
        back[part.place] = seen[0, 0][part.inside]
    assert_array_equal(count, 1)
    assert_array_equal(back, x)


def test_tiling_begins_above_the_documented_size():
    assert len(Tiling.plan((2048, 2048), None, factor=4, grid=8).tiles()) == 1
    assert len(Tiling.plan((2048, 2049), None, factor=4, grid=8).tiles()) > 1
    assert len(Tiling.plan((8192, 8192), 0, factor=4, grid=8).tiles()) == 1
    assert len(Tiling.plan((8192, 8192), None, factor=4, grid=8).tiles()) == 121


@pytest.mark.parametrize("keep", [True, False])
def test_noise_is_the_whole_pictures_in_any_order(keep):
    shape = (3, 101, 40)
    rng = np.random.default_rng(5)
    whole = [rng.standard_normal((1, *shape), dtype=np.float32) for _ in range(3)]
    noise = Noise(5, 3, shape[1:], keep=keep)
    for draw, top, bottom, left, right in ((2, 30, 101, 8, 40), (0, 0, 64, 0, 16), (1, 64, 101, 1, 2)):
        part = noise.part(draw, slice(top, bottom), slice(left, right))
        assert_array_equal(part, whole[draw][:, :, top:bottom, left:right])
    assert_array_equal(noise.part(1, slice(0, 101), slice(0, 40)), whole[1])
    once = Noise(5, 3, shape[1:], once=True)
    for draw, z in enumerate(whole):
        assert_array_equal(once.part(draw, slice(0, 101), slice(0, 40)), z)


@pytest.mark.parametrize("model", ["medical", "infrared"])
def test_tiled_equals_whole(model, pair):
    fuser = Fuser(model, threads=1)
    a, b = (x[:361, :333] for x in pair)  # odd, and no multiple of anything
    whole = fuser(a, b, tile=0)
    tiled = fuser(a, b, tile=128)
    assert np.percentile(np.abs(tiled - whole), 99.9) <= BOUND
    assert np.abs(tiled - whole).max() <= 2 * BOUND
    assert_array_equal(tiled, fuser(a, b, tile=128))


def test_colours_tiled_equal_the_whole(pair):
    fuser = Fuser("dif-fusion", threads=1)
    a, b = (x[:300, :333] for x in pair)
    a = np.stack([a, a**2, b], axis=2)
    whole, seen = fuser(a, b, tile=0), []
    tiled = fuser(a, b, tile=256, callback=lambda *args: seen.append(args[:2]))
    assert np.percentile(np.abs(tiled - whole), 99.9) <= BOUND
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("model", ["medical", "dif-fusion"])
@pytest.mark.parametrize("colours", ["auto", "grey"])
def test_colour_is_put_back_in_parts_as_it_is_in_one(monkeypatch, model, colours):
    a, b = head(seed=3, size=150).pair("PET", 16)
    fuser = Fuser(model, threads=1)
    whole = fuser(a.astype(np.uint16) * 257, b, colour=colours)
    monkeypatch.setattr(colour, "BLOCK", 1000)
    assert_array_equal(fuser(a.astype(np.uint16) * 257, b, colour=colours), whole)


def test_stochastic_samplers_have_the_whole_pictures_noise_too(fuser, pair):
    config = fuser.card.diffusion.model_copy(update={"eta": 1.0})
    a, b = (x[:192, :320] for x in pair)
    whole = fuse_luma(fuser._engine, config, a, b, steps=3)
    tiled = fuse_luma(fuser._engine, config, a, b, steps=3, tile=160)
    other = fuse_luma(fuser._engine, config, a, b, steps=3, seed=1)
    assert np.percentile(np.abs(tiled - whole), 99.9) <= BOUND
    assert np.abs(tiled - whole).mean() < np.abs(other - whole).mean() / 20  # else its noise is another's


def test_torch_tiles_alike(pair):
    pytest.importorskip("torch")
    fuser = Fuser("medical", engine="torch", threads=1)
    a, b = (x[:200, :320] for x in pair)
    assert np.percentile(np.abs(fuser(a, b, tile=128) - fuser(a, b, tile=0)), 99.9) <= BOUND


def test_a_tile_larger_than_the_picture_and_automatic_are_the_whole(fuser, pair):
    a, b = (x[:90, :75] for x in pair)
    whole = fuser(a, b, tile=0)
    assert_array_equal(fuser(a, b, tile=512), whole)
    assert_array_equal(fuser(a, b), whole)


def test_every_step_of_every_tile_is_shown(fuser, pair):
    a, b = (x[:64, :96] for x in pair)
    seen = []
    fused = fuser(
        a, b, steps=2, tile=48, callback=lambda done, of, x: seen.append((done, of, (x != 0).mean()))
    )
    assert [step[:2] for step in seen] == [(i, 8) for i in range(1, 9)]
    assert seen[1][2] < 0.4  # the first of four tiles
    assert seen[-1][2] == (fused != 0).mean()


@pytest.mark.parametrize("tile", [-1, 1, 31])
def test_a_tile_too_small_is_refused(fuser, pair, tile):
    with pytest.raises(ValueError, match=rf"^tile must be 0 \(never\) or at least 32 pixels .*, got {tile}$"):
        fuser(pair[0][:64, :64], pair[1][:64, :64], tile=tile)


def test_a_head_needs_no_more_than_its_reach(monkeypatch, pair):
    """Features beyond it change nothing, and are not joined."""
    fuser = Fuser("dif-fusion", threads=1)
    assert fuser._engine.reach == 8
    a, b = (x[:128, :520] for x in pair)
    fused, widths = fuser(a, b, tile=128), []
    head = fuser._engine.fuse
    monkeypatch.setattr(fuser._engine, "fuse", lambda x: (widths.append(x.shape[3]), head(x))[1])
    monkeypatch.setattr(fuser._engine, "reach", 1000, raising=False)
    assert np.abs(fuser(a, b, tile=128) - fused).max() < 1e-5
    monkeypatch.setattr(fuser._engine, "reach", 8)
    fuser(a, b, tile=128)
    assert max(widths[: len(widths) // 2]) >= 4 * 32
    assert max(widths[len(widths) // 2 :]) == 32 + 2 * 8


def test_a_large_result_is_never_whole_in_floats():
    a = np.full((3000, 1000, 3), 200, np.uint8)
    a[0, 0, 0] = 0  # coloured

    def rule(a, b):
        for top in range(0, 3000, 250):
            yield (slice(top, top + 250), slice(0, 1000)), np.full((250, 1000, 3), 0.5, np.float32)

    tracemalloc.start()
    fused = fuse_pictures(a, a[..., 0], rule)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < a.nbytes + 24 * 2**20
    assert_array_equal(fused, 128)


def test_sources_may_be_files_in_memory_that_cannot_be_written(tmp_path, fuser):
    a, b = head(seed=3, size=96).pair("CT", 16)
    np.save(tmp_path / "a.npy", a)
    mapped, fixed = np.load(tmp_path / "a.npy", mmap_mode="r"), b.copy()
    fixed.flags.writeable = False
    for tile in (0, 48):
        assert_array_equal(fuser(mapped, fixed, tile=tile), fuser(a, b, tile=tile))


MEMORY = """
import sys
import numpy as np
from haarmony import weights
from haarmony.engine import OnnxDifFusion

def held():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

folder = weights.find("dif-fusion")
engine = OnnxDifFusion(folder, weights.load_card(folder), threads=1)
x = np.zeros((1, 64, 192, 192), np.float32)
before = held()
for k in range(3):
    engine.observe(x, np.array([k]))
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_network_gives_back_the_memory_that_it_took():
    """Features of 32 MB, from four times as much: with ONNX Runtime's arena 200 MB stay."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 48
