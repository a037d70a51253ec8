"""Folder runs: every pair of two folders into one, on all cores or a cluster.

Workers only make bytes: one process decides what is to be done, records it in the manifest and puts the files
in their places, so a worker that is killed leaves nothing.
"""

from __future__ import annotations

import errno
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Literal

from haarmony.io import check_place, encode, remove_leftover
from haarmony.jobs import explaining
from haarmony.jobs.fusing import Fuse, Fusing, Range, fuse_pair
from haarmony.jobs.pairing import Pair, transform_of
from haarmony.jobs.placing import left_beside, place
from haarmony.manifest import Entry, Manifest, Settings, printable, sha256, sha256_of, shown
from haarmony.workers import spread

PER_WORKER = 4
"""Pairs that are worth starting another process for; fewer share the cores as one process's threads."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a disk says that has no room for more, for everybody or for this user."""


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    pair: Pair
    out: Path
    status: Literal["fused", "skipped", "failed"]
    notes: tuple[str, ...] = ()
    """What reading converted, and why a file was replaced or kept; each behind its file's name."""
    error: ValueError | OSError | None = None
    """Why the pair failed."""
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    """What seems wrong with the pair though it was fused; behind its file's name."""


def run(
    pairs: Iterable[Pair],
    out: Path,
    fuse: Fuse,
    *,
    overwrite: bool = False,
    explain: Path | None = None,
    workers: int = 1,
    ray: str | None = None,
    stop: Callable[[], bool] = bool,
) -> Iterator[Outcome]:
    """Fuse pairs into OUT/STEM.png, volumes into OUT/STEM.nii.gz, and keep OUT's manifest up to date.

    A file that stands in an output's place is left alone, unless the manifest (`haarmony.manifest`) knows it
    for a former run's and the pair's sources or settings are others today. Links are not followed. Whatever
    ends the run, what stands in OUT is whole, and the next run does what is missing. A pair whose worker
    process dies is tried once more when the others are done, alone.

    Args:
        pairs: The pairs, each with a stem of its own.
        out: Folder to write into, made if it is missing. What an interrupted run left of these outputs (names
            that end in .part) is removed first.
        fuse: Called with each pair's pictures; for several workers, something picklable: `Fusing`, say.
        overwrite: Replace outputs that exist, whatever they are, and former explanations.
        explain: Folder for explanations, each pair's in EXPLAIN/STEM, with a `Fusing` that explains. A pair
            whose explanation is missing, or was made with other settings, is done again.
        workers: Processes, each with one pair at a time; 1 does the work in this one. The bytes are the same.
        ray: Address of a Ray cluster to do the work on instead; see `haarmony.cluster`.
        stop: Asked before a pair is begun: whether to end the run with those that are begun. Where it says
            so, Ctrl-C gives these up, too.

    Yields:
        One outcome a pair, as they are done: skipped ones first, then in the order given if one process does
        them.

    Raises:
        ValueError: A file of the manifest's name is no manifest.
        OSError: The folder or its manifest cannot be written, or another run is at work on it. When the disk
            is full, once what was begun is done: the pairs that are left are not begun.
    """
    jobs = [_Job(pair, out / pair.name, explain and explain / pair.stem) for pair in pairs]
    seeds = fuse.seeds if isinstance(fuse, Fusing) else None
    settings = fuse.settings() if isinstance(fuse, Fusing) else Settings(model=_name(fuse))
    out.mkdir(parents=True, exist_ok=True)
    if explain is not None:
        explain.mkdir(parents=True, exist_ok=True)
    with Manifest(out) as manifest:
        remove_leftovers(job.target for job in jobs)
        todo, count, full = [], Counter[str](), False
        for job in jobs:
            try:
                check_place(job.target)
                decided = job if overwrite else _decide(job, settings, manifest, seeds)
                if isinstance(decided, _Job) and job.explain is not None:
                    explaining.check_pair(job.explain, job.pair.stem, manifest, overwrite=overwrite)
            except (ValueError, OSError) as error:
                decided = _failed(job, _Made(error=error), settings, manifest)
            if isinstance(decided, _Job):
                todo.append(decided)
                continue
            count[decided.status] += 1
            yield decided
        if not todo:
            return

        def more(_: _Job) -> bool:
            return not (full or stop())

        for job, made in _results(
            partial(_make, fuse), todo, more, workers=min(workers, len(todo)), ray=ray, hurried=stop
        ):
            outcome = _land(job, made, settings, manifest, overwrite=overwrite)
            count[outcome.status] += 1
            full = full or (isinstance(outcome.error, OSError) and outcome.error.errno in FULL)
            yield outcome
        if full and (left := len(jobs) - count.total()):
            came = ", ".join(f"{count[status]} {status}" for status in ("fused", "skipped", "failed"))
            raise OSError(
                f"{out}: the disk is full: {came}, {left} not begun; make room and give the command again"
            )


