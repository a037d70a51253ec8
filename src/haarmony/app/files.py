"""What the page is shown, and what a run leaves: each as the bytes of a file.

fused, aligned_b               as `haarmony fuse` writes them: at full depth, or a volume
fused_preview                  the same in 8 bit
spread, unsupported, share_*   maps: 16-bit grey, round(65535 · value / white), or a volume of the values
explain.json                   figures, warnings, and white of each map
figure.png                     sources, fused and maps, labelled
manifest.json                  what was fused, how, and the command that does it again
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import shlex
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import haarmony
from haarmony import volumes
from haarmony.colour import to_luma
from haarmony.explain import Explanation
from haarmony.io import Picture, Volume, encode, from_unit, to_unit
from haarmony.sheet import Row, contact_sheet

MAPS = ("unsupported", "spread", "share_a", "share_b")
UNSUPPORTED = 4.0
"""White of the map of unsupported structure."""
LEAST = 1e-6
"""The least white of the map of spread, as a part of the range of values."""
STEP, FIGURE = 512, 768
"""The longest side of a step's picture, and of one in the figure."""
TITLES = {
    "unsupported": "Unsupported structure",
    "spread": "Spread over the seeds",
    "share_a": "Share of the first source",
    "share_b": "Share of the second source",
}


def preview(pixels: np.ndarray) -> bytes:
    """A picture as 8-bit PNG."""
    shown = pixels if pixels.dtype == np.uint8 else from_unit(to_unit(pixels), np.uint8)
    return _png(shown)


def _png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def displayed(volume: Volume) -> bytes:
    """A volume as the page shows it: what `haarmony.io.write` writes, hardly compressed, which takes long."""
    return gzip.compress(encode(Path("shown.nii"), volume), 1, mtime=0)


def step_picture(seen: np.ndarray) -> str:
    """What a sampler has so far, or a slice, as a data address: 8-bit luma, at most `STEP` pixels a side."""
    by = math.ceil(max(seen.shape[:2]) / STEP)
    luma = to_luma(to_unit(seen[::by, ::by]).astype(np.float32))
    return f"data:image/png;base64,{base64.b64encode(_png(from_unit(luma, np.uint8))).decode()}"


def result_name(fused: Picture | Volume, stem: str = "fused") -> str:
    """What the file of a result is called."""
    return f"{stem}.{'nii.gz' if isinstance(fused, Volume) else 'png'}"


def written(stem: str, content: Picture | Volume) -> tuple[str, bytes]:
    """A result's name and bytes, those of `haarmony fuse`."""
    name = result_name(content, stem)
    return name, encode(Path(name), content)


def white(name: str, of: Explanation) -> float:
    """The value that the lightest level of a map stands for."""
    if name == "spread":
        lo, hi = of.values
        return _rounded_up(max(float(of.spread.max()), LEAST * abs(hi - lo)))
    return UNSUPPORTED if name == "unsupported" else 1.0


def _rounded_up(value: float) -> float:
    """The next of …, 0.1, 0.2, 0.5, 1, 2, 5 and so on."""
    value *= 1 - 1e-6  # what float32 adds to a round number
    power = math.floor(math.log10(value))
    digits = next(digit for digit in (1, 2, 5, 10) if value <= digit * 10.0**power)
    return float(f"{digits}e{power}")


def levels(name: str, of: Explanation) -> np.ndarray:
    """A map in 16 bit; where told, the shares' levels sum to 65535."""
    if name == "share_b":
        told = (of.share_a > 0) | (of.share_b > 0)
        return np.where(told, 65535 - levels("share_a", of), 0).astype(np.uint16)
    values: np.ndarray = getattr(of, name)
    return from_unit(np.clip(values.astype(np.float64) / white(name, of), 0, 1), np.uint16)


def maps(of: Explanation) -> dict[str, bytes]:
    """The four maps by the names of their files."""
    made: dict[str, bytes] = {}
    for name in MAPS:
        content: Picture | Volume
        if isinstance(of.fused, Volume):
            content = replace(of.fused, voxels=levels(name, of), value_range=(0.0, white(name, of)), notes=())
        else:
            content = Picture(levels(name, of), (0, 65535))
        made.update([written(name, content)])
    return made


