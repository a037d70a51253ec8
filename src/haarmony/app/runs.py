"""Runs: one thread that fuses one pair after the other, and what is heard of it.

A run tells of itself in numbered events, which are kept, so that whoever listens can begin anywhere: of its
steps the last `STEPS`, everything else as long as the run itself. A stop is an exception at the next step.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import traceback
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any

import numpy as np

from haarmony.app import files, fusing
from haarmony.app.fusing import Hearing, Result, Settings
from haarmony.app.problems import NO_MEMORY, Refused, told
from haarmony.app.store import Source, Store

MOST = 8
STEPS = 48
"""Events of steps that are kept of a run, with their pictures."""
APART = 0.08
"""Seconds that lie between two steps that are told, the last apart."""
DEFAULT = "medical"


class Stopped(Exception):  # noqa: N818
    """A run that is to stop."""


class Run:
    """One run, from when it was asked for; `Runs` changes it, under its lock."""

    def __init__(self, folder: Path, a: Source, b: Source, settings: Settings) -> None:
        self.id, self.folder = folder.name, folder
        self.a, self.b, self.settings = a, b, settings
        self.state, self.error, self.seconds = "running", None, None
        self.result = Result()
        self._count, self._events = 0, deque[dict[str, Any]]()
        self._told = -APART

    state: str
    error: str | None
    seconds: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard."""
        return self.state != "running"

    def as_json(self) -> dict[str, Any]:
        """What the page is told of it."""
        made = self.result
        return {
            "id": self.id,
            "state": self.state,
            "a": self.a.id,
            "b": self.b.id,
            "settings": self.settings.model_dump(by_alias=True),
            "error": self.error,
            "seconds": self.seconds,
            "files": made.names,
            "notes": made.notes,
            "warnings": made.warnings,
            "metrics": made.metrics,
            "explain": made.explain,
            "transform": made.transform,
        }

    def tell(self, kind: str, **content: Any) -> None:
        """Add an event."""
        self._count += 1
        self._events.append({"n": self._count, "type": kind, **content})
        steps = [event for event in self._events if event["type"] == "step"]
        if len(steps) > STEPS:
            self._events.remove(steps[0])

    def after(self, n: int) -> list[dict[str, Any]]:
        """The events that are kept from number n + 1 on."""
        return [event for event in self._events if event["n"] > n]

    def due(self, done: int, of: int) -> bool:
        """Whether this step is told: hundreds a second nobody sees."""
        now = monotonic()
        if done < of and now - self._told < APART:
            return False
        self._told = now
        return True


