"""The conditioning encoder: what the two sources show, computed once per pair and used at every step.

    z_a, z_b → Haar-wavelet Transformer blocks, a branch each → cross-attention → a block each → 1×1 merge

The condition carries the sources' own latents and that of their pixel-wise maximum beside the features, so
that the light networks that run at every step need not carry the sources' detail through a bottleneck.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from haarmony.nets.config import NetConfig
from haarmony.nets.cross_attention import CrossAttention
from haarmony.nets.wavelet import HaarTransformerBlock, TransformerBlock


class Encoder(nn.Module):
    """(z_a, z_b, z_max) → condition, (B, `condition_channels` + 3 · `latent_channels`, h, w)."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.branch_a, self.branch_b = _branch(config), _branch(config)
        self.cross = CrossAttention(config.width, heads=config.heads) if config.cross_attention else None
        self.after_a, self.after_b = _block(config), _block(config)
        self.merge = nn.Conv2d(2 * config.width, config.condition_channels, 1)

    def forward(self, z_a: Tensor, z_b: Tensor, z_max: Tensor) -> Tensor:  # (B, latent, h, w) each
        a, b = self.branch_a(z_a), self.branch_b(z_b)
        if self.cross is not None:
            a, b = self.cross(a, b)
        features = self.merge(torch.cat([self.after_a(a), self.after_b(b)], dim=1))
        return torch.cat([features, z_a, z_b, z_max], dim=1)


class Sources(nn.Module):
    """No encoder: (z_a, z_b, z_max) → z_a and z_b as they are, (B, 2 · `latent_channels`, h, w)."""

    def forward(self, z_a: Tensor, z_b: Tensor, z_max: Tensor) -> Tensor:
        return torch.cat([z_a, z_b], dim=1)


def _branch(config: NetConfig) -> nn.Sequential:
    blocks = (_block(config) for _ in range(config.depth))
    return nn.Sequential(nn.Conv2d(config.latent_channels, config.width, 3, padding=1), *blocks)


def _block(config: NetConfig) -> nn.Module:
    kind = HaarTransformerBlock if config.wavelet else TransformerBlock
    return kind(config.width, heads=config.heads, attention=config.attention)
