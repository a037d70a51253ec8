"""`haarmony fuse`: two files, or two folders of files, into fused pictures or a fused volume."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from haarmony.cli.messages import describe, say, slice_counter, unpaired, with_bar

if TYPE_CHECKING:
    from haarmony.io import Picture, Volume
    from haarmony.jobs import Outcome


class Colour(str, Enum):
    """Whose colour the fused picture has."""

    AUTO = "auto"
    FIRST = "first"
    SECOND = "second"
    GREY = "grey"


class Plane(str, Enum):
    """The plane of the slices in which volumes are fused."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


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
    plane: Annotated[Plane, typer.Option(help="For volumes: the plane of the slices to fuse.")] = Plane.AXIAL,
    slices: Annotated[
        str | None,
        typer.Option(
            metavar="LO:HI", help="For volumes: only the slices LO to HI - 1 of A along the plane, as stored."
        ),
    ] = None,
    range_a: Annotated[
        str | None,
        typer.Option(metavar="LO,HI", help="A's values for black and white; else its type's or extremes."),
    ] = None,
    range_b: Annotated[str | None, typer.Option(metavar="LO,HI", help="The same for B.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
) -> None:
    """Fuse two aligned pictures or volumes, or every pair of pictures that two folders hold.

    Volumes are NIfTI files; B is resampled to the grid of A, whose affine the result has.
    Files of two folders pair up by their stem; each pair makes OUT/STEM.png, where that
    does not exist yet.
    """
    from haarmony import jobs

    ranges = _range("--range-a", range_a), _range("--range-b", range_b)
    chosen = _slices(slices)
    jobs.check(a, b, out, overwrite=overwrite)
    found = jobs.pairs(a, b) if a.is_dir() else None
    from haarmony.fuser import Fuser

    fuser = Fuser(model, engine=engine.value)
    fuser.check_steps(steps)
    used: list[str] = []

    def fusing(first: Any, second: Any) -> Picture | Volume:
        used[:] = [f"{lo:g} to {hi:g}" for lo, hi in (first.value_range, second.value_range)]
        with slice_counter(quiet=quiet) as count:
            watch = count if hasattr(first, "voxels") else None
            fused: Picture | Volume = fuser(
                first,
                second,
                steps=steps,
                seed=seed,
                colour=colour.value,
                plane=plane.value,
                slices=chosen,
                callback=watch,
            )
        return fused

    if found is None:
        start = time.perf_counter()
        notes = jobs.fuse_file(jobs.Pair(a, b), out, fusing, ranges=ranges)
        if not quiet:
            say(*notes)
            took = time.perf_counter() - start
            typer.echo(f"{out}: fused in {took:.2f} s; values from {' and '.join(used)}")
        return
    if not quiet:
        say(*unpaired(a, b, found))
    outcomes = jobs.run(found.pairs, out, fusing, overwrite=overwrite, ranges=ranges)
    count = Counter(_reported(outcomes, total=len(found.pairs), quiet=quiet))
    if not quiet:
        typer.echo(f"{out}: {count['fused']} fused, {count['skipped']} skipped, {count['failed']} failed")
    if count["failed"]:
        raise typer.Exit(1)


def _range(option: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    from haarmony.io import check_range

    try:
        lo, hi = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option}: {text!r} is not LO,HI, two numbers") from None
    try:
        return check_range((lo, hi))
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _slices(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        lo, hi = (int(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"--slices: {text!r} is not LO:HI, two whole numbers") from None
    return lo, hi


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
