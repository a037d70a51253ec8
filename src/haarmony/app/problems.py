"""What is answered where something cannot be done: one plain line that names no place on this disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from haarmony.text import plain

ALSO = "also-"
"""How the folders begin that files of one name get, for a file each."""
NO_MEMORY = "not enough memory for files or settings of this size"


class Refused(ValueError):  # noqa: N818
    """A call that cannot be answered, with its HTTP status."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


def told(text: object, folder: Path, path: Path | None = None, name: str = "") -> str:
    """A line of the library's about files of this process, with the names that their user knows.

    Args:
        text: The line, or an error.
        folder: The folder that no line may name.
        path: What was read, which the line may begin with.
        name: What its user calls that.
    """
    if isinstance(text, MemoryError):
        return f"{name}: {NO_MEMORY}" if name else NO_MEMORY
    if isinstance(text, OSError) and text.strerror and text.filename is not None:
        text = f"{text.filename}: {text.strerror[0].lower()}{text.strerror[1:]}"
    line = str(text)
    if path is not None:  # the files of a folder by their own names, the folder by its user's
        line = line.replace(f"{path}{os.sep}", "").replace(str(path), name)
    line = re.sub(re.escape(str(folder)) + r"(?:[^:]*[\\/])?", "", line)
    return plain(re.sub(rf"\b{ALSO}\d+[\\/]", "", line))
