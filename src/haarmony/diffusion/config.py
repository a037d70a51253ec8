"""Where and how a model diffuses and how it samples by default, as a recipe or a model card states it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from haarmony.codec import CODECS, FACTOR, LEARNT, Codec
from haarmony.diffusion.schedule import Schedule


class DiffusionConfig(BaseModel):
    """Latent space, schedule, prediction type and default sampler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str = Field(
        "haar", description="latent space that the diffusion runs in, haar, identity or autoencoder"
    )
    autoencoder: str | None = Field(
        None, description="which autoencoder: a shipped model's name or a folder; in a card, its name"
    )
    autoencoder_channels: int | None = Field(None, ge=1, le=4096, description="channels of its latent")
    grid: int = Field(8, ge=1, le=512, description="height and width are padded to a multiple of this")
    margin: float = Field(0.015, ge=0, le=1, description="support margin in full scale, see haarmony.support")
    diagonal: bool = Field(
        False, description="the finest diagonal detail is held to the sources', see haarmony.support"
    )
    border: int = Field(0, ge=0, le=256, description="pixels mirrored around a picture while it is fused")
    timesteps: int = Field(1000, ge=1, le=1_000_000, description="T")
    schedule: Literal["cosine", "linear"] = "cosine"
    beta_1: float = Field(1e-6, gt=0, lt=1, description="first β of the linear schedule")
    beta_T: float = Field(1e-2, gt=0, lt=1, description="last β of the linear schedule")  # noqa: N815
    zero_terminal_snr: bool = True
    prediction: Literal["eps", "x_0", "v"] = "x_0"
    sampler: Literal["ddim", "ddpm"] = "ddim"
    spacing: Literal["trailing", "leading", "linspace"] = "trailing"
    steps: int = Field(2, ge=1)
    eta: float = Field(0.0, ge=0, le=1)
    variance: Literal["beta", "beta_tilde"] = "beta_tilde"

    @model_validator(mode="after")
    def _consistent(self) -> DiffusionConfig:
        if self.zero_terminal_snr and self.prediction == "eps":
            raise ValueError(
                "zero_terminal_snr leaves no signal at t = T, where ε says nothing of x_0: predict v or x_0"
            )
        if self.steps > self.timesteps:
            raise ValueError(f"steps = {self.steps} is more than timesteps = {self.timesteps}")
        if self.codec not in (*CODECS, LEARNT):
            known = ", ".join(sorted([*CODECS, LEARNT]))
            raise ValueError(f"unknown codec '{self.codec}': choose one of {known}")
        if (self.codec == LEARNT) != bool(self.autoencoder) or (self.codec == LEARNT) != bool(
            self.autoencoder_channels
        ):
            raise ValueError(
                f"autoencoder and autoencoder_channels belong to codec = '{LEARNT}', which needs both"
            )
        self.make_schedule()  # says what is wrong with T and β here, where the file is known
        return self

    def check_plain(self) -> None:
        """Refuse, with a ValueError, what is for fused lumas alone, where colours are fused."""
        for name in ("border", "diagonal"):
            if getattr(self, name):
                raise ValueError(f"diffusion.{name} is for fused lumas; colours have none")

    @property
    def channels(self) -> int:
        """Channels of the codec's latent, for one of the picture's."""
        return self.autoencoder_channels or CODECS[self.codec]().channels

    @property
    def factor(self) -> int:
        """Pixels along each side of the block that one position of the latent stands for."""
        return FACTOR if self.codec == LEARNT else CODECS[self.codec]().factor

    def make_codec(self) -> Codec:
        """The codec, where it needs no weights.

        Raises:
            ValueError: It is an autoencoder, which `haarmony.engine.load_codec` loads.
        """
        if self.codec == LEARNT:
            raise ValueError(f"the codec of this model is the autoencoder '{self.autoencoder}': load it")
        return CODECS[self.codec]()

    def make_schedule(self) -> Schedule:
        """The schedule that the settings describe."""
        if self.schedule == "linear":
            schedule = Schedule.linear(self.timesteps, self.beta_1, self.beta_T)
        else:
            schedule = Schedule.cosine(self.timesteps)
        return schedule.zero_terminal_snr() if self.zero_terminal_snr else schedule
