"""Fuse a data set with every method and score all of it: the work behind `haarmony benchmark`.

    path, in order: survey the pairs → fuse, one method at a time → score, on all cores → Results

Everything finished is kept under OUT at once: pictures in OUT/fused/METHOD/STEM.png, times in
OUT/fused.jsonl, values in OUT/scores.jsonl, each under a hash of all that it depends on. A run that is
started again does what is missing or no longer holds, and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

import haarmony.io
import haarmony.metrics
from haarmony import workers
from haarmony.compare import methods as known
from haarmony.compare.dataset import Surveyed, survey, telling
from haarmony.compare.evaluate import PER_WORKER, Triple, score_files
from haarmony.compare.results import Dataset, Example, Method, Results
from haarmony.digests import digest, digest_code, digest_file
from haarmony.fuser import SMALLEST
from haarmony.io import Picture, from_unit, read_picture, to_unit, write
from haarmony.jobs import Fuse, Pair, by_stem
from haarmony.journal import Journal, Line

COLUMNS = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM", "PSNR", "SCC", "function", "CIEDE2000")
"""What is compared by default: the columns of published tables, and what they leave out."""


FUSED, SCORES = "fused.jsonl", "scores.jsonl"


class Fused(Line):
    """One pair, fused by one method."""

    method: str
    stem: str
    key: str
    """Hash of the sources and the method."""
    picture: str
    """Hash of the file."""
    seconds: float
    memory: float | None
    """Peak of the process so far, in megabytes."""


class Scores(Line):
    """One fused picture's values."""

    method: str
    stem: str
    key: str
    """Hash of the three files, the convention and the code that reads and scores them."""
    values: dict[str, float]


@dataclass(frozen=True)
class _FuseJob:
    method: Method
    pair: Pair
    out: Path
    key: str


@dataclass(frozen=True)
class _ScoreJob:
    method: str
    triple: Triple
    key: str
    convention: str
    lacking: Sequence[str]
    lenient: bool
    values: Mapping[str, float]
    """What is known of it."""


