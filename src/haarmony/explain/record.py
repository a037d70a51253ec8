"""What an explanation comes to in figures: the content of explain.json, and where it is taken from.

Every map has a fixed scale, so that pictures of different pairs can be compared. Figures are over the picture
without air; a flagged region may reach into air where the fused picture shows something there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

import haarmony
from haarmony import volumes
from haarmony.explain import Explanation
from haarmony.explain.unsupported import FLAGGED
from haarmony.io import Picture, Volume
from haarmony.manifest import Settings, printable

MAPS = ("spread", "unsupported", "share_a", "share_b")
REGIONS = 20
"""Flagged regions that are listed."""
LEAST = 1e-6
"""White of the map of a spread of nothing, as a part of the fused picture's range of values."""
MOST = 4.0
"""White of the map of unsupported structure."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Map(_Part):
    """One map, its files and its figures."""

    file: str
    sha256: str
    overlay: str
    overlay_slice: int | None
    """The slice that the overlay shows, along the stored axis that crosses the plane; None for a picture."""
    what: str
    unit: str
    black: float
    """What 0 stands for in a PNG and the colour bar's foot."""
    white: float
    """What 65535 and its head stand for; what is more is clipped there. A NIfTI file holds the values."""
    mean: float
    p99: float
    maximum: float


class Region(_Part):
    """A connected flagged region."""

    box: tuple[tuple[int, int], ...]
    """Along each axis of the map, rows first, the first place and the one after the last."""
    size: int
    """Pixels or voxels."""
    largest: float


class Flagged(_Part):
    """What the fused picture shows that neither source does."""

    threshold: float
    part: float
    regions: int
    largest: tuple[Region, ...]
    """At most `REGIONS`, the largest first; pixels that touch by a corner are connected."""


class Patch(_Part):
    """A square patch."""

    slice: int | None
    row: int
    column: int
    side: int
    value: float


class Function(_Part):
    """Spearman's ρ of the fused luma with the functional source's uptake."""

    value: float | None
    worst: Patch | None


class Alignment(_Part):
    """Where the second source seems to lie."""

    shift: float
    turn: float
    nmi: float
    nmi_there: float
    misaligned: bool


class Record(_Part):
    """The keys of explain.json, in its order."""

    haarmony: str
    """The version that wrote it."""
    sources: tuple[str | None, str | None]
    shape: tuple[int, ...]
    values: tuple[float, float]
    """What black and white of the fused picture stand for."""
    plane: str
    seeds: tuple[int, ...]
    settings: Settings | None
    warnings: tuple[str, ...]
    told: float
    """The part of the picture whose shares are told."""
    flagged: Flagged
    function: Function
    alignment: Alignment | None
    maps: dict[Literal["spread", "unsupported", "share_a", "share_b"], Map]


@dataclass(frozen=True)
class Meaning:
    """What a map shows.

    Attributes:
        title: In a few words.
        what: In one sentence.
        unit: Of its values.
        white: The value at the upper end of its scale, which begins at 0.
        threshold: The value from which something is flagged, if there is one.
        told: Whether 0 is a value like others, and what cannot be told is left out.
    """

    title: str
    what: str
    unit: str
    white: float
    threshold: float | None = None
    told: bool = False


def _rounded_up(value: float) -> float:
    """The next of …, 0.1, 0.2, 0.5, 1, 2, 5, …: spreads are of all sizes, and small ones are to be seen."""
    value *= 1 - 1e-6  # what float32 adds to a round number
    power = math.floor(math.log10(value))
    digits = next(digit for digit in (1, 2, 5, 10) if value <= digit * 10.0**power)
    return float(f"{digits}e{power}")


