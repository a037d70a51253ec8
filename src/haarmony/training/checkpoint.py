"""Checkpoints of a training run: safetensors and JSON, never pickle; a folder that is there is whole.

    RUN/checkpoint/  model.safetensors  average.safetensors  optimiser.safetensors  state.json
    RUN/best/        model.safetensors (the moving average)   recipe.toml   scores.json

A run's randomness follows from (seed, step, process), so the step is all the state that its generators need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from haarmony.io import folders, replacing

Net = TypeVar("Net", bound=nn.Module)

WHAT = "what training keeps"
NAMES = {
    *("model.safetensors", "average.safetensors", "optimiser.safetensors", "state.json"),
    *("recipe.toml", "scores.json", "autoencoder", "card.toml", "encoder.onnx", "decoder.onnx"),
}
"""All that is in folders which are replaced: a checkpoint, the best weights, a copied autoencoder."""


@dataclass
class State:
    """Where a run stands."""

    step: NonNegativeInt = 0
    best_step: NonNegativeInt = 0
    best_score: float = float("-inf")
    seconds: float = 0.0
    """Time spent so far, over all its parts."""


def save(
    folder: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, state: State
) -> None:
    """Write a checkpoint beside `folder`, then put it in its place: a crash leaves the old one or the new."""
    moments = {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
    }
    with replacing_folder(folder) as part:
        save_file(tensors(model), part / "model.safetensors")
        save_file(tensors(average), part / "average.safetensors")
        save_file(moments, part / "optimiser.safetensors")
        (part / "state.json").write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")


def load(folder: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """Restore what `save` wrote.

    Raises:
        ValueError: The checkpoint is damaged or belongs to another network; the message names the folder.
    """
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
        average.load_state_dict(load_file(folder / "average.safetensors"))
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(folder / "optimiser.safetensors").items():
            index, name = key.split(".", 1)
            entries.setdefault(int(index), {})[name] = value
        _check_moments(entries, model)
        optimiser.load_state_dict({**optimiser.state_dict(), "state": entries})
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return TypeAdapter(State).validate_python(asdict(State(**state)))
    except Exception as error:
        # Whatever is wrong with the files, to the user it is one thing: this checkpoint cannot be resumed.
        problem = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"state.json: {first['loc'][0]}: {first['msg']}"
        raise ValueError(f"{folder}: not a checkpoint of this recipe ({problem})") from error


def _check_moments(entries: dict[int, dict[str, Tensor]], model: nn.Module) -> None:
    """What torch takes without a look: it would fail in the next step, or go on as if from the first."""
    weights = list(model.parameters())
    for index, moments in entries.items():
        if any(x.ndim and x.shape != weights[index].shape for x in moments.values()):
            raise ValueError(f"moments {index} of the optimiser are another network's")
        if moments.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"moments {index} of the optimiser are {', '.join(sorted(moments))}")
    if not entries:
        raise ValueError("the optimiser has no moments")


def load_best(folder: Path, net: Net) -> Net:
    """The network with the weights that a run kept.

    Raises:
        ValueError: The weights are damaged or another network's.
        OSError: They cannot be read.
    """
    path = folder / "model.safetensors"
    try:
        net.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: not the recipe's network ({str(error).splitlines()[0]})") from None
    return net


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """An empty folder to write into that takes the place of `folder` when the block ends without an error.

    Raises:
        OSError: It cannot be written, or may not be replaced, because `overwrite` is false or it holds what
            training does not write; `folder` is as it was and what was written is gone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folders.whole_folder(folder, what=WHAT, foreign=_foreign, overwrite=overwrite) as part:
        try:
            yield part
        except SafetensorError as error:  # its word for a full disk
            raise OSError(f"{folder}: cannot be written ({error})") from error
        except OSError as error:
            if error.filename is None:  # of a write, a full disk's say
                error.filename = str(folder)
            raise


def recover(folder: Path) -> None:
    """Put a folder back where a process was killed while it replaced it; refuse one with foreign files.

    Raises:
        OSError: It holds what training does not write, and so could not be replaced.
    """
    folders.put_back(folder, foreign=_foreign)
    if folder.is_dir():
        folders.check_folder(folder, what=WHAT, foreign=_foreign, overwrite=True)


def _foreign(folder: Path) -> str | None:
    names = (path.name for path in sorted(folder.iterdir()))
    return next((name for name in names if name not in NAMES and not name.startswith(".")), None)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's state as safetensors takes it."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())
