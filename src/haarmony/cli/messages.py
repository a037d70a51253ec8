"""What the commands say to a person: plain lines, and on a terminal a bar; on stderr, results apart."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from haarmony.text import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from haarmony.jobs import Pairs

Item = TypeVar("Item")
LONG = 20
"""Steps of work that are worth lines of their own."""


def say(*lines: str) -> None:
    """Print lines on stderr, what a terminal would obey escaped; where nobody listens, work goes on."""
    if sys.stderr is None:  # started with it closed; print would fall back on stdout
        return
    with suppress(OSError):
        for line in lines:
            print(visible(line), file=sys.stderr)


def show(*lines: str) -> None:
    """Print results on stdout, escaped too; what its encoding lacks, arrows on Windows say, becomes "?"."""
    text, encoding = "\n".join(map(visible, lines)), getattr(sys.stdout, "encoding", None) or "utf-8"
    typer.echo(text.encode(encoding, "replace").decode(encoding))


def listed(text: str) -> list[str]:
    """The parts of "NAME, NAME,…", without the blanks around them."""
    return [part.strip() for part in text.split(",")]


def describe(error: Exception) -> str:
    """An error as one line: the file that an OSError names, then the problem."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror[0].lower()}{error.strerror[1:]}"
        if error.filename is not None:
            text = f"{error.filename}: {text}"
    return " ".join(text.split()) or type(error).__name__


def unpaired(a: Path, b: Path, found: Pairs, *, most: int = 5) -> Iterator[str]:
    """A line for each folder that holds pictures without a partner: the first few, and how many more."""
    for folder, stems in ((a, found.only_a), (b, found.only_b)):
        if stems:
            more = f" and {len(stems) - most} more" if len(stems) > most else ""
            yield f"only in {folder}: {', '.join(stems[:most])}{more}"


def watched(items: Iterable[Item], *, total: int, quiet: bool, label: str) -> Iterable[Item]:
    """The items; with a bar on a terminal, elsewhere with a line before the first."""
    if quiet or sys.stderr is None or total < 2:
        return items
    if sys.stderr.isatty():
        return with_bar(items, total=total, label=label)
    say(f"{label}: {total}")
    return items


def with_bar(items: Iterable[Item], *, total: int, label: str = "") -> Iterator[Item]:
    """The items, with a bar on the terminal that says how many are done and the time left."""
    with _progress(label) as bar:
        yield from bar.track(items, total=total)


@contextmanager
def counted(total: int, *, label: str = "") -> Iterator[Callable[..., None]]:
    """What to call, with anything, after each of `total` steps; on a terminal it moves a bar."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda *_: None
        return
    with _progress(label) as bar:
        task = bar.add_task("", total=total)
        yield lambda *_: bar.advance(task)


@contextmanager
def followed(label: str, *, quiet: bool) -> Iterator[Callable[..., None] | None]:
    """What to call with (done, in all, …) in long work: it moves a bar, or elsewhere says every tenth."""
    if quiet or sys.stderr is None:
        yield None
        return
    if not sys.stderr.isatty():

        def tell(done: int, total: int, *_: object) -> None:
            if total >= LONG and (done == total or done % (total // 10) == 0):
                say(f"{done} of {total} {label}")

        yield tell
        return
    with _progress(label) as bar:
        tasks: list[TaskID] = []

        def move(done: int, total: int, *_: object) -> None:
            if not tasks:
                tasks.append(bar.add_task("", total=total))
            bar.update(tasks[0], completed=done)

        yield move


def _progress(label: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] | None = None) -> list[str]:
    """Rows of cells as lines of aligned columns, to the right those of `right` (all but the first)."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = range(1, len(widths)) if right is None else right
    aligned = [str.rjust if i in right else str.ljust for i in range(len(widths))]
    lines = ([align(cell, n) for align, cell, n in zip(aligned, row, widths, strict=True)] for row in rows)
    return ["  ".join(line).rstrip() for line in lines]
