"""Files that appear whole or not at all: written beside their place as PATH.part, then renamed into it.

PATH.part is made anew, so a link of that name leads nowhere, and its writer holds a lock on it: others
that write PATH wait, and what `remove_leftover` removes belongs to a process that is no more.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


def check_place(path: Path) -> None:
    """Refuse a place that no file can be written to, before any work is spent on it.

    Raises:
        OSError: `path` is a folder, or its own folder is missing, no folder, or cannot be written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a file in it")
    if not path.parent.exists():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path}: {path.parent} is not a folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: the folder {path.parent} cannot be written to")


def check_regular(path: Path, *, most: int) -> None:
    """Refuse what would never end, or fill the memory, if it were opened and read whole.

    Args:
        path: The file; where there is none, that is for whoever opens it to say.
        most: Bytes that it may have.

    Raises:
        ValueError: It is a pipe, a device or a folder, or longer.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise ValueError(f"{path}: is no regular file")
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{path}: is {size} bytes long, more than the {most} that are read")


def resolved(path: Path) -> Path:
    """The absolute path without links, also of links in a circle, which `Path.resolve` stumbles over."""
    return Path(os.path.realpath(path))


@contextmanager
def replacing(path: Path) -> Iterator[BufferedWriter]:
    """A file to write that takes the place of `path` when the block ends without an error.

    Raises:
        OSError: It cannot be written or renamed; `path` is as it was and PATH.part is gone.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with _created(part) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _release(file)
                os.replace(part, path)
            except BaseException:
                _release(file)
                with suppress(OSError):
                    part.unlink()
                raise
    except OSError as error:  # of a write, a full disk's say; to close the file writes once more
        error.filename = error.filename or str(path)
        raise


def remove_leftover(path: Path, *, wait: bool = False) -> None:
    """Remove the PATH.part that an interrupted process left, unless one that is alive is writing it.

    Args:
        path: The finished file's name.
        wait: Wait for that one to end.

    Raises:
        OSError: It cannot be removed.
    """
    part = path.with_name(f"{path.name}.part")
    with suppress(FileNotFoundError):
        if sys.platform == "win32" or not stat.S_ISREG(part.lstat().st_mode):
            part.unlink()
            return
        with open(part, "rb") as file:
            if lock(file, wait=wait) and _is_at(file, part):
                part.unlink()


def _created(part: Path) -> BufferedWriter:
    while True:
        try:
            file = open(part, "xb")
        except FileExistsError:
            remove_leftover(part.with_suffix(""), wait=True)
            continue
        # Until it is locked, another process may take it for a leftover and remove it.
        if lock(file, wait=True) and _is_at(file, part):
            return file
        file.close()


def lock(file: BinaryIO, *, wait: bool) -> bool:
    """Whether this process now holds the file's lock; closing the file releases it.

    Args:
        file: The open file. A file system without locks counts as locked.
        wait: Wait for another process to release it.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(file: BinaryIO) -> None:
    if sys.platform == "win32":  # which neither renames nor removes an open file
        file.close()
