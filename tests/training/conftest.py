"""A data set of synthetic pairs and a recipe small enough to train in seconds."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from haarmony.io import write

RECIPE = """
name = "tiny"
title = "Tiny"
description = "For tests."
intended_use = "Tests."
limits = "Everything."
training_data = "Synthetic discs."

[data]
root = "{root}"
crop = 32
sets = [
  {{ name = "grey", a = "a", b = "b", split = "grey", swap = 0.5 }},
  {{ name = "uptake", a = "a", b = "colour", split = "grey", functional = true }},
]

[prior]
candidates = ["average", "maximum"]

[net]
width = 8
depth = 1
heads = 2
condition_channels = 8
step_width = 8
denoiser_depth = 1
refiner_depth = 1

[loss]
vif = 0.0

[optimiser]
steps = 4
batch = 2
learning_rate = 1e-3
warmup = 2

[validation]
every = 2
pairs = 1
"""


def picture(seed, size=64):
    """A textured disc in air, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), 2)
    return np.where(np.hypot(y, x) < 0.42 * size, np.clip(128 + 400 * texture, 1, 255), 0).astype(np.uint8)


AUTOENCODER = """
task = "autoencoder"
name = "coder"
title = "Coder"
description = "For tests."
intended_use = "Tests."
limits = "Everything."
training_data = "Synthetic discs."

[data]
root = "{root}"
crop = 32
sets = [
  {{ name = "grey", a = "a", b = "b", split = "grey" }},
  {{ name = "uptake", a = "a", b = "colour", split = "grey", share = 0.5 }},
]

[net]
latent_channels = 3
width = 8

[optimiser]
steps = 4
batch = 2
learning_rate = 1e-3
warmup = 2

[validation]
every = 2
pairs = 1
"""


@dataclass(frozen=True)
class Trained:
    """A run and what came of it."""

    recipe: Path
    run: Path
    model: Path


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory):
    """A tiny autoencoder, trained for four steps and exported."""
    from haarmony.training import train
    from haarmony.training.export import export

    folder = tmp_path_factory.mktemp("autoencoder")
    trained = Trained(folder / "coder.toml", folder / "run", folder / "model")
    trained.recipe.write_text(AUTOENCODER.format(root=write_data(folder / "data")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's, of its own imports
        train(trained.recipe, out=trained.run, report=lambda line: None)
        export(trained.run, trained.model)
    return trained


@pytest.fixture
def data(tmp_path):
    """Folders a, b and colour with four pairs each, and their split."""
    return write_data(tmp_path / "data")


def write_data(root):
    for folder in ("a", "b", "colour"):
        (root / folder).mkdir(parents=True)
    for i in range(4):
        write(root / "a" / f"{i}.png", picture(i))
        write(root / "b" / f"{i}.png", picture(10 + i))
        second = picture(20 + i)
        write(root / "colour" / f"{i}.png", np.stack([second, second // 2, second // 4], axis=-1))
    (root / "splits.json").write_text(json.dumps({"grey": {"train": ["0", "1", "2"], "val": ["3"]}}))
    return root


@pytest.fixture
def recipe_path(tmp_path, data):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(root=data))
    return path
