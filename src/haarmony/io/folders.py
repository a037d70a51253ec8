"""Folders that appear whole or not at all: filled beside their place as FOLDER.part, then renamed into it.

FOLDER.part holds a file `MARK` from the first to the last, so that nobody else's folder of that name is
taken for what a dead process left, and is locked, so that a living process's is not. A folder that is to be
replaced is put aside as FOLDER.old.part; where a process was killed just then, it is put back.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = ".haarmony-unfinished"
"""A file in every unfinished folder, made first and removed last."""

Foreign = Callable[[Path], str | None]


def check_folder(folder: Path, *, what: str, foreign: Foreign, overwrite: bool = False) -> None:
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
            may not be replaced; or what it needs beside it, by one of the names in `beside`, is another's.
        ValueError: Its name is one that unfinished folders have.
    """
    if folder.name.endswith(".part"):
        raise ValueError(f"{folder}: names that end in .part are for unfinished folders; choose another")
    put_back(folder, foreign=foreign)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise NotADirectoryError(f"{folder}: is no folder; {what} needs a folder of its own")
    if not folder.parent.exists():
        raise FileNotFoundError(f"{folder}: there is no folder {folder.parent}; make it first")
    if not folder.parent.is_dir():
        raise NotADirectoryError(f"{folder}: {folder.parent} is not a folder")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: the folder {folder.parent} cannot be written to")
    part, old = beside(folder)
    _check_unfinished(part)
    if not _full(folder):
        return
    if not overwrite:
        raise FileExistsError(f"{folder}: exists already; --overwrite replaces it")
    with suppress(FileNotFoundError):  # of one that was killed just after it had renamed it
        (folder / MARK).unlink()
    other = foreign(folder)
    if other is not None:
        raise FileExistsError(f"{folder}: holds {other}, which is not Haarmony's; choose another folder")
    if os.path.lexists(old) and not _put_aside(old, foreign):
        raise _in_the_way(old)


def beside(folder: Path) -> tuple[Path, Path]:
    """What a folder is called while it is filled, and while it is put aside for another."""
    return folder.with_name(f"{folder.name}.part"), folder.with_name(f"{folder.name}.old.part")


@contextmanager
def whole_folder(folder: Path, *, what: str, foreign: Foreign, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill that takes the place of `folder` when the block ends without an error.

    Arguments and errors are `check_folder`'s, which is asked once more at the end; where the block fails,
    `folder` is as it was.
    """
    check_folder(folder, what=what, foreign=foreign, overwrite=overwrite)
    part, old = beside(folder)
    with _made(part):
        try:
            yield part
            check_folder(folder, what=what, foreign=foreign, overwrite=overwrite)
            if _full(folder):
                _discard(old)
                folder.rename(old)
                if foreign(old) is not None:  # it came in the meantime
                    raise _in_the_way(folder)
            _renamed(part, folder)
        except BaseException:
            if os.path.lexists(old) and not os.path.lexists(folder) and not _marked(old):
                old.rename(folder)
            with suppress(OSError):
                _discard(part)
            raise
        with suppress(FileNotFoundError):
            (folder / MARK).unlink()
    if _put_aside(old, foreign):
        _discard(old)


def put_back(folder: Path, *, foreign: Foreign) -> None:
    """Put a folder back that a killed process had just put aside for its own."""
    _, old = beside(folder)
    if not os.path.lexists(folder) and _put_aside(old, foreign) and not _marked(old) and _full(old):
        old.rename(folder)


def _full(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != MARK for path in folder.iterdir())


def _marked(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and os.path.lexists(folder / MARK)


def _unfinished(folder: Path) -> bool:
    """Whether a folder is what a process left unfinished; an empty one is, for nothing is lost with it."""
    return _marked(folder) or (folder.is_dir() and not folder.is_symlink() and not _full(folder))


def _put_aside(old: Path, foreign: Foreign) -> bool:
    """Whether a folder is a former one of ours, or what is left of it."""
    return _unfinished(old) or (old.is_dir() and not old.is_symlink() and foreign(old) is None)


def _check_unfinished(part: Path) -> None:
    if os.path.lexists(part) and not _unfinished(part):
        raise _in_the_way(part)


def _in_the_way(path: Path) -> FileExistsError:
    return FileExistsError(f"{path}: is in the way and not Haarmony's; move it away")


def _renamed(part: Path, folder: Path) -> None:
    try:
        with suppress(FileNotFoundError):  # an empty one; no other goes
            (folder / MARK).unlink()
        with suppress(FileNotFoundError):
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        if os.path.lexists(folder):
            raise FileExistsError(f"{folder}: exists already; --overwrite replaces it") from error
        raise


@contextmanager
def _made(part: Path) -> Iterator[None]:
    """Make the folder anew; while the block runs, others find it locked."""
    if os.path.lexists(part):
        _check_unfinished(part)
        with _locked(part):
            _discard(part)
    part.mkdir()
    with _locked(part):
        (part / MARK).touch(exist_ok=False)
        yield


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"{part}: another process is writing it; wait for it to end") from None
        yield
    finally:
        os.close(handle)


def _discard(folder: Path) -> None:
    """Remove a folder, its mark last, so that what a kill leaves of it is known again."""
    if not os.path.lexists(folder):
        return
    (folder / MARK).touch()
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink()
    folder.rmdir()
