"""A journal of finished work: one JSON line an item, so that a run that is killed loses nothing.

Use::

    with Journal(out / "prior.journal", Entry) as journal:
        known = journal.read()
        journal.append(entry)

A line counts once its end is written. What a killed run was writing, or a full disk cut off, is no line; it
is dropped before the next is appended. While a journal is open its process holds a lock on the file, which
the system lets go of when that process dies.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from haarmony.io.files import check_regular, lock
from haarmony.text import visible

MAX_BYTES = 2**28
"""Of a journal that is read: some 300,000 results."""
MAX_LINE = 2**20
_log = logging.getLogger(__name__)


class Line(BaseModel):
    """What a journal holds."""

    # Undefined metrics are NaN, which JSON knows only as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


Kept = TypeVar("Kept", bound=Line)


class Journal(Generic[Kept]):
    """A file of finished items; to append, open it with ``with``.

    Args:
        path: The file; its folder exists.
        kind: The model of its lines.

    Raises:
        ValueError: On opening: the file is no journal of this kind, no regular file, or longer than
            `MAX_BYTES`.
        OSError: On opening: it cannot be written, or another process has it open.
    """

    _file: FileIO

    def __init__(self, path: Path, kind: type[Kept]) -> None:
        self.path = path
        self._kind = kind

    def read(self) -> list[Kept]:
        """All finished items in the order in which they were appended; none where there is no file.

        Lines that are damaged or that another version wrote are passed over, with a warning in the log.

        Raises:
            ValueError: It is no regular file, or longer than `MAX_BYTES`.
            OSError: It cannot be read.
        """
        check_regular(self.path, most=MAX_BYTES)
        items, damaged = [], 0
        try:
            with open(self.path, "rb") as file:
                while line := file.readline(MAX_LINE):
                    try:
                        if line.endswith(b"\n"):
                            items.append(self._kind.model_validate_json(line))
                        else:
                            damaged += len(line) == MAX_LINE
                    except ValidationError:
                        damaged += 1
        except FileNotFoundError:
            return []
        if damaged:
            name = visible(str(self.path))
            _log.warning("%s: %d lines are damaged or of another version", name, damaged)
        return items

    def check(self) -> None:
        """Refuse a file that is no journal of this kind, and would be changed.

        It is one if a line has the first two keys that the kind's must have, or the only one, cut off, begins
        as they do.

        Raises:
            ValueError: The message names the file.
            OSError: It cannot be read.
        """
        check_regular(self.path, most=MAX_BYTES)
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            fields = self._kind.model_fields
            keys = [name for name, field in fields.items() if field.is_required()][:2]
            begin, head = f'{{"{keys[0]}":'.encode(), file.readline(MAX_LINE)
            if head[: len(begin)] == begin[: len(head)] and not head.endswith(b"\n"):
                return
            line = head
            while line:
                with suppress(ValueError, RecursionError):
                    if isinstance(content := json.loads(line), dict) and content.keys() >= {*keys}:
                        return
                line = file.readline(MAX_LINE)
            raise ValueError(f"{self.path}: is no record of ours and would be changed; move it away")

    def append(self, item: Kept, *, sync: bool = False) -> None:
        """Write an item's line, so that it stays even if this process is killed right after.

        Args:
            item: The item.
            sync: Wait until it is on the disk, so that it stays even if the machine is switched off.

        Raises:
            OSError: There is no room for it, say; the lines before it are as they were, and the next may be
                appended.
        """
        line, end = f"{item.model_dump_json()}\n".encode(), os.fstat(self._file.fileno()).st_size
        try:
            while line:  # a disk that runs full takes a part of it
                line = line[self._file.write(line) :]
            if sync:
                os.fsync(self._file.fileno())
        except BaseException as error:
            self._file.truncate(end)
            if isinstance(error, OSError):
                error.filename = str(self.path)
            raise

    def remove(self) -> None:
        """Remove the file: what it held is kept elsewhere. Nothing can be appended after that."""
        if sys.platform == "win32":  # which does not remove an open file
            self._file.close()
        self.path.unlink()

    def __enter__(self) -> Journal[Kept]:
        self.check()
        while True:
            file = open(self.path, "a+b", buffering=0)
            try:
                if not lock(file, wait=False):
                    raise BlockingIOError(f"{self.path}: another run is at work on it; wait for it to end")
                # Between the two lines above, the run that had it may have ended and removed it.
                if os.fstat(file.fileno()).st_nlink:
                    self.check()
                    _cut(file)
                    self._file = file
                    return self
            except BaseException:
                file.close()
                raise
            file.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _cut(file: FileIO) -> None:
    """Cut off a last line that has no end."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - MAX_LINE)
        file.seek(begin)
        if (found := file.read(end - begin).rfind(b"\n")) >= 0:
            end = begin + found + 1
            break
        end = begin
    file.truncate(end)
