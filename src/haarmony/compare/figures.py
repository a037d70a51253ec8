"""The charts of a comparison: bars, distributions, time and memory; the radar is in `radar`.

Every function returns an SVG file that needs nothing else: letters are shapes, there is no date in it, and
the same comparison gives the same bytes. Methods stand in the order of their mean rank and keep one colour
throughout (`style.colours`). Bars and radar show PSNR as PSNR/16, so that it shares an axis with the others,
and say so. What has no finite number is left blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from haarmony.compare.ranking import Ranking
from haarmony.compare.results import Method, Results
from haarmony.compare.style import (
    INK,
    MUTED,
    NARROW,
    ROW,
    RULE,
    SHARES,
    SMALL,
    TYPE,
    WIDE,
    arrowed,
    canvas,
    colours,
    number,
    place,
    shorten,
    svg,
    width_of,
)
from haarmony.compare.tables import cell, ranked
from haarmony.metrics import METRICS

_HEAD, _FOOT, _VALUE, _GAP = 30.0, 26.0, 46.0, 18.0  # of a panel: title, ticks, number at the right, gap


@svg
def bars(results: Results, ranking: Ranking, *, narrow: bool = False) -> Figure:
    """One panel a metric, one bar a method: the mean and its 95 % interval. Our own models stand out.

    Args:
        results: The comparison.
        ranking: Its statistics.
        narrow: For a phone: one panel in a row, not four.

    Returns:
        An SVG file.
    """
    methods, paint = ranked(results, ranking), colours(results, ranking)
    figure, panels = _panels(methods, len(results.metrics), 1 if narrow else 4, narrow=narrow)
    for axes, symbol in zip(panels, results.metrics, strict=True):
        share = SHARES.get(symbol, 1)
        mean, low, high = (
            (table[symbol] / share).to_numpy(float) for table in (ranking.mean, ranking.low, ranking.high)
        )
        _bars(axes, mean, methods, paint)
        known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
        for colour, weight in (("white", 2.6), (INK, 1.1)):
            axes.hlines(known, low[known], high[known], color=colour, lw=weight)
        for y, method in enumerate(methods):
            text = number(symbol, mean[y] * share, convention=results.convention)
            _number(axes, y, text, bold=method.name in ranking.best[symbol])
        _title(axes, arrowed(symbol), "" if share > 1 else METRICS[symbol].unit_in(results.convention))
        _values(axes, [0.0, *mean, *low, *high])
    return figure


@svg
def distributions(results: Results, ranking: Ranking, metric: str) -> Figure:
    """One metric's values of every method: a point a picture, over it quartiles, median and whiskers.

    Whiskers end at the last value within 1.5 times the distance of the quartiles. The height of a point
    within its row means nothing.

    Args:
        results: The comparison.
        ranking: Its statistics.
        metric: One of the comparison's symbols.

    Returns:
        An SVG file.
    """
    methods, paint = ranked(results, ranking), colours(results, ranking)
    figure, (axes,) = _panels(methods, 1, 1, narrow=True, numbers=False)
    values = results.images[metric]
    for y, method in enumerate(methods):
        x = values.xs(method.name, level=0).to_numpy(float)
        x = x[np.isfinite(x)]
        if not x.size:
            continue
        colour = paint[method.name]
        jitter = (0.5 + np.arange(x.size) * 0.618034) % 1 - 0.5  # the golden ratio spreads any number evenly
        low, middle, high = np.quantile(x, (0.25, 0.5, 0.75))
        reach = 1.5 * (high - low)
        ends = x[(x >= low - reach) & (x <= high + reach)]
        axes.plot([ends.min(), low, np.nan, high, ends.max()], [y] * 5, color=MUTED, lw=0.8)
        axes.add_patch(Rectangle((low, y - 0.36), high - low, 0.72, fc=colour, alpha=0.25, lw=0))
        axes.scatter(x, y + 0.6 * jitter, s=7, color=colour, alpha=0.8, lw=0)
        axes.plot([middle] * 2, [y - 0.36, y + 0.36], color=INK, lw=1.6, solid_capstyle="butt")
    _title(axes, arrowed(metric, shared=False), METRICS[metric].unit_in(results.convention))
    _values(axes, values)
    return figure


@svg
def costs(results: Results, ranking: Ranking, *, narrow: bool = False) -> Figure:
    """Time a pair (on a logarithmic axis) and peak memory of the methods that were run here.

    Args:
        results: The comparison; at least one method has a time or a memory.
        ranking: Its statistics.
        narrow: For a phone: the panels stand one above the other.

    Returns:
        An SVG file.
    """
    methods = [m for m in ranked(results, ranking) if (m.seconds, m.memory) != (None, None)]
    paint = colours(results, ranking)
    figure, (time, memory) = _panels(methods, 2, 1 if narrow else 2, narrow=narrow)
    seconds = np.array([m.seconds for m in methods], float)
    megabytes = np.array([m.memory for m in methods], float)
    for y, method in enumerate(methods):
        time.plot(seconds[y], y, marker="o", markersize=7, color=paint[method.name], lw=0)
        _number(time, y, _duration(seconds[y]))
        _number(memory, y, f"{cell('memory', megabytes[y])} MB")
    _bars(memory, megabytes, methods, paint)
    _title(time, "Time a pair", "median, logarithmic axis")
    _title(memory, "Memory", "peak")
    _values(memory, [0.0, *megabytes])
    known = seconds[np.isfinite(seconds)]
    if known.size:
        low, high = (f(np.log10(known)) for f in (np.min, np.max))
        time.set_xscale("log")
        time.set_xlim(10 ** (np.floor(low - 0.1)), 10 ** (np.ceil(high + 0.1)))
        time.xaxis.set_major_locator(LogLocator(numticks=5))
        time.xaxis.set_minor_locator(NullLocator())
        time.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _duration(x)))
    return figure


def _panels(
    methods: Sequence[Method], count: int, columns: int, *, narrow: bool, numbers: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, methods from top to bottom, their names at the left of every row."""
    weights = ["bold" if m.kind == "model" else "normal" for m in methods]
    names = [
        shorten(m.title, 110 if narrow else 165, TYPE, weight=w)
        for m, w in zip(methods, weights, strict=True)
    ]
    left = 10 + max(width_of(name, TYPE, weight=w) for name, w in zip(names, weights, strict=True))
    right = _VALUE if numbers else 8.0
    rows, across = -(-count // columns), NARROW if narrow else WIDE
    width = (across - left + _GAP) / columns - _GAP - right
    height = ROW * len(methods)
    figure = canvas(across, rows * (_HEAD + height + _FOOT))
    panels = []
    for i in range(count):
        row, column = divmod(i, columns)
        x, y = left + column * (width + right + _GAP), (rows - 1 - row) * (_HEAD + height + _FOOT) + _FOOT
        axes = figure.add_axes(place(figure, x, y, width, height))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_frame_on(False)
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=RULE, lw=0.7)
        axes.tick_params(length=0, labelsize=SMALL, pad=4)
        axes.set_yticks([] if column else range(len(methods)), [] if column else names, size=TYPE)
        for text, weight in zip(axes.get_yticklabels(), weights, strict=False):
            text.set_fontweight(weight)
        panels.append(axes)
    return figure, panels


