"""What keeps a hostile file from doing more than being refused.

A file says how much memory to set aside, how far to unpack and what an error says; none is taken at its word.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haarmony.text import plain as plain

_STEP = 2**18
_QUIET = threading.RLock()


def unpacks_within(parts: Iterable[bytes], most: int) -> bool:
    """Whether zlib's stream, in parts, unpacks to at most so many bytes; errors are `unpacked_size`'s."""
    return unpacked_size(parts, most) <= most


def unpacked_size(parts: Iterable[bytes], most: int) -> int:
    """The bytes that zlib's stream, in parts, unpacks to, counted without keeping them, as far as `most`.

    Raises:
        zlib.error: It is damaged.
    """
    stream, size = zlib.decompressobj(), 0
    for part in parts:
        while part and not stream.eof:
            size += len(stream.decompress(part, _STEP))
            if size > most:
                return size
            part = stream.unconsumed_tail
    return size + len(stream.flush(1))


class BoundedFile(io.BufferedReader):
    """A file to read that sets aside no more memory than it has bytes left, whatever length is asked for."""

    def __init__(self, path: str | os.PathLike[str], mode: str = "rb") -> None:
        super().__init__(io.FileIO(Path(path), mode))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return super().read()
        return super().read(min(size, max(0, self._size - self.tell())))


@contextmanager
def quiet() -> Iterator[None]:
    """Without what a C library prints on stderr of a damaged file, which Python's errors tell too."""
    with _QUIET:
        try:
            if sys.stderr is not None:
                with suppress(OSError, ValueError):
                    sys.stderr.flush()
            stderr = os.dup(2)
        except OSError:  # closed: nobody listens
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
