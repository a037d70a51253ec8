"""One run: two sources read, the second aligned, fused or explained, scored, and written.

    read → register? → fuse or explain → metrics → files

Each is the library's own; here stands only their order, and where a run looks whether it is to stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import haarmony
from haarmony import jobs, volumes, weights
from haarmony.app import files
from haarmony.app.store import Source, Store
from haarmony.explain import SEEDS, Explanation
from haarmony.fuser import Fuser
from haarmony.io import Picture, Volume
from haarmony.io.dicom_headers import walk
from haarmony.manifest import sha256, sha256_of
from haarmony.metrics import METRICS, score
from haarmony.transform import Transform

METRICS_SHOWN = (
    *("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "Nabf", "function", "CIEDE2000"),
)
CONVENTION = "haarmony"
SLICES = 8
"""Slices of a volume that are scored."""
LARGEST = 2**23
"""Pixels of a picture that is scored: beyond, the metrics take minutes."""


class Settings(BaseModel):
    """What a run is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    steps: int | None = Field(None, ge=1)
    seed: int = Field(42, ge=0, lt=2**63)
    colour: Literal["auto", "first", "second", "grey"] = "auto"
    plane: Literal["auto", "axial", "coronal", "sagittal"] = "auto"
    register_: Literal["none", "rigid", "affine"] = Field("none", alias="register")
    explain: bool = False
    seeds: int = Field(SEEDS, ge=2, le=64)


@dataclass
class Result:
    """What a run leaves, its files apart."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    explain: dict[str, Any] | None = None
    transform: dict[str, Any] | None = None


@dataclass(frozen=True)
class Hearing:
    """Who hears of a run.

    Attributes:
        step: Called with (steps or slices done, in all, what is there so far).
        note: Called with a line.
        go_on: Called between the parts; it raises where the run is to stop, as `step` does.
    """

    step: Callable[[int, int, np.ndarray], None]
    note: Callable[[str], None]
    go_on: Callable[[], None]


@lru_cache(maxsize=2)
def fuser(model: str) -> Fuser:
    """The shipped model of that name, loaded once."""
    return Fuser(model)


def perform(settings: Settings, a: Source, b: Source, store: Store, folder: Path, hearing: Hearing) -> Result:
    """Fuse two sources into a folder.

    Raises:
        ValueError: They cannot be fused so.
        ModuleNotFoundError: Alignment without the extra `register`.
        OSError: The disk is full.
    """
    made = Result()

    def note(line: str) -> None:
        made.notes.append(line)
        hearing.note(line)

    def put(name: str, content: bytes) -> None:
        hearing.go_on()
        (folder / name).write_bytes(content)
        made.names.append(name)

    first: Any = store.content(a)
    second: Any = store.content(b)
    fusing = jobs.Fusing(
        settings.model,
        steps=settings.steps,
        seed=settings.seed,
        colour=settings.colour,
        plane=settings.plane,
        ranges=(a.how.value_range, b.how.value_range),
        register=settings.register_,
    )
    hearing.go_on()
    moved, transform, said, problem = fusing.align(first, second)
    if said:
        note(f"{b.name}: {said}")
    if transform is not None:
        made.transform = {
            "shift": transform.shift,
            "unit": transform.unit,
            "turn": transform.turn,
            "nmi_before": transform.before,
            "nmi_after": transform.after,
        }
    hearing.go_on()
    fused, explanation = _fused(settings, first, moved, hearing)
    hearing.go_on()
    for line in fused.notes:
        note(store.told(line, b))
    if explanation is None:
        made.warnings = (
            [problem.replace("--register rigid aligns it", "align it and fuse again")] if problem else []
        )
    else:
        made.warnings = list(explanation.warnings)
        made.explain = files.figures(explanation)
    plane = volumes.plane_of(fused, settings.plane) if isinstance(fused, Volume) else ""
    on_grid = volumes.aligned(fused, moved)[1] if isinstance(fused, Volume) else moved
    made.metrics = _scores(fused, first, on_grid, plane, note)

    name, content = files.written("fused", fused)
    put(name, content)
    if isinstance(fused, Picture):
        put("fused_preview.png", files.preview(fused.pixels))
    if transform is not None:
        put(*files.written("aligned_b", on_grid))
        put("transform.json", transform.encoded())
    if explanation is not None:
        for map_name, map_content in files.maps(explanation).items():
            put(map_name, map_content)
        put("explain.json", files.as_json(made.explain or {}))
    sources = {_caption(a, "first source"): first, _caption(b, "second source"): second}
    if isinstance(fused, Volume):
        there = volumes.aligned(first, second)[1] if transform is not None else on_grid
        sources = {_caption(a, "first source"): first, _caption(b, "second source"): there}
    if transform is not None:
        sources["second source, aligned"] = on_grid
    card = weights.load_card(weights.find(settings.model))
    sampled = not isinstance(card, weights.DifFusionCard)
    steps = (settings.steps or card.diffusion.steps) if sampled else None
    told = f"Model {settings.model}{f', {steps} steps' if steps else ''}, seed {settings.seed}."
    put("figure.png", files.figure(sources, fused, explanation, plane=plane, told=told))
    manifest = _manifest(settings, a, b, fusing, transform, steps=steps, fused=(name, content))
    put("manifest.json", files.as_json(manifest))
    put("all.zip", files.archive(folder, made.names, {x.name: x.path for x in (a, b) if x.made}))
    return made


def _fused(
    settings: Settings, a: Any, b: Any, hearing: Hearing
) -> tuple[Picture | Volume, Explanation | None]:
    model = fuser(settings.model)
    if not settings.explain:
        fused: Picture | Volume = model(
            a,
            b,
            steps=settings.steps,
            seed=settings.seed,
            colour=settings.colour,
            plane=settings.plane,
            callback=hearing.step,
        )
        return fused, None
    explanation = model.explain(
        a,
        b,
        seeds=settings.seeds,
        steps=settings.steps,
        seed=settings.seed,
        colour=settings.colour,
        plane=settings.plane,
        callback=hearing.step,
    )
    return explanation.fused, explanation


def _scores(
    fused: Picture | Volume, a: Picture | Volume, b: Picture | Volume, plane: str, note: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The metrics table; of a volume the means over some slices that show something."""
    triples = [tuple(x.pixels for x in (fused, a, b) if isinstance(x, Picture))]
    if isinstance(fused, Volume) and isinstance(a, Volume) and isinstance(b, Volume):
        triples = _slices([fused, a, b], plane)
        note(f"metrics are means over {len(triples)} {plane} slices")
    if not triples or triples[0][0].shape[0] * triples[0][0].shape[1] > LARGEST:
        note(f"no metrics: they are of pictures of at most {LARGEST} pixels that show something")
        return []
    side = min(triples[0][0].shape[:2])
    fitting = [symbol for symbol in METRICS_SHOWN if METRICS[symbol].smallest <= side]
    with np.errstate(all="ignore"):
        scored = [score(*triple, convention=CONVENTION, metrics=fitting) for triple in triples]
    rows = []
    for symbol in fitting:
        values = [value for one in scored if math.isfinite(value := float(one[symbol]))]
        if values:
            metric = METRICS[symbol]
            rows.append(
                {
                    "symbol": symbol,
                    "name": metric.name,
                    "value": sum(values) / len(values),
                    "higher_is_better": metric.direction == "higher",
                    "unit": metric.unit_in(CONVENTION),
                }
            )
    return rows


