"""`haarmony generate`: pictures out of noise, all on one sheet."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from haarmony.cli.messages import counted, show


class SamplerName(str, Enum):
    """How it samples."""

    DDIM = "ddim"
    DDPM = "ddpm"


def generate(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, PNG or TIFF.")],
    model: Annotated[
        str, typer.Option(help="A shipped model that generates ('haarmony models'), or an exported folder.")
    ] = "ddpm-mri",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=10_000, help="How many pictures.")] = 16,
    sampler: Annotated[
        SamplerName | None, typer.Option(help="DDIM needs few steps, DDPM many; the model's own by default.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; the model's own by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the noise: the same seed gives the same file.")
    ] = 42,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
) -> None:
    """Make pictures out of noise with a diffusion model, on a grid as square as possible."""
    import numpy as np

    from haarmony.io import check_target, from_unit, write

    check_target(out, overwrite=overwrite)
    from haarmony.generator import BATCH, Generator, grid

    generator = Generator(model)
    total = (generator.card.diffusion.steps if steps is None else steps) * -(-number // BATCH)
    start = time.perf_counter()
    with counted(total, label="steps") as watch:
        pictures = generator.sample(
            number, sampler=sampler.value if sampler else None, steps=steps, seed=seed, callback=watch
        )
    shown = pictures[:, :3] if pictures.shape[1] > 3 else pictures  # of colour with infrared the colour
    write(out, from_unit(grid(shown), np.dtype(np.uint8)), overwrite=overwrite)
    show(f"{out}: {number} pictures in {time.perf_counter() - start:.1f} s")
