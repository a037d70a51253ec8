"""What a model card holds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from haarmony.diffusion.config import DiffusionConfig

Side = Annotated[int, Field(ge=1, le=2**14)]


class Card(BaseModel):
    """A model's description, scores and files, whatever its kind; `card.toml` holds its kind's keys alone."""

    use: ClassVar[str] = "anything"
    """What it is for, in a word."""
    graphs: ClassVar[tuple[str, ...]] = ()
    """Its ONNX graphs, files of these names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    intended_use: str
    limits: str
    training_data: str
    version: str = Field(description="version of the package that exported it")
    parameters: int = Field(gt=0, description="weights in all its networks")
    net: dict[str, Any] = Field(
        description="the weights' sizes, one of `haarmony.nets.config`, for torch alone"
    )
    scores: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="validation set → metric → mean; fusion's in the cddfuse convention"
    )
    sha256: dict[str, str]


class DiffusionCard(Card):
    """A model that diffuses, in a latent space."""

    diffusion: DiffusionConfig = Field(description="latent space, schedule and default sampler")


class ModelCard(DiffusionCard):
    """A model that fuses pairs: `haarmony.Fuser`."""

    use = "fusion"
    coloured: Literal["first", "second"] = Field(
        description="the source that is in colour, if one is: pairs given the other way round are exchanged"
    )


class LumaCard(ModelCard):
    """One that samples the fused luma; the colour is put back."""

    graphs = ("encoder", "denoiser", "refiner")
    kind: Literal["fusion"] = "fusion"


class DifFusionCard(ModelCard):
    """One that looks at a noised pair with a denoiser and makes the fused colours of what it sees."""

    graphs = ("observer", "head")
    kind: Literal["dif-fusion"]
    coloured: Literal["first"] = Field(description="R, G and B are the network's first channels")
    features_at: tuple[PositiveInt, ...] = Field(
        min_length=1, description="the steps t that pairs are noised to, each of which has its features"
    )

    @model_validator(mode="after")
    def _in_schedule(self) -> DifFusionCard:
        if (last := max(self.features_at)) > self.diffusion.timesteps:
            raise ValueError(f"features_at: {last} is more than timesteps = {self.diffusion.timesteps}")
        self.diffusion.check_plain()
        return self


class GenerationCard(DiffusionCard):
    """A model that makes pictures out of noise: `haarmony.generator.Generator`."""

    use = "generation"
    graphs = ("unet",)
    kind: Literal["generation"]
    shape: tuple[Side, Side, Side] = Field(description="channels, height and width of the pictures")


class AutoencoderCard(Card):
    """A learnt latent space, the codec of models that name it: `haarmony.codec.autoencoder`."""

    use = "encoding"
    graphs = ("encoder", "decoder")
    kind: Literal["autoencoder"]
    channels: PositiveInt = Field(le=4096, description="channels of its latent")


KINDS: dict[str, type[Card]] = {
    "fusion": LumaCard,
    "dif-fusion": DifFusionCard,
    "generation": GenerationCard,
    "autoencoder": AutoencoderCard,
}
"""What a card's key `kind` may say, and what its other keys then are; without the key it is fusion."""