class Comparison:
    """A data set and the methods to compare on it; `survey`, `fuse`, `score` in this order, then `results`.

    The three do the work as they are iterated over, and yield once for everything done, so that a bar can be
    drawn. What goes wrong with one pair stops no other and has its line in `failures`.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        out: Path,
        *,
        methods: Sequence[Method],
        convention: str,
        metrics: Sequence[str],
        lenient: bool = False,
        show: Sequence[str] = (),
    ) -> None:
        """Prepare a comparison: folders of results are listed, nothing else is read or written yet.

        Args:
            pairs: What to fuse.
            out: Folder to keep everything in; it exists when the work begins.
            methods: See `haarmony.compare.methods.find`; and folders of results, of kind "results".
            convention: See `haarmony.metrics.convention`.
            metrics: Symbols from `haarmony.metrics.METRICS` that the convention defines.
            lenient: See `haarmony.compare.evaluate.score_files`.
            show: Stems of the pairs to show as pictures; by default one where both sources show much.

        Raises:
            ValueError: Two methods of one name, a folder of results that holds none of the pairs or two
                pictures of one stem, or `show` names a pair that there is not.
            OSError: A folder of results cannot be listed.
        """
        names, titles = [method.name for method in methods], [method.title for method in methods]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two methods are called {name!r}; give one another name")
        self.pairs, self.out = list(pairs), out
        self.methods = [  # figures tell them apart by their titles
            replace(m, title=f"{m.title} ({m.name})") if titles.count(m.title) > 1 else m for m in methods
        ]
        self.convention, self.metrics, self.show = convention, list(metrics), list(show)
        self.lenient = lenient
        stems = {pair.stem for pair in pairs}
        if unknown := [stem for stem in show if stem not in stems]:
            raise ValueError(f"there is no pair {unknown[0]!r} to show")
        self._given = {m.name: by_stem(Path(str(m.folder))) for m in methods if m.kind == "results"}
        for method in methods:
            if method.kind == "results" and not stems & self._given[method.name].keys():
                raise ValueError(f"{method.name}: {method.folder} holds none of the {len(stems)} pairs")
        self.surveyed: list[Surveyed] = []
        self.failures: list[str] = []
        self._fused: dict[tuple[str, str], Fused] = {}
        self._scores: dict[tuple[str, str], Scores] = {}

    def check(self) -> None:
        """Refuse a folder whose records are another's.

        Raises:
            ValueError: The message names the file.
        """
        Journal(self.out / FUSED, Fused).check()
        Journal(self.out / SCORES, Scores).check()

    def survey(self) -> Iterator[None]:
        """Look at every pair: those that cannot be fused take no further part."""
        for pair, outcome in survey(self.pairs):
            try:
                self.surveyed.append(outcome())
            except (ValueError, OSError) as error:
                self._failed(pair.stem, error)
            yield
        self.surveyed.sort(key=lambda one: one.pair.stem)

    def fuse(self) -> Iterator[None]:
        """Fuse what no former run has fused, one method after the other, alone in a process of its own."""
        with Journal(self.out / FUSED, Fused) as journal:
            before = {(entry.method, entry.stem): entry for entry in journal.read()}
            for method in self.methods:
                if method.kind == "results":
                    continue
                (self.out / "fused" / method.name).mkdir(parents=True, exist_ok=True)
                mark, todo = known.fingerprint(method), []
                for one in self.surveyed:
                    place, key = (method.name, one.pair.stem), digest(one.sources, mark)
                    picture, entry = self._picture(method, one.pair.stem), before.get(place)
                    if entry and entry.key == key and entry.picture == _hash(picture):
                        self._fused[place] = entry
                        yield
                    else:
                        todo.append(_FuseJob(method, one.pair, picture, key))
                for job, outcome in workers.spread(_fuse, todo, workers=1, apart=True):
                    try:
                        journal.append(entry := outcome())
                        self._fused[method.name, entry.stem] = entry
                    except (ValueError, OSError) as error:
                        self._failed(f"{method.name}, {job.pair.stem}", error)
                    yield

    def score(self) -> Iterator[None]:
        """Score what no former run has scored, on all cores."""
        code = digest_code(haarmony, haarmony.io, haarmony.metrics)
        # While this one scores, no other may fuse into the same folder.
        with Journal(self.out / FUSED, Fused), Journal(self.out / SCORES, Scores) as journal:
            before = {(entry.method, entry.stem, entry.key): entry for entry in journal.read()}
            todo = []
            for method, one in self._there():
                place, picture = (method.name, one.pair.stem), self._picture(method, one.pair.stem)
                key = digest(one.sources, _hash(picture), self.convention, code)
                entry = before.get((*place, key))
                values = entry.values if entry else {}
                if lacking := [symbol for symbol in self.metrics if symbol not in values]:
                    triple = Triple(one.pair.stem, one.pair.a, one.pair.b, picture)
                    todo.append(
                        _ScoreJob(method.name, triple, key, self.convention, lacking, self.lenient, values)
                    )
                elif entry:
                    self._scores[place] = entry
                    yield
            for job, outcome in workers.spread(_score, todo, per_worker=PER_WORKER):
                try:
                    journal.append(entry := outcome())
                    self._scores[job.method, entry.stem] = entry
                except (ValueError, OSError) as error:
                    self._failed(f"{job.method}, {job.triple.stem}", error)
                yield

    def results(self, *, a: str, b: str, split: str, provenance: Mapping[str, str]) -> Results:
        """What tables and the report are made from.

        Args:
            a: What to call the folder of first sources.
            b: What to call that of the second.
            split: What to call the pairs.
            provenance: See `Results`.

        Raises:
            ValueError: Nothing could be scored.
        """
        from pandas import DataFrame, MultiIndex

        if not self._scores:
            raise ValueError("nothing could be scored" + "".join(f"; {line}" for line in self.failures[:1]))
        order = {method.name: i for i, method in enumerate(self.methods)}
        places = sorted(self._scores, key=lambda place: (order[place[0]], place[1]))
        rows = [[self._scores[place].values[symbol] for symbol in self.metrics] for place in places]
        index = MultiIndex.from_tuples(places, names=["method", "stem"])
        images = DataFrame(rows, index=index, columns=self.metrics, dtype=float).dropna(axis=1, how="all")
        if images.empty:
            raise ValueError(f"none of the pictures defines {', '.join(self.metrics)}")
        by_area = sorted({one.size for one in self.surveyed}, key=lambda size: size[0] * size[1])
        sizes = [f"{width}×{height}" for width, height in (by_area[0], by_area[-1])]
        size = " to ".join(dict.fromkeys(sizes))
        pairs = {one.pair.stem: one for one in self.surveyed}
        shown = [pairs[stem] for stem in self.show if stem in pairs] or [telling(self.surveyed)]
        scored = {name for name, _ in places}
        return Results(
            convention=self.convention,
            metrics=tuple(images.columns),
            methods=tuple(self._with_cost(method) for method in self.methods if method.name in scored),
            images=images,
            dataset=Dataset(a, b, split, len(self.surveyed), size),
            provenance=provenance,
            examples=tuple(self._example(one) for one in shown),
            failures=tuple(self.failures),
        )

    def _there(self) -> Iterator[tuple[Method, Surveyed]]:
        """Every fused picture; a result that another method's folder lacks is a failure."""
        for method in self.methods:
            for one in self.surveyed:
                stem = one.pair.stem
                if method.kind != "results":
                    if (method.name, stem) in self._fused:
                        yield method, one
                elif stem in self._given[method.name]:
                    yield method, one
                else:
                    self.failures.append(f"{method.name}, {stem}: missing in {method.folder}")

    def _picture(self, method: Method, stem: str) -> Path:
        if method.kind == "results":
            return self._given[method.name][stem]
        return self.out / "fused" / method.name / f"{stem}.png"

    def _with_cost(self, method: Method) -> Method:
        entries = [entry for (name, _), entry in self._fused.items() if name == method.name]
        if not entries:
            return method
        peaks = [entry.memory for entry in entries if entry.memory is not None]
        return replace(
            method,
            seconds=median(entry.seconds for entry in entries),
            memory=max(peaks) if peaks else None,
        )

    def _example(self, one: Surveyed) -> Example:
        named = [path.parent.name for path in (one.pair.a, one.pair.b)]
        told_apart = len({*named, *(method.title for method in self.methods)}) == 2 + len(self.methods)
        captions = named if told_apart else ["first source", "second source"]
        files = dict(zip(captions, (one.pair.a, one.pair.b), strict=True))
        for method in self.methods:
            if (method.name, one.pair.stem) in self._scores:
                files[method.title] = self._picture(method, one.pair.stem)
        pictures = {
            title: from_unit(to_unit(read_picture(path).pixels), np.uint8) for title, path in files.items()
        }
        return Example(one.pair.stem, pictures)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures.append(f"{what}: {' '.join(str(error).split())}")


