"""What a model card holds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from haarmony.diffusion.config import DiffusionConfig


class ModelCard(BaseModel):
    """A model's description, sampling settings, scores and files; `card.toml` holds exactly these keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    intended_use: str
    limits: str
    training_data: str
    version: str = Field(description="version of the package that exported it")
    parameters: int = Field(gt=0, description="weights in all three networks")
    coloured: Literal["first", "second"] = Field(
        description="the source that is in colour, if one is: pairs given the other way round are exchanged"
    )
    diffusion: DiffusionConfig = Field(description="latent space, schedule and default sampler")
    net: dict[str, int | float | str | bool] = Field(
        description="the weights' NetConfig, which only torch can load"
    )
    scores: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="validation set → metric → mean, cddfuse convention"
    )
    sha256: dict[str, str]
