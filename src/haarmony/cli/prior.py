"""`haarmony prior`: the training targets of a folder of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prior(
    a: Annotated[Path, typer.Option("--a", help="Folder of first sources.")],
    b: Annotated[Path, typer.Option("--b", help="Folder of second sources, same stems.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the targets.")],
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="Another method's results, as further candidates; may be repeated."
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[NAME=DIR]...", hidden=True)] = None,
) -> None:
    """Find each pair's best target among the classical fusers and other methods' results."""
