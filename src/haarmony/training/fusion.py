"""The task "fusion": Algorithm 1 on crops of pairs, scored as users' pairs are fused."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from haarmony.nets import FusionNet
from haarmony.training import validation
from haarmony.training.algorithm import Algorithm1, draw_steps
from haarmony.training.codec import bring_codec, load_codec
from haarmony.training.data import Pair, Report, draw, find_targets, load_training
from haarmony.training.recipe import PairSet, Recipe
from haarmony.training.task import Graph, Scores, Sheet


class Fusion:
    """Encoder, denoiser and refiner trained together (see `haarmony.training.task.Task`)."""

    caption = "a, b, fused"

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.recipe = recipe
        self.training = load_training(recipe.data, run / "prior")
        torch.manual_seed(recipe.seed)  # for the initial weights, which torch draws from its global generator
        self.net = FusionNet(recipe.net)
        self.module = Algorithm1(
            self.net,
            recipe.diffusion,
            recipe.loss,
            recipe.data.sets,
            codec=load_codec(recipe.diffusion, run),
        )

    def at(self, step: int) -> None:
        self.module.loss = self.recipe.loss_at(step)

    def inputs(self, step: int, process: int, device: torch.device) -> list[Tensor]:
        """The arguments of Algorithm 1: lines 3 and 5, and the pairs with their targets."""
        config, diffusion, crop = self.recipe.optimiser, self.recipe.diffusion, self.recipe.data.crop
        codec, schedule = self.module.codec, self.module.process.schedule
        rng = np.random.default_rng([self.recipe.seed, step, process])
        batch = draw(self.training, rng, batch=config.batch, crop=crop)
        t = draw_steps(schedule, diffusion, rng, batch=config.batch, sampled=config.sampled_steps)
        grid = crop // codec.factor
        eps = rng.standard_normal((config.batch, codec.channels, grid, grid), dtype=np.float32)
        pictures = [torch.from_numpy(getattr(batch, field.name)).to(device) for field in fields(batch)]
        return [*pictures, torch.from_numpy(t), torch.from_numpy(eps).to(device)]

    @cached_property
    def pairs(self) -> list[tuple[PairSet, list[Pair]]]:
        """The validation pairs that are scored in the course of training."""
        return validation.load(self.recipe, pairs=self.recipe.validation.pairs)

    @cached_property
    def maximum(self) -> Scores:
        """The pixel-wise maximum's scores of them."""
        return validation.baseline(self.pairs)

    def load_validation(self) -> None:
        _ = self.maximum

    def validate(self, net: nn.Module) -> tuple[Scores, float, Sheet]:
        assert isinstance(net, FusionNet)
        scores, sheet = validation.score(net, self.recipe, self.pairs, codec=self.module.codec)
        return scores, validation.total(scores, self.maximum), sheet

    def score(self, net: nn.Module) -> Scores:
        assert isinstance(net, FusionNet)
        return validation.score(net, self.recipe, validation.load(self.recipe), codec=self.module.codec)[0]


def prepare(recipe: Recipe, run: Path, *, report: Report, until: float | None) -> bool:
    """Line 1 of Algorithm 1, and the codec."""
    validation.load(recipe)  # what is wrong with it shows now, not after the search or at the end
    bring_codec(recipe.diffusion, run)
    return find_targets(recipe.data, recipe.prior, run / "prior", report=report, until=until)


def graphs(net: FusionNet, recipe: Recipe) -> dict[str, Graph]:
    """What `haarmony export` writes: a graph a network."""
    grid = recipe.diffusion.grid
    # Sizes that differ from one another and from 1, so that the exporter takes none of them for a constant.
    z = torch.zeros(2, recipe.net.latent_channels, 2 * grid, 3 * grid)
    t = torch.ones(2, dtype=torch.int64)
    with torch.inference_mode():
        condition = net.encoder(z, z, z)
    sources = {"z_a": z, "z_b": z.clone(), "z_max": z.clone()}
    step = {"z": z, "condition": condition, "t": t}
    return {
        "encoder": Graph(net.encoder, sources, "condition", grid),
        "denoiser": Graph(net.denoiser, step, "prediction", grid),
        "refiner": Graph(net.refiner, step, "x_0", grid),
    }