def _slices(those: list[Volume], plane: str) -> list[tuple[np.ndarray, ...]]:
    """Of volumes on one grid, `SLICES` slices apart by as much, of those that are not black in the first."""
    upright = [volumes.upright(volume.voxels, volume.affine, plane) for volume in those]
    lit = [k for k in range(upright[0].shape[2]) if upright[0][:, :, k].any()]
    chosen = sorted({lit[round(x)] for x in np.linspace(0, len(lit) - 1, SLICES)}) if lit else []
    return [tuple(np.ascontiguousarray(volume[:, :, k]) for volume in upright) for k in chosen]


def _caption(source: Source, place: str) -> str:
    return f"{place}: {source.name}" if source.name.isascii() else place  # the sheet's type has no others


def _manifest(
    settings: Settings,
    a: Source,
    b: Source,
    fusing: jobs.Fusing,
    transform: Transform | None,
    *,
    steps: int | None,
    fused: tuple[str, bytes],
) -> dict[str, Any]:
    """What was fused, how, and the command that does it again."""
    names = (a.name, b.name) if a.name != b.name else (f"a/{a.name}", f"b/{b.name}")
    volume = a.about["kind"] == "volume"
    options: dict[str, Any] = {"model": settings.model, "steps": steps, "seed": settings.seed}
    options |= {"colour": settings.colour, "plane": settings.plane if volume else None}
    # What was found, not how: to find it again may end some digits beside it.
    options["transform"] = None if transform is None else "transform.json"
    for side, source in (("a", a), ("b", b)):
        how = source.how
        options[f"range-{side}"] = None if how.value_range is None else ",".join(map(repr, how.value_range))
        options[f"series-{side}"] = how.series
    return {
        "haarmony": haarmony.__version__,
        "command": files.command(names, fused[0], options),
        "settings": fusing.settings().model_dump(),
        "seeds": settings.seeds if settings.explain else None,
        "sources": [_described(source, name) for source, name in zip((a, b), names, strict=True)],
        "fused": {"file": fused[0], "sha256": sha256_of(fused[1])},
        "transform": None
        if transform is None
        else {"file": "transform.json", "matrix": transform.matrix.tolist()},
    }


def _described(source: Source, name: str) -> dict[str, Any]:
    """A source by its name and the digest of its file, or that of its files' sorted digests."""
    found = [source.path]
    if source.path.is_dir():
        found = [path for _, _, paths in walk(source.path) for path in paths]
    digests = sorted(map(sha256, found))
    whole = digests[0] if source.path.is_file() else sha256_of("\n".join(digests).encode())
    return {"name": name, "files": len(found), "sha256": whole, "values": source.about["values"]}
