"""Targeted search (Diff-IF, Yi et al. 2024): of many fused pictures of a pair, the one that scores best.

    x_0 = argmax over candidates f of  Σ_m weight_m · metric_m(f, a, b),   by default 2·SSIM + VIF + 3·Qabf

Candidates are the classical fusers and other methods' results, each as the 8-bit luma it would be written as,
with air (zero in both sources) held at zero. Metrics can be won by hiding the second source; where that one
shows function (it is coloured, like PET and SPECT), a candidate is eligible only if

    function(f, b) ≥ function(max(a, b), b) − function_margin.

With `SearchConfig.ascent` the winner is raised along the gradients of the metrics (`haarmony.prior.ascent`),
and what comes of it is one more candidate.

The targets are OUT/STEM.png; OUT/prior.json says how each was chosen and spares later runs the work.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

import haarmony.classical
import haarmony.metrics
import haarmony.prior
from haarmony import jobs
from haarmony.classical import CLASSICAL, keep_air
from haarmony.colour import is_coloured, to_luma
from haarmony.digests import digest, digest_code, digest_file
from haarmony.io import Picture, encode, from_unit, read_picture, to_unit, write_bytes
from haarmony.journal import Journal
from haarmony.metrics import score
from haarmony.prior.config import SearchConfig
from haarmony.prior.record import JOURNAL, Entry, Record, Scored, check, load_known
from haarmony.workers import count, spread

REFERENCE = "maximum"  # the fuser whose function is the standard
ASCENT = "ascent"  # the name of what gradient ascent makes of the winner


@dataclass(frozen=True)
class Progress:
    """One pair is done."""

    stem: str
    done: int
    total: int
    entry: Entry | None
    """The result, or None if the pair failed."""
    error: ValueError | OSError | None
    """Why it failed."""
    scored: int
    """How many candidates had to be scored; 0 if all was known."""


@dataclass(frozen=True)
class _Job:
    pair: jobs.Pair
    results: dict[str, Path]
    """Other methods' results for this pair, by the method's name."""
    config: SearchConfig
    settings: str
    out: Path
    overwrite: bool
    known: Entry | None = None


def build(
    pairs: Iterable[jobs.Pair],
    out: Path,
    *,
    config: SearchConfig | None = None,
    folders: Mapping[str, Path] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> Iterator[Progress]:
    """Find every pair's target and write it to OUT/STEM.png; OUT/prior.json says how each was chosen.

    Nothing that a former run found out is computed again unless its inputs or settings changed. Results
    depend on neither the number of workers nor the order of pairs. Worker processes are spawned: a script
    that calls this guards its entry with ``if __name__ == "__main__"``.

    Args:
        pairs: Files of the pairs, with stems of their own.
        out: Folder to write into, made if it is missing.
        config: What to search among and for; the default is Diff-IF's score over all classical fusers.
        folders: Further candidates: a method's name → the folder of its results, which share the pairs'
            stems. A pair that a folder lacks goes without that candidate.
        workers: Processes, by default one a core; with 1 the work is done in this process.
        overwrite: Replace pictures in the targets' places and a prior.json that no search made.

    Returns:
        An iterator that does the work and gives one `Progress` a pair, as they are done. A pair that fails
        (a file that is no picture, unequal sizes, a worker killed) has its `error` there and stops no other.

    Raises:
        ValueError: No pairs, two pairs of one stem, a method named like a classical fuser, a folder with no
            result for any pair, no candidate at all, less than one worker.
        OSError: A folder cannot be listed; while iterating, `out` cannot be written to, or another search is
            writing to it.

    While iterating, a prior.json or prior.journal that no search made is a ValueError, too.
    """
    config, pairs, folders = config or SearchConfig(), list(pairs), dict(folders or {})
    workers = count(workers)
    stems = {pair.stem for pair in pairs}
    if len(stems) != len(pairs) or not pairs:
        raise ValueError("two pairs share a stem" if pairs else "no pairs to find targets for")
    if not config.candidates and not folders:
        raise ValueError("no candidates: name a classical fuser or a folder of results")
    results = {name: _results(name, folder, stems) for name, folder in folders.items()}
    settings = digest(config.model_dump_json(), *folders)
    todo = []
    for pair in pairs:
        found = {name: by_stem[pair.stem] for name, by_stem in results.items() if pair.stem in by_stem}
        todo.append(_Job(pair, found, config, settings, out, overwrite))
    named = {name: str(folder) for name, folder in folders.items()}
    return _run(todo, Record(settings=config.model_dump(mode="json"), folders=named, pairs={}), workers)


def load(out: Path, stem: str) -> Float[np.ndarray, "h w"]:
    """The target x_0 that `build` found for a pair: luma, (H, W) float32 in [0, 1].

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: The file is damaged.
    """
    return to_unit(read_picture(out / f"{stem}.png").pixels)


def read_luma(path: Path) -> tuple[UInt8[np.ndarray, "h w"], bool]:
    """A file's luma in 8 bit, as the published tables read it, and whether the picture is coloured.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no picture.
    """
    unit = to_unit(read_picture(path).pixels)
    return from_unit(to_luma(unit), np.uint8), is_coloured(unit)


def choose(
    metrics: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], *, floor: float | None = None
) -> str:
    """The search itself: the largest Σ weight · metric among the candidates of enough function.

    Args:
        metrics: Candidate → its metrics by symbol.
        weights: Symbol → weight.
        floor: The least "function" that a candidate may have; None asks for none. Where no candidate has as
            much, the one with the most is kept.

    Returns:
        The name of the best candidate; of equals, the first.
    """
    eligible = [name for name in metrics if _is_eligible(metrics[name], floor)]
    if not eligible:
        return max(metrics, key=lambda name: metrics[name]["function"])
    return max(eligible, key=lambda name: _total(metrics[name], weights))


def _run(todo: list[_Job], record: Record, workers: int) -> Iterator[Progress]:
    out, stems = todo[0].out, {job.pair.stem for job in todo}
    out.mkdir(parents=True, exist_ok=True)
    if not todo[0].overwrite:
        check(out)
    with Journal(out / JOURNAL, Entry) as journal:
        for stem in stems:
            (out / f"{stem}.png.part").unlink(missing_ok=True)
        known = load_known(out, journal)
        todo = [replace(job, known=known.get(job.pair.stem)) for job in todo]
        # Pairs that this run does not ask about stay in the record if they were chosen the same way.
        same = todo[0].settings
        entries = {stem: entry for stem, entry in known.items() if stem in stems or entry.settings == same}
        try:
            with closing(spread(_search, todo, workers=workers)) as outcomes:
                for done, (job, outcome) in enumerate(outcomes, 1):
                    stem = job.pair.stem
                    try:
                        entry, scored = outcome()
                    # The files are to blame, or a worker died. Anything else is a mistake in the program.
                    except (ValueError, OSError) as error:
                        entries.pop(stem, None)
                        yield Progress(stem, done, len(todo), entry=None, error=error, scored=0)
                        continue
                    entries[stem] = entry
                    journal.append(entry)
                    yield Progress(stem, done, len(todo), entry=entry, error=None, scored=scored)
        finally:
            record.model_copy(update={"pairs": entries}).save(out)
            journal.remove()


def _search(job: _Job) -> tuple[Entry, int]:
    """Find one pair's target and write it; returns its entry and how many candidates had to be scored."""
    return _Search(job).run()


