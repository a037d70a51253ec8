"""The Haar-wavelet Transformer block: attention where the energy is, convolution where the edges are.

One orthonormal Haar level splits the features into LL and the detail bands LH, HL, HH, each at half the size.
Transposed attention works on LL, at a quarter of its cost on the whole; a gated depth-wise convolution works
on each detail band; the inverse transform puts the two back together, and a gated feed-forward follows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from haarmony.codec.haar import dwt, idwt
from haarmony.nets.blocks import CELL, FeedForward, GatedConvolution, Norm, TransposedAttention


class HaarTransformerBlock(nn.Module):
    """x + W⁻¹[MDTA(LL), gate(LH, HL, HH)](Norm x), then x + GDFN(Norm x); sizes are multiples of `CELL`."""

    def __init__(self, channels: int, *, heads: int, attention: bool = True) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.attention = _mixer(channels, heads=heads, attention=attention, cell=CELL // 2)
        self.detail_gate = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels)
        self.detail_value = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels)
        self.detail_out = nn.Conv2d(3 * channels, 3 * channels, 1, groups=3)
        self.norm_out = Norm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        ll, lh, hl, hh = dwt(self.norm(x))
        details = torch.cat([lh, hl, hh], dim=1)
        details = self.detail_out(F.gelu(self.detail_gate(details)) * self.detail_value(details)).chunk(
            3, dim=1
        )
        x = x + idwt(self.attention(ll), *details)
        return x + self.feed_forward(self.norm_out(x))


class TransformerBlock(nn.Module):
    """Restormer's block, without wavelets: x + MDTA(Norm x), then x + GDFN(Norm x)."""

    def __init__(self, channels: int, *, heads: int, attention: bool = True) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.attention = _mixer(channels, heads=heads, attention=attention, cell=CELL)
        self.norm_out = Norm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        x = x + self.attention(self.norm(x))
        return x + self.feed_forward(self.norm_out(x))


def _mixer(channels: int, *, heads: int, attention: bool, cell: int) -> nn.Module:
    return TransposedAttention(channels, heads=heads, cell=cell) if attention else GatedConvolution(channels)
