"""What a comparison found: the one thing that tables, figures and the report are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Method:
    """One method of a comparison."""

    name: str
    """As given on the command line: "medical", "maximum", "CDDFuse"."""
    title: str
    """As shown: "Haarmony (medical)", "Maximum", "CDDFuse"."""
    kind: Literal["model", "classical", "results"]
    """A diffusion model of ours, a classical fuser, or a folder of results made elsewhere."""
    folder: str | None = None
    """Where a model that is not shipped, or results made elsewhere, lie."""
    seconds: float | None = None
    """Median time a pair, reading and writing left out; None for results made elsewhere."""
    memory: float | None = None
    """Peak memory of a process that does nothing else, in megabytes; None where it is not known."""


@dataclass(frozen=True)
class Dataset:
    """What was fused."""

    a: str
    b: str
    """The folders of both sources, as given."""
    split: str
    """Which part of them: "all pairs", or "val of harvard/CT-MRI (splits.json)"."""
    pairs: int
    sizes: str
    """"256×256", or "496×280 to 768×576" where pictures differ."""


@dataclass(frozen=True)
class Example:
    """One pair's pictures, uint8 (H, W) or (H, W, 3), by caption: both sources, then every result."""

    stem: str
    pictures: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Results:
    """A whole comparison."""

    convention: str
    metrics: tuple[str, ...]
    """Symbols from `haarmony.metrics.METRICS`, in the order of the columns."""
    methods: tuple[Method, ...]
    images: DataFrame
    """One row a method (its name) and picture (its stem), one column a metric; NaN where it is undefined."""
    dataset: Dataset
    provenance: Mapping[str, str]
    """Label → text: the exact command, date, versions, hardware."""
    examples: tuple[Example, ...] = ()
    failures: tuple[str, ...] = field(default=())
    """A line for everything that could not be scored."""
