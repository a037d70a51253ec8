"""The report of a comparison: one HTML file that holds its figures and needs nothing else.

`render` puts together what `report.html.jinja` shows; everything that comes from a user is escaped there.
"""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from haarmony.compare.evaluate import save
from haarmony.compare.figures import bars, costs, distributions
from haarmony.compare.pictures import picture_grid
from haarmony.compare.radar import axes_of, radar
from haarmony.compare.ranking import Ranking, rank
from haarmony.compare.results import Method, Results
from haarmony.compare.style import colours
from haarmony.compare.tables import cell, images_csv, latex, markdown, notes, ranked, table_csv
from haarmony.metrics import METRICS

LEVEL = 0.05
"""Below this corrected p-value a method counts as different from the best."""


MARK = "– Haarmony benchmark</title>".encode()
"""What stands within the first `HEAD` bytes of every report."""
HEAD = 4096


@dataclass(frozen=True)
class Cell:
    """One number of one method as the table shows it."""

    text: str
    best: bool
    second: bool
    interval: str = ""
    """"4.81 – 4.95"; empty below two pictures."""
    p: str = ""
    tied: bool = False
    """Not the best, and not distinguishable from it either."""


@dataclass(frozen=True)
class Row:
    """One method as the table shows it."""

    method: Method
    colour: str
    mean_rank: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Picture:
    """A figure in both its widths, as addresses that hold the whole file."""

    wide: str
    narrow: str


def render(results: Results, ranking: Ranking) -> str:
    """The report as one HTML page without scripts, outside addresses or further files.

    Args:
        results: The comparison.
        ranking: Its statistics, from `haarmony.compare.ranking.rank`.

    Returns:
        The page.
    """
    template = files("haarmony.compare").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    timed = any((m.seconds, m.memory) != (None, None) for m in ranked(results, ranking))
    return environment.from_string(template).render(
        results=results,
        rows=_rows(results, ranking),
        metrics={symbol: METRICS[symbol] for symbol in results.metrics},
        notes=notes(results, ranking),
        grids=[(x.stem, list(x.pictures), _both(picture_grid, x, kind="png")) for x in results.examples],
        bars=_both(bars, results, ranking),
        radar=_both(radar, results, ranking) if len(axes_of(results, ranking)) > 2 else None,
        distributions=[(s, _address(distributions(results, ranking, s))) for s in results.metrics],
        costs=_both(costs, results, ranking) if timed else None,
        cell=cell,
        level=LEVEL,
    )


def check(out: Path) -> None:
    """Refuse a folder whose report.html is another's.

    Raises:
        ValueError: It is no page that `write` wrote.
        OSError: It cannot be read.
    """
    path = out / "report.html"
    if path.is_file():
        with open(path, "rb") as file:
            ours = MARK in file.read(HEAD)
        if not ours:
            raise ValueError(f"{path}: is no report of ours and would be replaced; move it away")


def write(results: Results, out: Path) -> None:
    """Write a comparison into a folder, each file whole or not at all.

    Args:
        results: The comparison.
        out: The folder, for report.html, table.csv, images.csv, table.md and table.tex.

    Raises:
        OSError: A file cannot be written.
    """
    ranking = rank(results.images, {symbol: METRICS[symbol].direction for symbol in results.metrics})
    contents = {
        "table.csv": table_csv(results, ranking),
        "images.csv": images_csv(results),
        "table.md": markdown(results, ranking),
        "table.tex": latex(results, ranking),
    }
    with warnings.catch_warnings():  # a box stands for what no font has; the page's own text is complete
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        contents["report.html"] = render(results, ranking)
    for name, content in contents.items():
        save(out / name, content)


def _rows(results: Results, ranking: Ranking) -> list[Row]:
    paint = colours(results, ranking)
    places = ranking.mean_rank.rank(method="dense")
    rows = []
    show = partial(cell, convention=results.convention)
    for method in ranked(results, ranking):
        cells = []
        for symbol in results.metrics:
            mean, low, high, p = (
                float(table.loc[method.name, symbol])
                for table in (ranking.mean, ranking.low, ranking.high, ranking.p)
            )
            best = method.name in ranking.best[symbol]
            cells.append(
                Cell(
                    text=show(symbol, mean),
                    interval=f"{show(symbol, low)} – {show(symbol, high)}" if low <= high else "",
                    p=cell("p", p),
                    best=best,
                    second=method.name in ranking.second[symbol],
                    tied=not best and p >= LEVEL,
                )
            )
        text, place = cell("mean rank", ranking.mean_rank[method.name]), float(places[method.name])
        mean_rank = Cell(text, best=place == 1, second=place == 2)
        rows.append(Row(method, paint[method.name], mean_rank, tuple(cells)))
    return rows


def _both(draw: Callable[..., bytes], *subject: object, kind: str = "svg+xml") -> Picture:
    return Picture(*(_address(draw(*subject, narrow=narrow), kind) for narrow in (False, True)))


def _address(file: bytes, kind: str = "svg+xml") -> str:
    return f"data:image/{kind};base64,{b64encode(file).decode()}"
