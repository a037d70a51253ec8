"""Bidirectional cross-attention between the modalities (ViLBERT, Lu et al. 2019; LXMERT, Tan & Bansal 2019).

    a ← a + softmax(Q_a K_bᵀ · τ) V_b,   b ← b + softmax(Q_b K_aᵀ · τ) V_a,

transposed like the self-attention (tokens are channels), so that it costs the same for every pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from haarmony.nets.blocks import Norm, projections, windowed_attention


class CrossAttention(nn.Module):
    """Each branch asks with its own queries and is answered with the other's keys and values."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.ask_a = _Projection(channels, heads=heads)
        self.ask_b = _Projection(channels, heads=heads)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, H, W) each
        (q_a, k_a, v_a), (q_b, k_b, v_b) = self.ask_a(a), self.ask_b(b)
        from_b = self.ask_a.out(windowed_attention(q_a, k_b, v_b, self.ask_a.temperature))
        from_a = self.ask_b.out(windowed_attention(q_b, k_a, v_a, self.ask_b.temperature))
        return a + from_b, b + from_a


class _Projection(nn.Module):
    """One branch's queries, keys and values, and the way back."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return projections(self.norm(x), self.to_qkv, self.local, 3)