@dataclass(frozen=True)
class _Job:
    pair: Pair
    target: Path
    explain: Path | None = None
    stands: str | None = None
    """Digest of the former run's file that is to be replaced."""
    changes: tuple[str, ...] = ()
    """Why it is to be, in words."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Made:
    """What a worker made of a pair: whole files' bytes, which the process that calls `run` writes."""

    content: bytes = b""
    notes: tuple[str, ...] = ()
    a_sha256: str = ""
    b_sha256: str = ""
    values: tuple[Range, Range] | None = None
    transform: bytes = b""
    explanation: Mapping[str, bytes] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    error: ValueError | OSError | None = None


def _results(
    make: Callable[[_Job], _Made],
    jobs: list[_Job],
    more: Callable[[_Job], bool],
    *,
    workers: int,
    ray: str | None,
    hurried: Callable[[], bool],
) -> Iterator[tuple[_Job, _Made]]:
    """What is made of the jobs while there are to be more; those whose process died once more, at the end."""
    lost: list[tuple[_Job, _Made]] = []
    for job, result in _spread(make, takewhile(more, jobs), workers=workers, ray=ray, hurried=hurried):
        made = _made(result)
        if isinstance(made.error, ChildProcessError) and ray is None:  # Ray has tried again itself
            lost.append((job, made))
        else:
            yield job, made
    # One at a time, with all the memory, and never in this process.
    tried = 0
    again = takewhile(more, [job for job, _ in lost])
    for job, result in spread(make, again, workers=1, apart=True, hurried=hurried):
        tried += 1
        note = f"{job.target}: was tried twice, since the worker process died at it"
        yield replace(job, notes=(*job.notes, note)), _made(result)
    yield from lost[tried:]


def _made(result: Callable[[], _Made]) -> _Made:
    try:
        return result()
    except ChildProcessError as error:
        return _Made(error=error)


def _spread(
    do: Callable[[_Job], _Made],
    jobs: Iterable[_Job],
    *,
    workers: int,
    ray: str | None,
    hurried: Callable[[], bool],
) -> Iterator[tuple[_Job, Callable[[], _Made]]]:
    if ray is None:
        return spread(do, jobs, workers=workers, hurried=hurried)
    from haarmony import cluster

    return cluster.spread(do, jobs, address=ray)


def _decide(job: _Job, settings: Settings, manifest: Manifest, seeds: int | None) -> _Job | Outcome:
    """The job, if there is something to do and it may be done; else that it is skipped."""
    stands = _standing(job.target)
    if stands is None:
        return job
    entry = manifest.made(printable(job.pair.stem), stands)
    if entry is None:
        return _not_ours(job, settings, manifest)
    sources = {"a_sha256": sha256(job.pair.a), "b_sha256": sha256(job.pair.b)}
    here = entry.model_copy(update={"a": printable(job.pair.a), "b": printable(job.pair.b)})
    changes, notes = here.changes(settings, **sources), list[str]()
    if here.transform_sha256:
        beside = transform_of(job.target)
        there = _standing(beside)
        if there is None or (_is_ours(job, there, manifest) and there != here.transform_sha256):
            changes.append(f"{beside.name} is gone")
        elif there != here.transform_sha256:
            notes.append(f"{beside}: is not the transform that {job.target.name} was made by, and stays")
    if job.explain is not None:
        changes += explaining.changes(job.explain, here.explanation_sha256, seeds)
    if not changes:
        manifest.show(here)
        return Outcome(job.pair, job.target, "skipped", tuple(notes))
    return replace(job, stands=stands, changes=tuple(changes))


def _is_ours(job: _Job, transform_sha256: str | None, manifest: Manifest) -> bool:
    return manifest.saved(printable(job.target.name), transform_sha256)


def _make(fuse: Fuse, job: _Job) -> _Made:
    start, made = time.perf_counter(), _Made()
    try:
        made = replace(made, a_sha256=sha256(job.pair.a), b_sha256=sha256(job.pair.b))
        fused = fuse_pair(job.pair, job.target, fuse)
        made = replace(
            made,
            content=encode(job.target, fused.result),
            notes=fused.notes,
            values=fused.values,
            transform=fused.transform.encoded() if fused.transform else b"",
            explanation=explaining.encoded(fused.explanation),
            problems=fused.problems,
        )
    except MemoryError:
        made = replace(made, error=ValueError(f"{job.target}: not enough memory for it"))
    # The sources are to blame. Anything else is a mistake in the program and ends the run.
    except (ValueError, OSError) as error:
        made = replace(made, error=error)
    return replace(made, seconds=time.perf_counter() - start)


