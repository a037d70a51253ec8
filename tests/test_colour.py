"""Luma and chroma: exact luma, constant hue, colour unchanged where RGB can hold it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from haarmony import colour
from haarmony.colour import choose, chroma, colourfulness, is_coloured, luma, merge, to_luma
from haarmony.io import from_unit, read, to_unit, write

RNG = np.random.default_rng(0)
UNIT = st.floats(0, 1)
RED, GREEN, BLUE = np.eye(3)


def test_luma_of_the_primaries():
    assert luma(np.eye(3)).tolist() == [0.299, 0.587, 0.114]
    np.testing.assert_allclose(luma(np.full((2, 5, 3), 0.37)), 0.37, rtol=1e-15)


def test_a_grey_picture_is_its_own_luma():
    grey, rgb = RNG.random((4, 5)), RNG.random((4, 5, 3))
    np.testing.assert_array_equal(to_luma(grey), grey)
    np.testing.assert_array_equal(to_luma(rgb), luma(rgb))


def test_luma_is_pillow_s():
    rgb = RNG.integers(0, 256, (50, 60, 3), dtype=np.uint8)  # Pillow's "L" is BT.601 in fixed point
    ours = 255 * luma(to_unit(rgb))
    assert np.abs(ours - np.asarray(Image.fromarray(rgb).convert("L"))).max() <= 0.51


@given(arrays(np.float64, (4, 5, 3), elements=UNIT))
def test_chroma_has_no_luma_and_gives_the_picture_back(rgb):
    assert np.abs(luma(chroma(rgb))).max() < 1e-15
    np.testing.assert_allclose(merge(luma(rgb), chroma(rgb)), rgb, atol=1e-15)


@given(arrays(np.float64, (4, 5), elements=UNIT), arrays(np.float64, (4, 5, 3), elements=UNIT))
def test_merge_keeps_luma_and_hue_and_stays_in_range(y, source):
    d = chroma(source)
    rgb = merge(y, d)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    np.testing.assert_allclose(luma(rgb), y, atol=1e-14)
    np.testing.assert_allclose(np.cross(chroma(rgb), d), 0, atol=1e-14)  # d' ∥ d
    assert ((chroma(rgb) * d).sum(axis=-1) >= -1e-14).all()  # and never turned round


@given(arrays(np.float64, (4, 5), elements=UNIT), arrays(np.float64, (4, 5, 3), elements=UNIT))
def test_scale_is_the_largest_that_fits(y, source):
    d = chroma(source)
    size = np.abs(d).max(axis=-1)
    held = size > 1e-6
    s = np.abs(chroma(merge(y, d))).max(axis=-1)[held] / size[held]
    np.testing.assert_array_less(s, 1 + 1e-9)
    more = y[held][:, None] + (s * (1 + 1e-6) + 1e-6)[:, None] * d[held]
    fits = ((more >= 0) & (more <= 1)).all(axis=-1)
    assert (s[fits] > 1 - 1e-6).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_merge_by_hand(dtype):
    # Pure red has d = (0.701, −0.299, −0.299).
    d = chroma(RED.astype(dtype))
    assert d.dtype == dtype
    np.testing.assert_allclose(d, [0.701, -0.299, -0.299], rtol=1e-6)
    for y, s in [
        (0.299, 1),  # its own luma
        (0.65, 0.35 / 0.701),  # red reaches 1
        (0.1, 0.1 / 0.299),  # green and blue reach 0
        (0.0, 0),
        (1.0, 0),
    ]:
        rgb = merge(np.array(y, dtype), d)
        assert rgb.dtype == dtype
        np.testing.assert_allclose(rgb, y + s * np.array([0.701, -0.299, -0.299]), atol=1e-6)


def test_merge_of_grey_is_grey_exactly():
    y = RNG.random((6, 7))
    np.testing.assert_array_equal(merge(y, np.zeros((6, 7, 3))), np.stack([y] * 3, axis=-1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_of_the_written_file_is_the_fused_luma_to_rounding(dtype, tmp_path):
    y = RNG.random((60, 50)).astype(np.float32)
    d = chroma(RNG.random((60, 50, 3)).astype(np.float32))
    write(tmp_path / "f.png", from_unit(merge(y, d), dtype))
    written = luma(to_unit(read(tmp_path / "f.png").pixels))
    assert np.abs(written - y).max() <= 0.5 / np.iinfo(dtype).max + 1e-6


@pytest.mark.parametrize("folder", ["PET-MRI/PET", "SPECT-MRI/SPECT"])
def test_real_colour_on_another_luma(folder, shared, tmp_path):
    paths = sorted((shared / "data/harvard" / folder).iterdir())[::30]
    for path in paths:
        colour = to_unit(read(path).pixels)
        np.testing.assert_array_equal(
            from_unit(merge(luma(colour), chroma(colour)), np.uint8), read(path).pixels
        )
        mri = to_unit(read(path.parents[1] / "MRI" / path.name).pixels)
        fused = np.maximum(luma(colour), mri)
        write(tmp_path / "f.png", from_unit(merge(fused, chroma(colour)), np.uint8))
        written = to_unit(read(tmp_path / "f.png").pixels)
        assert np.abs(luma(written) - fused).max() <= 0.5 / 255 + 1e-6
        clipped = luma(np.clip(fused[..., None] + chroma(colour), 0, 1))
        assert np.abs(clipped - fused).max() > 2 / 255  # what clipping would have done


def test_grey_stored_as_rgb_is_grey():
    grey = RNG.random((8, 9)).astype(np.float32)
    assert not is_coloured(grey)
    assert not is_coloured(np.stack([grey] * 3, axis=-1))
    for level, coloured in ((8, False), (9, True)):
        rgb = np.full((8, 9, 3), 100, np.uint8)
        rgb[3, 4, 2] += level
        assert is_coloured(to_unit(rgb)) is coloured


def test_grey_stays_grey_through_jpeg():
    smooth = np.asarray(
        Image.fromarray(RNG.integers(0, 256, (16, 16), dtype=np.uint8)).resize(
            (128, 96), Image.Resampling.BICUBIC
        )
    )
    noisy = np.clip(smooth[..., None] + RNG.integers(-2, 3, (96, 128, 3)), 0, 255).astype(np.uint8)
    for quality in (50, 75, 95):
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=quality)
        assert not is_coloured(to_unit(np.asarray(Image.open(file))))


@pytest.mark.parametrize(
    ("folder", "coloured"),
    [
        ("harvard/CT-MRI/CT", False),
        ("harvard/CT-MRI/MRI", False),
        ("harvard/PET-MRI/PET", True),
        ("harvard/SPECT-MRI/SPECT", True),
        ("roadscene/infrared", False),
        ("roadscene/visible", True),
    ],
)
def test_is_coloured_on_real_pictures(folder, coloured, shared):
    for path in sorted((shared / "data" / folder).iterdir())[::10]:
        assert is_coloured(to_unit(read(path).pixels)) is coloured, path.name


def test_colourfulness_by_hand():
    assert colourfulness(np.full((4, 4, 3), 0.3)) == 0
    # Flat red: rg = 255, yb = 127.5, no spread: 0.3 √(255² + 127.5²)
    assert colourfulness(np.broadcast_to(RED, (4, 4, 3))) == pytest.approx(0.3 * np.hypot(255, 127.5))
    # Half red, half blue: rg 255 and 0, yb 127.5 and −255; σ = 127.5, 191.25; μ = 127.5, −63.75
    halves = np.stack([np.broadcast_to(RED, (4, 3)), np.broadcast_to(BLUE, (4, 3))])
    assert colourfulness(halves) == pytest.approx(np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75))


def test_choose():
    grey, grey_rgb = np.full((4, 4), 0.5), np.full((4, 4, 3), 0.5)
    vivid = np.broadcast_to(GREEN, (4, 4, 3))
    dull = 0.5 + 0.1 * chroma(vivid)
    for a, b, word, taken in [
        (grey, vivid, "auto", vivid),
        (vivid, grey, "auto", vivid),
        (dull, vivid, "auto", vivid),
        (vivid, dull, "auto", vivid),
        (dull, dull[..., ::-1], "auto", None if colourfulness(dull) == 0 else dull),
        (vivid, dull, "second", dull),
        (dull, vivid, "first", dull),
        (grey_rgb, dull, "auto", dull),
    ]:
        np.testing.assert_array_equal(choose(word, a, b), taken)
    for a, b, word in [
        (grey, grey_rgb, "auto"),
        (vivid, dull, "grey"),
        (grey, vivid, "first"),
        (vivid, grey_rgb, "second"),
    ]:
        assert choose(word, a, b) is None
    assert choose("auto", vivid, vivid.copy()) is vivid
    with pytest.raises(ValueError, match="unknown colour 'sepia'; it is one of auto, first, second, grey"):
        choose("sepia", grey, grey)


def test_a_large_picture_is_looked_at_in_parts(monkeypatch):
    monkeypatch.setattr(colour, "BLOCK", 8)
    assert list(colour.blocks(5, 4)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    pixels = np.full((5, 4, 3), 100, np.uint8)
    assert not is_coloured(pixels)
    pixels[4, 3, 0] = 109  # 9 levels of 255
    assert is_coloured(pixels)
    assert choose("auto", np.full((5, 4), 7, np.uint16), pixels) is pixels


def test_colourfulness_in_parts_is_that_of_the_whole(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (53, 31, 3), dtype=np.uint8)
    pixels[:20, :, 0] = 255
    R, G, B = np.moveaxis(pixels.astype(float), -1, 0)
    rg, yb = R - G, (R + G) / 2 - B
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    for block in (10**6, 200, 31):
        monkeypatch.setattr(colour, "BLOCK", block)
        assert colourfulness(pixels) == pytest.approx(expected, rel=1e-6)
        assert colourfulness(pixels / 255) == pytest.approx(expected, rel=1e-9)
