"""A small U-Net, with a condition beside x_t or without: (x_t, t) → ε, v or x_0 (DDPM, appendix B).

    into → [residual blocks ↓]ⁿ → residual, self-attention, residual → [skips, residual blocks ↑]ⁿ → out

Ronneberger et al. 2015, with DDPM's timestep in every block. All norms are over channels at each position, so
that only the attention at the lowest level sees the whole picture, and any size that halves will do. With
`UNetConfig.window` it sees one window alone: memory grows with the pixels, not with their square, and where a
window is all of a training crop the network is trained as it is used.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from haarmony.diffusion.process import Process
from haarmony.nets.blocks import Norm, TimestepEmbedding
from haarmony.nets.config import UNetConfig

TABLES = ("scale_in", "shift_in", "gain", "shift", "scale")
"""The coefficients around the blocks, (T + 1, latent) each."""


class UNet(nn.Module):
    """(x_t (B, latent, h, w), t (B,) in 1..T) → prediction (B, latent, h, w).

    The blocks F see and give numbers of about unit variance, whatever the band and the step: in each channel

        x̂_0 = μ + c_skip y + c_out F(c_in y, t),   y = x_t − √ᾱ_t μ,   c_in = (ᾱ_t σ² + 1 − ᾱ_t)^(−1/2),
        c_skip = √ᾱ_t σ² c_in²,   c_out = √(1 − ᾱ_t) σ c_in

    with the channel's mean μ and standard deviation σ in the data (Karras et al. 2022, table 1, but σ of each
    band). At F = 0 that is the best estimate were the bands Gaussian and independent, and an error of F costs
    a fine band, whose σ is a twentieth of the coarse one's, as much less. Until `precondition` is called the
    prediction is F itself.
    """

    scale_in: Tensor
    shift_in: Tensor
    gain: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, config: UNetConfig, condition_channels: int = 0) -> None:
        super().__init__()
        widths = [config.width * factor for factor in config.multipliers]
        time_channels = 4 * config.width
        self.time = TimestepEmbedding(time_channels)
        self.into = nn.Conv2d(config.latent_channels + condition_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, skipped = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            if level:
                self.down.append(_Down(channels, width))
                skipped.append(width)
            channels = width
            for _ in range(config.depth):
                self.down.append(ResidualBlock(channels, width, time_channels=time_channels))
                skipped.append(width)
        self.middle = nn.ModuleList(
            [
                ResidualBlock(channels, channels, time_channels=time_channels),
                SelfAttention(channels, heads=config.heads, window=config.window),
                ResidualBlock(channels, channels, time_channels=time_channels),
            ]
        )
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.depth + 1):
                joined = channels + skipped.pop()
                self.up.append(ResidualBlock(joined, width, time_channels=time_channels))
                channels = width
            if level:
                self.up.append(_Up(channels, channels))
        self.norm = Norm(channels)
        self.out = nn.Conv2d(channels, config.latent_channels, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)
        for name in TABLES:
            fill = torch.ones if name in ("scale_in", "scale") else torch.zeros
            self.register_buffer(name, fill(config.timesteps + 1, config.latent_channels))

    def precondition(self, process: Process, kind: str, mean: np.ndarray, std: np.ndarray) -> None:
        """Set the coefficients, for what the network is to predict and the data's channels, (C,) each."""
        t = np.arange(1, process.schedule.T + 1)
        one, zero = np.ones((len(t), 1, 1, 1)), np.zeros((len(t), 1, 1, 1))
        # Every kind of prediction is a sum of x_0 and x_t; here what it has of each, (T, 1).
        of_x_0, of_x_t = (
            process.target(kind, x_0, process.eps_from_x_0(x_0, x_t, t), t).reshape(-1, 1)
            for x_0, x_t in ((one, zero), (zero, one))
        )
        alpha_bar = process.schedule.at(t)[:, None]
        c_in = 1 / np.sqrt(alpha_bar * std**2 + 1 - alpha_bar)
        c_skip, c_out = np.sqrt(alpha_bar) * std**2 * c_in**2, np.sqrt(1 - alpha_bar) * std * c_in
        coefficients = {
            "scale_in": c_in,
            "shift_in": -c_in * np.sqrt(alpha_bar) * mean,
            "gain": of_x_t + of_x_0 * c_skip,
            "shift": of_x_0 * (1 - c_skip * np.sqrt(alpha_bar)) * mean,
            "scale": of_x_0 * c_out,
        }
        for name, values in coefficients.items():
            getattr(self, name)[1:] = torch.from_numpy(values)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.layers(z, t, t)[0]

    def layers(
        self, z: Tensor, t: Tensor, row: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The prediction, and what each level gives on the way up, from the lowest to the first.

        Args:
            z: x_t (B, latent, h, w).
            t: Steps (B,).
            row: Their rows in the coefficients: t itself where these hold every step.
            condition: What joins z, of its height and width, where the network is built for it.
        """
        scale_in, shift_in, gain, shift, scale = (
            getattr(self, name)[row][:, :, None, None] for name in TABLES
        )
        time = self.time(t)
        x = scale_in * z + shift_in
        x = self.into(x if condition is None else torch.cat([x, condition], dim=1))
        skips = [x]
        for block in self.down:
            x = block(x, time)
            skips.append(x)
        for block in self.middle:
            x = block(x, time)
        levels = []
        for block in self.up:
            if isinstance(block, _Up):
                levels.append(x)
                x = block(x, time)
            else:
                x = block(torch.cat([x, skips.pop()], dim=1), time)
        return gain * z + shift + scale * self.out(F.silu(self.norm(x))), [*levels, x]


class ConditionalUNet(UNet):
    """(z_t, condition, t) → prediction, as `haarmony.nets.Denoiser`: the condition joins z_t."""

    def forward(self, z: Tensor, condition: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]
        return self.layers(z, t, t, condition)[0]


class ResidualBlock(nn.Module):
    """W x + Conv(SiLU((1 + s_t) ⊙ Norm(Conv(SiLU(Norm x))) + b_t)), W = 1 where the widths agree."""

    def __init__(self, channels: int, width: int, *, time_channels: int) -> None:
        super().__init__()
        self.norm_into = Norm(channels)
        self.into = nn.Conv2d(channels, width, 3, padding=1)
        self.modulation = nn.Linear(time_channels, 2 * width)
        self.norm_out = Norm(width)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.past = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()
        for parameter in (*self.modulation.parameters(), *self.out.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, C, H, W), (B, time_channels)
        scale, shift = self.modulation(time)[:, :, None, None].chunk(2, dim=1)
        y = self.into(F.silu(self.norm_into(x)))
        return self.past(x) + self.out(F.silu(self.norm_out(y, scale, shift)))


class SelfAttention(nn.Module):
    """x + W softmax(Q Kᵀ/√d_k) V over all positions (Vaswani et al. 2017), or over those of each window."""

    def __init__(self, channels: int, *, heads: int, window: int = 0) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = Norm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, C, H, W)
        side = self.window
        if not side:
            return x + self._attend(x)
        y = self._attend(rearrange(x, "b c (i s) (j r) -> (b i j) c s r", s=side, r=side))
        down, across = (n // side for n in x.shape[2:])
        return x + rearrange(y, "(b i j) c s r -> b c (i s) (j r)", i=down, j=across)

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        shape = (batch, self.heads, channels // self.heads, height * width)
        q, k, v = (part.reshape(shape).mT for part in self.to_qkv(self.norm(x)).chunk(3, dim=1))
        attention = torch.softmax(q @ k.mT * shape[2] ** -0.5, dim=-1)  # (B, M, HW, HW)
        return self.out((attention @ v).mT.reshape(x.shape))


class _Down(nn.Module):
    """Half the height and width: a 3×3 convolution with stride 2."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.convolution(x)


class _Up(nn.Module):
    """Twice the height and width: every value four times, then a 3×3 convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))
