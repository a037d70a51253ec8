"""Ctrl-C for long runs: the first asks for an end after what is begun, the second ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, current_thread, main_thread
from types import FrameType

from haarmony.cli.messages import say


@contextmanager
def finishing() -> Iterator[Event]:
    """What the first Ctrl-C in the block sets; the second, and what comes after the block, are as ever."""
    asked, before = Event(), signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or before in (signal.SIG_IGN, None):
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()
        with suppress(RuntimeError):  # it came in the middle of another line
            say("ending with what is begun; Ctrl-C again ends at once")

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
