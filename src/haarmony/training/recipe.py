"""A recipe: everything that a training run depends on, in one TOML file; here what all have, and fusion's.

Its key `task` says which of `haarmony.training.tasks` it is for, fusion by default. The run directory keeps
the recipe as resolved, so that a model can be rebuilt from it. An unknown key is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from haarmony.diffusion.config import DiffusionConfig
from haarmony.metrics import METRICS
from haarmony.nets import NetConfig
from haarmony.nets.blocks import CELL
from haarmony.prior import SearchConfig

FolderName = Annotated[str, Field(pattern=r"^\w[\w .+-]*$")]
"""A name that is used as a folder's."""


Margin = Literal[
    "scd_margin", "qabf_margin", "vif_margin", "ssim_margin", "sf_margin", "mi_margin", "rank_margin"
]
"""A margin of `LossConfig`."""


class Frozen(BaseModel):
    """A table of a recipe: it does not change, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Pairs(Frozen):
    """One set of pairs: two folders, below the data folder, whose files share their stems."""

    name: FolderName
    a: str = Field(description="folder of first sources")
    b: str = Field(description="folder of second sources")
    split: str = Field(description="key in the splits file that holds this set's train and val stems")
    share: float = Field(
        1.0, gt=0, le=1e6, description="how often crops are drawn from it, beside the other sets"
    )


class PairSet(Pairs):
    """One set of pairs to fuse."""

    functional: bool = Field(
        False, description="the second source shows function (PET, SPECT), which fusing must keep"
    )
    swap: float = Field(0.0, ge=0, le=1, description="probability that training exchanges the two sources")
    noise: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="largest standard deviation of noise, full scale, added to half the sources",
    )
    dim: float = Field(
        0.0, ge=0, le=1, description="probability that training takes light from the first source"
    )
    ascend: bool = Field(False, description="raise this set's targets by prior.ascent")
    target: float = Field(1.0, ge=0, description="weight of this set's targets in the term `target`")
    margins: dict[Margin, float] = Field(
        default={}, description="margins of the loss terms that are this set's own, in every phase"
    )


def check_names(names: Sequence[str]) -> None:
    """Refuse two sets of one name, with a ValueError."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"data.sets: two sets are called '{twice[0]}'")


class PairsConfig(Frozen):
    """Where pairs are and how crops are drawn."""

    root: str = Field("data", description="data folder; `haarmony train --data` overrides it")
    splits: str = Field("splits.json", description="below root: {set: {train: [stem], val: [stem]}}")
    sets: tuple[Pairs, ...] = Field(min_length=1)
    crop: int = Field(128, ge=32, description="side of a training crop, pixels")

    def check_names(self) -> None:
        """Refuse two sets of one name, with a ValueError."""
        check_names([one.name for one in self.sets])


class DataConfig(PairsConfig):
    """And of which sets, to fuse them."""

    sets: tuple[PairSet, ...] = Field(min_length=1)


class LossConfig(Frozen):
    """Weights of the loss terms: `noise` as in `haarmony.training.algorithm`, the others as in `losses`.

    Zero leaves a term out. A margin is no weight: it belongs to the term it is named after.
    """

    noise: float = Field(1.0, ge=0)
    noise_norm: Literal["l2", "l1"] = Field("l2", description="of the prediction's error in the term `noise`")
    target: float = Field(1.0, ge=0)
    maximum: float = Field(10.0, ge=0)
    gradient: float = Field(5.0, ge=0)
    gradient_signed: bool = Field(True, description="False: absolute responses are compared, as in Diff-IF")
    ssim: float = Field(2.0, ge=0)
    ssim_range: Literal["published", "full"] = Field(
        "published",
        description="C1, C2 of SSIM as published tables have them, or for full scale, as in Diff-IF",
    )
    vif: float = Field(1.0, ge=0)
    qabf: float = Field(3.0, ge=0)
    scd: float = Field(0.5, ge=0)
    span: float = Field(5.0, ge=0)
    scd_floor: float = Field(0.0, ge=0)
    scd_margin: float = 0.03
    qabf_floor: float = Field(0.0, ge=0)
    qabf_margin: float = 0.01
    vif_floor: float = Field(0.0, ge=0)
    vif_margin: float = 0.05
    ssim_floor: float = Field(0.0, ge=0)
    ssim_margin: float = -0.005
    sf_floor: float = Field(0.0, ge=0)
    sf_margin: float = Field(0.02, description="share of the maximum's SF")
    mi_floor: float = Field(0.0, ge=0)
    mi_margin: float = Field(-0.5, ge=-1, description="share of the maximum's MI")
    rank: float = Field(0.0, ge=0)
    rank_a: float = Field(0.0, ge=0)
    rank_margin: float = Field(0.02, description="of rank and rank_a")


class OptimiserConfig(Frozen):
    """AdamW with a cosine learning rate and an exponential moving average of the weights."""

    steps: int = Field(10_000, ge=1)
    batch: int = Field(4, ge=1, description="images a step, of every process")
    learning_rate: float = Field(8e-4, gt=0)
    final_rate: float = Field(
        0.01, gt=0, le=1, description="what is left of the rate at the end; 1: constant"
    )
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from zero")
    weight_decay: float = Field(1e-4, ge=0, description="0: plain Adam")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(0.995, ge=0, lt=1)
    precision: Literal["no", "bf16"] = "no"


class FusionOptimiserConfig(OptimiserConfig):
    """And how Algorithm 1 draws t."""

    sampled_steps: float = Field(
        0.5, ge=0, le=1, description="share of images whose t is one that sampling visits"
    )


