"""A labelled contact sheet: rows of pictures side by side, on a calm dark ground.

Pictures keep every pixel: nothing is resampled. A cell is as wide as the widest picture of its column and as
high as the highest of its row, and a smaller picture sits in its middle. Text wraps inside the place it has,
so that none leaves the sheet or touches a picture. `layout` says where, `contact_sheet` draws it::

    rows = [Row("MRI + PET", [mri, pet, fused], note="a focus that only PET shows")]
    sheet = contact_sheet(rows, columns=["MRI", "PET", "Fused"], title="Haarmony")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two just outside
Colour: TypeAlias = tuple[int, int, int]

GROUND: Colour = (17, 19, 23)
HAIRLINE: Colour = (52, 56, 64)  # one pixel, just outside every picture
BRIGHT: Colour = (236, 238, 242)
DIM: Colour = (150, 156, 168)

MARGIN = 44
GAP = 16  # between neighbouring cells
_LABEL = 156  # width of the row labels
_TITLE, _HEADING, BODY = 30, 18, 14  # sizes of type in pixels


@dataclass(frozen=True)
class Row:
    """One row of the sheet.

    Attributes:
        label: What the row is, to the left of it.
        pictures: uint8 (H, W) or (H, W, 3), one a column; None leaves a cell empty.
        captions: A line under each picture, or nothing.
        note: Smaller text under the label.
    """

    label: str
    pictures: Sequence[np.ndarray | None]
    captions: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class Text:
    """Lines of type: `box` holds every drawn pixel."""

    box: Box
    lines: tuple[str, ...]
    size: int
    colour: Colour


@dataclass(frozen=True)
class Layout:
    """Where everything goes.

    Attributes:
        size: Width and height of the sheet.
        pictures: A box for every picture, by row and column; None where a cell is empty.
        texts: Every piece of text.
    """

    size: tuple[int, int]
    pictures: tuple[tuple[Box | None, ...], ...]
    texts: tuple[Text, ...]


def layout(
    rows: Sequence[Row], *, columns: Sequence[str] = (), title: str = "", subtitle: str = "", footer: str = ""
) -> Layout:
    """Where `contact_sheet` puts everything.

    Args:
        rows: At least one; every row has as many pictures as the others.
        columns: A heading over each column, or nothing.
        title: Over the sheet.
        subtitle: Under the title.
        footer: At the sheet's foot.

    Returns:
        The places, in pixels of the sheet.

    Raises:
        ValueError: No rows or no pictures, numbers that differ between rows, columns and captions, or a
            picture that is not uint8 (H, W) or (H, W, 3).
    """
    shapes = _shapes(rows, columns)
    widths = [max(max(row[c][1] for row in shapes), _LABEL) for c in range(len(shapes[0]))]
    labelled = any(row.label or row.note for row in rows)
    lefts = [MARGIN + (_LABEL + GAP if labelled else 0)]
    for width in widths[:-1]:
        lefts.append(lefts[-1] + width + GAP)
    right = lefts[-1] + widths[-1]
    texts: list[Text] = []

    def put(text: str, left: int, top: int, width: int, size: int, colour: Colour) -> int:
        """Set text and return where the next thing may begin."""
        if not text.strip():
            return top
        placed = _set(text, left, top, width, size, colour)
        texts.append(placed)
        return placed.box[3]

    y = put(title, MARGIN, MARGIN, right - MARGIN, _TITLE, BRIGHT)
    y = put(subtitle, MARGIN, y + 4 if title else y, right - MARGIN, BODY, DIM)
    y = max(MARGIN, y + 24 if texts else y)
    if columns:
        deepest = y
        for heading, left, width in zip(columns, lefts, widths, strict=True):
            deepest = max(deepest, put(heading, left, y, width, BODY, DIM))
        y = deepest + 8
    places = []
    for row, cells in zip(rows, shapes, strict=True):
        height = max(h for h, _ in cells)
        bottom = put(
            row.note, MARGIN, put(row.label, MARGIN, y, _LABEL, _HEADING, BRIGHT) + 4, _LABEL, BODY, DIM
        )
        boxes: list[Box | None] = []
        for c, (h, w) in enumerate(cells):
            left, top = lefts[c] + (widths[c] - w) // 2, y + (height - h) // 2
            boxes.append((left, top, left + w, top + h) if h else None)
            caption = row.captions[c] if row.captions else ""
            if caption.strip():
                bottom = max(bottom, put(caption, lefts[c], y + height + 6, widths[c], BODY, DIM))
        places.append(tuple(boxes))
        y = max(bottom, y + height) + GAP
    y = put(footer, MARGIN, y + 8, right - MARGIN, BODY, DIM) if footer else y - GAP
    return Layout((right + MARGIN, y + MARGIN), tuple(places), tuple(texts))


def contact_sheet(
    rows: Sequence[Row], *, columns: Sequence[str] = (), title: str = "", subtitle: str = "", footer: str = ""
) -> UInt8[np.ndarray, "h w rgb"]:
    """Draw a labelled sheet of pictures.

    Args:
        rows: At least one; every row has as many pictures as the others, of any sizes.
        columns: A heading over each column, or nothing.
        title: Over the sheet.
        subtitle: Under the title.
        footer: At the sheet's foot.

    Returns:
        uint8 (H, W, 3). Inside the boxes of `layout` the pixels are the pictures' own, grey in equal
        channels.

    Raises:
        ValueError: As for `layout`.
    """
    plan = layout(rows, columns=columns, title=title, subtitle=subtitle, footer=footer)
    sheet = Image.new("RGB", plan.size, GROUND)
    draw = ImageDraw.Draw(sheet)
    for text in plan.texts:
        left, top = text.box[:2]
        for i, line in enumerate(text.lines):
            place = (left, top + i * _leading(text.size))
            draw.text(place, line, font=font(text.size), fill=text.colour)
    for row, boxes in zip(rows, plan.pictures, strict=True):
        for picture, box in zip(row.pictures, boxes, strict=True):
            if picture is not None and box is not None:
                draw.rectangle((box[0] - 1, box[1] - 1, box[2], box[3]), outline=HAIRLINE)
                sheet.paste(Image.fromarray(np.ascontiguousarray(picture)).convert("RGB"), box[:2])
    return np.array(sheet)


def _shapes(rows: Sequence[Row], columns: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Height and width of every picture, (0, 0) where there is none."""
    count = len(columns) or (len(rows[0].pictures) if rows else 0)
    if not count:
        raise ValueError(f"a sheet needs pictures; it has {len(rows)} rows and {count} columns")
    shapes = []
    for row in rows:
        for name, things in (("pictures", row.pictures), ("captions", row.captions or row.pictures)):
            if len(things) != count:
                raise ValueError(f"row {row.label!r} has {len(things)} {name} for {count} columns")
        for picture in row.pictures:
            if picture is None:
                continue
            plain = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
            if picture.dtype != np.uint8 or not plain or not picture.size:
                raise ValueError(
                    f"row {row.label!r} has a picture of {picture.dtype} {picture.shape};"
                    " must be uint8 (H, W) or (H, W, 3)"
                )
        shapes.append([(0, 0) if p is None else (p.shape[0], p.shape[1]) for p in row.pictures])
    return shapes


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The sheet's type in a size."""
    return ImageFont.load_default(size)


def _leading(size: int) -> int:
    return round(1.4 * size)


def _set(text: str, left: int, top: int, width: int, size: int, colour: Colour) -> Text:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += _wrap(paragraph, width, size)
    extent = max(int(np.ceil(font(size).getbbox(line)[2])) for line in lines)
    return Text((left, top, left + extent, top + len(lines) * _leading(size)), tuple(lines), size, colour)


def _wrap(paragraph: str, width: int, size: int) -> list[str]:
    """Lines no wider than `width`, broken at blanks, inside a word only if it is too wide by itself."""
    fits = font(size).getlength
    lines, line = [], ""
    for word in paragraph.split():
        joined = f"{line} {word}" if line else word
        if fits(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while fits(line) > width:
            cut = next(n for n in range(len(line), 0, -1) if n == 1 or fits(line[:n]) <= width)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line]
