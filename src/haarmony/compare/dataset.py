"""The pairs that a comparison is made on: a split of two folders, each pair looked at once beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from haarmony import workers
from haarmony.digests import digest, digest_file
from haarmony.fuser import check_pair
from haarmony.io import read_picture
from haarmony.jobs import Pair
from haarmony.metrics import en
from haarmony.metrics.convention import to_grey


@dataclass(frozen=True)
class Surveyed:
    """A pair that can be fused."""

    pair: Pair
    sources: str
    """Hash of both files."""
    size: tuple[int, int]
    """Width and height."""
    detail: float
    """Entropy of the source that has less of it, in bits."""


def take(pairs: Sequence[Pair], split: str | None) -> tuple[list[Pair], str, list[str]]:
    """The pairs of a split, how to call it, and the stems that it names and the folders lack.

    Args:
        pairs: All pairs of two folders.
        split: None for all pairs, or "FILE:NAME/PART" of a JSON file {name: {part: [stem, …]}}: for example
            "splits.json:harvard/CT-MRI/val".

    Raises:
        ValueError: The file is no such JSON, has no such split, or the split names none of the pairs.
        OSError: The file cannot be read.
    """
    if split is None:
        return list(pairs), "all pairs", []
    place, _, wanted = split.rpartition(":")
    if not place or "/" not in wanted:
        raise ValueError(f"split {split!r} is not FILE:NAME/PART, such as splits.json:harvard/CT-MRI/val")
    try:
        splits = json.loads(Path(place).read_text(encoding="utf-8"))
        parts = {f"{name}/{part}": set(stems) for name, of in splits.items() for part, stems in of.items()}
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{place}: is no JSON of the form {{name: {{part: [stem, …]}}}}") from None
    if wanted not in parts:
        raise ValueError(f"{place}: has no split {wanted}; it has {', '.join(parts)}")
    taken = [pair for pair in pairs if pair.stem in parts[wanted]]
    if not taken:
        raise ValueError(f"{place}: no pair of the folders is in {wanted}")
    name, _, part = wanted.rpartition("/")
    missing = sorted(map(str, parts[wanted] - {pair.stem for pair in taken}))
    lacking = f", {len(missing)} of its {len(parts[wanted])} pairs missing" if missing else ""
    return taken, f"{part} of {name} ({Path(place).name}){lacking}", missing


def survey(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Callable[[], Surveyed]]]:
    """Look at every pair, on all cores where there are many: a call that returns what it is, or raises."""
    return workers.spread(_survey, pairs, per_worker=50)


def _survey(pair: Pair) -> Surveyed:
    if any("\ud800" <= c <= "\udfff" for c in pair.stem):
        raise ValueError(f"{pair.a}: has a name that is not UTF-8, which no journal can hold; rename it")
    a, b = read_picture(pair.a).pixels, read_picture(pair.b).pixels
    try:
        check_pair(a, b)
    except ValueError as error:
        raise ValueError(f"{pair.a} with {pair.b}: {error}") from error
    detail = min(float(en(to_grey(x))) for x in (a, b))
    sources = digest(digest_file(pair.a), digest_file(pair.b))
    return Surveyed(pair, sources, (a.shape[1], a.shape[0]), detail)


def telling(surveyed: Sequence[Surveyed]) -> Surveyed:
    """The pair to show: the one whose poorer source has the highest entropy, so that both show much."""
    return max(surveyed, key=lambda one: one.detail)
