"""An output and the transform it was made by, put in their places in step.

Both are written beside their places, then the transform of the former output goes, the output comes, and its
own transform comes: whenever that is cut off, no transform stands beside an output that it is not of.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from io import BufferedWriter
from pathlib import Path

from haarmony.io import replacing
from haarmony.jobs.pairing import SUFFIXES, stem_of, transform_of
from haarmony.transform import Transform


def is_former(transform: Path, out: Path) -> bool:
    """Whether a file is the transform of a former output of this name, where no manifest says so.

    It is one that was saved here, to the byte, and nothing else of that stem stands beside it.
    """
    endings = ("", *SUFFIXES)
    others = (out.with_name(f"{stem_of(out)}{ending}") for ending in endings)
    if transform.is_symlink() or any(other.name != out.name and os.path.lexists(other) for other in others):
        return False
    try:
        return Transform.load(transform).encoded() == transform.read_bytes()
    except (ValueError, OSError):
        return False


def left_beside(out: Path) -> list[str]:
    """A line where something stands in the place of the transform of an output that has none."""
    beside = transform_of(out)
    said = f"{beside}: stays, but {out.name} was made without a transform"
    return [said] if os.path.lexists(beside) else []


def place(
    out: Path,
    content: bytes,
    transform: bytes = b"",
    *,
    stale: bool = False,
    overwrite: bool = True,
) -> None:
    """Put an output and its transform in their places.

    Args:
        out: The output's place.
        content: Its bytes.
        transform: Its transform's; b"" where none was applied.
        stale: Whether the transform that stands there is a former output's, and goes.
        overwrite: Whether files may be replaced that have appeared by now.

    Raises:
        FileExistsError: One has appeared, and may not be replaced.
        OSError: There is no room, say; the message names the file, and `errno` is the system's.
    """
    beside = transform_of(out)
    try:
        with ExitStack() as both:  # which is left from the last to the first: the output, then its transform
            if transform:
                _write(both.enter_context(replacing(beside)), transform)
            _write(both.enter_context(replacing(out)), content)
            for path in (out, beside)[: 2 if transform else 1]:
                if not overwrite and os.path.lexists(path):
                    raise _Taken(path)
            if stale:
                beside.unlink(missing_ok=True)
    except _Taken as taken:
        raise FileExistsError(f"{taken}: exists already; --overwrite replaces it") from None
    except OSError as error:
        path = beside if str(error.filename or "").startswith(str(beside)) else out
        named = type(error)(f"{path}: cannot be written ({error.strerror or error})")
        named.errno = error.errno
        raise named from error


class _Taken(Exception):  # noqa: N818
    """A place that something stands in; no OSError, of which `replacing` would make its own."""


def _write(file: BufferedWriter, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
