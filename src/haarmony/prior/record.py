"""What is kept of a search: OUT/prior.json, every pair's result, and OUT/prior.journal while a run is on.

The record is a cache too. A candidate's metrics stand there under a hash of all they depend on, so that a
later run scores only what is new. Every finished pair is appended to the journal, one a line; a run that ends
folds it into the record, and what a killed run leaves there the next run takes up.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from haarmony.io import replacing

RECORD, JOURNAL = "prior.json", "prior.journal"
_log = logging.getLogger(__name__)


class _Frozen(BaseModel):
    # Undefined metrics are NaN, which JSON knows only as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Scored(_Frozen):
    """One candidate of one pair."""

    key: str = Field(description="hash of all that the metrics depend on")
    metrics: dict[str, float]
    score: float
    eligible: bool


class Entry(_Frozen):
    """One pair's result."""

    stem: str
    winner: str
    score: float
    function_held: bool
    candidates: dict[str, Scored]
    sources: str = Field(description="hash of both lumas")
    settings: str = Field(description="hash of the settings it was chosen under")
    picture: str = Field(description="hash of the file STEM.png")


class Record(_Frozen):
    """The file prior.json: the last run's settings, and all pairs' results."""

    settings: dict[str, JsonValue]
    folders: dict[str, str]
    pairs: dict[str, Entry]

    def save(self, out: Path) -> None:
        """Write OUT/prior.json, whole or not at all, pairs by stem; the journal has served its time."""
        ordered = self.model_copy(update={"pairs": dict(sorted(self.pairs.items()))})
        with replacing(out / RECORD) as file:
            file.write(f"{ordered.model_dump_json(indent=1)}\n".encode())
        (out / JOURNAL).unlink(missing_ok=True)


def load_known(out: Path) -> dict[str, Entry]:
    """All that former runs found out, killed ones too, by stem; a damaged record counts for nothing."""
    known = {}
    if (out / RECORD).exists():
        try:
            known = dict(Record.model_validate_json((out / RECORD).read_bytes()).pairs)
        except ValidationError:
            _log.warning("%s is damaged or of another version: every pair is searched again", out / RECORD)
    if (out / JOURNAL).exists():
        for line in (out / JOURNAL).read_bytes().splitlines():
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError:  # the line that a killed run was writing
                continue
            known[entry.stem] = entry
    return known


def digest(*parts: str | np.ndarray) -> str:
    """Hash of texts and arrays, their shapes and types included: 32 hexadecimal digits of SHA-256."""
    sha = hashlib.sha256()
    for part in parts:
        head, data = (part, b"") if isinstance(part, str) else (f"{part.dtype}{part.shape}", part.tobytes())
        sha.update(f"{len(head)}:{head}:".encode() + data)
    return sha.hexdigest()[:32]


def digest_file(path: Path) -> str:
    """Hash of a file's bytes, or "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32] if path.is_file() else ""
