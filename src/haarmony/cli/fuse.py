"""`haarmony fuse`: two files, or two folders of files, into fused pictures."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haarmony.cli.messages import describe, say, unpaired, with_bar

if TYPE_CHECKING:
    from haarmony.jobs import Outcome


class Colour(str, Enum):
    """Whose colour the fused picture has."""

    AUTO = "auto"
    FIRST = "first"
    SECOND = "second"
    GREY = "grey"


class Format(str, Enum):
    """What is written."""

    FILE = "file"
    DICOM = "dicom"


class EngineName(str, Enum):
    """What computes."""

    ONNX = "onnx"
    TORCH = "torch"


def fuse(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="First source, a file or a folder; the MRI for 'medical'.")
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="Second source, of the same kind and size.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; for folders, the folder to write into.")
    ],
    model: Annotated[
        str, typer.Option(help="A shipped model ('haarmony models'), or an exported folder.")
    ] = "medical",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; the model's own by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the noise: the same seed gives the same file.")
    ] = 42,
    colour: Annotated[
        Colour, typer.Option(help="Whose colour to keep; auto: the coloured source's, or the model's own.")
    ] = Colour.AUTO,
    engine: Annotated[
        EngineName, typer.Option(help="What computes; torch needs the extra 'train'.")
    ] = EngineName.ONNX,
    window: Annotated[
        str | None, typer.Option(help="Of a DICOM CT: brain, bone, soft, lung, or centre/width in HU.")
    ] = None,
    series_a: Annotated[
        str | None, typer.Option(help="Number or UID of A's DICOM series, where it holds several.")
    ] = None,
    series_b: Annotated[str | None, typer.Option(help="The same of B.")] = None,
    format: Annotated[
        Format, typer.Option(help="dicom: a derived series in the folder OUT, instead of a file.")
    ] = Format.FILE,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Copy patient and study to a DICOM series.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
) -> None:
    """Fuse two aligned pictures, or every pair that two folders hold.

    Files of two folders pair up by their stem; each pair makes OUT/STEM.png, where that
    does not exist yet. A folder of DICOM files is one source.
    """
    from haarmony import jobs, series

    dicom = series.concerns(a, b)
    if not dicom:
        if window or series_a or series_b or keep_identity or format is Format.DICOM:
            raise ValueError(
                "--window, --series-a, --series-b, --format dicom, --keep-identity: no source is DICOM"
            )
        jobs.check(a, b, out, overwrite=overwrite)
    found = jobs.pairs(a, b) if a.is_dir() and not dicom else None
    from haarmony.fuser import Fuser

    fuser = Fuser(model, engine=engine.value)
    fuser.check_steps(steps)
    fusing = partial(fuser, steps=steps, seed=seed, colour=colour.value)
    if found is None:
        start = time.perf_counter()
        if dicom:
            notes = series.fuse_series(
                a,
                b,
                out,
                fusing,
                series=(series_a, series_b),
                window=window,
                as_dicom=format is Format.DICOM,
                keep_identity=keep_identity,
                description=f"model {fuser.card.name}, seed {seed}",
                overwrite=overwrite,
            )
        else:
            notes = jobs.fuse_file(jobs.Pair(a, b), out, fusing)
        if not quiet:
            say(*notes)
            typer.echo(f"{out}: fused in {time.perf_counter() - start:.2f} s")
        return
    if not quiet:
        say(*unpaired(a, b, found))
    outcomes = jobs.run(found.pairs, out, fusing, overwrite=overwrite)
    count = Counter(_reported(outcomes, total=len(found.pairs), quiet=quiet))
    if not quiet:
        typer.echo(f"{out}: {count['fused']} fused, {count['skipped']} skipped, {count['failed']} failed")
    if count["failed"]:
        raise typer.Exit(1)


def _reported(outcomes: Iterable[Outcome], *, total: int, quiet: bool) -> Iterator[str]:
    """The status of each outcome, once it has been said."""
    bar = not quiet and sys.stderr is not None and sys.stderr.isatty()
    for number, outcome in enumerate(with_bar(outcomes, total=total) if bar else outcomes, 1):
        if outcome.error is not None:
            say(f"{outcome.pair.stem} failed: {describe(outcome.error)}")
        elif not (quiet or bar):
            took = f" in {outcome.seconds:.2f} s" if outcome.status == "fused" else ""
            say(f"[{number}/{total}] {outcome.pair.stem} {outcome.status}{took}")
        if not quiet:
            say(*outcome.notes)
        yield outcome.status
