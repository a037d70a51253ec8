"""Score fused pictures against their sources: three files, or three folders that go together by file stem.

    path, in order: find the triples → read and score each, on all cores → mean → JSON, CSV

A triple that cannot be scored stops no other, and nothing but its values is kept of it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from haarmony import workers
from haarmony.io import Picture, read_picture, replacing
from haarmony.jobs import by_stem
from haarmony.metrics import METRICS, resolve, score

PER_WORKER = 4  # triples that are worth starting another process for


@dataclass(frozen=True)
class Triple:
    """Two sources and the picture that was fused of them."""

    stem: str
    a: Path
    b: Path
    fused: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.a, self.b, self.fused


@dataclass(frozen=True)
class Triples:
    """What three folders have in common, and what they do not; all in order of the stem."""

    triples: tuple[Triple, ...]
    missing: Mapping[Path, tuple[str, ...]]
    """Folder → stems that another of the three has and it lacks."""


@dataclass(frozen=True)
class Scored:
    """What became of one triple."""

    triple: Triple
    values: Mapping[str, float]
    """Symbol → value; empty where it failed."""
    error: ValueError | OSError | None = None


@dataclass(frozen=True)
class Evaluation:
    """The values of many pictures in one convention."""

    convention: str
    metrics: Sequence[str]
    images: Mapping[str, Mapping[str, float]]
    """Stem → symbol → value; NaN where a picture leaves the metric undefined."""

    def mean(self) -> dict[str, float]:
        """Symbol → mean over the pictures that define it; a metric that none defines is left out.

        It is NaN where some values are ∞ and others −∞.
        """
        means = {}
        for symbol in self.metrics:
            values = [row[symbol] for row in self.images.values() if not math.isnan(row[symbol])]
            if values:
                means[symbol] = sum(values) / len(values)  # fsum refuses ∞ − ∞
        return means

    def to_json(self) -> str:
        """`{"convention": …, "mean": {symbol: value}, "images": {stem: {symbol: value}}}`; null: NaN, ∞."""
        mean = self.mean()
        images = {stem: {symbol: row[symbol] for symbol in mean} for stem, row in self.images.items()}
        content = {"convention": self.convention, "mean": _finite(mean)}
        rows = {stem: _finite(row) for stem, row in images.items()}
        return json.dumps({**content, "images": rows}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """One row a picture: its stem, then a column a metric; empty where it is undefined."""
        text, columns = io.StringIO(), list(self.mean())
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["stem", *columns])
        for stem, row in self.images.items():
            values = (row[symbol] for symbol in columns)
            table.writerow([stem, *("" if math.isnan(value) else repr(value) for value in values)])
        return text.getvalue()


def find(a: Path, b: Path, fused: Path) -> Triples:
    """Put together what belongs together: three files, or the pictures of three folders by their stem.

    Args:
        a: First source, a file or a folder.
        b: Second source, likewise.
        fused: What was fused of them, likewise.

    Raises:
        ValueError: Files stand against folders, two pictures of a folder share their stem, or the folders
            have no stem in common.
        OSError: A file or folder is missing, or cannot be listed.
    """
    places = (a, b, fused)
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place}: there is no such file or folder")
    folders = [place for place in places if place.is_dir()]
    if not folders:
        return Triples((Triple(fused.stem, *places),), {})
    if len(folders) < len(places):
        file = next(place for place in places if place not in folders)
        raise ValueError(f"{folders[0]}: is a folder but {file} is a file; give three files or three folders")
    found = {place: by_stem(place) for place in places}
    stems = sorted(set[str]().union(*found.values()))
    missing = {place: tuple(s for s in stems if s not in found[place]) for place in dict.fromkeys(places)}
    common = [stem for stem in stems if all(stem in pictures for pictures in found.values())]
    if not common:
        raise ValueError(f"{a}, {b} and {fused}: no stem in common among their pictures")
    triples = tuple(Triple(stem, *(found[place][stem] for place in places)) for stem in common)
    return Triples(triples, {place: stems for place, stems in missing.items() if stems})


def defined(convention: str, among: Iterable[str] = METRICS) -> list[str]:
    """The metrics, of all or of some, that a convention defines."""
    return [symbol for symbol in among if convention in METRICS[symbol].conventions]


def named(convention: str, names: Iterable[str]) -> list[str]:
    """The symbols of metrics named in any case.

    Raises:
        ValueError: An unknown name, or a metric that the convention does not define.
    """
    chosen = resolve(names)
    for symbol in chosen:
        if convention not in METRICS[symbol].conventions:
            raise ValueError(f"{symbol} is not defined in the convention {convention!r}")
    return chosen


def evaluate(
    triples: Sequence[Triple],
    *,
    convention: str,
    metrics: Sequence[str],
    lenient: bool = False,
    count: int | None = None,
) -> Iterator[Scored]:
    """Score triples on all cores.

    Args:
        triples: What to read and score.
        convention: See `haarmony.metrics.convention`.
        metrics: Symbols from `haarmony.metrics.METRICS` that the convention defines.
        lenient: See `score_files`.
        count: Worker processes; by default one a core, fewer for few triples.

    Yields:
        One result a triple, as they are done. A triple that fails has its error there, naming the file.
    """
    scoring = partial(score_files, convention=convention, metrics=tuple(metrics), lenient=lenient)
    for triple, outcome in workers.spread(scoring, triples, workers=count, per_worker=PER_WORKER):
        try:
            yield Scored(triple, outcome())
        # The files are to blame. Anything else is a mistake in the program and ends the run.
        except (ValueError, OSError) as error:
            yield Scored(triple, {}, error)


def score_files(
    triple: Triple, *, convention: str, metrics: Sequence[str], lenient: bool = False
) -> dict[str, float]:
    """Read and score one triple.

    Args:
        triple: Its files.
        convention: See `haarmony.metrics.convention`.
        metrics: Symbols that the convention defines.
        lenient: A metric that the pictures are too small for is undefined, instead of an error.

    Returns:
        Symbol → value, NaN where it is undefined.

    Raises:
        ValueError: A file is no readable picture, sizes differ or are too small; the message names the file.
        OSError: A file cannot be read.
    """
    a, b, fused = (read_picture(path) for path in (triple.a, triple.b, triple.fused))
    for path, source in ((triple.a, a), (triple.b, b)):
        if source.pixels.shape[:2] != fused.pixels.shape[:2]:
            raise ValueError(f"{triple.fused}: is {_size(fused)}, its source {path} is {_size(source)}")
    side = min(fused.pixels.shape[:2])
    fitting = [symbol for symbol in metrics if not lenient or METRICS[symbol].smallest <= side]
    for symbol in fitting:
        if side < (n := METRICS[symbol].smallest):
            raise ValueError(f"{triple.fused}: is {_size(fused)}, {symbol} needs at least {n}×{n}")
    try:
        values = score(fused.pixels, a.pixels, b.pixels, convention=convention, metrics=fitting)
    except ValueError as error:
        raise ValueError(f"{triple.fused}: {error}") from error
    return {symbol: float(values.get(symbol, math.nan)) for symbol in metrics}


def save(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. What is not UTF-8 in names is escaped as JSON reads it.

    Raises:
        OSError: It cannot be written; the message names it.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror})") from error


def _size(picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    return f"{width}×{height}"


def _finite(row: Mapping[str, float]) -> dict[str, float | None]:
    return {symbol: value if math.isfinite(value) else None for symbol, value in row.items()}
