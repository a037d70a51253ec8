"""A small U-Net that denoises alone, without a condition: (x_t, t) → ε, v or x_0 (DDPM, appendix B).

    into → [residual blocks ↓]ⁿ → residual, self-attention, residual → [skips, residual blocks ↑]ⁿ → out

Ronneberger et al. 2015, with DDPM's timestep in every block. All norms are over channels at each position, so
that only the attention at the lowest level sees the whole picture, and any size that halves will do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from haarmony.nets.blocks import Norm, TimestepEmbedding
from haarmony.nets.config import UNetConfig


class UNet(nn.Module):
    """(x_t (B, latent, h, w), t (B,) in 1..T) → prediction (B, latent, h, w).

    Beside the blocks each channel of x_t has a gain g(t): were the codec's bands Gaussian and independent,
    the best prediction would be that alone; so the blocks learn only what bands and
    neighbours say of each other.
    Gains and projection start at zero, and so does the network's output.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = [config.width * factor for factor in config.multipliers]
        time_channels = 4 * config.width
        self.time = TimestepEmbedding(time_channels)
        self.into = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
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
                SelfAttention(channels, heads=config.heads),
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
        self.gain = nn.Linear(time_channels, config.latent_channels)
        for parameter in (*self.out.parameters(), *self.gain.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        time = self.time(t)
        x = self.into(z)
        skips = [x]
        for block in self.down:
            x = block(x, time)
            skips.append(x)
        for block in self.middle:
            x = block(x, time)
        for block in self.up:
            x = block(x if isinstance(block, _Up) else torch.cat([x, skips.pop()], dim=1), time)
        return self.out(F.silu(self.norm(x))) + self.gain(time)[:, :, None, None] * z


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
    """x + W softmax(Q Kᵀ/√d_k) V over all positions (Vaswani et al. 2017), for a level of few positions."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, C, H, W)
        batch, channels, height, width = x.shape
        shape = (batch, self.heads, channels // self.heads, height * width)
        q, k, v = (part.reshape(shape).mT for part in self.to_qkv(self.norm(x)).chunk(3, dim=1))
        attention = torch.softmax(q @ k.mT * shape[2] ** -0.5, dim=-1)  # (B, M, HW, HW)
        return x + self.out((attention @ v).mT.reshape(x.shape))


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
