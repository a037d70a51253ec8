"""Which files make a pair, and what cannot work, before anything is read or written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from haarmony.io import check_target, resolved, volume_ending
from haarmony.io.folders import beside

SUFFIXES = (".nii.gz", ".nii", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")
"""Endings, in lower case, of what counts as a picture or a volume in a folder."""


@dataclass(frozen=True)
class Pair:
    """Two files that show the same thing."""

    a: Path
    b: Path

    @property
    def stem(self) -> str:
        """What both files of a folder pair are called, and the output with them."""
        return stem_of(self.a)

    @property
    def name(self) -> str:
        """The output's name in a folder: a volume's if the first source's is one."""
        return f"{self.stem}{'.nii.gz' if volume_ending(self.a) else '.png'}"


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all in order of the stem."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stem, in its order; hidden files and other suffixes are passed over.

    Raises:
        ValueError: Two pictures share their stem.
        OSError: The folder cannot be listed.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(SUFFIXES) or path.name.startswith(".") or not path.is_file():
            continue
        if (stem := stem_of(path)) in found:
            raise ValueError(f"{folder}: {found[stem].name} and {path.name} share a stem; keep one")
        found[stem] = path
    return found


def stem_of(path: Path) -> str:
    """A file's name without its ending, which may be .nii.gz."""
    return path.name[: -len(volume_ending(path) or path.suffix) or None]


def transform_of(out: Path) -> Path:
    """Where the transform of an output is saved: STEM.transform.json beside it."""
    return out.with_name(f"{stem_of(out)}.transform.json")


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


def _check_file(a: Path, b: Path, out: Path, *, overwrite: bool) -> None:
    check_target(out)
    check_apart(a, b, out)
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; --overwrite replaces it")
    if out.exists() and not out.is_file():  # writing would replace the device, say, that the name stands for
        raise ValueError(f"{out}: is no regular file")


def check_apart(a: Path, b: Path, out: Path, *, folder: bool = False) -> None:
    """Refuse an output that is, holds or lies in a source, or whose writing would touch one.

    Args:
        a: First source.
        b: Second source.
        out: What is to be written; while it is, OUT.part and others beside it are made and removed.
        folder: Whether it is a folder.

    Raises:
        ValueError: The message names what is to be written and the source.
    """
    places = (out, transform_of(out)) + (beside(out) if folder else ())
    for place in (*places, *(path.with_name(f"{path.name}.part") for path in (out, transform_of(out)))):
        for source in (a, b):
            here, there = resolved(place), resolved(source)
            if here == there or _same(place, source):
                raise ValueError(f"{place}: is a source; write somewhere else")
            if here in there.parents:
                raise ValueError(f"{place}: holds a source; write somewhere else")
            if source.is_dir() and there in here.parents:
                raise ValueError(f"{out}: lies in the source folder {source}; write somewhere else")


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _check_folder(a: Path, b: Path, out: Path) -> None:
    parents = [resolved(out), *resolved(out).parents]
    for source in (a, b):
        if resolved(source) in parents:
            raise ValueError(f"{out}: is or lies in the source folder {source}; write somewhere else")
    there = next(folder for folder in parents if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{out}: {there} is a file; two folders need a folder to write into")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{out}: the folder {there} cannot be written to")
