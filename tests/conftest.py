"""Fixtures that every test may use; shapes in signatures are checked by beartype here and nowhere else."""

import json
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("haarmony", "beartype.beartype")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored, children too
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of real pairs and reference values that lies beside a development checkout."""
    if not SHARED.is_dir():
        pytest.skip("real pairs and reference values (../shared) are not here")
    return SHARED


GENERATION = """
task = "generation"
name = "discs"
title = "Discs"
description = "For tests."
intended_use = "Tests."
limits = "Everything."
training_data = "Synthetic discs."

[data]
root = "{root}"
reduce = 2
crop = 32
sets = [{{ name = "discs", folders = ["discs"], split = "discs", flip = true }}]

[diffusion]
prediction = "v"
steps = 8

[net]
width = 8
multipliers = [1, 2]
heads = 2

[optimiser]
steps = 4
batch = 2
warmup = 2

[validation]
every = 2
pairs = 2
"""


@dataclass(frozen=True)
class Trained:
    """A run of the task generation and what came of it."""

    recipe: Path
    run: Path
    model: Path


@pytest.fixture(scope="session")
def generation_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny recipe with its data: discs of 64×64, bright on their left, five to train on, two to score."""
    root = tmp_path_factory.mktemp("discs")
    from haarmony.io import write

    (root / "discs").mkdir()
    y, x = np.mgrid[:64, :64] - 31.5
    for i in range(7):
        disc = np.where(np.hypot(y, x) < 16 + 2 * i, 150 - 2 * x, 0).astype(np.uint8)
        write(root / "discs" / f"{i}.png", disc)
    stems = [str(i) for i in range(7)]
    (root / "splits.json").write_text(json.dumps({"discs": {"train": stems[:5], "val": stems[5:]}}))
    path = root / "discs.toml"
    path.write_text(GENERATION.format(root=root))
    return path


@pytest.fixture(scope="session")
def generation(generation_recipe: Path) -> Trained:
    """That recipe, trained for four steps and exported."""
    from haarmony.training import train
    from haarmony.training.export import export

    folder = generation_recipe.parent
    trained = Trained(generation_recipe, folder / "run", folder / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's, of its own imports
        train(trained.recipe, out=trained.run, report=lambda line: None)
        export(trained.run, trained.model)
    return trained
