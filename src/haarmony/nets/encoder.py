"""The conditioning encoder: what the two sources show, computed once per pair and used at every step.

    z_a, z_b → Haar-wavelet Transformer blocks, a branch each → cross-attention → a block each → 1×1 merge

The condition carries the sources' own latents and that of their pixel-wise maximum beside the features, so
that the light networks that run at every step need not carry the sources' detail through a bottleneck.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from haarmony.nets.cross_attention import CrossAttention
from haarmony.nets.wavelet import HaarTransformerBlock


class Encoder(nn.Module):
    """(z_a, z_b, z_max) → condition, (B, `channels` + 3 · `latent_channels`, h, w)."""

    def __init__(self, latent_channels: int, *, width: int, depth: int, heads: int, channels: int) -> None:
        super().__init__()
        self.branch_a = _branch(latent_channels, width=width, depth=depth, heads=heads)
        self.branch_b = _branch(latent_channels, width=width, depth=depth, heads=heads)
        self.cross = CrossAttention(width, heads=heads)
        self.after_a = HaarTransformerBlock(width, heads=heads)
        self.after_b = HaarTransformerBlock(width, heads=heads)
        self.merge = nn.Conv2d(2 * width, channels, 1)

    def forward(self, z_a: Tensor, z_b: Tensor, z_max: Tensor) -> Tensor:  # (B, latent, h, w) each
        a, b = self.cross(self.branch_a(z_a), self.branch_b(z_b))
        features = self.merge(torch.cat([self.after_a(a), self.after_b(b)], dim=1))
        return torch.cat([features, z_a, z_b, z_max], dim=1)


def _branch(latent_channels: int, *, width: int, depth: int, heads: int) -> nn.Sequential:
    blocks = [HaarTransformerBlock(width, heads=heads) for _ in range(depth)]
    return nn.Sequential(nn.Conv2d(latent_channels, width, 3, padding=1), *blocks)
