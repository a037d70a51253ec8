"""Overlays: colours that rise in lightness, what is shown where, and sheets of all sizes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haarmony import sheet
from haarmony.explain import overlay as module
from haarmony.explain.overlay import DIMMED, OPAQUE, colours, opacity, overlay, ticks
from haarmony.explain.record import MAPS, meaning
from haarmony.io import Picture

sys.path.insert(0, str(Path(__file__).parent))
from explanations import of_arrays


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L*, by another road than Oklab."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_colours_rise_evenly_in_lightness_and_are_never_grey():
    rgb = colours(np.linspace(0, 1, 101))
    steps = np.diff(lightness(rgb))
    assert steps.min() > -0.01
    by_tenth = np.diff(lightness(rgb)[::10])
    assert by_tenth.min() > 3
    assert by_tenth.max() < 9
    assert np.ptp(rgb, axis=1).min() > 0.25
    np.testing.assert_array_equal(colours(np.array([-1.0, 2.0])), rgb[[0, -1]])


def test_colours_differ_to_readers_without_red_or_green_cones():
    # Machado et al. 2009, severity 1.0: protanopia and deuteranopia.
    without = {
        "red": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.052],
        ],
        "green": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
    }
    rgb = colours(np.linspace(0, 1, 11))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in without.values():
        seen = np.clip(linear @ np.transpose(matrix), 0, 1)
        assert np.diff(np.cbrt(seen @ [0.2126, 0.7152, 0.0722])).min() > 0.02


def test_what_is_flagged_stands_out():
    says = meaning("unsupported", of_arrays())
    values = np.array([0, 0.5, 0.999, 1, 4]) / says.white
    alpha = opacity(values, says)
    assert alpha[0] == 0
    assert (np.diff(alpha[:3]) > 0).all()
    assert alpha[2] < OPAQUE / 2
    np.testing.assert_array_equal(alpha[3:], OPAQUE)


def cut(name: str, of) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures of a sheet, by the layout's own places."""
    drawn = []
    real = sheet.contact_sheet
    module.sheet.contact_sheet = lambda rows, **words: drawn.append((rows, words)) or real(rows, **words)
    try:
        whole = overlay(name, of)
    finally:
        module.sheet.contact_sheet = real
    (rows, words) = drawn[0]
    boxes = sheet.layout(rows, **words).pictures[0]
    return tuple(whole[top:bottom, left:right] for left, top, right, bottom in boxes[:2])


def test_the_map_lies_over_the_dimmed_picture_and_beside_it_the_picture_itself():
    of = of_arrays((480, 500))
    score = np.zeros((480, 500), np.float32)
    score[100:110, 200:220], score[50, 60] = 4, 1
    of = replace(of, unsupported=score)
    left, right = cut("unsupported", of)
    grey = np.repeat(of.fused.pixels[..., None], 3, 2)
    np.testing.assert_array_equal(left, grey)
    open_ = (score == 0) & of.inside
    np.testing.assert_allclose(right[open_], DIMMED * grey[open_], atol=0.51)
    hit = right[104, 210] / 255 - (1 - OPAQUE) * DIMMED * grey[104, 210] / 255
    np.testing.assert_allclose(hit, OPAQUE * colours(np.array(1.0)), atol=0.003)
    faint = right[50, 60] / 255 - (1 - OPAQUE) * DIMMED * grey[50, 60] / 255
    np.testing.assert_allclose(faint, OPAQUE * colours(np.array(0.25)), atol=0.003)


def test_a_share_of_nothing_is_shown_but_not_one_that_cannot_be_told():
    of = of_arrays((480, 480))
    share_a, share_b = np.zeros((2, 480, 480), np.float32)
    share_b[100:200, 100:200] = 1
    of = replace(of, share_a=share_a, share_b=share_b)
    _, right = cut("share_a", of)
    assert (np.ptp(right[100:200, 100:200].astype(int), axis=2) > 60).all()
    assert np.ptp(right[250:, 250:].astype(int), axis=2).max() == 0


def test_small_pictures_are_enlarged_and_large_ones_keep_what_is_flagged():
    left, _ = cut("spread", of_arrays((32, 32)))
    assert left.shape == (480, 480, 3)
    np.testing.assert_array_equal(left[::15, ::15, 0], of_arrays((32, 32)).fused.pixels)
    score = np.zeros((2100, 1500), np.float32)
    score[700, 700] = 4
    of = replace(of_arrays((2100, 1500)), unsupported=score)
    _, right = cut("unsupported", of)
    assert right.shape == (700, 500, 3)
    lit = np.argwhere(np.ptp(right.astype(int), axis=2) > 60)
    np.testing.assert_array_equal(lit, [[233, 233]])


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(16, 16), (17, 900), (900, 17), (20, 24, 18)], ids=str)
def test_every_size_has_a_sheet_whose_text_lies_apart(name, shape):
    of = replace(of_arrays(shape), sources=("a" * 300 + ".png", "\x1b[31m‮b.png"))
    whole = overlay(name, of)
    assert whole.dtype == np.uint8
    edge = np.concatenate(
        [whole[:20].reshape(-1, 3), whole[:, :20].reshape(-1, 3), whole[:, -20:].reshape(-1, 3)]
    )
    assert (edge == sheet.GROUND).all()


def test_coloured_pictures_and_floats_have_one_too():
    rng = np.random.default_rng(3)
    for pixels in (rng.integers(0, 256, (48, 40, 3), np.uint8), rng.random((48, 40)).astype(np.float32)):
        left, _ = cut("spread", replace(of_arrays(), fused=Picture(pixels, (0, 1))))
        shown = pixels if pixels.dtype == np.uint8 else np.round(pixels * 255)
        np.testing.assert_array_equal(
            left[::10, ::10].squeeze(), shown if shown.ndim == 3 else shown[..., None].repeat(3, 2)
        )


@pytest.mark.parametrize(
    ("white", "expected"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (4.0, [0, 1, 2, 3, 4]),
        (25.5, [0, 10, 20, 25.5]),
        (0.1, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (6553.5, [0, 2000, 4000, 6553.5]),
    ],
)
def test_ticks(white, expected):
    np.testing.assert_allclose(ticks(white), expected)
