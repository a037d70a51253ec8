"""Figures hold the numbers they are made from; drawings are looked into before they become files."""

from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from comparisons import comparison, example, three
from matplotlib.colors import to_hex
from PIL import Image

from haarmony.compare.figures import bars, costs, distributions
from haarmony.compare.pictures import picture_grid, region
from haarmony.compare.radar import axes_of, radar
from haarmony.compare.style import NARROW, PALETTE, REST, WIDE, colours, drawing, shorten, width_of, wrap

INF, NAN = np.inf, np.nan


def draw(figure, *args, **kwargs):
    with drawing():
        return figure.__wrapped__(*args, **kwargs)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def widths(axes):
    return [patch.get_width() for patch in axes.patches]


def test_bars_have_a_panel_a_metric_and_a_bar_a_method_with_its_interval():
    results, ranking = three()
    panels = draw(bars, results, ranking).axes
    assert [texts(p)[3] for p in panels] == ["PSNR/16 ↑", "MSE ↓", "SSIM ↑"]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["OURS", "OTHER", "WORST"]
    assert widths(panels[0]) == pytest.approx([2.0, 1.5, 1.0])  # PSNR 32, 24, 16
    assert widths(panels[1]) == pytest.approx([100, 500, 900])
    assert texts(panels[0])[:3] == ["2.000", "1.500", "1.000"]
    assert [t.get_weight() for t in panels[0].texts[:3]] == ["bold", "normal", "normal"]
    assert [t.get_weight() for t in panels[2].texts[:3]] == ["normal", "bold", "normal"]
    segments = panels[0].collections[-1].get_segments()
    expected = np.stack([ranking.low["PSNR"], ranking.high["PSNR"]], axis=1) / 16
    assert np.array([s[:, 0] for s in segments]) == pytest.approx(expected)
    assert all(p.get_xlim()[0] == 0 for p in panels)


def test_own_models_stand_out_and_colours_are_a_methods_own():
    results, ranking = three()
    assert colours(results, ranking) == {"ours": PALETTE[0], "other": PALETTE[1], "worst": PALETTE[2]}
    panel = draw(bars, results, ranking).axes[1]
    assert [patch.get_facecolor()[3] for patch in panel.patches] == [1, 0.5, 0.5]
    lines = {to_hex(line.get_color()) for line in draw(radar, results, ranking).axes[0].lines}
    assert lines == set(PALETTE[:3])
    others, places = comparison({"EN": {m: [i, i] for i, m in enumerate("abcdef")}})  # f is the best
    assert colours(others, places) == dict(zip("fedcba", [*PALETTE[1:], REST, REST], strict=True))


def test_radar_runs_from_worst_to_best_also_where_lower_is_better():
    results, ranking = three()
    assert axes_of(results, ranking)["MSE"] == pytest.approx((900, 100))
    axes = draw(radar, results, ranking).axes[0]
    radii = {to_hex(line.get_color()): line.get_ydata() for line in axes.lines}
    assert radii[PALETTE[0]] == pytest.approx([1, 1, 0.15 + 0.85 * 2 / 3, 1])  # closed: ends where it began
    assert radii[PALETTE[1]] == pytest.approx([0.575, 0.575, 1, 0.575])
    assert radii[PALETTE[2]] == pytest.approx([0.15] * 4)
    assert texts(axes)[:4] == ["PSNR/16 ↑", "1.000 → 2.000", "MSE ↓", "900.0 → 100.0"]


def test_radar_has_no_axis_where_nothing_differs():
    values = {
        "EN": {"a": [1, 2], "b": [2, 3]},
        "SD": {"a": [5], "b": [5]},
        "CC": {"a": [NAN], "b": [NAN]},
        "PSNR": {"a": [INF], "b": [20]},
    }
    results, ranking = comparison(values)
    assert list(axes_of(results, ranking)) == ["EN"]
    assert radar(results, ranking).startswith(b"<?xml")


def test_distributions_hold_every_finite_value_and_the_quartiles():
    values = [16.0, 32, 48, 64, 80, INF, NAN]
    results, ranking = comparison({"PSNR": {"a": values, "b": [NAN] * 7}})
    (axes,) = draw(distributions, results, ranking, "PSNR").axes
    (points,) = axes.collections
    assert np.asarray(points.get_offsets())[:, 0] == pytest.approx(values[:5])
    assert np.abs(points.get_offsets()[:, 1]).max() < 0.5  # inside the method's row
    assert [(box.get_x(), box.get_width()) for box in axes.patches] == [(32, 32)]
    assert list(axes.lines[1].get_xdata()) == [48, 48]
    assert "PSNR ↑" in texts(axes)


def test_costs_leave_out_what_was_not_run_here():
    results, ranking = three()
    changed = {"ours": {"seconds": 1.4, "memory": 431.6}, "other": {"seconds": 0.0031, "memory": None}}
    methods = [replace(m, **changed.get(m.name, {"seconds": None})) for m in results.methods]
    time, memory = draw(costs, replace(results, methods=tuple(methods)), ranking).axes
    assert [t.get_text() for t in time.get_yticklabels()] == ["OURS", "OTHER"]
    assert [line.get_xdata()[0] for line in time.lines] == [1.4, 0.0031]
    assert time.get_xscale() == "log"
    assert texts(time)[:2] == ["1.4 s", "3.1 ms"]
    assert texts(memory)[:2] == ["432 MB", "– MB"]
    assert widths(memory) == [431.6]


