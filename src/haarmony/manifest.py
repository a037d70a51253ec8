"""The manifest of a folder of results: which file was made of what, by which model, and what failed.

Two files stand in the folder and both stay. manifest.jsonl is the record: a `haarmony.journal`, to which
every output's line is added, digest included, *before* the output is put in its place. So whenever a run is
killed, what stands there is a file whose digest the record knows, or none of ours. manifest.csv says the same
for people, a row for each pair; it is written anew from the record when a run ends or is interrupted. Where
the record is lost, what the table knows still counts.

Either may be another version's, with other columns: what this one knows is read by its name, what it does not
know is kept, and what is missing counts as unknown (`Entry.changes`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import haarmony
from haarmony.io import check_regular, replacing
from haarmony.journal import MAX_BYTES, Journal, Line

RECORD, TABLE = "manifest.jsonl", "manifest.csv"
ALWAYS = {"stem", "a", "b", "out", "out_sha256", "result"}
"""Columns that the manifests of all versions have, in any order; what has others too is one."""
HEAD = 1 << 16
"""Characters that a table's first row may have."""
UNASKED = ("", "auto", "none", None)
"""What a setting is that nobody asked for."""


class Settings(BaseModel):
    """What a result depends on besides its sources."""

    model_config = ConfigDict(frozen=True)

    model: str
    card_sha256: str = ""
    """Of the model's card.toml, which names the sha256 of the model's other files."""
    engine: str = ""
    steps: int | None = None
    seed: int | None = None
    colour: str = ""
    plane: str = ""
    slices: str = ""
    range_a: str = ""
    """As asked for; "" for what the file says."""
    range_b: str = ""
    tile: int | None = None
    alignment: str = ""
    """How it was aligned, or the digest of the transform that was given."""


class Entry(Line):
    """One pair and what became of it; the columns of manifest.csv."""

    model_config = ConfigDict(extra="allow")  # another version's

    stem: str
    a: str
    b: str
    a_sha256: str = ""
    b_sha256: str = ""
    out: str
    out_sha256: str = ""
    values_a: str = ""
    """The values of the first source that were black and white."""
    values_b: str = ""
    model: str = ""
    card_sha256: str = ""
    version: str = haarmony.__version__
    engine: str = ""
    steps: int | None = None
    seed: int | None = None
    colour: str = ""
    plane: str = ""
    slices: str = ""
    range_a: str = ""
    range_b: str = ""
    tile: int | None = None
    alignment: str = ""
    transform_sha256: str = ""
    """Of the file beside `out` that holds the transform which was applied; "" where none was."""
    explanation_sha256: str = ""
    """Of the explain.json that was made with `out`; "" where none was."""
    seconds: float = 0.0
    result: Literal["fused", "skipped", "failed"]
    """"fused": the file was made of these sources, in this run or a former one; "skipped": another stands
    there, of which nothing is known; "failed": none was made, and where `out_sha256` is not empty a former
    run's still stands there."""
    error: str = ""

    def changes(self, settings: Settings, *, a_sha256: str, b_sha256: str) -> list[str]:
        """What is another today than when this was made, in words; nothing if it would be made again.

        A setting that the version which made it did not record is unknown: it counts as another where one is
        asked for today. One that this version does not know is passed over.
        """
        now = {"a_sha256": a_sha256, "b_sha256": b_sha256, **settings.model_dump()}
        named = {"a_sha256": self.a, "b_sha256": self.b, "card_sha256": "the model's card"}
        found = []
        for name, value in now.items():
            known, then = name in self.model_fields_set, getattr(self, name)
            if then == value if known else value in UNASKED:
                continue
            if name in named:
                found.append(f"{named[name]} {'has' if known else 'may have'} changed")
            else:
                found.append(f"{name}: {then if known else 'unknown'} → {value}")
        return found


