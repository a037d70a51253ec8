"""The task "dif-fusion": the second stage of Dif-Fusion (Yue et al. 2023), a head on a frozen denoiser.

    x_0 = (v_R, v_G, v_B, i) ~ pairs,   f = head(features of x_t, t of `features_at`)
    L = w_1 mean |f_c − v_c − (1 − s) u_c|               multi-channel intensity loss, u_c = max(v_c, i) − v_c
      + w_2 mean | |∇f_c| − max(|∇v_c|, |∇i|) |          multi-channel gradient loss, |∇| = |S_x| + |S_y|
      + w_3 mean |d(f) − d(v)|,   d(x) = x − luma(x)     colour

The mean is over pixels and the channels c = R, G, B. The paper has the first two, w_1 = w_2 = 1 and s = 0,
with Sobel kernels four times ours. Both grey what is warm: where infrared is brightest they want
f_R = f_G = f_B = i. `intensity_of = "luma"` lifts the luma instead, u_c = max(luma(v), i) − luma(v) in every
channel, which leaves chroma as it is; a share s of the lift left undone keeps lightness nearer to what was
seen; the third term holds the visible chroma offsets. Without all three the loss is the paper's.

Stage one is the task "generation" on pictures of four channels, whose run or export `denoiser` names.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from haarmony import metrics, settings
from haarmony.codec import LEARNT, decode_channels, encode_channels
from haarmony.colour import BLUE, GREEN, RED
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.engine_torch import TorchDifFusion
from haarmony.fusing_path import from_latent, fuse_colour, to_latent
from haarmony.io import from_unit
from haarmony.nets import DifFusionConfig, DifFusionNet, UNet, UNetConfig
from haarmony.training import checkpoint
from haarmony.training.data import Report
from haarmony.training.generation import (
    GenerationRecipe,
    Picture,
    PicturesRecipe,
    draw,
    load,
    load_training,
)
from haarmony.training.losses import sobel
from haarmony.training.recipe import Frozen
from haarmony.training.task import Graph, Scores, Sheet, check_finite, spaced, stacked
from haarmony.weights import load_generation, verified

MEASURED = ("MI", "VIF", "SF", "Qabf", "SD", "CIEDE2000")
WEIGHTS = {"VIF": 1.0, "Qabf": 3.0, "CIEDE2000": -0.1}
"""What the best network has most of: VIF and Qabf as for the task fusion, and a just visible step of colour
counts as 0.1 of VIF."""


SAMPLING = {"grid", "margin", "sampler", "spacing", "steps", "eta", "variance"}
"""What of a `DiffusionConfig` a trained denoiser does not depend on."""


class DifFusionLoss(Frozen):
    """Weights of the loss terms."""

    intensity: float = Field(1.0, ge=0)
    intensity_of: Literal["channels", "luma"] = Field(
        "channels", description="what is lifted to the infrared picture: every channel, or their luma"
    )
    visible: float = Field(0.0, ge=0, le=1, description="s, the share of that lift that is left undone")
    gradient: float = Field(4.0, ge=0)
    colour: float = Field(0.0, ge=0)


class DifFusionRecipe(PicturesRecipe):
    """What `haarmony train` reads where `task = "dif-fusion"`."""

    task: Literal["dif-fusion"]
    coloured: Literal["first"] = Field("first", description="the source in colour; the other's luma is fused")
    denoiser: str = Field(description="stage one: a run directory of `haarmony train`, or an export of it")
    features_at: tuple[PositiveInt, ...] = Field(
        (5, 50, 100), min_length=1, description="the steps t whose features are fused"
    )
    net: DifFusionConfig = DifFusionConfig()
    loss: DifFusionLoss = DifFusionLoss()

    @model_validator(mode="after")
    def _of_pairs(self) -> DifFusionRecipe:
        if self.diffusion.codec == LEARNT:
            raise ValueError(f"diffusion.codec = '{LEARNT}' is not for this task: haar or identity is")
        self.diffusion.check_plain()
        if self.shape[0] != 4:
            raise ValueError(f"net.latent_channels = {self.net.latent_channels} is not for four channels")
        if self.diffusion.grid % self.net.factor:
            raise ValueError(
                f"diffusion.grid = {self.diffusion.grid} is no multiple of {self.net.factor},"
                " what the network needs"
            )
        if (last := max(self.features_at)) > self.diffusion.timesteps:
            raise ValueError(f"features_at: {last} is more than diffusion.timesteps")
        return self


class ByFeatures(nn.Module):
    """Diffuse, observe, fuse, and the loss of a batch."""

    def __init__(
        self, net: DifFusionNet, diffusion: DiffusionConfig, steps: tuple[int, ...], loss: DifFusionLoss
    ) -> None:
        super().__init__()
        self.net, self.steps, self.loss = net, steps, loss
        self.process = Process(diffusion.make_schedule())
        self.codec = diffusion.make_codec()

    def forward(self, x: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """The loss, and its terms unweighted.

        Args:
            x: Pictures (B, 4, H, W) in [0, 1]: R, G, B, infrared.
            eps: ε ~ N(0, I) on the codec's grid, one for every step, their channels joined.
        """
        x_0 = encode_channels(self.codec, to_latent(x))
        noises = eps.chunk(len(self.steps), dim=1)
        x_t = torch.cat(
            [self.process.diffuse(x_0, e, t) for e, t in zip(noises, self.steps, strict=True)], dim=1
        )
        f = from_latent(decode_channels(self.codec, self.net(x_t).float()))
        lifted = {"channels": of_channels, "luma": of_luma}[self.loss.intensity_of]
        terms = {
            "intensity": intensity(f, lifted(x[:, :3], x[:, 3:], self.loss.visible)),
            "gradient": gradient(f, x[:, :3], x[:, 3:]),
            "colour": colour(f, x[:, :3]),
        }
        total = torch.stack([getattr(self.loss, name) * term for name, term in terms.items()]).sum()
        return {"loss": total, **terms}


def of_channels(v: Tensor, i: Tensor, visible: float) -> Tensor:
    """The picture v (B, 3, H, W), a share 1 − `visible` of the way to max(v, i), i being (B, 1, H, W)."""
    return v + (1 - visible) * (i - v).clamp(min=0)


def of_luma(v: Tensor, i: Tensor, visible: float) -> Tensor:
    """The same for lumas: every channel of v is lifted by what its luma is, and to 1 at most."""
    return (v + (1 - visible) * (i - luma(v)).clamp(min=0)).clamp(max=1)


def intensity(f: Tensor, target: Tensor) -> Tensor:
    """The multi-channel intensity loss of f and what it should be, both (B, 3, H, W): a scalar."""
    return torch.abs(f - target).mean()


def gradient(f: Tensor, v: Tensor, i: Tensor) -> Tensor:
    """The multi-channel gradient loss, likewise."""
    return torch.abs(slope(f) - torch.maximum(slope(v), slope(i))).mean()


def colour(f: Tensor, v: Tensor) -> Tensor:
    """How far the chroma offsets of f are from those of v: 0 for any luma of the same colours."""
    d = f - v
    return torch.abs(d - luma(d)).mean()


def slope(x: Tensor) -> Tensor:
    """|S_x| + |S_y| of every channel, (B, C, H, W)."""
    each = sobel(x.flatten(0, 1)[:, None]).abs().sum(1)
    return each.reshape(x.shape)


def luma(x: Tensor) -> Tensor:
    """BT.601 luma (B, 1, H, W)."""
    return (x * x.new_tensor([RED, GREEN, BLUE])[:, None, None]).sum(1, keepdim=True)


class DifFusion:
    """A fusion head on a frozen denoiser (see `haarmony.training.task.Task`)."""

    caption = "visible, infrared, fused"

    def __init__(self, recipe: DifFusionRecipe, run: Path) -> None:
        self.recipe = recipe
        self.training = load_training(recipe)
        torch.manual_seed(recipe.seed)  # for the initial weights, which torch draws from its global generator
        self.net = build(recipe)
        self.module = ByFeatures(self.net, recipe.diffusion, recipe.features_at, recipe.loss)
        unet = load_denoiser(recipe)
        self.net.observer.load_denoiser(unet, self.module.process, recipe.diffusion.prediction)

    def at(self, step: int) -> None:
        pass

    def inputs(self, step: int, process: int, device: torch.device) -> list[Tensor]:
        """Pairs as pictures of four channels, and ε for every step of `features_at`."""
        config, batch = self.recipe.data, self.recipe.optimiser.batch
        rng = np.random.default_rng([self.recipe.seed, step, process])
        pictures = draw(self.training, rng, batch=batch, crop=config.crop)
        side = config.crop // self.module.codec.factor
        channels = len(self.recipe.features_at) * self.recipe.net.latent_channels
        eps = rng.standard_normal((batch, channels, side, side), dtype=np.float32)
        return [torch.from_numpy(x).to(device) for x in (pictures, eps)]

    @cached_property
    def pictures(self) -> dict[str, list[Picture]]:
        """The validation pairs of every set that is scored."""
        return {one.name: load(self.recipe, one, "val") for one in self.recipe.data.sets if one.scored}

    def load_validation(self) -> None:
        _ = self.pictures

    def validate(self, net: nn.Module) -> tuple[Scores, float, Sheet]:
        picked = {name: spaced(x, self.recipe.validation.pairs) for name, x in self.pictures.items()}
        scores, sheet = self._score(net, picked)
        total = np.mean([sum(w * row[m] for m, w in WEIGHTS.items()) for row in scores.values()])
        return scores, float(total), sheet

    def score(self, net: nn.Module) -> Scores:
        return self._score(net, self.pictures)[0]

    def _score(self, net: nn.Module, sets: dict[str, list[Picture]]) -> tuple[Scores, Sheet]:
        """Mean metrics of every set, fused as users' pairs are, and its middle pair as one picture."""
        assert isinstance(net, DifFusionNet)
        engine, scores, rows = TorchDifFusion(net), {}, []
        for name, pictures in sets.items():
            each = []
            for n, x in enumerate(pictures):
                visible, infrared = np.moveaxis(x[:3], 0, 2), x[3]
                fused = fuse_colour(engine, self.recipe.diffusion, visible, infrared, seed=self.recipe.seed)
                check_finite(fused, f"{name}, number {n + 1} of those scored,")
                v, i, f = (from_unit(y, np.dtype(np.uint8)) for y in (visible, infrared, fused))
                each.append(metrics.score(f, v, i, convention="cddfuse", metrics=MEASURED))
                if n == len(pictures) // 2:
                    rows.append(np.hstack([v, np.repeat(i[..., None], 3, axis=2), f]))
            scores[name] = {m: _mean([float(row[m]) for row in each]) for m in MEASURED}
        net.train()
        return scores, stacked(rows)


