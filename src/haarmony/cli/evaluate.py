"""`haarmony evaluate`, which scores fused pictures, and `haarmony metrics`, which says by what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haarmony.cli.messages import describe, listed, say, show, table, watched

if TYPE_CHECKING:
    from haarmony.compare.evaluate import Evaluation, Triples


class ConventionName(str, Enum):
    """Whose definitions."""

    HAARMONY = "haarmony"
    CDDFUSE = "cddfuse"
    MATLAB = "matlab"


def evaluate(
    a: Annotated[Path, typer.Option("--a", help="First sources: a folder, or one file.")],
    b: Annotated[Path, typer.Option("--b", help="Second sources, likewise.")],
    fused: Annotated[Path, typer.Option("--fused", help="What was fused of them, likewise.")],
    convention: Annotated[
        ConventionName, typer.Option(help="Whose definitions: docs/metrics.md.")
    ] = ConventionName.HAARMONY,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Some metrics only ('haarmony metrics').")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every picture's values, a row each.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write means and every picture's values.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
) -> None:
    """Score fused pictures against their sources.

    Files of the three folders go together by their stem. Colour pictures are scored by their luma.
    """
    from haarmony.compare import evaluate as scoring

    symbols = chosen(metrics, convention.value)
    found = scoring.find(a, b, fused)
    _check_targets([target for target in (csv, json) if target is not None], found)
    say(*_missing(found))
    outcomes = scoring.evaluate(
        found.triples, convention=convention.value, metrics=symbols, lenient=metrics in (None, "all")
    )
    images = {}
    failed = 0
    for outcome in watched(outcomes, total=len(found.triples), quiet=quiet, label="scoring"):
        if outcome.error is None:
            images[outcome.triple.stem] = outcome.values
        elif fused.is_dir():
            say(f"{outcome.triple.stem} failed: {describe(outcome.error)}")
            failed += 1
        else:
            raise outcome.error
    if not images:
        raise ValueError(f"{fused}: none of the {failed} pictures could be scored")
    result = scoring.Evaluation(convention.value, symbols, dict(sorted(images.items())))
    for target, content in ((csv, result.to_csv), (json, result.to_json)):
        if target is not None:
            scoring.save(target, content())
    if not quiet:
        say(*_undefined(result))
        show(*_summary(result.mean(), len(images), convention.value))
    if failed:
        raise typer.Exit(1)


def metrics() -> None:
    """List every metric: symbol, name, unit, range, direction, conventions, source."""
    from haarmony.metrics import METRICS

    rows = [["symbol", "name", "unit", "range", "better", "conventions", "source"]]
    for symbol, metric in METRICS.items():
        span = "{:g} to {:g}".format(*metric.range)
        conventions = ", ".join(metric.conventions)
        rows.append([symbol, metric.name, metric.unit, span, metric.direction, conventions, metric.source])
    show(*table(rows, right=()))


def chosen(names: str | None, convention: str, *, default: Iterable[str] | None = None) -> list[str]:
    """The symbols that --metrics asks for; without it those of `default`, or all, that the convention has."""
    from haarmony.compare.evaluate import defined, named
    from haarmony.metrics import METRICS

    if names is not None and names != "all":
        return named(convention, listed(names))
    return defined(convention, METRICS if names or default is None else default)


def _check_targets(targets: Sequence[Path], found: Triples) -> None:
    """Refuse to write over pictures, devices or each other, before any work is spent."""
    from haarmony.io import check_place, resolved
    from haarmony.jobs import SUFFIXES

    for target in targets:
        check_place(target)
        if target.exists() and any(target.samefile(path) for t in found.triples for path in t.files):
            raise ValueError(f"{target}: is a picture to be scored; write somewhere else")
        if target.suffix.lower() in SUFFIXES:
            raise ValueError(f"{target}: is a picture's name; end it in .csv or .json")
        if target.exists() and not target.is_file():  # writing would replace the device that the name is
            raise ValueError(f"{target}: is no regular file")
    if len({resolved(target) for target in targets}) < len(targets):
        raise ValueError(f"{targets[0]}: is to hold both CSV and JSON; give two names")


def _missing(found: Triples) -> Iterator[str]:
    """A line for each folder that lacks pictures which another one has, with all their names."""
    for folder, stems in found.missing.items():
        yield f"missing in {folder}: {', '.join(stems)}"


def _undefined(result: Evaluation) -> Iterator[str]:
    """A line for each metric that some pictures leave undefined."""
    from haarmony.metrics import METRICS

    for symbol in result.metrics:
        if count := sum(math.isnan(row[symbol]) for row in result.images.values()):
            metric = METRICS[symbol]
            small = f"smaller than the {metric.smallest}×{metric.smallest} pixels it needs"
            why = "without a coloured source" if "c" in metric.inputs else small
            yield f"{symbol}: left out for {count} of {len(result.images)} pictures, {why}"


def _summary(mean: dict[str, float], count: int, convention: str) -> Iterator[str]:
    from haarmony.metrics import METRICS

    arrows = {"higher": "↑", "lower": "↓"}
    rows = [
        [f"{s} {arrows[METRICS[s].direction]}", f"{value:.4f}", METRICS[s].name] for s, value in mean.items()
    ]
    of = f"{count} picture{'s' if count > 1 else ''}"
    yield f"mean of {of}, convention {convention}; ↑ higher is better, ↓ lower"
    yield from table(rows, right={1})