def figures(of: Explanation) -> dict[str, Any]:
    """What an explanation comes to, as the page and explain.json have it."""
    inside = of.inside
    told = ((of.share_a > 0) | (of.share_b > 0))[inside]
    worst, alignment = of.function.worst, of.alignment
    return {
        "haarmony": haarmony.__version__,
        "values": list(of.values),
        "seeds": list(of.seeds),
        "flagged": of.flagged,
        "told": float(told.mean()) if told.size else 0.0,
        "function": {"value": of.function.value, "worst": None if worst is None else vars(worst)},
        "alignment": None if alignment is None else vars(alignment),
        "scales": {name: white(name, of) for name in MAPS},
        "warnings": list(of.warnings),
    }


def as_json(content: Mapping[str, Any]) -> bytes:
    """Readable JSON, as a file has it."""
    return (json.dumps(content, indent=1, ensure_ascii=False, default=_plain_number) + "\n").encode()


def _plain_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def figure(
    sources: Mapping[str, Picture | Volume],
    fused: Picture | Volume,
    of: Explanation | None,
    *,
    plane: str,
    told: str,
) -> bytes:
    """Sources, fused picture and maps on one labelled sheet; of volumes the middle slice.

    Args:
        sources: By what is to stand under each.
        fused: The result.
        of: Whose maps are shown.
        plane: Of a volume's slices.
        told: What stands under the title: how it was fused.
    """
    pictures = [*(_flat(source, plane) for source in sources.values()), _flat(fused, plane)]
    where = ""
    if isinstance(fused, Volume):
        where = f", {plane} slice {volumes.count(fused, plane) // 2}"
    captions = [*sources, f"Fused{where}"]
    rows = [(pictures, captions)]
    if of is not None:
        drawn = []
        for name in MAPS:
            content = levels(name, of)
            drawn.append(
                _flat(replace(fused, voxels=content) if isinstance(fused, Volume) else content, plane)
            )
        lo_hi = (f"{TITLES[name]}, 0 to {white(name, of):g}" for name in MAPS)
        rows.append((drawn, [*lo_hi]))
    columns = max(len(shown) for shown, _ in rows)
    sheet = contact_sheet(
        [
            Row(
                "",
                [*shown, *[None] * (columns - len(shown))],
                [*said, *[""] * (columns - len(said))],
            )
            for shown, said in rows
        ],
        title="Fused by Haarmony",
        subtitle=told,
        footer=f"haarmony {haarmony.__version__}; for research, not for diagnosis.",
    )
    return _png(sheet)


def _flat(content: Any, plane: str) -> np.ndarray:
    """A picture, or the middle slice of a volume, in 8 bit and no larger than the figure shows it."""
    if isinstance(content, Volume):
        upright = volumes.upright(content.voxels, content.affine, plane)
        pixels = np.ascontiguousarray(upright[:, :, upright.shape[2] // 2])
    else:
        pixels = content.pixels if isinstance(content, Picture) else content
    by = max(1, max(pixels.shape[:2]) // (2 * FIGURE))  # a large one by whole pixels first, for its memory
    pixels = pixels[::by, ::by]
    small = np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else from_unit(to_unit(pixels), np.uint8))
    image = Image.fromarray(small)
    image.thumbnail((FIGURE, FIGURE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def command(names: tuple[str, str], out: str, options: Mapping[str, Any]) -> str:
    """The `haarmony fuse` that makes the result again, in a folder that holds both sources.

    Args:
        names: Of the files or folders.
        out: The result's.
        options: By their names without dashes; None is left out.
    """
    words = [
        "haarmony",
        "fuse",
        *(f"./{name}" if name.startswith("-") else name for name in names),
        "-o",
        out,
    ]
    words += [f"--{name}={value}" for name, value in options.items() if value is not None]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def archive(folder: Path, names: Iterable[str], others: Mapping[str, Path]) -> bytes:
    """A zip file of a run's files, and of others under their names: all are packed already."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as everything:
        for name, path in {**{name: folder / name for name in names}, **others}.items():
            everything.write(path, name)
    return buffer.getvalue()
