"""The task "generation": an unconditional DDPM of pictures, trained by the simple loss (DDPM, algorithm 1).

    L = E ‖ target − net(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t) ‖²,   x_0 ~ data, t ~ Uniform(1, …, T), ε ~ N(0, I)

(DDPM eq. 14) on the codec's grid, where the target is ε, x_0 or v by the recipe's choice. A picture may have
any number of channels, from one or several folders: colour and infrared as four, say.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from haarmony import jobs
from haarmony.codec import Codec, encode_channels
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.engine_torch import TorchUNet
from haarmony.fusing_path import to_latent
from haarmony.generator import Chain, grid
from haarmony.io import from_unit, read_picture, to_unit
from haarmony.metrics import sliced_wasserstein
from haarmony.metrics.distribution import PATCH
from haarmony.nets import UNet, UNetConfig
from haarmony.training.codec import bring_codec, load_codec
from haarmony.training.data import Report, stems
from haarmony.training.recipe import BaseRecipe, FolderName, Frozen, check_names
from haarmony.training.task import Graph, Scores, Sheet, check_finite, spaced

Picture = Float[np.ndarray, "_ _ _"]
"""Channels, height, width; a crop has others than what it is of."""
Training = list[tuple[Picture, bool]]
SHOWN = 16
"""Samples on the sheet of a validation."""


class PictureSet(Frozen):
    """One set of pictures: one or several folders, below the data folder, whose files share their stems."""

    name: FolderName
    folders: tuple[str, ...] = Field(
        min_length=1, description="their pictures' channels are joined in this order"
    )
    split: str = Field(description="key in the splits file that holds this set's train and val stems")
    flip: bool = Field(False, description="training mirrors every other picture, left to right")
    scored: bool = Field(True, description="its val split is scored; False leaves that split unused")


class PicturesConfig(Frozen):
    """Where the pictures are and how they are read."""

    root: str = Field("data", description="data folder; `haarmony train --data` overrides it")
    splits: str = Field("splits.json", description="below root: {set: {train: [stem], val: [stem]}}")
    sets: tuple[PictureSet, ...] = Field(min_length=1)
    reduce: int = Field(1, ge=1, description="pictures are reduced so many times, by the mean of each block")
    crop: int = Field(128, ge=16, description="side of a picture after that; of larger ones a crop is drawn")


class PicturesRecipe(BaseRecipe):
    """What recipes have whose U-Net sees pictures."""

    data: PicturesConfig
    diffusion: DiffusionConfig
    net: UNetConfig = UNetConfig()

    @model_validator(mode="after")
    def _consistent(self) -> PicturesRecipe:
        channels, factor = self.diffusion.channels, self.diffusion.factor
        if self.net.latent_channels % channels:
            raise ValueError(
                f"net.latent_channels = {self.net.latent_channels} is no multiple of the {channels}"
                f" that the codec '{self.diffusion.codec}' has for a channel"
            )
        multiple = math.lcm(factor * self.net.factor, 2 * PATCH)
        if self.data.crop % multiple:
            raise ValueError(
                f"data.crop = {self.data.crop} is no multiple of {multiple}, as codec, network and score need"
            )
        if self.net.timesteps != self.diffusion.timesteps:
            raise ValueError(
                f"net.timesteps = {self.net.timesteps}, but diffusion.timesteps = {self.diffusion.timesteps}"
            )
        check_names([one.name for one in self.data.sets])
        if not any(one.scored for one in self.data.sets):
            raise ValueError("data.sets: none is scored")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return self.net.latent_channels // self.diffusion.channels, self.data.crop, self.data.crop


class GenerationRecipe(PicturesRecipe):
    """What `haarmony train` reads where `task = "generation"`."""

    task: Literal["generation"]


class Simple(nn.Module):
    """DDPM's simple loss of a batch."""

    def __init__(self, net: UNet, diffusion: DiffusionConfig, *, codec: Codec | None = None) -> None:
        super().__init__()
        self.net = net
        self.kind = diffusion.prediction
        self.process = Process(diffusion.make_schedule())
        self.codec = diffusion.make_codec() if codec is None else codec

    def forward(self, x: Tensor, t: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """The loss for pictures (B, K, H, W) in [0, 1], steps (B,) on the CPU, and ε on the codec's grid."""
        x_0 = encode_channels(self.codec, to_latent(x))
        x_t = self.process.diffuse(x_0, eps, t)
        prediction = self.net(x_t, t.to(x.device)).float()
        return {"loss": (prediction - self.process.target(self.kind, x_0, eps, t)).square().mean()}


class Generation:
    """A U-Net that denoises pictures (see `haarmony.training.task.Task`)."""

    caption = "samples"

    def __init__(self, recipe: GenerationRecipe, run: Path) -> None:
        self.recipe = recipe
        self.training = load_training(recipe)
        torch.manual_seed(recipe.seed)  # for the initial weights, which torch draws from its global generator
        self.net = UNet(recipe.net)
        self.module = Simple(self.net, recipe.diffusion, codec=load_codec(recipe.diffusion, run))
        mean, std = self._moments()
        self.net.precondition(self.module.process, recipe.diffusion.prediction, mean, std)

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every channel of the training latents."""
        latents = [
            encode_channels(self.module.codec, to_latent(_middle(x, self.recipe.data.crop)[None]))[0]
            for x, _ in self.training
        ]
        return np.mean(latents, axis=(0, 2, 3)), np.maximum(np.std(latents, axis=(0, 2, 3)), 1e-3)

    def at(self, step: int) -> None:
        pass

    def inputs(self, step: int, process: int, device: torch.device) -> list[Tensor]:
        """Pictures, all alike often; t, evenly spread within a batch (Kingma et al. 2021); and ε."""
        batch, T = self.recipe.optimiser.batch, self.recipe.diffusion.timesteps
        rng = np.random.default_rng([self.recipe.seed, step, process])
        pictures = draw(self.training, rng, batch=batch, crop=self.recipe.data.crop)
        t = 1 + (T * ((rng.random() + np.arange(batch) / batch) % 1)).astype(np.int64)
        eps = self._noise(rng, batch)
        return [torch.from_numpy(pictures).to(device), torch.from_numpy(t), eps.to(device)]

    def _noise(self, rng: np.random.Generator, batch: int) -> Tensor:
        side = self.recipe.data.crop // self.module.codec.factor
        channels = self.recipe.net.latent_channels
        return torch.from_numpy(rng.standard_normal((batch, channels, side, side), dtype=np.float32))

    @cached_property
    def pictures(self) -> Float[np.ndarray, "b k H W"]:
        """The middle of every validation picture."""
        found = [x for one in self.recipe.data.sets if one.scored for x in load(self.recipe, one, "val")]
        return np.stack([_middle(x, self.recipe.data.crop) for x in found])

    def load_validation(self) -> None:
        if len(self.pictures) < 2:
            raise ValueError(
                f"data.sets: at least 2 validation pictures must be scored, got {len(self.pictures)}"
            )

    def validate(self, net: nn.Module) -> tuple[Scores, float, Sheet]:
        """Scores of so many pictures as the recipe says; the best network has the least loss.

        The distance does not decide: early on, speckle as strong as the pictures' detail has the smaller one.
        """
        picked = np.stack(spaced(list(self.pictures), self.recipe.validation.pairs))
        samples = self._sample(net, max(len(picked), SHOWN))
        scores = self._scores(net, picked, samples)
        shown = samples[:SHOWN, : 3 if samples.shape[1] >= 3 else 1]  # of colour with infrared the colour
        return scores, -scores["validation"]["loss"], from_unit(grid(shown), np.dtype(np.uint8))

    def score(self, net: nn.Module) -> Scores:
        return self._scores(net, self.pictures, self._sample(net, len(self.pictures)))

    def _scores(
        self, net: nn.Module, pictures: Float[np.ndarray, "b k H W"], samples: Float[np.ndarray, "n k H W"]
    ) -> Scores:
        """The loss of the pictures, and how far the samples are from the whole split."""
        check_finite(samples, "noise")
        distance = sliced_wasserstein(samples, self.pictures)
        return {"validation": {"loss": self._loss(net, pictures), "SWD": distance}}

    def _loss(self, net: nn.Module, pictures: Float[np.ndarray, "b k H W"], *, times: int = 4) -> float:
        """Mean of the simple loss, each picture at several steps, with noise that is always the same."""
        assert isinstance(net, UNet)
        module = Simple(net, self.recipe.diffusion, codec=self.module.codec)
        rng = np.random.default_rng(self.recipe.seed)
        device = next(net.parameters()).device
        T, total = self.recipe.diffusion.timesteps, 0.0
        which = np.arange(times * len(pictures))
        steps = 1 + (T * (which * 0.6180339887498949 % 1)).astype(np.int64)  # evenly spread, in any order
        with torch.inference_mode():
            for some in np.array_split(which, -(-len(which) // SHOWN)):
                x = torch.from_numpy(pictures[some % len(pictures)]).to(device)
                eps = self._noise(rng, len(some)).to(device)
                total += len(some) * float(module(x, torch.from_numpy(steps[some]), eps)["loss"])
        return total / len(which)

    def _sample(self, net: nn.Module, n: int) -> Float[np.ndarray, "b k H W"]:
        assert isinstance(net, UNet)
        chain = Chain(TorchUNet(net), self.recipe.diffusion, self.recipe.shape, codec=self.module.codec)
        pictures = chain.sample(n, seed=self.recipe.seed)
        net.train()
        return pictures


def prepare(recipe: GenerationRecipe, run: Path, *, report: Report, until: float | None) -> bool:
    """The codec."""
    bring_codec(recipe.diffusion, run)
    return True


def graphs(net: UNet, recipe: GenerationRecipe) -> dict[str, Graph]:
    """What `haarmony export` writes."""
    side = recipe.net.factor
    # Sizes that differ from one another and from 1, so that the exporter takes none of them for a constant.
    z = torch.zeros(2, recipe.net.latent_channels, 2 * side, 3 * side)
    return {"unet": Graph(net, {"z": z, "t": torch.ones(2, dtype=torch.int64)}, "prediction", side)}


def load_training(recipe: PicturesRecipe) -> Training:
    """Every training picture, and whether it may be mirrored; errors are those of `load`."""
    return [(x, one.flip) for one in recipe.data.sets for x in load(recipe, one, "train")]


def draw(
    training: Training, rng: np.random.Generator, *, batch: int, crop: int
) -> Float[np.ndarray, "b k H W"]:
    """Random crops of random pictures, all alike often, mirrored half the times where they may be."""
    return np.stack([_draw(training, rng, crop) for _ in range(batch)])


def _draw(training: Training, rng: np.random.Generator, crop: int) -> Picture:
    picture, flip = training[rng.integers(len(training))]
    y, x = (rng.integers(n - crop + 1) for n in picture.shape[1:])
    picture = picture[:, y : y + crop, x : x + crop]
    return np.flip(picture, 2) if flip and rng.random() < 0.5 else picture


def load(recipe: PicturesRecipe, one: PictureSet, split: str) -> list[Picture]:
    """The pictures of one split of one set, float32 in [0, 1], reduced.

    Raises:
        ValueError: The split is not there (`haarmony.training.data.stems`), a stem has no file, or a
        picture has
            too few pixels, other channels than the network, or another size than its partners.
        OSError: A file or folder cannot be opened.
    """
    root, path = Path(recipe.data.root), Path(recipe.data.root) / recipe.data.splits
    wanted = stems(path, one.split, split)
    folders = [jobs.by_stem(root / folder) for folder in one.folders]
    pictures = []
    for stem in wanted:
        for name, folder in zip(one.folders, folders, strict=True):
            if stem not in folder:
                raise ValueError(f"{path}: '{one.split}': no picture {stem} in {root / name}")
        pictures.append(_read([folder[stem] for folder in folders], recipe))
    return pictures


def _read(paths: list[Path], recipe: PicturesRecipe) -> Picture:
    parts = [np.atleast_3d(to_unit(read_picture(path).pixels)).transpose(2, 0, 1) for path in paths]
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(f"{paths[0]}: its size is not that of {paths[-1]}")
    if [len(part) for part in parts] == [1, 3]:  # Dif-Fusion reads them as R, G, B, infrared
        raise ValueError(f"{paths[0]}: is grey and {paths[1]} in colour; name the folder in colour first")
    picture, factor, crop = np.concatenate(parts).astype(np.float32), recipe.data.reduce, recipe.data.crop
    height, width = (n // factor for n in picture.shape[1:])
    if min(height, width) < crop:
        raise ValueError(f"{paths[0]}: {width}×{height} pixels after reduction, less than data.crop = {crop}")
    if len(picture) != recipe.shape[0]:
        raise ValueError(
            f"{paths[0]}: {len(picture)} channels, but net.latent_channels is for {recipe.shape[0]}"
        )
    blocks = picture[:, : height * factor, : width * factor].reshape(-1, height, factor, width, factor)
    return blocks.mean((2, 4))


def _middle(picture: Picture, crop: int) -> Picture:
    y, x = ((n - crop) // 2 for n in picture.shape[1:])
    return picture[:, y : y + crop, x : x + crop]