def _mean(values: list[float]) -> float:
    """Without the pictures that a metric is not defined for: a grey one has no colour to be true to."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else 0.0


def prepare(recipe: DifFusionRecipe, run: Path, *, report: Report, until: float | None) -> bool:
    """Look for stage one, so that its lack shows before pictures are read."""
    load_denoiser(recipe)
    report(f"denoiser: {recipe.denoiser}")
    return True


def build(recipe: DifFusionRecipe) -> DifFusionNet:
    """The network of a recipe."""
    return DifFusionNet(recipe.net, recipe.features_at)


def load_denoiser(recipe: DifFusionRecipe) -> UNet:
    """The U-Net that stage one left.

    Raises:
        ValueError: There is none, it is damaged, or it is not the network or the process of the recipe.
        OSError: A file cannot be read.
    """
    folder = Path(recipe.denoiser)
    if (folder / "card.toml").is_file():
        card = load_generation(folder)
        verified(folder, "model.safetensors", card)
        net, diffusion = card.net, card.diffusion
    else:
        folder = folder / "best" if (folder / "best").is_dir() else folder
        if not (folder / "model.safetensors").is_file():
            raise ValueError(
                f"denoiser: {recipe.denoiser}: no trained model here (a run directory, or its export);"
                " train stage one first"
            )
        stage = settings.load(folder / "recipe.toml", GenerationRecipe)
        net, diffusion = stage.net.model_dump(mode="json"), stage.diffusion
    of_net = UNetConfig.model_validate(recipe.net.model_dump(include=set(UNetConfig.model_fields)))
    for table, ours, theirs in (
        ("net", of_net.model_dump(mode="json"), {**UNetConfig().model_dump(), **net}),
        ("diffusion", recipe.diffusion.model_dump(exclude=SAMPLING), diffusion.model_dump()),
    ):
        for name, value in ours.items():
            if value != theirs[name]:
                raise ValueError(f"{table}.{name} = {value}, but {theirs[name]} in {recipe.denoiser}")
    return checkpoint.load_best(folder, UNet(of_net))


def graphs(net: DifFusionNet, recipe: DifFusionRecipe) -> dict[str, Graph]:
    """What `haarmony export` writes."""
    side = recipe.net.factor
    # Sizes that differ from one another and from 1, so that the exporter takes none of them for a constant.
    x_t = torch.zeros(2, recipe.net.latent_channels, 2 * side, 3 * side)
    k = torch.zeros(2, dtype=torch.int64)
    features = torch.zeros(2, len(recipe.features_at) * recipe.net.features, 16, 24)
    return {
        "observer": Graph(net.observer, {"x_t": x_t, "k": k}, "features", side),
        "head": Graph(net.head, {"features": features}, "fused", 8),
    }
