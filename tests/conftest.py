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


STREET = """
name = "NAME"
title = "Street"
description = "For tests."
intended_use = "Tests."
limits = "Everything."
training_data = "Synthetic squares."

[data]
root = "ROOT"
crop = 32
sets = [{ name = "street", folders = ["visible", "infrared"], split = "street", flip = true }]

[diffusion]
grid = 8
prediction = "v"
steps = 2

[net]
latent_channels = 64
width = 8
multipliers = [1, 2]
heads = 2
window = 4

[optimiser]
steps = 4
batch = 2
warmup = 2

[validation]
every = 2
pairs = 2
"""
DENOISER = 'task = "generation"' + STREET
DIF_FUSION = 'task = "dif-fusion"\ndenoiser = "DENOISER"' + STREET.replace(
    "[optimiser]", "head_width = 8\nhead_depth = 2\n\n[loss]\ncolour = 0.5\n\n[optimiser]"
)


@dataclass(frozen=True)
class Trained:
    """A recipe, its run and what came of it."""

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


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 72×64, coloured squares and warm discs, three to train on, two to score; a denoiser."""
    from haarmony.io import write
    from haarmony.training import train

    root = tmp_path_factory.mktemp("street")
    (root / "visible").mkdir()
    (root / "infrared").mkdir()
    y, x = np.mgrid[:72, :64]
    for i in range(5):
        square = (np.abs(y - 30) < 8 + 2 * i) & (np.abs(x - 30) < 12)
        colours = np.stack([np.where(square, 200, 40 + 2 * x), 60 + y, np.where(square, 30, 150 - x)], axis=2)
        disc = np.where(np.hypot(y - 40, x - 44) < 6 + 2 * i, 230, 20 + x // 2)
        write(root / "visible" / f"{i}.png", colours.astype(np.uint8))
        write(root / "infrared" / f"{i}.png", disc.astype(np.uint8))
    split = {"train": ["0", "1", "2"], "val": ["3", "4"]}
    (root / "splits.json").write_text(json.dumps({"street": split}))
    recipe = root / "denoiser.toml"
    recipe.write_text(DENOISER.replace("ROOT", str(root)).replace("NAME", "denoiser"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        train(recipe, out=root / "denoiser", report=lambda line: None)
    return root


@pytest.fixture(scope="session")
def dif_fusion(street: Path) -> Trained:
    """A head on that denoiser, trained for four steps and exported."""
    from haarmony.training import train
    from haarmony.training.export import export

    trained = Trained(street / "street.toml", street / "run", street / "model")
    text = DIF_FUSION.replace("ROOT", str(street)).replace("DENOISER", str(street / "denoiser"))
    trained.recipe.write_text(text.replace("NAME", "tiny-dif-fusion"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        train(trained.recipe, out=trained.run, report=lambda line: None)
        export(trained.run, trained.model)
    return trained
