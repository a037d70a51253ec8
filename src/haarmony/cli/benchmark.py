"""`haarmony benchmark`: methods over a data set, and the report of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haarmony.cli.evaluate import ConventionName, chosen
from haarmony.cli.messages import listed, say, show, unpaired, watched

if TYPE_CHECKING:
    from haarmony.compare.run import Comparison


def benchmark(
    a: Annotated[Path, typer.Option("--a", help="Folder of first sources; the MRI for 'medical'.")],
    b: Annotated[Path, typer.Option("--b", help="Folder of second sources.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="REPORT", help="Folder to write into.")],
    methods: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Models, classical fusers, exported folders; all that ship."),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Another method's fused pictures; may be repeated."),
    ] = None,
    convention: Annotated[
        ConventionName, typer.Option(help="Whose definitions: docs/metrics.md.")
    ] = ConventionName.HAARMONY,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Columns ('haarmony metrics'), or 'all'.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="FILE:NAME/PART", help="Only the pairs of a JSON file's split.")
    ] = None,
    stems: Annotated[
        str | None,
        typer.Option("--show", metavar="STEM,…", help="Pairs to show as pictures; one by default."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
) -> None:
    """Fuse two folders with every method, score all of it and write a report.

    REPORT/report.html opens offline; table.csv, images.csv, table.md and table.tex hold its numbers. Started
    again, it does what is missing.
    """
    from haarmony import jobs
    from haarmony.compare import dataset, report
    from haarmony.compare import methods as known
    from haarmony.compare.provenance import provenance
    from haarmony.compare.run import COLUMNS, FUSED, Comparison

    for place in (a, b):
        if place.is_file():
            raise NotADirectoryError(f"{place}: is a file; a benchmark takes two folders")
    jobs.check(a, b, out)
    found = jobs.pairs(a, b)
    pairs, part, missing = dataset.take(found.pairs, split)
    symbols = chosen(metrics, convention.value, default=COLUMNS)
    compared = known.find(known.shipped() if methods is None else listed(methods))
    compared += [known.elsewhere(text) for text in results or ()]
    shown = listed(stems) if stems else []
    comparison = Comparison(
        pairs,
        out,
        methods=compared,
        convention=convention.value,
        metrics=symbols,
        lenient=metrics in (None, "all"),
        show=shown,
    )
    if not quiet and split is None:
        say(*unpaired(a, b, found, most=len(found.only_a) + len(found.only_b)))
    if missing:
        say(f"in {split} but not in the folders: {', '.join(missing)}")
    if out.is_dir() and any(out.iterdir()) and not (out / FUSED).exists():
        raise ValueError(f"{out}: holds other things; name a new or an empty folder, or a report's")
    comparison.check()
    report.check(out)
    out.mkdir(parents=True, exist_ok=True)
    _through(comparison, comparison.survey(), total=len(pairs), quiet=quiet, label="pairs read")
    fused = sum(method.kind != "results" for method in compared) * len(comparison.surveyed)
    _through(comparison, comparison.fuse(), total=fused, quiet=quiet, label="pairs fused")
    scored = len(compared) * len(comparison.surveyed)
    _through(comparison, comparison.score(), total=scored, quiet=quiet, label="pictures scored")
    outcome = comparison.results(a=str(a), b=str(b), split=part, provenance=provenance(sys.argv[1:]))
    report.write(outcome, out)
    if not quiet:
        show(f"{out / 'report.html'}: {len(outcome.methods)} methods, {len(comparison.surveyed)} pairs")
    if comparison.failures:
        raise typer.Exit(1)


def _through(comparison: Comparison, work: Iterable[None], *, total: int, quiet: bool, label: str) -> None:
    """Do the work and say what fails when it does, not only to those who wait for the end."""
    said = len(comparison.failures)
    try:
        for _ in watched(work, total=total, quiet=quiet, label=label):
            say(*comparison.failures[said:])
            said = len(comparison.failures)
    finally:
        say(*comparison.failures[said:])
