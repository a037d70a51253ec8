"""Algorithm 1, the training loop (after Diff-IF, Yi et al. 2024), line by line.

 1  initialise the fusion-knowledge prior Φ(P)              haarmony.prior, run once before training
 2  while true:                                             haarmony.training.loop
 3      t ~ Uniform(1, …, T)                                draw_steps
 4      x_0 ~ Φ(P)                                          Algorithm1.forward, from here
 5      ε ~ N(0, I)
 6      x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε
 7      ε̂_t ← ε_θ(x_t, a, b, t)
 8      x̃_0 = (x_t − √(1 − ᾱ_t) ε̂_t) / √ᾱ_t                 or the conversion from v or x_0
 9      x̄_0 ← n_θ(x̃_0, a, b, t)
10      gradient step on ∇_θ L                              haarmony.training.loop
11  until converged                                         the recipe's steps
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from haarmony.codec import Codec
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.diffusion.schedule import Schedule
from haarmony.fusing_path import from_latent, to_latent
from haarmony.nets import FusionNet
from haarmony.support import project
from haarmony.training.losses import fusion_terms
from haarmony.training.recipe import LossConfig, PairSet


class Algorithm1(nn.Module):
    """Lines 4 to 9 and the loss; one module, so that data-parallel wrappers see a single forward pass."""

    def __init__(
        self,
        net: FusionNet,
        diffusion: DiffusionConfig,
        loss: LossConfig,
        sets: Sequence[PairSet],
        *,
        codec: Codec | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.diffusion = diffusion
        self.loss = loss
        self.sets = sets
        self.process = Process(diffusion.make_schedule())
        self.codec = diffusion.make_codec() if codec is None else codec

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        clean_a: Tensor,
        clean_b: Tensor,
        target: Tensor,
        of: Tensor,
        t: Tensor,
        eps: Tensor,
    ) -> dict[str, Tensor]:
        """The loss terms of a batch.

        Args:
            a: First sources, (B, 1, H, W) in [0, 1].
            b: Second sources.
            clean_a: The first sources that the fused pictures are scored against: `a` before noise was added.
            clean_b: The second ones.
            target: x_0 ~ Φ(P), the prior's pictures.
            of: The set that each pair is of, (B,), by its place in `sets`.
            t: Steps, (B,), on the CPU.
            eps: ε ~ N(0, I) on the codec's grid.

        Returns:
            "loss" (scalar), and every term's mean over the batch, unweighted.
        """
        net, process, kind = self.net, self.process, self.diffusion.prediction
        steps = t.to(a.device)
        condition = net.encoder(*(self.codec.encode(to_latent(x)) for x in (a, b, torch.maximum(a, b))))
        x_0 = self.codec.encode(to_latent(target))  # line 4
        x_t = process.diffuse(x_0, eps, t)  # line 6
        prediction = net.denoiser(x_t, condition, steps).float()  # line 7
        x_0_tilde = process.x_0_from(prediction, x_t, t, kind)  # line 8
        x_0_bar = net.refiner(x_0_tilde, condition, steps).float()  # line 9

        raw = from_latent(self.codec.decode(x_0_bar))
        fused = project(raw, a, b, margin=self.diffusion.margin, diagonal=self.diffusion.diagonal)
        error = prediction - process.target(kind, x_0, eps, t)
        noise = (error.abs() if self.loss.noise_norm == "l1" else error.square()).flatten(1).mean(1)
        sets = [self.sets[i] for i in of.tolist()]
        fusion = fusion_terms(fused, raw, clean_a, clean_b, target, config=self.loss, sets=sets)
        terms = {"noise": noise, **fusion}
        means = {name: term.mean() for name, term in terms.items()}
        return {
            "loss": torch.stack([getattr(self.loss, name) * mean for name, mean in means.items()]).sum(),
            **means,
        }


def draw_steps(
    schedule: Schedule, diffusion: DiffusionConfig, rng: np.random.Generator, *, batch: int, sampled: float
) -> np.ndarray:
    """Line 3: t ~ Uniform(1, …, T), but with probability `sampled` one of the steps that sampling visits."""
    visited = schedule.timesteps(diffusion.steps, diffusion.spacing)
    return np.where(
        rng.random(batch) < sampled, rng.choice(visited, batch), rng.integers(1, schedule.T + 1, batch)
    )
