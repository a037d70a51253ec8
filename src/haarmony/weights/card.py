"""What a model card holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from haarmony.diffusion.config import DiffusionConfig


class Card(BaseModel):
    """A model's description, scores and files, whatever its kind; `card.toml` holds its kind's keys alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    intended_use: str
    limits: str
    training_data: str
    version: str = Field(description="version of the package that exported it")
    parameters: int = Field(gt=0, description="weights in all its networks")
    diffusion: DiffusionConfig = Field(description="latent space, schedule and default sampler")
    net: dict[str, Any] = Field(
        description="the weights' sizes, a NetConfig or UNetConfig, which only torch can load"
    )
    scores: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="validation set → metric → mean, cddfuse convention"
    )
    sha256: dict[str, str]


class ModelCard(Card):
    """A model that fuses pairs: `haarmony.Fuser`."""

    kind: Literal["fusion"] = "fusion"
    coloured: Literal["first", "second"] = Field(
        description="the source that is in colour, if one is: pairs given the other way round are exchanged"
    )


class GenerationCard(Card):
    """A model that makes pictures out of noise: `haarmony.generator.Generator`."""

    kind: Literal["generation"]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="channels, height and width of the pictures"
    )


KINDS: dict[str, type[Card]] = {"fusion": ModelCard, "generation": GenerationCard}
"""What a card's key `kind` may say, and what its other keys then are; without the key it is fusion."""
