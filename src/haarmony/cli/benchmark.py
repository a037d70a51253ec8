"""`haarmony benchmark`: methods over a data set, and the report of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from haarmony.cli.evaluate import ConventionName, chosen
from haarmony.cli.messages import say, unpaired, watched


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
    show: Annotated[
        str | None, typer.Option(metavar="STEM,…", help="Pairs to show as pictures; one by default.")
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
    from haarmony.compare.run import COLUMNS, Comparison

    jobs.check(a, b, out)
    if not a.is_dir():
        raise NotADirectoryError(f"{a}: is no folder; a benchmark takes two")
    found = jobs.pairs(a, b)
    pairs, part = dataset.take(found.pairs, split)
    symbols = chosen(metrics, convention.value, default=COLUMNS)
    compared = known.find(known.shipped() if methods is None else methods.split(","))
    compared += [known.elsewhere(text) for text in results or ()]
    shown = show.split(",") if show else []
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
        say(*unpaired(a, b, found))
    out.mkdir(parents=True, exist_ok=True)
    _through(comparison.survey(), total=len(pairs), quiet=quiet, label="pairs read")
    fused = sum(method.kind != "results" for method in compared) * len(comparison.surveyed)
    _through(comparison.fuse(), total=fused, quiet=quiet, label="pairs fused")
    scored = len(compared) * len(comparison.surveyed)
    _through(comparison.score(), total=scored, quiet=quiet, label="pictures scored")
    found_out = comparison.results(a=str(a), b=str(b), split=part, provenance=provenance(sys.argv[1:]))
    report.write(found_out, out)
    say(*comparison.failures)
    if not quiet:
        typer.echo(
            f"{out / 'report.html'}: {len(found_out.methods)} methods, {len(comparison.surveyed)} pairs"
        )
    if comparison.failures:
        raise typer.Exit(1)


def _through(work: Iterable[None], *, total: int, quiet: bool, label: str) -> None:
    for _ in watched(work, total=total, quiet=quiet, label=label):
        pass
