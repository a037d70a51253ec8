"""The server's temporary folder, for its user alone, and what processes that died have left of theirs.

A folder holds a file `alive` that its process keeps locked: the lock goes with the process, however that
ends, so a folder whose lock is free belongs to nobody.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haarmony.io.files import lock

PREFIX = "haarmony-app-"
ALIVE = "alive"
NEW = 60.0
"""Seconds that a folder without the file may be left alone: its process may be about to make it."""


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder that is there for the time of the block."""
    remove_dead()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        # Locked before it has its name: whoever finds it free knows that its process is gone.
        early = folder / (ALIVE if sys.platform == "win32" else f"{ALIVE}.new")
        with open(early, "xb") as alive:
            lock(alive, wait=True)
            if early.name != ALIVE:
                early.rename(folder / ALIVE)
            yield folder
    finally:
        remove(folder)


def remove_dead() -> None:
    """Remove the folders of processes that are no more, of this user."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
            if stat.S_ISDIR(found.st_mode) and mine and _is_dead(folder, found.st_mtime):
                remove(folder)


def _is_dead(folder: Path, changed: float) -> bool:
    alive = folder / ALIVE
    if not alive.exists():
        return time.time() - changed > NEW
    if sys.platform == "win32":  # which does not remove what a process has open
        alive.unlink()
        return True
    with open(alive, "rb") as file:
        return lock(file, wait=False)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, where a thread may still be writing into it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
