"""Dif-Fusion's network: a frozen denoiser that looks at a noised pair, and a head that fuses what it saw.

    x_0 = (R, G, B, infrared),   x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   for t = 5, 50, 100
    observe:   features of x_t = its estimate x̂_0, and what the U-Net gives at each level on its way up
    fuse:      fused (R, G, B) = Conv(Norm(blocks(W features))) + V features,   features of every t joined

Yue et al. 2023 (doi:10.1109/TIP.2023.3322046): a denoiser of the joint distribution of all four channels
must know what goes with what in both pictures, and at several t it attends to finer and coarser things. Two
things differ from the paper. The head has x̂_0 among its features: the U-Net works on the codec's grid,
where its 32 channels are fewer than the 64 of a lossless picture, and without x̂_0 fine detail would be
lost. And the paper's channel attention sums over the whole picture, so that a crop would fuse otherwise
than the whole; the head has the gated blocks of our other networks instead, on features that are all
brought to the grid's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from haarmony.diffusion.process import Process
from haarmony.nets.blocks import FeedForward, Norm
from haarmony.nets.config import DifFusionConfig
from haarmony.nets.unet import TABLES, UNet


class DifFusionNet(nn.Module):
    """x_t at each of `steps` (B, K · latent, h, w) → fused colour (B, ¾ latent, h, w).

    Untrained it answers with the visible picture as estimated at the first step.
    """

    def __init__(self, config: DifFusionConfig, steps: Sequence[int]) -> None:
        """Build it for the steps t whose features are fused; `Observer.load_denoiser` brings the U-Net."""
        super().__init__()
        self.observer = Observer(config, steps)
        self.head = Head(config, len(steps))

    def forward(self, x_t: Tensor) -> Tensor:
        parts = x_t.chunk(self.head.steps, dim=1)
        of = [torch.full((len(x_t),), k, device=x_t.device) for k in range(len(parts))]
        return self.head(torch.cat([self.observer(x, k) for x, k in zip(parts, of, strict=True)], dim=1))


class Observer(nn.Module):
    """(x_t (B, latent, h, w), which of `steps` t is (B,) from 0) → its features (B, `features`, h, w)."""

    t: Tensor

    def __init__(self, config: DifFusionConfig, steps: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(list(steps)), persistent=False)
        # Of the coefficients around the blocks only the rows of these steps are kept.
        self.unet = UNet(config.model_copy(update={"timesteps": len(steps) - 1})).requires_grad_(False)

    def load_denoiser(self, unet: UNet, process: Process, kind: str) -> None:
        """Take over a trained U-Net, its coefficients turned to those of the estimate x̂_0.

        That is linear in the prediction and in x_t, as the prediction is in what the blocks give and in x_t.

        Args:
            unet: The U-Net; it stays as it is.
            process: What it was trained for.
            kind: What it predicts.
        """
        t = self.t.cpu().numpy()
        one, zero = np.ones((len(t), 1, 1, 1)), np.zeros((len(t), 1, 1, 1))
        of_prediction, of_x_t = (
            torch.from_numpy(process.x_0_from(prediction, x_t, t, kind)).float().flatten(1)
            for prediction, x_t in ((one, zero), (zero, one))
        )
        state = {name: x[t] if name in TABLES else x for name, x in unet.state_dict().items()}
        for name in ("gain", "shift", "scale"):
            state[name] = state[name] * of_prediction
        state["gain"] = state["gain"] + of_x_t
        self.unet.load_state_dict(state)

    def forward(self, x_t: Tensor, k: Tensor) -> Tensor:
        estimate, levels = self.unet.layers(x_t, self.t[k], k)
        scales = [2.0**n for n in range(len(levels) - 1, 0, -1)]
        coarse = [F.interpolate(y, scale_factor=s) for y, s in zip(levels, scales, strict=False)]
        return torch.cat([estimate, *coarse, levels[-1]], dim=1)


class Head(nn.Module):
    """(features at every step, joined (B, K · features, h, w)) → three channels (B, ¾ latent, h, w)."""

    def __init__(self, config: DifFusionConfig, steps: int) -> None:
        super().__init__()
        self.steps = steps
        colours, joined = 3 * config.latent_channels // 4, steps * config.features
        self.into = nn.Conv2d(joined, config.head_width, 1)
        self.blocks = nn.Sequential(*(_Block(config.head_width) for _ in range(config.head_depth)))
        self.norm = Norm(config.head_width)
        self.out = nn.Conv2d(config.head_width, colours, 3, padding=1)
        self.linear = nn.Conv2d(joined, colours, 1)
        for parameter in (*self.out.parameters(), *self.linear.parameters()):
            nn.init.zeros_(parameter)
        with torch.no_grad():
            self.linear.weight[:, :colours, 0, 0] = torch.eye(colours)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.norm(self.blocks(self.into(features)))) + self.linear(features)


class _Block(nn.Module):
    """x + GDFN(Norm x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.feed_forward(self.norm(x))