def _bars(axes: Axes, values: np.ndarray, methods: Sequence[Method], paint: Mapping[str, str]) -> None:
    """One bar a method from zero, our own in full colour; none where the value is no finite number."""
    known = np.flatnonzero(np.isfinite(values))
    fill = [to_rgba(paint[m.name], 1 if m.kind == "model" else 0.5) for m in methods]
    axes.barh(known, values[known], 0.68, color=[fill[y] for y in known], lw=0)
    axes.axvline(0, color=MUTED, lw=0.7)


def _title(axes: Axes, text: str, note: str) -> None:
    """A heading over a panel's left edge, and a quieter note behind it."""
    up = axes.get_ylim()[1]
    for part, x, size, colour, weight in (
        (text, 0.0, TYPE + 1, INK, "bold"),
        (note, 6 + width_of(text, TYPE + 1, weight="bold"), SMALL, MUTED, "normal"),
    ):
        axes.annotate(
            part, (0, up), (x, 7), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            size=size, color=colour, weight=weight,
        )  # fmt: skip


def _number(axes: Axes, y: int, text: str, *, bold: bool = False) -> None:
    """A value at the right end of a row."""
    axes.annotate(
        text, (1, y), (_VALUE - 2, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
        ha="right", va="center", size=SMALL + 0.5, weight="bold" if bold else "normal",
    )  # fmt: skip


def _values(axes: Axes, values: Iterable[float]) -> None:
    """Give a panel a horizontal axis that holds all finite values, or none."""
    finite = [x for x in values if np.isfinite(x)]
    low, high = (min(finite), max(finite)) if finite else (0, 0)
    if low == high == 0:
        axes.set_xticks([])
        return
    room = 0.04 * (high - low) or 0.04 * abs(high)
    axes.set_xlim(low - room * (low != 0), high + room * (high != 0))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))


def _duration(seconds: float) -> str:
    """Two digits and a unit: "3.1 ms", "1.4 s"; "–" for none."""
    if not np.isfinite(seconds):
        return "–"
    value, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{value:.2g} {unit}" if value < 100 else f"{value:.0f} {unit}"
