"""Restormer's Transformer block on local windows (Zamir et al. 2022; Chu et al. 2022).

Transposed attention (MDTA) takes channels as tokens, so its cost is linear in the pixels:

    A = softmax(τ · q kᵀ / (‖q‖ ‖k‖)),   y = A v,   q, k, v of shape (channels of a head, positions).

Restormer sums q kᵀ over the whole picture, which makes the result depend on the picture's size and on how it
is tiled. Here the sums run over overlapping windows of 2×2 cells and each position blends the four windows
that cover it with bilinear weights: local statistics (the test-time local converter), no seams, the same
answer for a crop and a whole.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name every torch reader knows

CELL = 8
"""Side of a cell in grid positions; what `windowed_attention` sees is a multiple of it high and wide."""


class Norm(nn.Module):
    """Root-mean-square normalisation over the channels, so that nothing depends on the picture's size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
        """(1 + scale) ⊙ Norm(x) + shift, the modulation (B, C, 1, 1) folded into the weight and the bias."""
        unit = x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6)  # (B, C, H, W)
        return unit * (self.weight * (1 + scale)) + (self.bias * (1 + scale) + shift)


def projections(x: Tensor, point: nn.Conv2d, depth: nn.Conv2d, parts: int) -> list[Tensor]:
    """The channels of depth(point(x)) in equal parts, for a 1×1 and a depth-wise convolution.

    Each part has convolutions of its own, because ONNX Runtime copies what it has to split.
    """
    assert point.bias is not None
    assert depth.bias is not None
    size = len(point.bias) // parts
    made = []
    for part in (slice(size * i, size * (i + 1)) for i in range(parts)):
        y = F.conv2d(x, point.weight[part], point.bias[part])
        made.append(F.conv2d(y, depth.weight[part], depth.bias[part], padding=1, groups=size))
    return made


def windowed_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor, *, cell: int = CELL) -> Tensor:
    """Transposed attention whose statistics come from windows of 2×2 cells.

    Args:
        q: Queries (B, C, H, W); H and W are multiples of `cell`.
        k: Keys, the same shape; from another modality for cross-attention.
        v: Values, the same shape.
        temperature: τ, one a head, (heads, 1, 1).
        cell: Side of a cell in positions.

    Returns:
        (B, C, H, W).
    """
    q, k, v = (
        rearrange(x, "b (m c) (i s) (j r) -> b i j m c (s r)", m=len(temperature), s=cell, r=cell)
        for x in (q, k, v)
    )
    gram = _over_windows(q @ k.transpose(-1, -2))
    energy_q = _over_windows(q.square().sum(-1, keepdim=True))
    energy_k = _over_windows(k.square().sum(-1, keepdim=True))
    scale = torch.rsqrt(energy_q + 1e-6) * torch.rsqrt(energy_k + 1e-6).transpose(-1, -2)
    attention = torch.softmax(temperature * gram * scale, dim=-1)  # (B, I+1, J+1, M, C, C)

    ramp = (torch.arange(cell, device=v.device, dtype=v.dtype) + 0.5) / cell
    before, after = slice(None, -1), slice(1, None)  # the windows that begin, and that end, with a cell
    out = torch.zeros_like(v)
    for rows, along_rows in ((before, 1 - ramp), (after, ramp)):
        for columns, along_columns in ((before, 1 - ramp), (after, ramp)):
            out = out + (attention[:, rows, columns] @ v) * torch.outer(along_rows, along_columns).flatten()
    return rearrange(out, "b i j m c (s r) -> b (m c) (i s) (j r)", s=cell, r=cell)


def _over_windows(x: Tensor) -> Tensor:
    """Sums over the 2×2 cells around each cell corner: (B, I, J, …) → (B, I+1, J+1, …)."""
    # Padding only, no slices: exporters take long over slices whose ends are symbols.
    sides = ((1, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1))
    shifted = [F.pad(x, (0, 0) * (x.ndim - 3) + side) for side in sides]
    return shifted[0] + shifted[1] + shifted[2] + shifted[3]


class TransposedAttention(nn.Module):
    """MDTA with local windows: 1×1 and depth-wise 3×3 projections, then `windowed_attention`."""

    def __init__(self, channels: int, *, heads: int, cell: int = CELL) -> None:
        super().__init__()
        self.cell = cell
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        q, k, v = projections(x, self.to_qkv, self.local, 3)
        return self.out(windowed_attention(q, k, v, self.temperature, cell=self.cell))


class GatedConvolution(nn.Module):
    """W_out (GELU(D_1 x) ⊙ D_2 x), depth-wise 3×3: in the place of an attention that is switched off."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.value = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return self.out(F.gelu(self.gate(x)) * self.value(x))


class FeedForward(nn.Module):
    """GDFN, the gated depth-wise feed-forward: W_out (GELU(D_1 W_1 x) ⊙ D_2 W_2 x)."""

    def __init__(self, channels: int, *, expansion: float = 2.0) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.into = nn.Conv2d(channels, 2 * hidden, 1)
        self.local = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.out = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        gate, value = projections(x, self.into, self.local, 2)
        return self.out(F.gelu(gate) * value)


class TimedFeedForward(nn.Module):
    """A residual GDFN modulated by the step t: x + GDFN((1 + s_t) ⊙ Norm(x) + b_t)."""

    def __init__(self, channels: int, *, time_channels: int, expansion: float = 2.0) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.modulation = nn.Linear(time_channels, 2 * channels)
        self.feed_forward = FeedForward(channels, expansion=expansion)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, C, H, W), (B, time_channels)
        scale, shift = self.modulation(time)[:, :, None, None].chunk(2, dim=1)
        return x + self.feed_forward(self.norm(x, scale, shift))


class TimestepEmbedding(nn.Module):
    """Sinusoids of t, then an MLP (DDPM, after Vaswani et al. 2017): (B,) → (B, channels)."""

    omega: Tensor

    def __init__(self, channels: int, *, frequencies: int = 32) -> None:
        super().__init__()
        self.register_buffer("omega", torch.exp(torch.linspace(0, -9.21, frequencies)), persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * frequencies, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )

    def forward(self, t: Tensor) -> Tensor:  # (B,) in 1..T
        angle = t[:, None].to(self.omega.dtype) * self.omega
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=1))
