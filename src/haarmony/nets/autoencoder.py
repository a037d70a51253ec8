"""A KL-regularised convolutional autoencoder, factor 4 (Kingma & Welling 2014; Rombach et al. 2022).

    encoder   x (B, 1, H, W) → μ, log σ² (B, C, H/4, W/4)         q(z | x) = N(μ, σ² I)
    decoder   z → x̂
    D_KL(q(z | x) ‖ N(0, I)) = ½ (μ² + σ² − 1 − log σ²) a number

    x → 2×2 blocks → conv → [residual]ⁿ at H/2 → conv ↓ → [residual]ⁿ at H/4 → conv → μ, log σ²

and the decoder is its mirror. Beside both runs a linear path from 4×4 blocks to z and back, so that training
starts at a linear autoencoder. No attention and norms over the channels at each position: a crop encodes as
the whole does, and any size will do.

Diffusion sees the mean alone, standardised channel by channel (`standardise`), so that z has about unit
variance whatever the weight of the KL term was (Rombach et al. 2022, appendix G, with one scale for all).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from haarmony.nets.blocks import Norm
from haarmony.nets.config import AutoencoderConfig


class AutoencoderNet(nn.Module):
    """Encoder and decoder, and what standardises the latent between them."""

    shift: Tensor
    scale: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.channels = config.latent_channels
        self.encoder, self.decoder = AutoencoderEncoder(config), AutoencoderDecoder(config)
        self.register_buffer("shift", torch.zeros(self.channels, 1, 1))
        self.register_buffer("scale", torch.ones(self.channels, 1, 1))

    def encode(self, x: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b c h w"]:
        """The mean of q(z | x), standardised."""
        return (self.encoder(x)[0] - self.shift) / self.scale

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 H W"]:
        """The picture of a standardised latent."""
        return self.decoder(z * self.scale + self.shift)

    def standardise(self, pictures: Iterable[Tensor]) -> None:
        """Set shift and scale so that these batches' latents have mean 0 and variance 1 in every channel."""
        with torch.inference_mode():
            means = [self.encoder(x)[0].transpose(0, 1).flatten(1) for x in pictures]  # (C, positions)
        std, mean = torch.std_mean(torch.cat(means, 1).double(), dim=1, correction=0)
        self.shift.copy_(mean[:, None, None])
        self.scale.copy_(std.clamp(min=1e-3)[:, None, None])  # of a channel that the KL term switched off


class AutoencoderEncoder(nn.Module):
    """x → (μ, log σ²)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width, channels = config.width, 2 * config.latent_channels
        self.fine = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), *_blocks(width, config.depth))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(*_blocks(2 * width, config.depth), Norm(2 * width), nn.SiLU())
        self.out = nn.Conv2d(2 * width, channels, 3, padding=1)
        self.linear = nn.Conv2d(16, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.coarse(self.down(self.fine(F.pixel_unshuffle(x, 2))))
        mean, log_variance = (self.out(features) + self.linear(F.pixel_unshuffle(x, 4))).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)


class AutoencoderDecoder(nn.Module):
    """z → x̂."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width, channels = config.width, config.latent_channels
        self.coarse = nn.Sequential(
            nn.Conv2d(channels, 2 * width, 3, padding=1), *_blocks(2 * width, config.depth)
        )
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.fine = nn.Sequential(*_blocks(width, config.depth), Norm(width), nn.SiLU())
        self.out = nn.Conv2d(width, 4, 3, padding=1)
        self.linear = nn.Conv2d(channels, 16, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, z: Tensor) -> Tensor:
        features = self.up(F.interpolate(self.coarse(z), scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.out(self.fine(features)), 2) + F.pixel_shuffle(self.linear(z), 4)


class PlainResidual(nn.Module):
    """x + Conv(SiLU(Norm(Conv(SiLU(Norm x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_into, self.norm_out = Norm(channels), Norm(channels)
        self.into = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return x + self.out(F.silu(self.norm_out(self.into(F.silu(self.norm_into(x))))))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """D_KL(N(μ, σ²) ‖ N(0, 1)) in nats, number by number."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def _blocks(channels: int, depth: int) -> list[PlainResidual]:
    return [PlainResidual(channels) for _ in range(depth)]
