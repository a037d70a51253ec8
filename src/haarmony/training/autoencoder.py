"""The task "autoencoder": a learnt codec, trained to give back lumas through few numbers.

    L = mean |x̂ − x| + bands · mean |details of x̂ − x| + kl · mean D_KL(q(z | x) ‖ N(0, I)),   z = μ + σ ε

x in [−1, 1]; the details are the Haar bands but the coarsest, which keep edges from blurring. Rombach et al.
(2022) add a perceptual distance and an adversary. The one needs a network trained on photographs, which
would have to be downloaded; the other invents texture, and here a texture that is not the patient's is an
error. What is learnt from are both sources of a pair and their pixel-wise maximum: what fusing encodes.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from haarmony.codec import FACTOR, Haar
from haarmony.fusing_path import from_latent, pad, to_latent
from haarmony.nets import AutoencoderConfig, AutoencoderNet
from haarmony.nets.autoencoder import kl_to_standard_normal
from haarmony.training.data import Report, files, load_pair
from haarmony.training.recipe import BaseRecipe, Frozen, Pairs, PairsConfig
from haarmony.training.task import Graph, Scores, Sheet, spaced, stacked

Luma = Float[np.ndarray, "_ _"]
MEASURED = 16
"""Training pairs of each set that the latent is standardised by, evenly spaced."""


class AutoencoderLoss(Frozen):
    """Weights of the terms beside the first, mean |x̂ − x|."""

    bands: float = Field(1.0, ge=0, description="of the differences' Haar details")
    kl: float = Field(1e-4, ge=0, description="of the divergence from N(0, I), nats for each number of z")


class AutoencoderRecipe(BaseRecipe):
    """What `haarmony train` reads where `task = "autoencoder"`."""

    task: Literal["autoencoder"]
    data: PairsConfig
    net: AutoencoderConfig = AutoencoderConfig()
    loss: AutoencoderLoss = AutoencoderLoss()

    @model_validator(mode="after")
    def _consistent(self) -> AutoencoderRecipe:
        self.data.check_names()
        if self.data.crop % FACTOR:
            raise ValueError(f"data.crop = {self.data.crop} is no multiple of {FACTOR}, the codec's factor")
        return self

    @property
    def channels(self) -> int:
        """Channels of the latent, for the card."""
        return self.net.latent_channels


class Reconstruction(nn.Module):
    """The loss of a batch."""

    def __init__(self, net: AutoencoderNet, loss: AutoencoderLoss) -> None:
        super().__init__()
        self.net, self.loss, self.haar = net, loss, Haar()

    def forward(self, x: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """The loss and its terms, for lumas (B, 1, H, W) in [0, 1] and ε on the latent's grid."""
        x = to_latent(x)
        mean, log_variance = (moment.float() for moment in self.net.encoder(x))
        z = mean + (0.5 * log_variance).exp() * eps  # reparameterised
        difference = self.net.decoder(z).float() - x
        terms = {
            "pixels": difference.abs().mean(),
            "bands": self.haar.encode(difference)[:, 1:].abs().mean(),
            "kl": kl_to_standard_normal(mean, log_variance).mean(),
        }
        return {
            "loss": terms["pixels"] + self.loss.bands * terms["bands"] + self.loss.kl * terms["kl"],
            **terms,
        }


