"""`haarmony demo`: a procedural head, imaged by every modality and fused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("demo"),
) -> None:
    """Fuse MRI-PET, MRI-SPECT and MRI-CT slices of a phantom head, and lay them out on one sheet."""
