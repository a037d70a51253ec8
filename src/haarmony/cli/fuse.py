"""`haarmony fuse`: two files, or two folders of files, into fused pictures or a fused volume."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haarmony.cli.interrupt import finishing
from haarmony.cli.messages import describe, followed, say, show, unpaired, with_bar

if TYPE_CHECKING:
    from haarmony.jobs import Outcome, Pairs
    from haarmony.transform import Transform


class Colour(str, Enum):
    """Whose colour the fused picture has."""

    AUTO = "auto"
    FIRST = "first"
    SECOND = "second"
    GREY = "grey"


class Plane(str, Enum):
    """The plane of the slices in which volumes are fused."""

    AUTO = "auto"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Format(str, Enum):
    """What is written."""

    FILE = "file"
    DICOM = "dicom"


class Registration(str, Enum):
    """How the second source is aligned."""

    NONE = "none"
    RIGID = "rigid"
    AFFINE = "affine"
    AUTO = "auto"


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
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes for folders; one a core by default.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Fuse folders on this Ray cluster (extra 'cluster')."),
    ] = None,
    plane: Annotated[
        Plane,
        typer.Option(help="For volumes: the plane of the slices to fuse; auto: A's, as it was acquired."),
    ] = Plane.AUTO,
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
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Side in pixels of the tiles that a picture is fused in; 0: one piece. By default about 768"
            " above 2048×2048 pixels.",
        ),
    ] = None,
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
    register: Annotated[
        Registration,
        typer.Option(
            help="Align B to A by mutual information (extra 'register'); auto: where it seems misaligned."
        ),
    ] = Registration.NONE,
    transform: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Align B by a transform that a former run saved beside its output."
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Say in this folder where the result can be believed: maps, pictures of them, explain.json.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Seeds that --explain's spread is over; 8 by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
) -> None:
    """Fuse two aligned pictures or volumes, or every pair that two folders hold.

    Volumes are NIfTI files, or DICOM: a file or a folder of one series; B is resampled to
    the grid of A. Files of two folders pair up by their stem; each pair makes OUT/STEM.png
    (volumes: OUT/STEM.nii.gz), where that does not exist yet or was made of other files or
    settings. OUT/manifest.csv says which. With --explain each pair has a folder DIR/STEM.
    """
    from haarmony import jobs, series
    from haarmony.io import volume_ending

    ranges = _range("--range-a", range_a), _range("--range-b", range_b)
    chosen = _slices(slices)
    dicom = series.concerns(a, b)
    if not dicom:
        if window or series_a or series_b or keep_identity or format is Format.DICOM:
            raise ValueError(
                "--window, --series-a, --series-b, --format dicom, --keep-identity: no source is DICOM"
            )
        jobs.check(a, b, out, overwrite=overwrite)
    found = jobs.pairs(a, b) if a.is_dir() and not dicom else None
    moving = register is not Registration.NONE or transform is not None
    if found is None and moving and (saved := jobs.transform_of(out)).exists() and not overwrite:
        raise FileExistsError(f"{saved}: exists already; --overwrite replaces it")
    if explain is None and seeds is not None:
        raise ValueError("--seeds is of --explain; give that, too")
    if explain is not None:
        from haarmony.explain import SEEDS

        seeds = seeds or SEEDS
        jobs.explaining.check(a, b, out, explain, several=found is not None, overwrite=overwrite)
    several, threads = _shared(found, engine, workers, ray)
    fusing = jobs.Fusing(
        model,
        engine.value,
        steps,
        seed,
        colour.value,
        plane=plane.value,
        slices=chosen,
        ranges=ranges,
        tile=tile,
        register=register.value,
        transform=_transform(transform, register),
        seeds=seeds,
        threads=threads,
    )
    fusing.check()
    if found is None:
        start = time.perf_counter()
        with followed("slices" if dicom or volume_ending(a) else "steps", quiet=quiet) as watch:
            watched = replace(fusing, callback=watch)
            if dicom:
                fused = series.fuse_series(
                    a,
                    b,
                    out,
                    watched,
                    series=(series_a, series_b),
                    window=window,
                    as_dicom=format is Format.DICOM,
                    keep_identity=keep_identity,
                    overwrite=overwrite,
                    explain=explain,
                )
            else:
                fused = jobs.fuse_file(jobs.Pair(a, b), out, watched, overwrite=overwrite, explain=explain)
        if not quiet:
            say(*fused.notes)
        say(*fused.problems)
        if not quiet:
            took = time.perf_counter() - start
            values = " and ".join(f"{lo:.7g} to {hi:.7g}" for lo, hi in fused.values)
            show(f"{out}: fused in {took:.2f} s; values from {values}")
            if fused.explanation is not None:
                part = f"{fused.explanation.flagged:.2%} of it shows what neither source does"
                show(f"{explain}: explained over {fusing.seeds} seeds; {part}")
        return
    if not quiet:
        say(*unpaired(a, b, found))
    with finishing() as asked:
        outcomes = jobs.run(
            found.pairs,
            out,
            fusing,
            overwrite=overwrite,
            explain=explain,
            workers=several,
            ray=ray,
            stop=asked.is_set,
        )
        count = Counter(_reported(outcomes, total=len(found.pairs), quiet=quiet))
    if asked.is_set():
        raise KeyboardInterrupt
    if not quiet:
        show(f"{out}: {count['fused']} fused, {count['skipped']} skipped, {count['failed']} failed")
    if count["failed"]:
        raise typer.Exit(1)


def _shared(
    found: Pairs | None, engine: EngineName, workers: int | None, ray: str | None
) -> tuple[int, int | None]:
    """How many processes fuse, and with how many threads each."""
    from haarmony import cluster
    from haarmony.jobs import PER_WORKER
    from haarmony.workers import cores, worth

    if found is None or engine is EngineName.TORCH:  # which shares one GPU, or all cores, by itself
        if workers is None and ray is None:
            return 1, None
        why = "are for folders, not for two files" if found is None else "need the onnx engine, not torch"
        raise ValueError(f"--workers and --ray {why}")
    if ray is not None:
        cluster.require()
        return 1, 1
    several = worth(len(found.pairs), workers=workers, per_worker=PER_WORKER)
    return several, max(1, cores() // several)


def _transform(path: Path | None, register: Registration) -> Transform | None:
    if path is None:
        return None
    from haarmony.transform import Transform

    if register is not Registration.NONE:
        raise ValueError("--transform and --register: give one of them")
    return Transform.load(path)


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
        say(*outcome.problems)
        yield outcome.status