class Manifest:
    """The manifest of a folder; open it with ``with``, one process at a time.

    Raises:
        ValueError: On opening: one of its files is a link or no regular file, was not written here, or is
            longer than `haarmony.journal.MAX_BYTES`.
        OSError: On opening: it cannot be written, or another run is at work on the folder. On closing:
            manifest.csv cannot be written; it is as it was, and the record is whole.
    """

    def __init__(self, folder: Path) -> None:
        self._table = folder / TABLE
        self._journal = Journal(folder / RECORD, Entry)

    def made(self, stem: str, out_sha256: str) -> Entry | None:
        """How the file of this digest was made, if a run made it."""
        return self._made.get((stem, out_sha256))

    def saved(self, out: str, transform_sha256: str | None) -> bool:
        """Whether a transform of this digest is one that a run saved beside the output of this name."""
        return (out, transform_sha256) in self._transforms

    def explained(self, stem: str, explanation_sha256: str) -> bool:
        """Whether an explain.json of this digest is one that a run made of this pair."""
        return (stem, explanation_sha256) in self._explanations

    def add(self, entry: Entry) -> None:
        """Record what is about to be put in place, or has failed, so that a power cut does not undo it.

        Raises:
            OSError: There is no room for it.
        """
        self._journal.append(entry, sync=True)
        self.show(entry)

    def show(self, entry: Entry) -> None:
        """Make this the pair's row, without a record."""
        self._rows[entry.stem] = entry
        if entry.result == "fused":
            self._made[entry.stem, entry.out_sha256] = entry
            if entry.transform_sha256:
                self._transforms.add((entry.out, entry.transform_sha256))
            if entry.explanation_sha256:
                self._explanations.add((entry.stem, entry.explanation_sha256))

    def __enter__(self) -> Manifest:
        for path in (self._journal.path, self._table):
            if path.is_symlink():
                raise ValueError(f"{path}: is a link; the manifest follows none, so remove it")
            check_regular(path, most=MAX_BYTES)
        if self._table.exists() and not ALWAYS <= _columns(self._table):
            raise ValueError(f"{self._table}: is no manifest of ours and would be replaced; move it away")
        self._journal.__enter__()
        self._made: dict[tuple[str, str], Entry] = {}
        self._transforms: set[tuple[str, str | None]] = set()
        self._explanations: set[tuple[str, str]] = set()
        self._rows: dict[str, Entry] = {}
        recorded = self._journal.read()
        known = {(entry.stem, entry.out_sha256) for entry in recorded}
        for entry in _rows(self._table):
            if entry.result == "fused" and (entry.stem, entry.out_sha256) not in known:
                self.show(entry)
        for entry in recorded:
            self.show(entry)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with suppress(*([OSError] if error else [])):  # what ends the run is what matters
                with replacing(self._table) as file:
                    file.write(_table([self._rows[stem] for stem in sorted(self._rows)]))
        finally:
            self._journal.__exit__(kind, error, traceback)


def _columns(path: Path) -> set[str]:
    """The names in a table's first row; none where it is no table."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            return set(next(csv.reader([file.readline(HEAD)]), []))
        except csv.Error:
            return set()


def _rows(path: Path) -> list[Entry]:
    """What a table knows; rows that are damaged are passed over."""
    if not path.exists():
        return []
    entries = []
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
        for row in csv.DictReader(file):
            fields = {name: _read(name, text) for name, text in row.items() if name and text is not None}
            with suppress(ValidationError):
                entries.append(Entry.model_validate(fields))
    return entries


def _read(name: str, text: str) -> str | None:
    """A cell: what is None where it is nothing is empty in the table."""
    field = Entry.model_fields.get(name)
    return None if not text and field is not None and field.default is None else text


def _table(entries: list[Entry]) -> bytes:
    others = {name: None for entry in entries for name in entry.model_extra or {}}
    text = io.StringIO()
    rows = csv.DictWriter(text, [*Entry.model_fields, *others])  # lines end as RFC 4180 says
    rows.writeheader()
    rows.writerows(entry.model_dump() for entry in entries)
    return text.getvalue().encode()


def printable(name: str | os.PathLike[str]) -> str:
    """A file's name or path as text that can be written: bytes in it that are no text are escaped."""
    return os.fspath(name).encode(errors="backslashreplace").decode()


def sha256(path: Path) -> str:
    """The whole SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def sha256_of(content: bytes) -> str:
    """The same of bytes that are no file yet."""
    return hashlib.sha256(content).hexdigest()


def shown(numbers: tuple[float, float] | tuple[int, int] | None, between: str) -> str:
    """Two numbers as a row has them; "" for none."""
    return "" if numbers is None else between.join(f"{number:.9g}" for number in numbers)
