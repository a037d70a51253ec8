"""Explanations beside the results: where they go, what may be replaced, and whether one is still true.

An explanation is put in its place in step with the result that it is of: its files are written first, beside
their place, then the result comes, then they do. So a result without its explanation is the most that an
interrupted run leaves, and the next run sees that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from haarmony.io import Picture, Volume, resolved
from haarmony.io.folders import beside
from haarmony.manifest import Manifest, printable, sha256, sha256_of

if TYPE_CHECKING:
    from haarmony.explain import Explanation


def check(a: Path, b: Path, out: Path, folder: Path, *, several: bool, overwrite: bool = False) -> None:
    """Refuse a folder for explanations that cannot work, before a model is loaded or anything written.

    Args:
        a: First source.
        b: Second source.
        out: The file or the folder to write.
        folder: Where the explanation goes; of several pairs, each into a folder of its own in it.
        several: Whether there are several pairs.
        overwrite: Whether a former explanation may be replaced.

    Raises:
        ValueError: It lies in a source folder, or is the output or, of one pair, in or around it.
        OSError: It is a file, cannot be written, or exists and may not be replaced.
    """
    from haarmony.explain import files

    place, result = resolved(folder), resolved(out)
    for source in (a, b):
        if source.is_dir() and resolved(source) in (place, *place.parents):
            raise ValueError(f"{folder}: is or lies in the source folder {source}; choose another folder")
    if place == result:
        raise ValueError(f"{folder}: is the output, too; choose another folder for the explanation")
    if not several:
        if place in result.parents or result in place.parents:
            raise ValueError(f"{folder}: cannot hold, nor lie in, the output {out}; choose another folder")
        for path in beside(folder):  # made and removed while it is written
            for kept in (a, b, out):
                if resolved(path) in (resolved(kept), *resolved(kept).parents):
                    raise ValueError(f"{path}: is or holds {kept}; choose another folder")
        files.check(folder, overwrite=overwrite)
        return
    there = next(path for path in (place, *place.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise NotADirectoryError(f"{folder}: {there} is a file; explanations need a folder to go into")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: the folder {there} cannot be written to")


def check_pair(folder: Path, stem: str, manifest: Manifest, *, overwrite: bool) -> bool:
    """Refuse a place that the explanation of a pair cannot be put in.

    Returns:
        Whether what stands there may be replaced: by `overwrite`, or since the manifest knows it.

    Raises:
        ValueError: The pair's name is one that unfinished folders have.
        OSError: As for `haarmony.explain.files.check`.
    """
    from haarmony.explain import files

    if folder.name.endswith(".part"):
        raise ValueError(f"{folder}: names that end in .part are for unfinished folders; rename the pair")
    files.put_back(folder)
    record = folder / files.RECORD
    may = overwrite or (record.is_file() and manifest.explained(printable(stem), sha256(record)))
    files.check(folder, overwrite=may)
    return may


def changes(folder: Path, explanation_sha256: str, seeds: int | None) -> list[str]:
    """Why a pair's explanation has to be made again, in words; nothing if it still is what it would be.

    Args:
        folder: Where it should be.
        explanation_sha256: The digest of the explain.json that was made with the result that stands.
        seeds: Over how many it should be.
    """
    from haarmony.explain import files

    files.put_back(folder)
    found = files.head(folder)
    if found is None:
        return [f"there is no explanation in {folder}"]
    if len(found.seeds) != seeds:
        return [f"seeds: {len(found.seeds)} → {seeds}"]
    if sha256(folder / files.RECORD) != explanation_sha256:
        return [f"{folder} explains another result"]
    return [f"{folder / name} is gone" for name in sorted(found.names) if not (folder / name).is_file()][:1]


def encoded(explanation: Explanation | None) -> dict[str, bytes]:
    """The bytes of an explanation's files; none of none."""
    from haarmony.explain import files

    return {} if explanation is None else files.encoded(explanation)


def digest(files: Mapping[str, bytes]) -> str:
    """What the manifest has of an explanation's files."""
    from haarmony.explain.files import RECORD

    return sha256_of(files[RECORD]) if files else ""


@contextmanager
def placing(folder: Path | None, files: Mapping[str, bytes], *, overwrite: bool) -> Iterator[None]:
    """`haarmony.explain.files.placing`, where there are files to place and a folder for them."""
    if folder is None or not files:
        yield
        return
    from haarmony.explain import files as explanations

    with explanations.placing(folder, files, overwrite=overwrite):
        yield


def fitted(explanation: Explanation | None, result: Picture | Volume) -> Explanation | None:
    """An explanation as its result is written: of a slice that became a picture, of that picture."""
    if explanation is not None and isinstance(result, Picture) and isinstance(explanation.fused, Volume):
        return explanation.as_picture()
    return explanation


def problems(b: Path, said: str, out: Path, explanation: Explanation | None) -> tuple[str, ...]:
    """What seems wrong with a pair and its result, behind the files' names, nothing twice.

    Args:
        b: The second source's file.
        said: What alignment says of it.
        out: The result's.
        explanation: Whose warnings are of the result.
    """
    if explanation is None:
        return (f"{b}: {said}",) if said else ()
    twice = explanation.alignment is not None and explanation.alignment.misaligned
    first = (f"{b}: {said}",) if said and not twice else ()
    return (*first, *(f"{out}: {warning}" for warning in explanation.warnings))