def _hash(picture: Path) -> str:
    """The file's hash; "" also where it cannot be read, which whoever scores it will say."""
    try:
        return digest_file(picture)
    except OSError:
        return ""


@cache
def _ready(method: Method) -> Fuse:
    """The method, and what it loads on its first call loaded."""
    fuser = known.fuser(method)
    grey = Picture(np.zeros((SMALLEST, SMALLEST), np.uint8), (0, 255))
    fuser(grey, grey)
    return fuser


def _fuse(job: _FuseJob) -> Fused:
    fuser, pair = _ready(job.method), job.pair
    a, b = read_picture(pair.a), read_picture(pair.b)
    start = time.perf_counter()
    try:
        fused = fuser(a, b)
    except ValueError as error:
        raise ValueError(f"{pair.a} with {pair.b}: {error}") from error
    seconds = time.perf_counter() - start
    write(job.out, fused)
    return Fused(
        method=job.method.name,
        stem=pair.stem,
        key=job.key,
        picture=digest_file(job.out),
        seconds=seconds,
        memory=_peak(),
    )


def _peak() -> float | None:
    """The most memory that this process has had, in megabytes; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux begins with the parent's peak
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 2**10
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _score(job: _ScoreJob) -> Scores:
    new = score_files(job.triple, convention=job.convention, metrics=job.lacking, lenient=job.lenient)
    return Scores(method=job.method, stem=job.triple.stem, key=job.key, values={**job.values, **new})