def _land(job: _Job, made: _Made, settings: Settings, manifest: Manifest, *, overwrite: bool) -> Outcome:
    """Put what was made in its place, once the manifest knows it."""
    if made.error is not None:
        return _failed(job, made, settings, manifest)
    if not overwrite and _standing(job.target) != job.stands:  # it has appeared since
        return _not_ours(job, settings, manifest)
    beside = transform_of(job.target)
    there, coming = _standing(beside), sha256_of(made.transform) if made.transform else ""
    ours = _is_ours(job, there, manifest)
    if coming and there not in (None, coming) and not ours and not overwrite:
        taken = FileExistsError(f"{beside}: exists already; --overwrite replaces it")
        return _failed(job, replace(made, error=taken), settings, manifest)
    entry = _entry(job, settings, made, "fused", out_sha256=sha256_of(made.content), transform_sha256=coming)
    try:
        may = job.explain is not None and explaining.check_pair(
            job.explain, job.pair.stem, manifest, overwrite=overwrite
        )
        manifest.add(entry)
        with explaining.placing(job.explain, made.explanation, overwrite=may):
            place(job.target, made.content, made.transform, stale=ours and there != coming)
    except OSError as error:  # a full disk's, say
        return _failed(job, replace(made, error=error), settings, manifest)
    again = [f"{job.target}: fused again, since {', '.join(job.changes)}"] if job.changes else []
    notes = (*again, *job.notes, *made.notes, *([] if coming else left_beside(job.target)))
    return Outcome(job.pair, job.target, "fused", notes, seconds=made.seconds, problems=made.problems)


def _failed(job: _Job, made: _Made, settings: Settings, manifest: Manifest) -> Outcome:
    stands, notes = _standing(job.target), [*job.notes, *made.notes]
    if still := stands and manifest.made(printable(job.pair.stem), stands):
        though = f", though {', '.join(job.changes)}" if job.changes else ""
        notes.append(f"{job.target}: is still the file of a former run{though}")
    entry = _entry(job, settings, made, "failed", out_sha256=still.out_sha256 if still else "")
    try:
        manifest.add(entry)
    except OSError:  # the same full disk's
        manifest.show(entry)
    return Outcome(job.pair, job.target, "failed", tuple(notes), made.error, made.seconds)


def _not_ours(job: _Job, settings: Settings, manifest: Manifest) -> Outcome:
    manifest.show(_entry(job, settings, _Made(), "skipped"))
    note = f"{job.target}: is no file that the manifest knows, so it stays; --overwrite replaces it"
    return Outcome(job.pair, job.target, "skipped", notes=(note,))


def _entry(
    job: _Job,
    settings: Settings,
    made: _Made,
    result: Literal["fused", "skipped", "failed"],
    *,
    out_sha256: str = "",
    transform_sha256: str = "",
) -> Entry:
    stays = Settings(model="") if result == "skipped" else settings  # nobody knows what made it
    return Entry(
        stem=printable(job.pair.stem),
        a=printable(job.pair.a),
        b=printable(job.pair.b),
        a_sha256=made.a_sha256,
        b_sha256=made.b_sha256,
        out=printable(job.target.name),
        out_sha256=out_sha256,
        transform_sha256=transform_sha256,
        explanation_sha256=explaining.digest(made.explanation) if result == "fused" else "",
        values_a=shown(made.values and made.values[0], ","),
        values_b=shown(made.values and made.values[1], ","),
        **stays.model_dump(),
        seconds=round(made.seconds, 3),
        result=result,
        error=printable(" ".join(str(made.error).split())) if made.error else "",
    )


def _standing(path: Path) -> str | None:
    """The digest of the file there; "" for what is no file of ours for certain, None where nothing is."""
    try:
        return sha256(path) if stat.S_ISREG(path.lstat().st_mode) else ""
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _name(fuse: Fuse) -> str:
    return getattr(fuse, "__name__", type(fuse).__name__)


def remove_leftovers(outs: Iterable[Path]) -> None:
    """Remove what an interrupted run left of these outputs: their names and their transforms' with .part."""
    for out in outs:
        for path in (out, transform_of(out)):
            with suppress(OSError):  # what cannot be removed fails its own pair, when that is written
                remove_leftover(path)
