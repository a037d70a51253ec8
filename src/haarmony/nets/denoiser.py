"""The denoiser ε_θ(z_t, condition, t): light, because it runs at every step (Algorithm 1, line 7).

What it predicts (ε, x_0 or v) is the recipe's choice; the conversions are in `haarmony.diffusion.process`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from haarmony.nets.blocks import Norm, TimedFeedForward, TimestepEmbedding


class StepNetwork(nn.Module):
    """What denoiser and refiner share: join latent and condition, gated blocks modulated by t, project.

    A linear path beside the blocks reads the inputs directly, so that the blocks learn only what is not
    linear; it and the projection start at zero, and so does the network's output.
    """

    def __init__(self, latent_channels: int, condition_channels: int, *, width: int, depth: int) -> None:
        super().__init__()
        joined = latent_channels + condition_channels
        self.time = TimestepEmbedding(2 * width)
        self.into = nn.Conv2d(joined, width, 3, padding=1)
        self.blocks = nn.ModuleList(TimedFeedForward(width, time_channels=2 * width) for _ in range(depth))
        self.norm = Norm(width)
        self.out = nn.Conv2d(width, latent_channels, 3, padding=1)
        self.linear = nn.Conv2d(joined, latent_channels, 1)
        for parameter in (*self.out.parameters(), *self.linear.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        joined = torch.cat([z, condition], dim=1)  # (B, latent + condition, h, w)
        time = self.time(t)
        x = self.into(joined)
        for block in self.blocks:
            x = block(x, time)
        return self.out(self.norm(x)) + self.linear(joined)


class Denoiser(StepNetwork):
    """(z_t (B, latent, h, w), condition, t (B,)) → prediction (B, latent, h, w).

    Untrained it answers with the last latent of the condition, that of the pixel-wise maximum: an
    x_0-prediction starts at the strongest simple baseline (other kinds leave it within a few steps).
    """

    def __init__(self, latent_channels: int, condition_channels: int, *, width: int, depth: int) -> None:
        super().__init__(latent_channels, condition_channels, width=width, depth=depth)
        with torch.no_grad():
            self.linear.weight[:, -latent_channels:, 0, 0] = torch.eye(latent_channels)
