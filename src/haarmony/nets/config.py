"""Sizes of the networks, as a recipe or a model card states them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class UNetConfig(BaseModel):
    """Widths and depths of the U-Net that sees the noised picture alone; the default is the shipped size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_channels: int = Field(
        16, ge=1, description="channels of the codec's latent: 16 for two-level Haar of a grey picture"
    )
    timesteps: int = Field(1000, ge=1, description="T")
    width: int = Field(32, ge=4, description="channels at the first level")
    multipliers: tuple[int, ...] = Field(
        (1, 2, 3), min_length=1, description="channels of each level in widths; each has half the last's size"
    )
    depth: int = Field(1, ge=1, description="residual blocks a level on the way down; one more on the way up")
    heads: int = Field(4, ge=1, description="attention heads at the lowest level, a divisor of its channels")
    window: int = Field(
        0, ge=0, description="side of the windows that attention keeps to at the lowest level; 0: none"
    )

    @model_validator(mode="after")
    def _consistent(self) -> UNetConfig:
        if min(self.multipliers) < 1:
            raise ValueError(f"multipliers must be at least 1, got {list(self.multipliers)}")
        if (lowest := self.width * self.multipliers[-1]) % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide the lowest level's {lowest} channels")
        return self

    @property
    def factor(self) -> int:
        """What a latent's height and width are multiples of."""
        return 2 ** (len(self.multipliers) - 1) * max(1, self.window)


class NetConfig(BaseModel):
    """Widths and depths; the default is the shipped size (about 0.65 million weights)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_channels: int = Field(
        16, ge=1, description="channels of the codec's latent: 16 for two-level Haar"
    )
    width: int = Field(32, ge=4, description="channels of an encoder branch")
    depth: int = Field(
        1, ge=0, description="Haar-wavelet Transformer blocks in a branch before the cross-attention"
    )
    heads: int = Field(4, ge=1, description="attention heads, a divisor of width")
    condition_channels: int = Field(48, ge=4)
    step_width: int = Field(64, ge=4, description="channels of the denoiser and the refiner")
    denoiser_depth: int = Field(3, ge=1)
    refiner_depth: int = Field(5, ge=0, description="0: no refiner, the one-step estimate as it is")
    wavelet: bool = Field(True, description="blocks work on Haar bands; False: on the features as they are")
    attention: bool = Field(True, description="self-attention; False: a gated convolution in its place")
    cross_attention: bool = Field(True, description="False: the branches meet in the merge alone")
    encoder: bool = Field(
        True, description="False: the condition is both sources' latents as they are (Diff-IF)"
    )
    unet: UNetConfig | None = Field(None, description="a U-Net in the denoiser's place (Diff-IF)")

    @model_validator(mode="after")
    def _consistent(self) -> NetConfig:
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
        if self.unet is not None and self.unet.latent_channels != self.latent_channels:
            raise ValueError(
                f"unet.latent_channels = {self.unet.latent_channels}, but latent_channels ="
                f" {self.latent_channels}"
            )
        return self

    @property
    def condition(self) -> int:
        """Channels of the condition that the encoder gives."""
        return (
            self.condition_channels + 3 * self.latent_channels if self.encoder else 2 * self.latent_channels
        )


class DifFusionConfig(UNetConfig):
    """Sizes of Dif-Fusion's network: a U-Net that sees R, G, B and infrared, and the head on it."""

    latent_channels: int = Field(64, ge=4, description="four times the codec's: R, G, B and infrared")
    head_width: int = Field(64, ge=4, description="channels of the fusion head")
    head_depth: int = Field(4, ge=1, description="gated blocks of the head")

    @model_validator(mode="after")
    def _of_four(self) -> DifFusionConfig:
        if self.latent_channels % 4:
            raise ValueError(
                f"latent_channels = {self.latent_channels} is no multiple of 4: R, G, B and infrared"
            )
        return self

    @property
    def features(self) -> int:
        """Channels of what the head sees of one step: the estimate and every level."""
        return self.latent_channels + self.width * sum(self.multipliers)


class AutoencoderConfig(BaseModel):
    """Sizes of the autoencoder; the default is that of `recipes/autoencoder.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_channels: int = Field(4, ge=1, description="numbers for each block of 4×4 pixels")
    width: int = Field(
        32, ge=4, description="channels at half the picture's size; twice as many at a quarter"
    )
    depth: int = Field(1, ge=1, description="residual blocks at each of these sizes, in encoder and decoder")
