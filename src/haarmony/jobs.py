"""Fuse files: one pair, or two folders whose files pair up by their stem.

A job is a pair of source files and the file it makes. It is done without a look at the other jobs, so an
output's bytes depend on its own sources, model, steps and seed alone; a job that fails leaves its output as
it was and stops no other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from haarmony.io import Picture, Volume, check_kind, check_target, read, remove_leftover, write

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif"})
"""Endings, in lower case, of what counts as a picture in a folder."""

Range = tuple[float, float]
Fuse = Callable[[Any, Any], Picture | Volume]
"""What makes one picture or volume of two: a `haarmony.Fuser`, or any other fusing function."""


@dataclass(frozen=True)
class Pair:
    """Two files that show the same thing."""

    a: Path
    b: Path

    @property
    def stem(self) -> str:
        """What both files of a folder pair are called, and the output with them."""
        return self.a.stem


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all in order of the stem."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    pair: Pair
    out: Path
    status: Literal["fused", "skipped", "failed"]
    notes: tuple[str, ...] = ()
    """What reading converted, each behind its file's name."""
    error: ValueError | OSError | None = None
    """Why the pair failed."""
    seconds: float = 0.0


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stem, in its order; hidden files and other suffixes are passed over.

    Raises:
        ValueError: Two pictures share their stem.
        OSError: The folder cannot be listed.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise ValueError(f"{folder}: {found[path.stem].name} and {path.name} share a stem; keep one")
        found[path.stem] = path
    return found


def pairs(a: Path, b: Path) -> Pairs:
    """Pair the pictures of two folders by their file stem.

    Args:
        a: Folder of first sources. Hidden files and those whose suffix is no picture's are passed over.
        b: Folder of second sources.

    Raises:
        ValueError: Two pictures of a folder share their stem, or the folders have no stem in common.
        OSError: A folder cannot be listed.
    """
    first, second = by_stem(a), by_stem(b)
    common = sorted(first.keys() & second.keys())
    if not common:
        counts = f"{len(first)} and {len(second)} pictures"
        raise ValueError(f"{a} and {b}: no stem in common among {counts}")
    return Pairs(
        tuple(Pair(first[stem], second[stem]) for stem in common),
        only_a=tuple(sorted(first.keys() - second.keys())),
        only_b=tuple(sorted(second.keys() - first.keys())),
    )


def check(a: Path, b: Path, out: Path, *, overwrite: bool = False) -> None:
    """Refuse what cannot work, or would replace a source, before a model is loaded or anything written.

    Args:
        a: First source: a file, or a folder of them.
        b: Second source, of the same kind.
        out: The file to write, or the folder to write into; a folder may be missing, a file's parent may not.
        overwrite: Whether the file may exist.

    Raises:
        ValueError: A file stands against a folder, or `out` is a source, lies in a source folder or has an
            ending that is not written.
        OSError: A source or the parent of `out` is missing, `out` exists or is of the wrong kind, or its
            folder cannot be written to.
    """
    for source in (a, b):
        if not source.exists():
            raise FileNotFoundError(f"{source}: there is no such file or folder")
    if a.is_dir() != b.is_dir():
        folder, file = (a, b) if a.is_dir() else (b, a)
        raise ValueError(f"{folder}: is a folder but {file} is a file; give two files or two folders")
    if a.is_dir():
        _check_folder(a, b, out)
    else:
        _check_file(a, b, out, overwrite=overwrite)


def fuse_file(
    pair: Pair, out: Path, fuse: Fuse, *, ranges: tuple[Range | None, Range | None] = (None, None)
) -> tuple[str, ...]:
    """Read a pair, fuse it and write the result, whole or not at all.

    Args:
        pair: Two pictures or two volumes.
        out: The file to write.
        fuse: Makes the result.
        ranges: The sources' values that 0.0 and 1.0 stand for, as `haarmony.io.read` takes them.

    Returns:
        What reading converted, each behind its file's name.

    Raises:
        ValueError: A file is no readable picture, or the two cannot be fused; the message names the files.
        OSError: A file cannot be read or written.
    """
    try:
        a, b = read(pair.a, value_range=ranges[0]), read(pair.b, value_range=ranges[1])
        check_kind(out, a)
        try:
            fused = fuse(a, b)
        except ValueError as error:
            raise ValueError(f"{pair.a} with {pair.b}: {error}") from error
    except MemoryError:
        raise ValueError(f"{pair.a} with {pair.b}: not enough memory for their size") from None
    write(out, fused)
    told = ((pair.a, a), (pair.b, b), (out, fused))
    return tuple(f"{path}: {note}" for path, source in told for note in source.notes)


def run(
    pairs: Iterable[Pair],
    out: Path,
    fuse: Fuse,
    *,
    overwrite: bool = False,
    ranges: tuple[Range | None, Range | None] = (None, None),
) -> Iterator[Outcome]:
    """Fuse pairs into OUT/STEM.png, one after the other.

    Args:
        pairs: The pairs, each with a stem of its own.
        out: Folder to write into, made if it is missing. What an interrupted run left of these outputs (names
            that end in .part) is removed first.
        fuse: Called with each pair's pictures.
        overwrite: Replace outputs that exist; else they are skipped.
        ranges: As for `fuse_file`.

    Yields:
        One outcome a pair, in the order given, once the pair is done.
    """
    jobs = [(pair, out / f"{pair.stem}.png") for pair in pairs]
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target for _, target in jobs)
    for pair, target in jobs:
        if target.is_file() and not overwrite:
            yield Outcome(pair, target, "skipped")
            continue
        start = time.perf_counter()
        try:
            outcome = Outcome(pair, target, "fused", notes=fuse_file(pair, target, fuse, ranges=ranges))
        # The sources or the disk are to blame. Anything else is a mistake in the program and ends the run.
        except (ValueError, OSError) as error:
            outcome = Outcome(pair, target, "failed", error=error)
        yield replace(outcome, seconds=time.perf_counter() - start)


def remove_leftovers(outs: Iterable[Path]) -> None:
    """Remove what an interrupted run left of these outputs: files of their names that end in .part."""
    for out in outs:
        with suppress(OSError):  # what cannot be removed fails its own pair, when that is written
            remove_leftover(out)


def _check_file(a: Path, b: Path, out: Path, *, overwrite: bool) -> None:
    check_target(out)
    # While it is written, OUT is called OUT.part.
    for path in (out, out.with_name(f"{out.name}.part")):
        if path.exists() and any(path.samefile(source) for source in (a, b)):
            raise ValueError(f"{path}: is a source; write somewhere else")
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; --overwrite replaces it")
    if out.exists() and not out.is_file():  # writing would replace the device, say, that the name stands for
        raise ValueError(f"{out}: is no regular file")


def _check_folder(a: Path, b: Path, out: Path) -> None:
    parents = [out.resolve(), *out.resolve().parents]
    for source in (a, b):
        if source.resolve() in parents:
            raise ValueError(f"{out}: is or lies in the source folder {source}; write somewhere else")
    there = next(folder for folder in parents if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{out}: {there} is a file; two folders need a folder to write into")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{out}: the folder {there} cannot be written to")
