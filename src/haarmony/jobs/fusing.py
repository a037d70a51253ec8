"""One pair: read, aligned, fused and written; and `Fusing`, what all pairs of a run have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haarmony import register, volumes, weights
from haarmony.io import VOLUME_ENDINGS, Picture, Volume, check_kind, encode, read, resolved, volume_ending
from haarmony.jobs import explaining
from haarmony.jobs.pairing import Pair, transform_of
from haarmony.jobs.placing import is_former, left_beside, place
from haarmony.manifest import Settings, sha256, sha256_of, shown
from haarmony.transform import Transform

if TYPE_CHECKING:
    from haarmony.explain import Explanation
    from haarmony.fuser import Fuser
    from haarmony.fusing_path import Watch

Range = tuple[float, float]
Ranges = tuple[Range | None, Range | None]
"""The values of both sources that 0.0 and 1.0 stand for, as `haarmony.io.read` takes them."""
Fuse = Callable[[Any, Any], Picture | Volume]
"""What makes one picture or volume of two: a `haarmony.Fuser`, or any other fusing function."""


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
    problems: tuple[str, ...] = ()
    """What seems wrong with the pair, behind its file's name."""
    explanation: Explanation | None = None
    """Where the result can be believed, if that was asked for."""

    def write(self, out: Path, *, overwrite: bool = False) -> Fused:
        """Write the result and the transform; to replace a former output removes that one's transform.

        Returns:
            It, with a note where another transform stays beside it.

        Raises:
            OSError: It cannot be written, or without `overwrite` a file stands in its place by now.
        """
        transform = self.transform.encoded() if self.transform else b""
        stale = overwrite and not transform and is_former(transform_of(out), out)
        place(out, encode(out, self.result), transform, stale=stale, overwrite=overwrite)
        return self if transform else replace(self, notes=(*self.notes, *left_beside(out)))


def fuse_file(
    pair: Pair, out: Path, fuse: Fuse, *, overwrite: bool = False, explain: Path | None = None
) -> Fused:
    """Read a pair, fuse it and write the result, whole or not at all.

    Args:
        pair: Two pictures or two volumes.
        out: The file to write.
        fuse: Makes the result.
        overwrite: Whether a file may be replaced that stands there when the result is written, and a former
            explanation.
        explain: The folder for an explanation, with a `fuse` that explains.

    Raises:
        ValueError: A file is no readable picture, or the two cannot be fused; the message names the files.
        OSError: A file cannot be read or written.
    """
    fused = fuse_pair(pair, out, fuse)
    with explaining.placing(explain, explaining.encoded(fused.explanation), overwrite=overwrite):
        return fused.write(out, overwrite=overwrite)


def fuse_pair(pair: Pair, out: Path, fuse: Fuse) -> Fused:
    """Read a pair and fuse it for `out`, which is not written; errors are `fuse_file`'s."""
    ranges = fuse.ranges if isinstance(fuse, Fusing) else (None, None)
    try:
        a, b = (read(path, value_range=chosen) for path, chosen in zip((pair.a, pair.b), ranges, strict=True))
        fuse.check_fit(out, a) if isinstance(fuse, Fusing) else check_kind(out, a)
        transform, note, problem, explanation = None, "", "", None
        try:
            if isinstance(fuse, Fusing):
                b, transform, note, problem = fuse.align(a, b)
                explanation = fuse.explain(a, b, sources=(pair.a.name, pair.b.name))
            fused = fitting(out, fuse(a, b) if explanation is None else explanation.fused)
        except ValueError as error:
            raise ValueError(f"{pair.a} with {pair.b}: {error}") from error
    except MemoryError:
        raise ValueError(f"{pair.a} with {pair.b}: not enough memory for their size") from None
    told = ((pair.a, a), (pair.b, b), (out, fused))
    notes = [f"{path}: {note}" for path, source in told for note in source.notes]
    return Fused(
        fused,
        (*notes, *behind(pair.b, note)),
        (a.value_range, b.value_range),
        transform,
        explaining.problems(pair.b, problem, out, explanation),
        explaining.fitted(explanation, fused),
    )


def behind(path: Path, said: str) -> tuple[str, ...]:
    """What is said of a file, behind its name; nothing where that is nothing."""
    return (f"{path}: {said}",) if said else ()


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
    seeds: int | None = None
    """To explain each result over so many; None explains none."""
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
            slices=shown(self.slices, ":"),
            range_a=shown(self.ranges[0], ","),
            range_b=shown(self.ranges[1], ","),
            tile=self.tile,
            alignment=self.register if self.transform is None else sha256_of(self.transform.encoded()),
        )

    def align(self, a: Picture | Volume, b: Picture | Volume) -> tuple[Any, Transform | None, str, str]:
        """`haarmony.register.align` by these settings; what it says last, where something seems wrong."""
        b, transform, said = register.align(a, b, self.register, transform=self.transform)
        wrong = self.register == "none" and transform is None
        return (b, transform, "", said) if wrong else (b, transform, said, "")

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

    def explain(self, a: Any, b: Any, *, sources: tuple[str | None, str | None]) -> Explanation | None:
        """What a call makes, explained, if that is asked for; `sources` are the files' names."""
        if self.seeds is None:
            return None
        explanation = self._fuser().explain(
            a,
            b,
            seeds=self.seeds,
            steps=self.steps,
            seed=self.seed,
            colour=self.colour,
            plane=self.plane,
            slices=self.slices,
            tile=self.tile,
            callback=self.callback,
        )
        return replace(explanation, settings=self.settings(), sources=sources)

    def _fuser(self) -> Fuser:
        folder = weights.find(self.model)
        return _loaded(resolved(folder), sha256(folder / "card.toml"), self.engine, self.threads)


@lru_cache(maxsize=1)
def _loaded(folder: Path, card_sha256: str, engine: str, threads: int | None) -> Fuser:
    from haarmony.fuser import Fuser

    return Fuser(folder, engine=engine, threads=threads)
