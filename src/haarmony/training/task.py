"""What a kind of model brings to the training loop, `haarmony.training.loop`, which is the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

Scores = dict[str, dict[str, float]]
"""Validation set → metric → mean."""

Sheet = UInt8[np.ndarray, "..."]
"""Sample pictures as one, (H, W) or (H, W, 3)."""


Item = TypeVar("Item")


def spaced(items: Sequence[Item], count: int | None) -> list[Item]:
    """So many of them, evenly spaced from the first to the last; all where there are no more, or for None."""
    count = len(items) if count is None else min(count, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def stacked(rows: Sequence[Sheet]) -> Sheet:
    """Rows of pictures as one sheet, black where one is narrower than the widest."""
    width = max(row.shape[1] for row in rows)
    beside = ((0, 0),) * (rows[0].ndim - 2)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), *beside)) for row in rows])


def check_finite(made: np.ndarray, of: str) -> None:
    """Refuse what a network made at a validation if a value is not finite: training diverged.

    Raises:
        ValueError: One is not; `of` says what was made.
    """
    if not np.isfinite(made).all():
        raise ValueError(
            f"training diverged, the network's picture of {of} is not finite:"
            " lower optimiser.learning_rate; what was saved before is as it was"
        )


@runtime_checkable
class Task(Protocol):
    """A network to train, the batches it learns from, its loss and its scores."""

    @property
    def net(self) -> nn.Module:
        """The network whose moving average is scored, kept and exported."""

    @property
    def module(self) -> nn.Module:
        """Holds `net`; its forward takes `inputs` and gives {"loss": a scalar, and terms to be logged}."""

    @property
    def caption(self) -> str:
        """What the sheet of `validate` shows."""

    def at(self, step: int) -> None:
        """Set what changes in the course of training, weights of the loss terms say, for a step from 0 on."""

    def inputs(self, step: int, process: int, device: torch.device) -> list[Tensor]:
        """The arguments of `module` at a step, drawn from a generator seeded with (seed, step, process)."""

    def load_validation(self) -> None:
        """Read what `validate` needs, so that what is wrong with it shows before any step."""

    def validate(self, net: nn.Module) -> tuple[Scores, float, Sheet]:
        """Scores of some pictures, the one number that the best network has most of, and sample pictures."""

    def score(self, net: nn.Module) -> Scores:
        """Scores of the whole validation split, for the model card."""


@dataclass(frozen=True)
class Graph:
    """A network as it is exported: ONNX, its batch, height and width dynamic."""

    network: nn.Module
    inputs: dict[str, Tensor]
    """Examples by name, in the order of the arguments; those of four axes are latents or pictures."""
    output: str
    multiple: int
    """What height and width are multiples of."""
