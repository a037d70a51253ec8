"""Fuse files: one pair, or two folders whose files pair up by their stem.

A job is a pair of source files and the file it makes. It is done without a look at the other jobs, so an
output's bytes depend on its own sources, model, steps and seed alone; a job that fails leaves its output as
it was and stops no other. Workers only make bytes: one process decides what is to be done, records it in the
manifest and puts the files in their places, so a worker that is killed leaves nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from haarmony import register, volumes, weights
from haarmony.io import (
    VOLUME_ENDINGS,
    Picture,
    Volume,
    check_kind,
    check_place,
    check_target,
    encode,
    read,
    remove_leftover,
    volume_ending,
    write,
    write_bytes,
)
from haarmony.manifest import Entry, Manifest, Settings, printable, sha256
from haarmony.transform import Transform
from haarmony.workers import spread

if TYPE_CHECKING:
    from haarmony.fuser import Fuser, Watch

PER_WORKER = 4
"""Pairs that are worth starting another process for; fewer share the cores as one process's threads."""
SUFFIXES = (".nii.gz", ".nii", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")
"""Endings, in lower case, of what counts as a picture or a volume in a folder."""

Range = tuple[float, float]
Ranges = tuple[Range | None, Range | None]
"""The values of both sources that 0.0 and 1.0 stand for, as `haarmony.io.read` takes them."""
Fuse = Callable[[Any, Any], Picture | Volume]
"""What makes one picture or volume of two: a `haarmony.Fuser`, or any other fusing function."""


@dataclass(frozen=True)
class Pair:
    """Two files that show the same thing."""

    a: Path
    b: Path

    @property
    def stem(self) -> str:
        """What both files of a folder pair are called, and the output with them."""
        return _stem(self.a)

    @property
    def name(self) -> str:
        """The output's name in a folder: a volume's if the first source's is one."""
        return f"{self.stem}{'.nii.gz' if volume_ending(self.a) else '.png'}"


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all in order of the stem."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


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


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stem, in its order; hidden files and other suffixes are passed over.

    Raises:
        ValueError: Two pictures share their stem.
        OSError: The folder cannot be listed.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(SUFFIXES) or path.name.startswith(".") or not path.is_file():
            continue
        if (stem := _stem(path)) in found:
            raise ValueError(f"{folder}: {found[stem].name} and {path.name} share a stem; keep one")
        found[stem] = path
    return found


def _stem(path: Path) -> str:
    return path.name[: -len(volume_ending(path) or path.suffix) or None]


def pairs(a: Path, b: Path) -> Pairs:
    """Pair the pictures of two folders by their file stem.

    Args:
        a: Folder of first sources. Hidden files and those whose suffix is no picture's are passed over.
        b: Folder of second sources.

    Raises:
        ValueError: Two pictures of a folder share their stem, or the folders have no stem in common.
        OSError: A folder cannot be listed.
    """
    first, second = by_stem(a), by_stem(b)
    common = sorted(first.keys() & second.keys())
    if not common:
        counts = f"{len(first)} and {len(second)} pictures"
        raise ValueError(f"{a} and {b}: no stem in common among {counts}")
    return Pairs(
        tuple(Pair(first[stem], second[stem]) for stem in common),
        only_a=tuple(sorted(first.keys() - second.keys())),
        only_b=tuple(sorted(second.keys() - first.keys())),
    )


def check(a: Path, b: Path, out: Path, *, overwrite: bool = False) -> None:
    """Refuse what cannot work, or would replace a source, before a model is loaded or anything written.

    Args:
        a: First source: a file, or a folder of them.
        b: Second source, of the same kind.
        out: The file to write, or the folder to write into; a folder may be missing, a file's parent may not.
        overwrite: Whether the file may exist.

    Raises:
        ValueError: A file stands against a folder, or `out` is a source, lies in a source folder or has an
            ending that is not written.
        OSError: A source or the parent of `out` is missing, `out` exists or is of the wrong kind, or its
            folder cannot be written to.
    """
    for source in (a, b):
        if not source.exists():
            raise FileNotFoundError(f"{source}: there is no such file or folder")
    if a.is_dir() != b.is_dir():
        folder, file = (a, b) if a.is_dir() else (b, a)
        raise ValueError(f"{folder}: is a folder but {file} is a file; give two files or two folders")
    if a.is_dir():
        _check_folder(a, b, out)
    else:
        _check_file(a, b, out, overwrite=overwrite)


@dataclass(frozen=True)
class Fused:
    """One pair's result."""

    result: Picture | Volume
    notes: tuple[str, ...]
    """What reading and fusing converted, each behind its file's name."""
    values: tuple[Range, Range]
    """The values of both sources that were black and white."""
    transform: Transform | None = None
    """What the second source was moved by."""

    def write(self, out: Path) -> None:
        """Write the result, then the transform."""
        write(out, self.result)
        if self.transform is not None:
            self.transform.save(transform_of(out))


def transform_of(out: Path) -> Path:
    """Where the transform of an output is saved: STEM.transform.json beside it."""
    return out.with_name(f"{_stem(out)}.transform.json")


def fuse_file(pair: Pair, out: Path, fuse: Fuse) -> Fused:
    """Read a pair, fuse it and write the result, whole or not at all.

    Args:
        pair: Two pictures or two volumes.
        out: The file to write.
        fuse: Makes the result.

    Raises:
        ValueError: A file is no readable picture, or the two cannot be fused; the message names the files.
        OSError: A file cannot be read or written.
    """
    fused = fuse_pair(pair, out, fuse)
    fused.write(out)
    return fused


def fuse_pair(pair: Pair, out: Path, fuse: Fuse) -> Fused:
    """Read a pair and fuse it for `out`, which is not written; errors are `fuse_file`'s."""
    ranges = fuse.ranges if isinstance(fuse, Fusing) else (None, None)
    try:
        a, b = (read(path, value_range=chosen) for path, chosen in zip((pair.a, pair.b), ranges, strict=True))
        fuse.check_fit(out, a) if isinstance(fuse, Fusing) else check_kind(out, a)
        transform, said = None, ""
        try:
            if isinstance(fuse, Fusing):
                b, transform, said = fuse.align(a, b)
            fused = fitting(out, fuse(a, b))
        except ValueError as error:
            raise ValueError(f"{pair.a} with {pair.b}: {error}") from error
    except MemoryError:
        raise ValueError(f"{pair.a} with {pair.b}: not enough memory for their size") from None
    told = ((pair.a, a), (pair.b, b), (out, fused))
    notes = tuple(f"{path}: {note}" for path, source in told for note in source.notes)
    if said:
        notes = (*notes, f"{pair.b}: {said}")
    return Fused(fused, notes, (a.value_range, b.value_range), transform)


def fitting(out: Path, result: Picture | Volume) -> Picture | Volume:
    """The result as `out` holds it: where that is a picture's name, a volume of one slice as that slice.

    Raises:
        ValueError: `out` cannot hold it.
    """
    if isinstance(result, Volume) and not volume_ending(out) and 1 in result.shape:
        return volumes.as_picture(result)
    check_kind(out, result)
    return result


@dataclass(frozen=True)
class Fusing:
    """A `haarmony.Fuser` and its settings, which other processes can be given: each loads the model itself.

    ONNX Runtime's bytes do not depend on `threads`, nor do a run's on how many workers share it; torch's may.
    """

    model: str = "medical"
    engine: str = "onnx"
    steps: int | None = None
    seed: int = 42
    colour: str = "auto"
    plane: str = "auto"
    slices: tuple[int, int] | None = None
    ranges: Ranges = (None, None)
    tile: int | None = None
    register: str = "none"
    transform: Transform | None = None
    """To use instead of one that is found."""
    threads: int | None = None
    callback: Watch | None = field(default=None, compare=False)
    """As `Fuser`'s; only for work in this process."""

    def check(self) -> None:
        """Load the model and refuse settings that it does not have, with `Fuser`'s errors."""
        self._fuser().check_steps(self.steps)
        if self.register != "none" and self.transform is None:
            register.require()

    def settings(self) -> Settings:
        """What the manifest holds of it; steps are the model's own where none are asked for."""
        folder = weights.find(self.model)
        card = weights.load_card(folder)
        own = None if isinstance(card, weights.DifFusionCard) else card.diffusion.steps
        return Settings(
            model=card.name,
            card_sha256=sha256(folder / "card.toml"),
            engine=self.engine,
            steps=own if self.steps is None else self.steps,
            seed=self.seed,
            colour=self.colour,
            plane=self.plane,
            slices=_shown(self.slices, ":"),
            range_a=_shown(self.ranges[0], ","),
            range_b=_shown(self.ranges[1], ","),
            tile=self.tile,
            alignment=self.register if self.transform is None else _digest(self.transform.encoded()),
        )

    def align(self, a: Picture | Volume, b: Picture | Volume) -> tuple[Any, Transform | None, str]:
        """`haarmony.register.align` by these settings."""
        return register.align(a, b, self.register, transform=self.transform)

    def described(self) -> str:
        """The model and the seed, in words."""
        return f"model {weights.load_card(weights.find(self.model)).name}, seed {self.seed}"

    def check_fit(self, out: Path, a: Picture | Volume) -> None:
        """Refuse, before it is made, what `out` cannot hold.

        Raises:
            ValueError: `out` is no name for what is made of `a` and another.
        """
        if not isinstance(a, Volume) or volume_ending(out):
            return check_kind(out, a)
        plane = volumes.plane_of(a, self.plane)
        lo, hi = self.slices or (0, volumes.count(a, plane))
        if hi - lo != 1:
            raise ValueError(
                f"{out}: a picture holds one slice, not {hi - lo}; choose one with --slices, or end the name"
                f" in {' or '.join(VOLUME_ENDINGS)}"
            )

    def __call__(self, a: Any, b: Any) -> Any:
        return self._fuser()(
            a,
            b,
            steps=self.steps,
            seed=self.seed,
            colour=self.colour,
            plane=self.plane,
            slices=self.slices,
            tile=self.tile,
            callback=self.callback,
        )

    def _fuser(self) -> Fuser:
        folder = weights.find(self.model)
        return _loaded(folder.resolve(), sha256(folder / "card.toml"), self.engine, self.threads)


@lru_cache(maxsize=1)
def _loaded(folder: Path, card_sha256: str, engine: str, threads: int | None) -> Fuser:
    from haarmony.fuser import Fuser

    return Fuser(folder, engine=engine, threads=threads)


def run(
    pairs: Iterable[Pair],
    out: Path,
    fuse: Fuse,
    *,
    overwrite: bool = False,
    workers: int = 1,
    ray: str | None = None,
    stop: Callable[[], bool] = bool,
) -> Iterator[Outcome]:
    """Fuse pairs into OUT/STEM.png, volumes into OUT/STEM.nii.gz, and keep OUT's manifest up to date.

    A file that stands in an output's place is left alone, unless the manifest (`haarmony.manifest`) knows it
    for a former run's and the pair's sources or settings are others today. Links are not followed. Whatever
    ends the run, what stands in OUT is whole, and the next run does what is missing.

    Args:
        pairs: The pairs, each with a stem of its own.
        out: Folder to write into, made if it is missing. What an interrupted run left of these outputs (names
            that end in .part) is removed first.
        fuse: Called with each pair's pictures; for several workers, something picklable: `Fusing`, say.
        overwrite: Replace outputs that exist, whatever they are.
        workers: Processes, each with one pair at a time; 1 does the work in this one. The bytes are the same.
        ray: Address of a Ray cluster to do the work on instead; see `haarmony.cluster`.
        stop: Asked before a pair is begun: whether to end the run with those that are begun.

    Yields:
        One outcome a pair, as they are done: skipped ones first, then in the order given if one process does
        them.

    Raises:
        ValueError: A file of the manifest's name is no manifest.
        OSError: The folder or its manifest cannot be written, or another run is at work on it.
    """
    jobs = [_Job(pair, out / pair.name) for pair in pairs]
    settings = fuse.settings() if isinstance(fuse, Fusing) else Settings(model=_name(fuse))
    out.mkdir(parents=True, exist_ok=True)
    with Manifest(out) as manifest:
        remove_leftovers(job.target for job in jobs)
        todo = []
        for job in jobs:
            try:
                check_place(job.target)
                decided = job if overwrite else _decide(job, settings, manifest)
            except OSError as error:
                decided = _failed(job, _Made(error=error), settings, manifest)
            if isinstance(decided, _Job):
                todo.append(decided)
            else:
                yield decided
        if not todo:
            return
        make = partial(_make, fuse)
        begun = takewhile(lambda _: not stop(), todo)
        for job, result in _spread(make, begun, workers=min(workers, len(todo)), ray=ray):
            try:
                made = result()
            except ChildProcessError as error:
                made = _Made(error=error)
            yield _land(job, made, settings, manifest, overwrite=overwrite)


@dataclass(frozen=True)
class _Job:
    pair: Pair
    target: Path
    stands: str | None = None
    """Digest of the former run's file that is to be replaced."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Made:
    """What a worker made of a pair: a whole file's bytes, which the process that calls `run` writes."""

    content: bytes = b""
    notes: tuple[str, ...] = ()
    a_sha256: str = ""
    b_sha256: str = ""
    values: tuple[Range, Range] | None = None
    transform: bytes = b""
    seconds: float = 0.0
    error: ValueError | OSError | None = None


def _spread(
    do: Callable[[_Job], _Made], jobs: Iterable[_Job], *, workers: int, ray: str | None
) -> Iterator[tuple[_Job, Callable[[], _Made]]]:
    if ray is None:
        return spread(do, jobs, workers=workers)
    from haarmony import cluster

    return cluster.spread(do, jobs, address=ray)


def _decide(job: _Job, settings: Settings, manifest: Manifest) -> _Job | Outcome:
    """The job, if there is something to do and it may be done; else that it is skipped."""
    stands = _standing(job.target)
    if stands is None:
        return job
    entry = manifest.made(printable(job.pair.stem), stands)
    if entry is None:
        return _not_ours(job, settings, manifest)
    sources = {"a_sha256": sha256(job.pair.a), "b_sha256": sha256(job.pair.b)}
    here = entry.model_copy(update={"a": printable(job.pair.a), "b": printable(job.pair.b)})
    if not (changes := here.changes(settings, **sources)):
        manifest.show(here)
        return Outcome(job.pair, job.target, "skipped")
    return replace(job, stands=stands, notes=(f"{job.target}: fused again, since {', '.join(changes)}",))


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
    if made.transform and not overwrite and job.stands is None and os.path.lexists(transform_of(job.target)):
        taken = FileExistsError(f"{transform_of(job.target)}: exists already; --overwrite replaces it")
        return _failed(job, replace(made, error=taken), settings, manifest)
    entry = _entry(job, settings, made, "fused", out_sha256=_digest(made.content))
    try:
        manifest.add(entry)
        write_bytes(job.target, made.content)
        if made.transform:
            write_bytes(transform_of(job.target), made.transform)
    except OSError as error:  # a full disk's, say
        return _failed(job, replace(made, error=error), settings, manifest)
    return Outcome(job.pair, job.target, "fused", notes=job.notes + made.notes, seconds=made.seconds)


def _failed(job: _Job, made: _Made, settings: Settings, manifest: Manifest) -> Outcome:
    entry = _entry(job, settings, made, "failed")
    try:
        manifest.add(entry)
    except OSError:  # the same full disk's
        manifest.show(entry)
    return Outcome(job.pair, job.target, "failed", job.notes + made.notes, made.error, made.seconds)


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
        values_a=_shown(made.values and made.values[0], ","),
        values_b=_shown(made.values and made.values[1], ","),
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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(numbers: Range | tuple[int, int] | None, between: str) -> str:
    return "" if numbers is None else between.join(f"{number:.9g}" for number in numbers)


def _name(fuse: Fuse) -> str:
    return getattr(fuse, "__name__", type(fuse).__name__)


def remove_leftovers(outs: Iterable[Path]) -> None:
    """Remove what an interrupted run left of these outputs: files of their names that end in .part."""
    for out in outs:
        with suppress(OSError):  # what cannot be removed fails its own pair, when that is written
            remove_leftover(out)


def _check_file(a: Path, b: Path, out: Path, *, overwrite: bool) -> None:
    check_target(out)
    # While it is written, OUT is called OUT.part.
    for path in (out, out.with_name(f"{out.name}.part")):
        if path.exists() and any(path.samefile(source) for source in (a, b)):
            raise ValueError(f"{path}: is a source; write somewhere else")
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; --overwrite replaces it")
    if out.exists() and not out.is_file():  # writing would replace the device, say, that the name stands for
        raise ValueError(f"{out}: is no regular file")


def _check_folder(a: Path, b: Path, out: Path) -> None:
    parents = [out.resolve(), *out.resolve().parents]
    for source in (a, b):
        if source.resolve() in parents:
            raise ValueError(f"{out}: is or lies in the source folder {source}; write somewhere else")
    there = next(folder for folder in parents if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{out}: {there} is a file; two folders need a folder to write into")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{out}: the folder {there} cannot be written to")
