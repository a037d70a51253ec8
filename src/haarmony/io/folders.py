"""Folders that appear whole or not at all: filled beside their place as FOLDER.part, then renamed into it.

FOLDER.part is locked, so that what a process that is no more left of it is removed. A folder that is to be
replaced is put aside as FOLDER.old.part; where a process was killed just then, it is put back.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def check_folder(
    folder: Path, *, what: str, foreign: Callable[[Path], str | None], overwrite: bool = False
) -> None:
    """Refuse a place that no whole folder can be put in, before any work is spent on it.

    A former one that a killed process had just put aside is first put back.

    Args:
        folder: The place.
        what: What comes there, in words: "a DICOM series".
        foreign: The name of something in a folder that is not of that kind, which is never replaced; None
            where all is.
        overwrite: Whether one of that kind may be replaced.

    Raises:
        OSError: It is a file, its own folder is missing or closed, or it is a folder that is not empty and
            may not be replaced.
    """
    put_back(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise NotADirectoryError(f"{folder}: is no folder; {what} needs a folder of its own")
    if not folder.parent.exists():
        raise FileNotFoundError(f"{folder}: there is no folder {folder.parent}; make it first")
    if not folder.parent.is_dir():
        raise NotADirectoryError(f"{folder}: {folder.parent} is not a folder")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: the folder {folder.parent} cannot be written to")
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{folder}: exists already; --overwrite replaces it")
        other = foreign(folder)
        if other is not None:
            raise FileExistsError(f"{folder}: holds {other}, which is not Haarmony's; choose another folder")


@contextmanager
def whole_folder(
    folder: Path, *, what: str, foreign: Callable[[Path], str | None], overwrite: bool = False
) -> Iterator[Path]:
    """A folder to fill that takes the place of `folder` when the block ends without an error.

    Arguments and errors are `check_folder`'s; where the block fails, `folder` is as it was.
    """
    check_folder(folder, what=what, foreign=foreign, overwrite=overwrite)
    part, old = folder.with_name(f"{folder.name}.part"), _old(folder)
    with _locked(part):
        try:
            yield part
            if folder.exists():
                _remove(old)
                folder.rename(old)
            part.rename(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            shutil.rmtree(part, ignore_errors=True)
            raise
    _remove(old)


def put_back(folder: Path) -> None:
    """Put a folder back that a killed process had just put aside for its own."""
    if _old(folder).is_dir() and not os.path.lexists(folder):
        _old(folder).rename(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old.part")


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Make the folder anew; while the block runs, others find it locked."""
    if sys.platform == "win32":
        _remove(part)
        part.mkdir()
        yield
        return
    import fcntl

    if part.is_dir() and not part.is_symlink():
        handle = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"{part}: another process is writing it; wait for it to end") from None
        finally:
            os.close(handle)
    _remove(part)
    part.mkdir()
    handle = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