class Runs:
    """All runs, and the thread that does them in their order."""

    def __init__(self, folder: Path, store: Store, *, most: int = MOST, warm: bool = True) -> None:
        self.folder, self._store, self._most, self._warm = folder / "runs", store, most, warm
        self.folder.mkdir()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._waiting: deque[Run] = deque()
        self._changed, self._closed = Condition(), False
        store.needed = self._needed
        self._thread = Thread(target=self._work, name="fusing", daemon=True)
        self._thread.start()

    def start(self, a: Source, b: Source, settings: Settings) -> Run:
        """Have a pair fused when those before it are.

        Raises:
            Refused: A model or a number of steps that there is not, or too many runs wait.
        """
        with self._changed:
            while len(self._runs) >= self._most:
                oldest = next((run for run in self._runs.values() if run.ended), None)
                if oldest is None:
                    raise Refused(f"{self._most} runs wait already; let one end, or stop it", 409)
                self._forget(oldest)
            folder = self.folder / secrets.token_hex(8)
            folder.mkdir()
            run = Run(folder, a, b, settings)
            self._runs[run.id] = run
            if any(not other.ended for other in self._runs.values() if other is not run):
                run.result.notes.append("waits for the run before it")
                run.tell("note", text="waits for the run before it")
            self._waiting.append(run)
            self._changed.notify_all()
        return run

    def get(self, key: str) -> Run:
        """The run of that id.

        Raises:
            Refused: There is none, or none any more.
        """
        with self._changed:
            if key not in self._runs:
                raise Refused("this run is not here any more", 404)
            return self._runs[key]

    def said(self, run: Run) -> dict[str, Any]:
        """What the page is told of a run."""
        with self._changed:
            return run.as_json()

    def heard(self, run: Run, after: int) -> tuple[list[dict[str, Any]], bool]:
        """The events after a number, and whether these are the last."""
        with self._changed:
            return run.after(after), run.ended or self._closed

    def stop(self, run: Run) -> None:
        """End a run that has not ended; what it is in the middle of ends at its next step."""
        with self._changed:
            if not run.ended:
                self._end(run, "stopped")
                run.tell("stopped")

    def file(self, key: str, name: str) -> Path:
        """The path of a file that a run has left.

        Raises:
            Refused: There is none of that name.
        """
        run = self.get(key)
        with self._changed:
            if run.state != "done" or name not in run.result.names:
                raise Refused("this run has no file of that name", 404)
            return run.folder / name

    def close(self, *, wait: float = 3.0) -> None:
        """Stop everything; a step that is being computed is waited for."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for run in self._runs.values():
                if not run.ended:
                    self._end(run, "stopped")
                    run.tell("stopped")
            self._changed.notify_all()
        self._thread.join(wait)

    @property
    def busy(self) -> bool:
        """Whether something is still being computed."""
        return self._thread.is_alive()

    def _needed(self) -> set[str]:
        with self._changed:
            going = [run for run in self._runs.values() if not run.ended]
            return {source.id for run in going for source in (run.a, run.b)}

    def _forget(self, run: Run) -> None:
        del self._runs[run.id]
        shutil.rmtree(run.folder, ignore_errors=True)

    def _end(self, run: Run, state: str) -> None:
        run.state = state
        if state != "done":
            run.result = Result()
            shutil.rmtree(run.folder, ignore_errors=True)

    def _work(self) -> None:
        if self._warm:
            with suppress(ValueError, OSError, ImportError):  # told where it is needed
                _warm_up()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                run = self._waiting.popleft()
                if run.ended:
                    continue
            self._do(run)

    def _do(self, run: Run) -> None:
        start = monotonic()

        def go_on() -> None:
            if run.ended:
                raise Stopped

        def step(done: int, of: int, seen: np.ndarray) -> None:
            go_on()
            if run.due(done, of):
                self._tell(run, "step", done=done, of=of, picture=files.step_picture(seen))

        hearing = Hearing(step, lambda line: self._tell(run, "note", text=line), go_on)
        try:
            made = fusing.perform(run.settings, run.a, run.b, self._store, run.folder, hearing)
        except Stopped:
            shutil.rmtree(run.folder, ignore_errors=True)  # what was being written when it was stopped
        except Exception as error:
            self._fail(run, _problem(error, self._store.folder.parent))
        else:
            with self._changed:
                if run.ended:
                    shutil.rmtree(run.folder, ignore_errors=True)
                    return
                run.result, run.seconds = made, monotonic() - start
                self._end(run, "done")
                run.tell("done", run=run.as_json())

    def _tell(self, run: Run, kind: str, **content: Any) -> None:
        with self._changed:
            if run.ended:
                raise Stopped
            run.tell(kind, **content)

    def _fail(self, run: Run, problem: str) -> None:
        with self._changed:
            if not run.ended:
                run.error = problem
                self._end(run, "failed")
                run.tell("failed", error=problem)


def _problem(error: Exception, folder: Path) -> str:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, ModuleNotFoundError) and error.name == "SimpleITK":
        return 'SimpleITK is not installed: pip install "haarmony[register]"'
    if isinstance(error, ValueError | OSError):
        return told(error, folder)
    if sys.stderr is not None:  # a mistake in the program: its place is for the terminal alone
        traceback.print_exception(error)
    return f"something went wrong inside haarmony ({type(error).__name__}); the terminal says where"


def _warm_up() -> None:
    """Load what the first picture would wait for."""
    dark = np.zeros((64, 64), np.uint8)
    fusing.fuser(DEFAULT)(dark, dark, steps=1)
