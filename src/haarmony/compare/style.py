"""What all figures of a report share: type, colours and how they become files, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from io import BytesIO
from typing import ParamSpec, TypeAlias

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import TextToPath

from haarmony.compare.ranking import Ranking
from haarmony.compare.results import Results
from haarmony.compare.tables import cell, ranked
from haarmony.metrics import METRICS

P = ParamSpec("P")
Points: TypeAlias = float | int

INK, MUTED, RULE, REST = "#1f2430", "#667085", "#e4e7ec", "#adb5c2"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Of Okabe and Ito's colours, which colour-blind readers tell apart; the first is kept for our own model."""

WIDE, NARROW, ROW, TYPE, SMALL = 1000.0, 320.0, 17.0, 9.0, 7.5
"""In points: widths of a figure on a desk and on a phone, height of a method's row, two sizes of type."""

SHARES = {"PSNR": 16}
"""What charts divide a metric's values by."""

_OTHER_SCRIPTS = ("Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with Matplotlib's own defaults and our type, whatever the user has set; that comes back after."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": _fonts(),
                "text.parse_math": False,  # a method may be called "a$b$"
                "text.color": INK,
                "svg.fonttype": "path",  # looks the same on every machine
                "svg.hashsalt": "haarmony",
                "axes.linewidth": 0.6,
                "axes.edgecolor": MUTED,
                "axes.unicode_minus": True,
                "xtick.color": MUTED,
                "ytick.color": INK,
            }
        )
        yield


def svg(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Make a function that draws a figure return it as an SVG file; the drawing is its `__wrapped__`."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        buffer = BytesIO()
        with drawing():
            draw(*args, **kwargs).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    return drawn


def canvas(width: Points, height: Points) -> Figure:
    """An empty figure whose unit of length and of type is one point."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="white")


def place(
    figure: Figure, x: Points, y: Points, width: Points, height: Points
) -> tuple[float, float, float, float]:
    """A box given in points from the lower left, in shares of the figure."""
    across, up = figure.get_size_inches() * 72
    return x / across, y / up, width / across, height / up


def arrowed(symbol: str, *, shared: bool = True) -> str:
    """A metric as charts name it, with the direction that is better: "Nabf ↓", "PSNR/16 ↑" where `shared`."""
    share = f"/{SHARES[symbol]}" if shared and symbol in SHARES else ""
    return f"{symbol}{share} {'↓' if METRICS[symbol].direction == 'lower' else '↑'}"


def number(symbol: str, value: float, *, convention: str) -> str:
    """A metric's value as charts show it: `cell` of it, or three decimals of its share."""
    share = SHARES.get(symbol)
    if share and np.isfinite(value):
        return f"{value / share:.3f}"
    return cell(symbol, value, convention=convention)


def colours(results: Results, ranking: Ranking) -> dict[str, str]:
    """One colour a method, the same in every figure.

    Our own models come first, then the best of the others by mean rank; who finds no colour left is grey.
    """
    order = ranked(results, ranking)
    own = [m.name for m in order if m.kind == "model"]
    others = [m.name for m in order if m.kind != "model"]
    first = 0 if own else 1  # the first colour is ours alone
    given = dict(zip(own + others, PALETTE[first:], strict=False))
    return {m.name: given.get(m.name, REST) for m in order}


@lru_cache(4096)
def width_of(text: str, size: Points, *, weight: str = "normal") -> float:
    """How wide a line of type is, in points."""
    font = FontProperties(family=_fonts(), weight=weight, size=size)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def shorten(text: str, width: Points, size: Points, *, weight: str = "normal") -> str:
    """`text`, or its beginning and end with … between where it is wider than `width` points."""
    keep, shown = len(text), text
    while width_of(shown, size, weight=weight) > width and keep > 2:
        keep -= 1
        shown = f"{text[: keep - keep // 3].rstrip()}…{text[len(text) - keep // 3 :].lstrip()}"
    return shown


def wrap(text: str, width: Points, size: Points, *, weight: str = "normal") -> list[str]:
    """`text` on one line, or broken at a blank into two, each no wider than `width` points."""
    first, rest = text, ""
    while width_of(first, size, weight=weight) > width and " " in first:
        first, _, word = first.rpartition(" ")
        rest = f"{word} {rest}".rstrip()
    return [shorten(line, width, size, weight=weight) for line in (first, rest) if line]


@lru_cache
def _fonts() -> list[str]:
    """Matplotlib's own font, then those of this machine that have what it has not."""
    return ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in get_font_names())]
