"""The radar chart of a comparison: every metric on an axis of its own, outside is better."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from haarmony.compare.ranking import Ranking
from haarmony.compare.results import Results
from haarmony.compare.style import (
    INK,
    MUTED,
    NARROW,
    REST,
    ROW,
    RULE,
    SMALL,
    TYPE,
    arrowed,
    canvas,
    colours,
    number,
    place,
    shorten,
    svg,
)
from haarmony.compare.tables import ranked
from haarmony.metrics import METRICS

_WORST = 0.15  # radius of the worst method: at the centre all axes would meet
_TWO_LINES = 16  # up to this many labels have room for the worst and the best mean beneath


def axes_of(results: Results, ranking: Ranking) -> dict[str, tuple[float, float]]:
    """The radar's metrics, those in which finite means differ, each with its worst and its best mean."""
    ends = {}
    for symbol in results.metrics:
        means = ranking.mean[symbol].to_numpy(float)
        means = means[np.isfinite(means)]
        if means.size and means.min() < means.max():
            low_is_best = METRICS[symbol].direction == "lower"
            ends[symbol] = (means.max(), means.min()) if low_is_best else (means.min(), means.max())
    return ends


@svg
def radar(results: Results, ranking: Ranking, *, narrow: bool = False) -> Figure:
    """Every metric on an axis from the worst method's mean (inner ring) to the best one's (rim).

    Where lower is better the axis runs the other way. Methods that have a colour (`style.colours`: our own
    and the best others) are drawn in it, the others are the grey ground.

    Args:
        results: The comparison.
        ranking: Its statistics.
        narrow: For a phone: the key stands below, not beside.

    Returns:
        An SVG file.
    """
    methods, paint = ranked(results, ranking), colours(results, ranking)
    shown = [m for m in methods if paint[m.name] != REST]
    others = [m for m in methods if paint[m.name] == REST]
    keys = len(shown) + bool(others)
    around_x, around_y, side = (72.0, 40.0, NARROW - 144) if narrow else (110.0, 46.0, 380.0)
    circle = side + 2 * around_y
    width, height = (NARROW, circle + 14 + ROW * keys) if narrow else (side + 2 * around_x + 210, circle)
    figure = canvas(width, height)
    axes = figure.add_axes(
        place(figure, around_x, height - circle + around_y, side, side),
        projection="polar", theta_offset=np.pi / 2, theta_direction=-1, frame_on=False,
    )  # fmt: skip
    ends = axes_of(results, ranking)
    angles = np.linspace(0, 2 * np.pi, len(ends), endpoint=False)
    axes.set_ylim(0, 1)
    axes.set_xticks(angles, [""] * len(ends))
    axes.set_yticks([_WORST, (1 + _WORST) / 2, 1], [""] * 3)
    axes.grid(color=RULE, lw=0.8)
    for method in [*others, *reversed(shown)]:
        mean = ranking.mean.loc[method.name]
        radii = [_WORST + (1 - _WORST) * (mean[s] - a) / (b - a) for s, (a, b) in ends.items()]
        closed = np.array([*radii, *radii[:1]])
        closed[~np.isfinite(closed)] = np.nan
        own, coloured = method.kind == "model", method in shown
        axes.plot(
            [*angles, *angles[:1]], closed, color=paint[method.name], clip_on=False, solid_joinstyle="round",
            lw=2.4 if own else 1.4 if coloured else 0.8, marker="o" if coloured else "", ms=5 if own else 3.5,
        )  # fmt: skip
        if own:
            axes.fill(angles, closed[:-1], color=paint[method.name], alpha=0.07, lw=0)
    for angle, (symbol, (worst, best)) in zip(angles, ends.items(), strict=True):
        x, y = np.sin(angle), np.cos(angle)
        scale = " → ".join(number(symbol, x, convention=results.convention) for x in (worst, best))
        lines = [(arrowed(symbol), TYPE, INK, 5.5), (scale, SMALL - 1, MUTED, -5.5)]
        if len(ends) > _TWO_LINES:
            lines = [(arrowed(symbol), SMALL, INK, 0.0)]
        for text, size, colour, up in lines:
            axes.annotate(
                text, (angle, 1), (10 * x, 16 * y + up), textcoords="offset points", va="center", size=size,
                ha="center" if abs(x) < 0.1 else "left" if x > 0 else "right", color=colour,
                weight="bold" if colour == INK else "normal",
            )  # fmt: skip
    x, y = (24.0, ROW * (keys - 0.5)) if narrow else (width - 196, height / 2 + ROW * (keys - 1) / 2)
    entries = [(m.title, paint[m.name], m.kind == "model") for m in shown]
    if others:
        entries.append((others[0].title if len(others) == 1 else f"{len(others)} more", REST, False))
    for title, colour, own in entries:
        stroke = Line2D([x / width, (x + 18) / width], [y / height] * 2, color=colour, lw=2.4 if own else 1.4)
        figure.add_artist(stroke)
        weight = "bold" if own else "normal"
        text = shorten(title, width - x - 28, TYPE, weight=weight)
        figure.text((x + 26) / width, y / height, text, size=TYPE, weight=weight, va="center_baseline")
        y -= ROW
    return figure