class AutoencoderTask:
    """Encoder and decoder (see `haarmony.training.task.Task`)."""

    caption = "picture, reconstruction, 8 times the error"

    def __init__(self, recipe: AutoencoderRecipe, run: Path) -> None:
        self.recipe = recipe
        self.training = [(one, load(recipe.data, one, "train")) for one in recipe.data.sets]
        torch.manual_seed(recipe.seed)  # for the initial weights, which torch draws from its global generator
        self.net = AutoencoderNet(recipe.net)
        self.module = Reconstruction(self.net, recipe.loss)

    def at(self, step: int) -> None:
        pass

    def inputs(self, step: int, process: int, device: torch.device) -> list[Tensor]:
        """Crops of both sources and of their maximum, and ε."""
        batch, crop = self.recipe.optimiser.batch, self.recipe.data.crop
        rng = np.random.default_rng([self.recipe.seed, step, process])
        share = np.array([one.share for one, _ in self.training])
        of = rng.choice(len(share), batch, p=share / share.sum())
        x = np.stack([_draw(self.training[i][1], rng, crop=crop) for i in of])[:, None]
        side = crop // FACTOR
        eps = rng.standard_normal((batch, self.recipe.channels, side, side), dtype=np.float32)
        return [torch.from_numpy(x).to(device), torch.from_numpy(eps).to(device)]

    @cached_property
    def pictures(self) -> dict[str, list[tuple[Luma, Luma]]]:
        """So many validation pairs of every set as the recipe says, evenly spaced."""
        return {
            one.name: spaced(load(self.recipe.data, one, "val"), self.recipe.validation.pairs)
            for one in self.recipe.data.sets
        }

    def load_validation(self) -> None:
        _ = self.pictures

    def validate(self, net: nn.Module) -> tuple[Scores, float, Sheet]:
        """Standardise the latent, then score; the best network has the largest mean PSNR."""
        assert isinstance(net, AutoencoderNet)
        device = next(net.parameters()).device
        pairs = [pair for _, found in self.training for pair in spaced(found, MEASURED)]
        net.standardise(torch.from_numpy(to_latent(pad(x, FACTOR))).to(device) for ab in pairs for x in ab)
        scores = self._score(net, self.pictures)
        sheet = stacked([_row(net, pairs[len(pairs) // 2]) for pairs in self.pictures.values()])
        return scores, float(np.mean([row["PSNR"] for row in scores.values()])), sheet

    def score(self, net: nn.Module) -> Scores:
        assert isinstance(net, AutoencoderNet)
        return self._score(
            net, {one.name: load(self.recipe.data, one, "val") for one in self.recipe.data.sets}
        )

    def _score(self, net: AutoencoderNet, sets: dict[str, list[tuple[Luma, Luma]]]) -> Scores:
        """Means over both pictures of a set's pairs: PSNR in dB, and the largest error in full scale."""
        scores: Scores = {}
        for name, pairs in sets.items():
            errors = [reconstruct(net, x) - x for ab in pairs for x in ab]
            scores[name] = {
                "PSNR": float(np.mean([psnr(error) for error in errors])),
                "max": float(np.mean([np.abs(error).max() for error in errors])),
            }
        return scores


def prepare(recipe: AutoencoderRecipe, run: Path, *, report: Report, until: float | None) -> bool:
    """Nothing."""
    return True


def graphs(net: AutoencoderNet, recipe: AutoencoderRecipe) -> dict[str, Graph]:
    """What `haarmony export` writes."""
    # Sizes that differ from one another and from 1, so that the exporter takes none of them for a constant.
    x, z = torch.zeros(2, 1, 8 * FACTOR, 12 * FACTOR), torch.zeros(2, recipe.channels, 8, 12)
    return {
        "encoder": Graph(_Calling(net, "encode"), {"x": x}, "z", FACTOR),
        "decoder": Graph(_Calling(net, "decode"), {"z": z}, "x", 1),
    }


class _Calling(nn.Module):
    """A module whose forward is a method of another."""

    def __init__(self, net: nn.Module, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.net, self.method)(x)


def load(config: PairsConfig, one: Pairs, split: str) -> list[tuple[Luma, Luma]]:
    """Both lumas of the pairs of one split of one set; errors are those of `haarmony.training.data`."""
    return [(pair.a, pair.b) for pair in map(load_pair, files(config, one, split))]


def reconstruct(net: AutoencoderNet, x: Luma) -> Luma:
    """What comes back of one luma of any size, in [0, 1]."""
    padded = torch.from_numpy(to_latent(pad(x, FACTOR))).to(next(net.parameters()).device)
    with torch.inference_mode():
        back = from_latent(net.decode(net.encode(padded))).clamp(0, 1).cpu().numpy()
    return back[0, 0, : x.shape[0], : x.shape[1]]


def psnr(error: Luma) -> float:
    """Peak signal to noise ratio in dB of an error in full scale; infinite for none."""
    mse = float(np.square(error, dtype=np.float64).mean())
    return -10 * np.log10(mse) if mse else float("inf")


def _row(net: AutoencoderNet, pair: tuple[Luma, Luma]) -> Sheet:
    """One row of the sheet: the first source and the second, 256 pixels of each at most."""
    shown = [x[:256, :256] for x in pair]
    parts = [(x, back, np.abs(8 * (back - x))) for x in shown for back in (reconstruct(net, x),)]
    row = np.hstack([picture for part in parts for picture in part])
    return np.rint(255 * row.clip(0, 1)).astype(np.uint8)


def _draw(pairs: list[tuple[Luma, Luma]], rng: np.random.Generator, *, crop: int) -> Luma:
    """A crop of a source or of both sources' maximum, flipped and turned, seldom of mere air."""
    a, b = pairs[rng.integers(len(pairs))]
    x = (a, b, np.maximum(a, b))[rng.integers(3)]
    x = np.pad(x, [(0, max(0, crop - n)) for n in x.shape], mode="symmetric")
    for _ in range(4):
        top, left = (rng.integers(n - crop + 1) for n in x.shape)
        cut = x[top : top + crop, left : left + crop]
        if cut.mean() > 0.05:
            break
    cut = np.rot90(cut, int(rng.integers(4)))
    return np.ascontiguousarray(np.fliplr(cut) if rng.integers(2) else cut)
