"""The picture grid of a comparison: both sources, every method's result, and one region of them enlarged.

The region is chosen from the sources alone, so that it favours no method: where both carry much local detail
and their details differ most. With the gradients ∇a, ∇b of the sources' lumas in [0, 1] and ⟨·⟩ the mean over
a region, it maximises::

    ⟨|∇a|⟩ · ⟨|∇b|⟩ · ⟨|∇a − ∇b|⟩

which is zero where a source is flat and where both show the same.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import IdentityTransform
from PIL import Image

from haarmony.colour import to_luma
from haarmony.compare.results import Example
from haarmony.compare.style import Points, canvas, drawing, wrap
from haarmony.io import to_unit

MARK = "#ffb000"
"""The region's frame: amber stands out from grey, from black and from false colours."""
_SHARE = 4  # a region has a quarter of the picture's height and width


def region(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> tuple[int, int, int, int]:
    """The region that shows best how two sources were fused, as the module says.

    Args:
        a: First source, (H, W) or (H, W, 3), uint8.
        b: Second source, of the same height and width.

    Returns:
        Top, left, height and width in pixels, wholly inside the picture; of equally good regions the first in
        reading order.
    """
    first, second = (np.stack([*np.gradient(to_luma(to_unit(x)).astype(np.float64))]) for x in (a, b))
    h, w = (round(n / _SHARE) for n in a.shape[:2])
    value = np.ones(())
    for gradient in (first, second, first - second):
        value = value * _means(np.hypot(*gradient), h, w)
    top, left = np.unravel_index(np.argmax(value.round(12)), value.shape)
    return int(top), int(left), h, w


def picture_grid(example: Example, *, narrow: bool = False) -> bytes:
    """Both sources and every method's result, each captioned, with the region enlarged beneath it.

    Pictures are about 450 pixels wide and six stand in a row; smaller ones are enlarged by a whole factor,
    larger ones reduced. Enlarging never smooths, so that the region shows the pixels that were scored.

    Args:
        example: The pictures; the first two are the sources.
        narrow: For a phone: pictures about 256 pixels wide, three in a row.

    Returns:
        A PNG file.
    """
    pictures = [_rgb(x) for x in example.pictures.values()]
    columns, cell, letters = (3, 256, 11) if narrow else (6, 448, 16)
    top, left, h, w = region(pictures[0], pictures[1])
    height, width = pictures[0].shape[:2]
    scale = max(1, round(cell / width)) if width <= cell else cell / width
    high, wide = round(scale * height), round(scale * width)
    below = round(wide * h / w)  # the enlargement's height; it is as wide as the picture
    size = max(9.0, wide / letters)
    frame, inner, gap = (max(2, round(x * wide)) for x in (0.007, 0.015, 0.045))
    columns = min(columns, len(pictures))
    weights = ["bold"] * 2 + ["normal"] * len(pictures)
    captions = [wrap(x, wide, size, weight=w) for x, w in zip(example.pictures, weights, strict=False)]
    tops, foot = [], 0  # of every row's pictures, from the top of the sheet
    for start in range(0, len(pictures), columns):
        lines = max(map(len, captions[start : start + columns]))
        tops.append(foot + round((0.5 + 1.2 * lines) * size))
        foot = tops[-1] + high + inner + below + gap
    sheet_w, sheet_h = columns * (wide + gap) - gap, foot - gap
    with drawing():
        figure = canvas(sheet_w, sheet_h)

        def outline(x: Points, y: Points, across: Points, down: Points, *, halo: Points) -> None:
            """Frame a box given from the top left, the whole line inside it, a dark halo around."""
            corner, size = (x + frame / 2, sheet_h - y - down + frame / 2), (across - frame, down - frame)
            line = Rectangle(corner, *size, fill=False, ec=MARK, lw=frame, transform=IdentityTransform())
            line.set_path_effects([withStroke(linewidth=halo, foreground="black")])
            figure.add_artist(line)

        for i, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
            x, y = i % columns * (wide + gap), tops[i // columns]
            figure.figimage(_resize(picture, high, wide), x, sheet_h - y - high, origin="upper")
            outline(x + scale * left, y + scale * top, scale * w, scale * h, halo=2 * frame)
            y += high + inner
            detail = _nearest(picture[top : top + h, left : left + w], below, wide)
            figure.figimage(detail, x, sheet_h - y - below, origin="upper")
            outline(x, y, wide, below, halo=0)
            for line, text in enumerate(reversed(caption)):
                baseline = sheet_h - tops[i // columns] + (0.5 + 1.2 * line) * size
                figure.text(x / sheet_w, baseline / sheet_h, text, size=size, weight=weights[i])
        raw = BytesIO()
        figure.savefig(raw, format="rgba", dpi=72)
    drawn = np.frombuffer(raw.getvalue(), np.uint8).reshape(sheet_h, sheet_w, 4)[..., :3]
    buffer = BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG")
    return buffer.getvalue()


def _means(x: Float[np.ndarray, "h w"], height: int, width: int) -> Float[np.ndarray, "rows columns"]:
    """The mean of every window that lies wholly inside, by a summed-area table."""
    total = np.pad(x.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inner = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    return inner / (height * width)


def _rgb(picture: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _nearest(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), picture.shape[:2], strict=True))
    return picture[rows][:, columns]


def _resize(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    if width >= picture.shape[1]:
        return _nearest(picture, height, width)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
