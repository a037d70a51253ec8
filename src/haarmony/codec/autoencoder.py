"""The learned codec of latent diffusion (Rombach et al. 2022): two trained networks in the place of Haar.

    x (B, 1, H, W) in [−1, 1] → encoder → z (B, C, H/4, W/4), about unit variance → decoder → x̂ ≈ x

How data flows. `haarmony.nets.autoencoder` are the networks, the task `haarmony.training.autoencoder` trains
them, and `haarmony export` writes a model folder of the kind autoencoder: encoder.onnx, decoder.onnx,
model.safetensors, card.toml. A recipe that fuses or generates names that folder:

    [diffusion]
    codec = "autoencoder"
    autoencoder = "my-autoencoder"
    autoencoder_channels = 4

Training copies it into the run (`haarmony.training.codec`), where it learns no more, and export from there to
MODEL/autoencoder; the model's card names it and holds the hash of its card, which holds those of its files.
`haarmony.engine.load_codec` and `haarmony.engine_torch.load_codec` make of it what is here: the calls that
Haar's codec has, so that nothing on the way knows which one it talks to.

Otherwise than Haar it is lossy and its z are not orthonormal coordinates: noise that is white in z is not
white in the picture, and encode(decode(z)) is only about z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float

from haarmony.codec.haar import check_divisible

FACTOR = 4
"""Pixels along each side of a block that becomes one position."""


@dataclass(frozen=True)
class Autoencoder:
    """A trained encoder and decoder as a codec; arrays are what they take."""

    encoder: Callable[[Any], Any]
    """x (B, 1, H, W) → the mean of q(z | x), standardised."""
    decoder: Callable[[Any], Any]
    """The way back."""
    channels: int
    factor: int = FACTOR
    exact: ClassVar[bool] = False

    def encode(self, x: Float[Any, "b 1 H W"]) -> Float[Any, "b c h w"]:
        """Raises ValueError where H or W is not a multiple of `factor`."""
        check_divisible(x, self.factor)
        return self.encoder(x)

    def decode(self, z: Float[Any, "b c h w"]) -> Float[Any, "b 1 H W"]:
        """Raises ValueError where z has not `channels` channels."""
        if z.shape[1] != self.channels:
            raise ValueError(f"the autoencoder has {self.channels} channels, got {z.shape[1]}")
        return self.decoder(z)
