"""`haarmony prior`: the training targets of a folder of pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from haarmony.cli.messages import describe, say, show, unpaired


def prior(
    a: Annotated[Path, typer.Option("--a", help="Folder of first sources.")],
    b: Annotated[Path, typer.Option("--b", help="Folder of second sources, same stems.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the targets.")],
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="Another method's results as further candidates; may be repeated."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what no search made.")] = False,
    more: Annotated[list[str] | None, typer.Argument(metavar="NAME=DIR", hidden=True)] = None,
) -> None:
    """Find each pair's training target by search.

    The best of the classical fusers' and other methods' results by 2 SSIM + VIF + 3 Qabf becomes
    OUT/STEM.png; OUT/prior.json says how it was chosen. What an earlier run found is kept.
    """
    from haarmony import jobs

    folders = _folders([*(candidates or []), *(more or [])])
    for folder in (a, b, *folders.values()):
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: is no folder")
    jobs.check(a, b, out)
    found = jobs.pairs(a, b)
    from haarmony.prior import build

    say(*unpaired(a, b, found))
    winners: Counter[str] = Counter()
    for progress in build(found.pairs, out, folders=folders, overwrite=overwrite):
        head = f"[{progress.done}/{progress.total}] {progress.stem}"
        if progress.entry is None:
            say(f"{head} failed: {describe(progress.error)}" if progress.error else head)
        else:
            winners[progress.entry.winner] += 1
            say(f"{head} {progress.entry.winner} {progress.entry.score:.3f}")
    failed = len(found.pairs) - winners.total()
    won = ", ".join(f"{name} {count}" for name, count in winners.most_common())
    show(f"{out}: {winners.total()} targets ({won}), {failed} failed")
    if failed:
        raise typer.Exit(1)


def _folders(texts: list[str]) -> dict[str, Path]:
    folders = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise typer.BadParameter(f"'{text}' is not NAME=DIR", param_hint="--candidates")
        if name in folders:
            raise typer.BadParameter(f"'{name}' is named twice", param_hint="--candidates")
        folders[name] = Path(folder)
    return folders