def meaning(name: str, of: Explanation) -> Meaning:
    """What the map of this name shows."""
    lo, hi = of.values
    if name == "spread":
        return Meaning(
            "Spread",
            f"Standard deviation of the fused picture over {len(of.seeds)} seeds: what the noise decides,"
            " not the sources.",
            f"values of the fused picture, {lo:.7g} to {hi:.7g}",
            _rounded_up(max(float(of.spread.max()), LEAST * abs(hi - lo)) or LEAST),
        )
    if name == "unsupported":
        return Meaning(
            "Unsupported structure",
            f"What the fused picture shows that neither source does; a score of {FLAGGED:g} and more is"
            " flagged.",
            "score",
            MOST,
            FLAGGED,
        )
    first = name == "share_a"
    file = of.sources[0 if first else 1]
    return Meaning(
        f"Share of the {'first' if first else 'second'} source",
        f"How much of each pixel is drawn on the {'first' if first else 'second'} source"
        f"{f' ({printable(file)})' if file else ''}; both shares sum to 1 and are left out where that cannot"
        " be told.",
        "share",
        1.0,
        told=True,
    )


def record(of: Explanation, *, files: dict[str, tuple[str, str, str]]) -> Record:
    """The figures of an explanation.

    Args:
        of: The explanation.
        files: Of each of `MAPS` its file, that one's digest, and its overlay's.
    """
    return Record(
        haarmony=haarmony.__version__,
        sources=(_name(of.sources[0]), _name(of.sources[1])),
        shape=of.spread.shape,
        values=of.values,
        plane=of.plane,
        seeds=of.seeds,
        settings=of.settings,
        warnings=of.warnings,
        told=_mean(of.told[of.inside]),
        flagged=_flagged(of),
        function=Function.model_validate(of.function, from_attributes=True),
        alignment=of.alignment and Alignment.model_validate(of.alignment, from_attributes=True),
        maps={name: _map(name, of, *files[name]) for name in MAPS},
    )


def pixels_of(fused: Any) -> np.ndarray:
    """The samples of a picture, an array or a volume."""
    if isinstance(fused, Volume):
        return fused.voxels
    return fused.pixels if isinstance(fused, Picture) else fused


def shows(of: Explanation) -> np.ndarray:
    """Where a source or the fused picture is not black: elsewhere there is no structure to flag."""
    lit = pixels_of(of.fused) > 0
    return of.inside | (lit.any(axis=-1) if lit.ndim > of.inside.ndim else lit)


def shown_slice(name: str, of: Explanation) -> int | None:
    """The slice of a volume that shows most of a map, as seen upright; None for a picture.

    That is the one with the largest sum up to the scale's white, of unsupported structure that is flagged.
    """
    if not isinstance(of.fused, Volume):
        return None
    values = np.where(shows(of), np.clip(getattr(of, name), 0, meaning(name, of).white), 0)
    if name == "unsupported" and (values >= FLAGGED).any():
        values = np.where(values >= FLAGGED, values, 0)
    return int(volumes.upright(values, of.fused.affine, of.plane).sum(axis=(0, 1), dtype=np.float64).argmax())


def _map(name: str, of: Explanation, file: str, sha256: str, overlay: str) -> Map:
    values, says, chosen = getattr(of, name), meaning(name, of), shown_slice(name, of)
    mean, p99, maximum = figures(values[of.inside])
    return Map(
        file=file,
        sha256=sha256,
        overlay=overlay,
        overlay_slice=None if chosen is None else volumes.stored_at(of.fused, of.plane)[chosen],
        what=says.what,
        unit=says.unit,
        black=0.0,
        white=says.white,
        mean=mean,
        p99=p99,
        maximum=maximum,
    )


def _flagged(of: Explanation) -> Flagged:
    from scipy.ndimage import find_objects, label

    labels, count = label((of.unsupported >= FLAGGED) & shows(of), np.ones((3,) * of.unsupported.ndim))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = find_objects(labels)
    found = []
    for i in np.argsort(-sizes, kind="stable")[:REGIONS]:
        largest = of.unsupported[boxes[i]][labels[boxes[i]] == i + 1].max()
        box = tuple((along.start, along.stop) for along in boxes[i])
        found.append(Region(box=box, size=int(sizes[i]), largest=float(largest)))
    return Flagged(threshold=FLAGGED, part=of.flagged, regions=count, largest=tuple(found))


def figures(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, 99th percentile and maximum; 0 of nothing."""
    if not values.size:
        return 0.0, 0.0, 0.0
    return _mean(values), float(np.percentile(values, 99)), float(values.max())


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0


def _name(file: str | None) -> str | None:
    return None if file is None else printable(file)