class _Search:
    """One pair's candidates: pictures are made when they are needed, metrics when they are not known."""

    def __init__(self, job: _Job) -> None:
        self.job, self.config, pair = job, job.config, job.pair
        (self.a, _), (self.b, coloured) = read_luma(pair.a), read_luma(pair.b)
        if self.a.shape != self.b.shape:
            raise ValueError(f"{pair.a} with {pair.b}: sizes differ, {_size(self.a)} and {_size(self.b)}")
        self.held = coloured if self.config.hold_function is None else self.config.hold_function
        self.sources, self.scored = digest(self.a, self.b), 0
        self.pictures = {name: _read_result(path, self.a, self.b) for name, path in job.results.items()}
        self.keys: dict[str, str] = {}
        self.metrics: dict[str, dict[str, float]] = {}

    def run(self) -> tuple[Entry, int]:
        job, config, known = self.job, self.config, self.job.known
        names = [*config.candidates, *job.results]
        for name in dict.fromkeys([*names, REFERENCE] if self.held else names):
            self.measure(name, self.pictures[name] if name in job.results else name)
        floor = self.metrics[REFERENCE]["function"] - config.function_margin if self.held else None
        winner = choose({name: self.metrics[name] for name in names}, config.weights, floor=floor)
        if config.ascent is not None:
            self.begin = winner
            code = digest_code(haarmony.prior)
            self.measure(ASCENT, digest(self.keys[winner], config.ascent.model_dump_json(), code))
            names.append(ASCENT)
            winner = choose({name: self.metrics[name] for name in names}, config.weights, floor=floor)
        target = job.out / f"{job.pair.stem}.png"
        before = known.candidates.get(winner) if known and known.winner == winner else None
        there = digest_file(target) if target.is_file() else ""
        same = before and before.key == self.keys[winner] and known and known.picture == there
        if not same:
            content = encode(target, Picture(self.picture(winner), (0, 255)))
            ours = (known and known.picture == there) or hashlib.sha256(content).hexdigest()[:32] == there
            if os.path.lexists(target) and not (ours or job.overwrite):
                raise FileExistsError(f"{target}: is no target that a search made; --overwrite replaces it")
            write_bytes(target, content)
        candidates = {
            name: Scored(
                key=key,
                metrics=self.metrics[name],
                score=_total(self.metrics[name], config.weights),
                eligible=name in names and _is_eligible(self.metrics[name], floor),
            )
            for name, key in self.keys.items()
        }
        entry = Entry(
            stem=job.pair.stem,
            winner=winner,
            score=candidates[winner].score,
            function_held=self.held,
            candidates=candidates,
            sources=self.sources,
            settings=job.settings,
            picture=digest_file(target),
        )
        return entry, self.scored

    def measure(self, name: str, content: str | np.ndarray) -> None:
        """Fill in a candidate's metrics: what a former run found for the same content, else anew."""
        job, config = self.job, self.config
        code = digest_code(haarmony.classical, haarmony.metrics)  # a mended fuser or metric is searched again
        key = self.keys[name] = digest(self.sources, content, config.convention, code)
        before = job.known.candidates.get(name) if job.known else None
        found = self.metrics[name] = dict(before.metrics) if before and before.key == key else {}
        symbols = dict.fromkeys((*config.weights, "function") if self.held else config.weights)
        if missing := [symbol for symbol in symbols if symbol not in found]:
            f = self.picture(name)
            try:
                values = score(f, self.a, self.b, convention=config.convention, metrics=missing)
            except ValueError as error:
                raise ValueError(f"{job.pair.a} with {job.pair.b}: {error}") from error
            found |= {symbol: float(value) for symbol, value in values.items()}
            self.scored += 1

    def picture(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """A candidate's luma."""
        if name not in self.pictures:
            if name == ASCENT:
                self.pictures[name] = self.ascend(self.picture(self.begin))
            else:
                f = CLASSICAL[name].function(self.a / 255, self.b / 255)
                self.pictures[name] = from_unit(f, np.uint8)
        return self.pictures[name]

    def ascend(self, f: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        import torch  # only where there is something to climb

        from haarmony.prior.ascent import ascend

        assert self.config.ascent is not None
        device = "cuda" if torch.cuda.is_available() else "cpu"
        f_, a, b = (torch.from_numpy(x / 255)[None, None].float().to(device) for x in (f, self.a, self.b))
        raised = ascend(f_, a, b, self.config.ascent, convention=self.config.convention, held=self.held)
        return from_unit(raised[0, 0].cpu().numpy(), np.uint8)


def _total(metrics: Mapping[str, float], weights: Mapping[str, float]) -> float:
    total = sum(weight * metrics[symbol] for symbol, weight in weights.items())
    return total if math.isfinite(total) else -math.inf  # an undefined metric recommends nothing


def _is_eligible(metrics: Mapping[str, float], floor: float | None) -> bool:
    return floor is None or metrics["function"] >= floor


def _read_result(
    path: Path, a: UInt8[np.ndarray, "h w"], b: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    f, _ = read_luma(path)
    if f.shape != a.shape:
        raise ValueError(f"{path}: is {_size(f)}, its sources are {_size(a)}")
    return from_unit(keep_air(f / 255, a / 255, b / 255), np.uint8)


def _size(x: UInt8[np.ndarray, "h w"]) -> str:
    return f"{x.shape[1]}×{x.shape[0]}"


def _results(name: str, folder: Path, stems: set[str]) -> dict[str, Path]:
    if name in CLASSICAL:
        raise ValueError(f"{name!r} is a classical fuser: give the method of {folder} another name")
    found = {stem: path for stem, path in jobs.by_stem(folder).items() if stem in stems}
    if not found:
        raise ValueError(f"{folder}: no picture is named like one of the pairs")
    return found