class ValidationConfig(Frozen):
    """When the moving average is scored on the validation split, and on how many of its pairs or pictures."""

    every: int = Field(1000, ge=1, description="steps between validations and checkpoints")
    pairs: int = Field(12, ge=1, description="pairs or pictures of each set, evenly spaced in the split")


class Phase(Frozen):
    """Other weights of the loss terms from a step on; what its table leaves out stays as it was."""

    from_step: int = Field(ge=1)
    learning_rate: float | None = Field(None, gt=0, description="peak of a cosine that begins anew here")
    loss: LossConfig


class BaseRecipe(Frozen):
    """What every recipe has, whatever its task."""

    name: FolderName
    title: str
    description: str
    intended_use: str
    limits: str
    training_data: str
    seed: int = Field(42, ge=0, lt=2**63)
    optimiser: OptimiserConfig = OptimiserConfig()
    validation: ValidationConfig = ValidationConfig()

    def peaks(self) -> list[tuple[int, float]]:
        """The steps at which the learning rate rises from zero, and what it rises to."""
        return [(0, self.optimiser.learning_rate)]

    def phase_before(self, step: int) -> int:
        """Where the phase began that the step before this one was of; 0 where there are none."""
        return 0

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to `final_rate` of the peak where the next begins, or at the end."""
        first, peak = [one for one in self.peaks() if one[0] <= step][-1]
        last = min([at for at, _ in self.peaks() if at > step], default=self.optimiser.steps)
        rise = min(1.0, (step - first + 1) / max(1, self.optimiser.warmup))
        fall = (1 + math.cos(math.pi * (step - first) / (last - first))) / 2
        return peak * rise * (self.optimiser.final_rate + (1 - self.optimiser.final_rate) * fall)


class Recipe(BaseRecipe):
    """The task "fusion": what `haarmony train` reads where no other task is named."""

    task: Literal["fusion"] = "fusion"
    coloured: Literal["first", "second"] = Field(
        "second", description="the source that is in colour, if one is"
    )
    data: DataConfig
    prior: SearchConfig = SearchConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    net: NetConfig = NetConfig()
    loss: LossConfig = LossConfig()
    phases: tuple[Phase, ...] = ()
    optimiser: FusionOptimiserConfig = FusionOptimiserConfig()

    @model_validator(mode="before")
    @classmethod
    def _complete_phases(cls, data: Any) -> Any:
        """Give every phase of a file the whole table of weights; validation names wrong types."""
        if not isinstance(data, dict) or not isinstance(data.get("phases"), list):
            return data
        loss, phases = data.get("loss", {}), []
        for phase in data["phases"]:
            if isinstance(phase, dict) and all(isinstance(x, dict) for x in (loss, phase.get("loss", {}))):
                phase = {**phase, "loss": (loss := {**loss, **phase.get("loss", {})})}
            phases.append(phase)
        return {**data, "phases": phases}

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        self.data.check_names()
        factor, grid, crop = self.diffusion.factor, self.diffusion.grid, self.data.crop
        if self.net.latent_channels != self.diffusion.channels:
            raise ValueError(
                f"net.latent_channels = {self.net.latent_channels}, but the codec"
                f" '{self.diffusion.codec}' has {self.diffusion.channels}"
            )
        if grid % CELL:
            raise ValueError(
                f"diffusion.grid = {grid} is no multiple of {CELL}, the side of an attention cell"
            )
        if crop % (factor * grid):
            raise ValueError(f"data.crop = {crop} is no multiple of {factor * grid}, the padded size")
        if self.net.unet is not None and (
            grid % self.net.unet.factor or self.net.unet.timesteps != self.diffusion.timesteps
        ):
            raise ValueError(
                f"net.unet needs a diffusion.grid that is a multiple of {self.net.unet.factor} and as many"
                f" timesteps as the diffusion, got {grid}, and {self.net.unet.timesteps} for"
                f" {self.diffusion.timesteps}"
            )
        if any(pair_set.ascend for pair_set in self.data.sets) and self.prior.ascent is None:
            raise ValueError("data.sets: ascend is set, but there is no table prior.ascent")
        if not self.prior.candidates:
            raise ValueError("prior.candidates: no classical fuser")
        losses, least = (self.loss, *(phase.loss for phase in self.phases)), METRICS["VIF"].smallest
        if crop < least and any(loss.vif or loss.vif_floor for loss in losses):
            raise ValueError(f"data.crop = {crop} is too small for loss.vif, which needs {least}")
        for before, phase in pairwise(self.phases):
            if phase.from_step < before.from_step:
                raise ValueError(f"phases: from_step = {phase.from_step} comes after {before.from_step}")
        if self.phases and (last := self.phases[-1].from_step) > self.optimiser.steps:
            raise ValueError(f"phases: from_step = {last} is beyond optimiser.steps = {self.optimiser.steps}")
        return self

    def peaks(self) -> list[tuple[int, float]]:
        begun = [(phase.from_step, phase.learning_rate) for phase in self.phases if phase.learning_rate]
        return [*super().peaks(), *begun]

    def loss_at(self, step: int) -> LossConfig:
        """The weights of the loss terms at a step, counted from 0."""
        return [self.loss, *(phase.loss for phase in self.phases if phase.from_step <= step)][-1]

    def phase_before(self, step: int) -> int:
        return max((phase.from_step for phase in self.phases if phase.from_step < step), default=0)
