"""`haarmony train` and `haarmony export`: from a recipe to a model that `haarmony fuse` takes."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> float:
    """A duration such as 90m, 1.5h or 30s in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration.strip())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"'{duration}' is no duration: write 90m, 1.5h or 30s")
    return float(match[1]) * UNITS[match[2]]


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="The run's TOML file, recipes/medical.toml say.")
    ],
    data: Annotated[Path | None, typer.Option(help="Data folder, instead of the recipe's.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="Run directory; runs/NAME by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run directory's last run stopped.")
    ] = False,
    max_time: Annotated[
        float | None, typer.Option(parser=seconds, metavar="TIME", help="Stop after so long, 90m say.")
    ] = None,
) -> None:
    """Train a model by a recipe; the best checkpoint by validation score is kept."""
    from haarmony.training import train

    threading.excepthook = _say_no_failed_write
    report = partial(print, flush=True)  # a run's output often goes to a file, read while it grows
    run = train(recipe, data=data, out=out, resume=resume, max_time=max_time, report=report)
    if (run / "best").exists():
        typer.echo(f"{run}: to use the model, haarmony export {run} -o DIR")


def _say_no_failed_write(failed: threading.ExceptHookArgs) -> None:
    """The thread that writes the log fails on a full disk; training raises that again and ends by it."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A run directory of 'haarmony train'.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the model: ONNX, safetensors and card.")
    ],
) -> None:
    """Export a checkpoint as a model folder, which 'haarmony fuse' or 'generate --model' takes."""
    from haarmony.training.export import export
    from haarmony.weights import AutoencoderCard, GenerationCard

    card = export(checkpoint, out)
    size = f"{card.parameters / 1e6:.2f} million parameters"
    if isinstance(card, AutoencoderCard):
        keys = f'codec = "autoencoder", autoencoder = "{out}", autoencoder_channels = {card.channels}'
        typer.echo(f"{out}: {card.name}, {size}; to use it, in a recipe's [diffusion]: {keys}")
        return
    use = "generate" if isinstance(card, GenerationCard) else "fuse A B"
    typer.echo(f"{out}: {card.name}, {size}; to use it, haarmony {use} -o OUT --model {out}")
