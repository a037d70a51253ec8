"""The contact sheet: pictures at their documented places, text inside its own."""

from itertools import combinations

import numpy as np
import pytest

from haarmony.sheet import GAP, GROUND, HAIRLINE, MARGIN, Row, contact_sheet, layout


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def example():
    rows = [
        Row("MRI + PET", [noise(256, 256), noise(256, 256, 3), None], ["T1", "glucose", ""], "one head"),
        Row("Tiny and tall", [noise(16, 16), noise(300, 40, 3), noise(64, 500)], note="word " * 60),
        Row("", [noise(20, 20), None, None], ["a caption that is far too long for its cell " * 3, "", ""]),
        Row("Antidisestablishmentarianism-without-blanks" * 2, [noise(30, 30)] * 3),
    ]
    words = {"columns": ["First source", "Second source " * 20, "Fused"], "footer": "made of nothing"}
    return rows, words | {"title": "A title " * 20, "subtitle": "and what it says\non two lines"}


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_pictures_are_pasted_pixel_for_pixel_where_the_layout_says():
    rows, words = example()
    sheet, plan = contact_sheet(rows, **words), layout(rows, **words)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (plan.size[1], plan.size[0], 3)
    for row, boxes in zip(rows, plan.pictures, strict=True):
        for picture, box in zip(row.pictures, boxes, strict=True):
            assert (picture is None) == (box is None)
            if box is None:
                continue
            left, top, right, bottom = box
            colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
            np.testing.assert_array_equal(sheet[top:bottom, left:right], colour)
            frame = sheet[[top - 1, bottom], left - 1 : right + 1]
            assert (frame == HAIRLINE).all()


def test_text_touches_neither_pictures_nor_text_nor_the_edge():
    rows, words = example()
    plan = layout(rows, **words)
    pictures = [box for boxes in plan.pictures for box in boxes if box]
    texts = [text.box for text in plan.texts]
    for a, b in combinations(pictures + texts, 2):
        assert apart(a, b), (a, b)
    for left, top, right, bottom in pictures + texts:
        assert min(left, top) >= MARGIN
        assert right <= plan.size[0] - MARGIN
        assert bottom <= plan.size[1] - MARGIN


def test_every_drawn_pixel_lies_in_a_box():
    rows, words = example()
    sheet, plan = contact_sheet(rows, **words), layout(rows, **words)
    drawn = (sheet != GROUND).any(-1)
    for text in plan.texts:
        left, top, right, bottom = text.box
        assert drawn[top:bottom, left:right].any(), text
        drawn[top:bottom, left:right] = False
    for left, top, right, bottom in (box for boxes in plan.pictures for box in boxes if box):
        drawn[top - 1 : bottom + 1, left - 1 : right + 1] = False
    assert not drawn.any()


def test_no_word_is_lost():
    rows, words = example()
    said = "".join("".join(text.lines) for text in layout(rows, **words).texts).replace(" ", "")
    for row in rows:
        for text in (row.label, row.note, *row.captions):
            assert text.replace(" ", "") in said
    for text in (*words["columns"], words["title"], words["footer"]):
        assert text.replace(" ", "") in said


def test_plain_grid_has_a_gap_between_equal_pictures_and_a_margin_around():
    plan = layout([Row("", [noise(200, 200)] * 3)] * 2)
    step = 200 + GAP
    for r, boxes in enumerate(plan.pictures):
        for c, box in enumerate(boxes):
            left, top = MARGIN + c * step, MARGIN + r * step
            assert box == (left, top, left + 200, top + 200)
    assert plan.size == (2 * MARGIN + 2 * step + 200, 2 * MARGIN + step + 200)
    assert plan.texts == ()


def test_smaller_picture_sits_in_the_middle_of_its_cell():
    plan = layout([Row("", [noise(300, 300), noise(100, 200)]), Row("", [noise(40, 160), noise(40, 240)])])
    (a, b), (c, d) = plan.pictures
    assert (b[1] - a[1], a[3] - b[3]) == (100, 100)
    assert b[0] - d[0] == d[2] - b[2] == 20
    assert c[0] - a[0] == a[2] - c[2] == 70


def test_same_rows_give_the_same_bytes():
    rows, words = example()
    assert contact_sheet(rows, **words).tobytes() == contact_sheet(rows, **words).tobytes()


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], [], "0 rows"),
        ([Row("a", [])], [], "0 columns"),
        ([Row("a", [noise(8, 8)]), Row("b", [noise(8, 8)] * 2)], [], "'b' has 2 pictures for 1"),
        ([Row("a", [noise(8, 8)])], ["x", "y"], "'a' has 1 pictures for 2"),
        ([Row("a", [noise(8, 8)], ["x", "y"])], [], "'a' has 2 captions"),
        ([Row("a", [noise(8, 8) / 255])], [], "float64"),
        ([Row("a", [noise(8, 8, 4)])], [], r"\(8, 8, 4\)"),
        ([Row("a", [noise(0, 8)])], [], r"\(0, 8\)"),
    ],
)
def test_bad_sheets_are_refused(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, columns=columns)
