"""What the prior depends on besides the pictures, as a recipe states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from haarmony.classical import CLASSICAL
from haarmony.metrics import METRICS

DIFFERENTIABLE = ("SCD", "VIF", "Qabf", "SSIM", "CC", "PSNR")
"""Metrics of f, a and b whose gradient can be climbed."""


class AscentConfig(BaseModel):
    """Gradient ascent from the search's winner (`haarmony.prior.ascent`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(30, ge=1)
    step: float = Field(0.016, gt=0, description="a pixel's change in the first step, full scale")
    weights: dict[str, float] = Field(
        default={"SSIM": 2.0, "VIF": 1.0, "Qabf": 3.0, "SCD": 0.5}, min_length=1
    )
    hold: float = Field(20.0, ge=0, description="weight of what is missing to function")
    function_margin: float = Field(0.01, ge=0, description="how far above the winner's it is held")
    margin: float = Field(0.015, ge=0, le=1, description="support margin, see haarmony.support")

    @field_validator("weights")
    @classmethod
    def _known_metrics(cls, weights: dict[str, float]) -> dict[str, float]:
        _check_known(weights, dict.fromkeys(DIFFERENTIABLE), "differentiable metric")
        return weights


class SearchConfig(BaseModel):
    """What the search depends on besides the pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    candidates: tuple[str, ...] = Field(default=tuple(CLASSICAL), description="classical fusers")
    weights: dict[str, float] = Field(default={"SSIM": 2.0, "VIF": 1.0, "Qabf": 3.0}, min_length=1)
    convention: Literal["cddfuse", "haarmony"] = "cddfuse"
    hold_function: bool | None = Field(default=None, description="None: where b is coloured")
    function_margin: float = Field(default=0.02, ge=0, description="how far it may fall below the maximum's")
    ascent: AscentConfig | None = Field(default=None, description="raise the winner; None: leave it")

    @field_validator("candidates")
    @classmethod
    def _known_fusers(cls, candidates: tuple[str, ...]) -> tuple[str, ...]:
        _check_known(candidates, CLASSICAL, "classical fuser")
        return candidates

    @field_validator("weights")
    @classmethod
    def _known_metrics(cls, weights: dict[str, float]) -> dict[str, float]:
        _check_known(weights, METRICS, "metric")
        return weights


def _check_known(names: Iterable[str], table: Mapping[str, object], kind: str) -> None:
    for name in names:
        if name not in table:
            raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