@pytest.mark.parametrize("narrow", [False, True])
def test_files_are_the_same_bytes_in_type_that_is_not_a_font(narrow):
    results, ranking = three()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "none"}):
        first = [f(results, ranking, narrow=narrow) for f in (bars, radar, costs)]
        assert matplotlib.rcParams["font.size"] == 30  # what the user has set is left alone
    again = [f(results, ranking, narrow=narrow) for f in (bars, radar, costs)]
    assert first == again
    for file in first:
        root = ElementTree.fromstring(file)
        assert not [x for x in root.iter() if x.tag.endswith("}text")]
        assert b"<dc:date>" not in file
    assert ElementTree.fromstring(first[0]).get("width") == f"{NARROW if narrow else WIDE:g}pt"


def test_names_are_shortened_to_fit_and_never_read_as_formulas():
    name = "a$b$ " + "very long name of a method, " * 2 + "method"
    short = shorten(name, 80, 9)
    assert width_of(short, 9) <= 80
    assert "…" in short
    assert short.startswith("a$b$ v")
    assert short.endswith("thod")
    assert shorten("fits", 80, 9) == "fits"
    assert wrap("Laplacian pyramid, maximum base", 100, 9) == ["Laplacian pyramid,", "maximum base"]
    results, ranking = comparison({"EN": {name: [1, 2], "b": [1, 3]}})
    (axes,) = draw(bars, results, ranking).axes
    (label,) = [t for t in axes.get_yticklabels() if t.get_text().startswith("A$B$")]
    assert label.get_parse_math() is False


def wave(y, x, across):
    return 100 + 60 * np.sin((x if across else y) * 0.8)


def test_region_lies_where_sources_differ():
    y, x = np.mgrid[:96, :128].astype(float)
    a = wave(y, x, True)
    b = np.where((y >= 40) & (y < 64) & (x >= 64) & (x < 96), wave(y, x, False), a)
    top, left, h, w = region(a.astype(np.uint8), b.astype(np.uint8))
    assert (h, w) == (24, 32)
    assert (top, left) == pytest.approx((40, 64), abs=2)


def test_region_needs_detail_in_both_sources():
    y, x = np.mgrid[:96, :96].astype(float)
    a = np.where((x > 8) & (x < 80), wave(y, x, True), 0)  # a differs from a flat b everywhere …
    b = np.where(
        (y > 60) & (y < 84) & (x > 50) & (x < 76), wave(y, x, False), 200
    )  # … b has detail here alone
    top, left, *_ = region(a.astype(np.uint8), b.astype(np.uint8))
    assert (top, left) == pytest.approx((60, 51), abs=4)


@pytest.mark.parametrize("shape", [(16, 16), (33, 90), (16, 301)])
def test_region_lies_inside_whatever_the_size_and_content(shape):
    flat = np.zeros(shape, np.uint8)
    assert region(flat, flat)[:2] == (0, 0)  # of equals the first
    corner = flat.copy()
    corner[-2:, -2:] = 255
    top, left, h, w = region(corner, np.stack([255 - corner.T.T] * 3, axis=-1))
    assert top + h <= shape[0]
    assert left + w <= shape[1]


def test_grid_shows_pictures_unsmoothed_and_the_region_enlarged():
    made = example(["a", "b", "c", "d", "e"], size=64)
    file = picture_grid(made)
    assert file == picture_grid(made)
    sheet = np.asarray(Image.open(BytesIO(file)))
    wide = 7 * 64  # 448 pixels a cell, six of them in a row
    gap = round(0.045 * wide)
    assert sheet.shape[1] == 6 * (wide + gap) - gap
    first, top = made.pictures["MRI"], round(1.7 * wide / 16)  # one line of captions above
    shown = sheet[top + 3 : top + wide : 7, 3:wide:7]
    y, x, h, w = region(first, made.pictures["PET"])
    outside = np.ones((64, 64), bool)
    outside[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2] = False
    assert np.array_equal(shown[outside], np.repeat(first[outside][:, None], 3, axis=1))
    below = sheet[top + wide + round(0.015 * wide) :][14:wide:28, 14:wide:28]
    assert np.array_equal(below[..., 0], first[y : y + h, x : x + w])


def test_grid_wraps_and_reduces_what_is_large():
    small = Image.open(BytesIO(picture_grid(example(["a"], size=32), narrow=True)))
    tall = Image.open(BytesIO(picture_grid(example(["a", "b"], size=32), narrow=True)))
    assert tall.width == small.width
    assert tall.height > 1.9 * small.height
    large = Image.open(BytesIO(picture_grid(example([], size=1000))))
    assert large.width == 2 * 448 + round(0.045 * 448)
