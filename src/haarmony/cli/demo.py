"""`haarmony demo`: a procedural head, imaged by every modality and fused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

LEVELS = (16, 46)
"""Heights of the slices in mm; all lesions of the phantom lie at the first."""
NOTES = {
    "PET": "Glucose uptake. Only PET shows the hot focus, only MRI the plaque.",
    "SPECT": "Perfusion. Only SPECT shows the hot focus, only MRI the plaque.",
    "CT": "Bone, and a brain window. Only CT shows the calcification, only MRI the plaque.",
}


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other files.")] = False,
) -> None:
    """Fuse slices of a phantom head, on one sheet.

    OUT/mri-pet, OUT/mri-spect and OUT/mri-ct hold the sources and the fused pictures of every slice, and
    OUT/overview.png shows them all.
    """
    from haarmony.fuser import Fuser
    from haarmony.io import Picture, encode, write_bytes
    from haarmony.phantom import head
    from haarmony.sheet import Row, contact_sheet

    def keep(path: Path, pixels: np.ndarray) -> None:
        files[path] = encode(path, Picture(pixels, (0, 255)))
        if path.exists() and not overwrite and not (path.is_file() and path.read_bytes() == files[path]):
            raise FileExistsError(f"{path}: exists already and is another; --overwrite replaces it")

    files: dict[Path, bytes] = {}
    fuser, phantom, seconds, rows = Fuser(), head(), [], []
    for second, note in NOTES.items():
        pictures, captions = [], []
        for z in LEVELS:
            a, b = phantom.pair(second, z)
            start = time.perf_counter()
            fused = fuser(a, b)
            seconds.append(time.perf_counter() - start)
            for name, picture in (("mri", a), (second.lower(), b), ("fused", fused)):
                keep(out / f"mri-{second.lower()}" / name / f"z{z}.png", picture)
            pictures += [a, b, fused]
            captions += [f"MRI, {z} mm", second, "fused"]
        rows.append(Row(f"MRI + {second}", pictures, captions, note))
    sheet = contact_sheet(
        rows,
        title="Haarmony: two pictures in, one out",
        subtitle=f"Slices of a procedural head phantom, fused by the model '{fuser.card.name}' in "
        f"{fuser.card.diffusion.steps} diffusion steps. No person was imaged.",
    )
    keep(out / "overview.png", sheet)
    for path, content in files.items():  # once all of them may be written
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    typer.echo(f"{len(seconds)} pairs fused, {sorted(seconds)[len(seconds) // 2]:.2f} s each")
    typer.echo(f"sources and fused pictures: {', '.join(str(out / f'mri-{name.lower()}') for name in NOTES)}")
    typer.echo(f"overview: {out / 'overview.png'}")
