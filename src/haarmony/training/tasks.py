"""The tasks that a recipe may name, and what each is made of; another is one file and one line of `TASKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import nn

from haarmony import settings
from haarmony.nets import AutoencoderNet, FusionNet, UNet
from haarmony.text import plain
from haarmony.training import autoencoder, dif_fusion, fusion, generation
from haarmony.training.recipe import BaseRecipe, Recipe
from haarmony.training.task import Graph, Task
from haarmony.weights import AutoencoderCard, Card, DifFusionCard, GenerationCard, LumaCard


@dataclass(frozen=True)
class Kind:
    """One task; what is called is called with a recipe of its own type."""

    recipe: type[BaseRecipe]
    prepare: Callable[..., bool]
    """(recipe, run, report=, until=): what one process does before any reads its data; it may find it done.
    Whether it could finish by then, on `time.monotonic`."""
    task: Callable[[Any, Path], Task]
    """(recipe, run): the task, its data loaded."""
    net: Callable[[Any], nn.Module]
    """(recipe): the network that a run keeps."""
    graphs: Callable[[Any, Any], dict[str, Graph]]
    """(that network, recipe): what is exported of it, by name."""
    card: type[Card]
    """The model's card; fields that recipe and card share by name are copied."""


TASKS: dict[str, Kind] = {
    "fusion": Kind(
        Recipe,
        fusion.prepare,
        fusion.Fusion,
        lambda recipe: FusionNet(recipe.net),
        fusion.graphs,
        LumaCard,
    ),
    "dif-fusion": Kind(
        dif_fusion.DifFusionRecipe,
        dif_fusion.prepare,
        dif_fusion.DifFusion,
        dif_fusion.build,
        dif_fusion.graphs,
        DifFusionCard,
    ),
    "generation": Kind(
        generation.GenerationRecipe,
        generation.prepare,
        generation.Generation,
        lambda recipe: UNet(recipe.net),
        generation.graphs,
        GenerationCard,
    ),
    "autoencoder": Kind(
        autoencoder.AutoencoderRecipe,
        autoencoder.prepare,
        autoencoder.AutoencoderTask,
        lambda recipe: AutoencoderNet(recipe.net),
        autoencoder.graphs,
        AutoencoderCard,
    ),
}


class _Head(BaseModel):
    """The one key of a recipe that says how the others are to be read."""

    task: str = "fusion"


def load_recipe(path: Path, *, data: Path | None = None) -> Any:
    """Read a recipe of any task, with another data folder where one is given.

    Raises:
        ValueError: It is no recipe; the message names the key that is wrong.
        OSError: It cannot be read.
    """
    task = settings.load(path, _Head).task
    if task not in TASKS:
        raise ValueError(f"{path}: task: unknown task '{plain(task)}': choose one of {', '.join(TASKS)}")
    recipe: Any = settings.load(path, TASKS[task].recipe)
    if data is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(data)})})
