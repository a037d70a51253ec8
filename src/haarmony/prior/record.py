"""What is kept of a search: OUT/prior.json, every pair's result, and OUT/prior.journal while a run is on.

The record is a cache too. A candidate's metrics stand there under a hash of all they depend on, so that a
later run scores only what is new. Every finished pair is appended to the journal; a run that ends folds it
into the record, and what a killed run leaves there the next run takes up.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from haarmony.io import check_regular, replacing
from haarmony.journal import MAX_BYTES, Journal, Line

RECORD, JOURNAL = "prior.json", "prior.journal"
_log = logging.getLogger(__name__)


class Scored(Line):
    """One candidate of one pair."""

    key: str = Field(description="hash of all that the metrics depend on")
    metrics: dict[str, float]
    score: float
    eligible: bool


class Entry(Line):
    """One pair's result."""

    stem: str
    winner: str
    score: float
    function_held: bool
    candidates: dict[str, Scored]
    sources: str = Field(description="hash of both lumas")
    settings: str = Field(description="hash of the settings it was chosen under")
    picture: str = Field(description="hash of the file STEM.png")


class Record(Line):
    """The file prior.json: the last run's settings, and all pairs' results."""

    settings: dict[str, JsonValue]
    folders: dict[str, str]
    pairs: dict[str, Entry]

    def save(self, out: Path) -> None:
        """Write OUT/prior.json, whole or not at all, pairs by stem."""
        ordered = self.model_copy(update={"pairs": dict(sorted(self.pairs.items()))})
        with replacing(out / RECORD) as file:
            file.write(f"{ordered.model_dump_json(indent=1)}\n".encode())


def check(out: Path) -> None:
    """Refuse a prior.json that no search wrote; one that is damaged, or of another version, is ours.

    Raises:
        ValueError: The message names the file.
        OSError: It cannot be read.
    """
    path = out / RECORD
    check_regular(path, most=MAX_BYTES)
    if path.exists():
        with open(path, "rb") as file:
            head = file.read(64)
        if head.strip() and not re.match(rb'\{\s*"settings"\s*:', head):
            raise ValueError(f"{path}: is no record of ours and would be replaced; --overwrite does so")


def load_known(out: Path, journal: Journal[Entry]) -> dict[str, Entry]:
    """All that former runs found out, killed ones too, by stem; a damaged record counts for nothing."""
    known = {}
    if (out / RECORD).exists():
        try:
            known = dict(Record.model_validate_json((out / RECORD).read_bytes()).pairs)
        except ValidationError:
            _log.warning("%s is damaged or of another version: every pair is searched again", out / RECORD)
    return known | {entry.stem: entry for entry in journal.read()}
