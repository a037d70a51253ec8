"""Fusion metrics, each in the conventions that published tables follow.

    from haarmony.metrics import score
    score(f, a, b, convention="cddfuse")        # {"EN": …, "VIF": …, "Qabf": …, …}

`METRICS` declares for each metric its inputs, range, unit, direction, conventions and source. All take NumPy
arrays and torch tensors and give one value per image; `haarmony.metrics.convention` says what goes in and
what the conventions are. `sliced_wasserstein` is apart from them: it compares two sets of pictures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Shaped

from haarmony.colour import most_colourful
from haarmony.metrics.colour_difference import ciede2000
from haarmony.metrics.convention import (
    CONVENTIONS,
    Convention,
    check_convention,
    is_single,
    limits,
    prepare,
    to_grey,
    to_rgb,
)
from haarmony.metrics.distribution import sliced_wasserstein
from haarmony.metrics.edges import ei, nabf, qabf
from haarmony.metrics.features import fmi
from haarmony.metrics.fidelity import function
from haarmony.metrics.information import ce, mi, ncie, nmi
from haarmony.metrics.multiscale import ms_ssim
from haarmony.metrics.perception import qcb, qcv
from haarmony.metrics.statistics import ag, cc, en, mse, psnr, rmse, scc, scd, sd, sf
from haarmony.metrics.structure import ssim, vif, viff
from haarmony.metrics.universal import q, qe, qw, qy, uqi

__all__ = [
    "CONVENTIONS", "METRICS", "Convention", "Metric", "ag", "cc", "ce", "ciede2000", "ei", "en", "fmi",
    "function", "mi", "ms_ssim", "mse", "nabf", "ncie", "nmi", "psnr", "q", "qabf",
    "qcb", "qcv", "qe", "qw", "qy", "resolve", "rmse", "scc", "scd", "score", "sd", "sf",
    "sliced_wasserstein", "ssim", "uqi", "vif", "viff",
]  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One row of `METRICS`; unit and range are the `haarmony` convention's."""

    function: Callable[..., Any]
    name: str
    unit: str
    range: tuple[float, float]
    source: str
    direction: str = "higher"
    """Which is better; or "lower"."""
    inputs: str = "fab"
    """Of fused f, first source a, second source b and coloured source c, whichever of the two that is."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Convention → unit, where it is another."""

    def unit_in(self, convention: str) -> str:
        """What its values are measured in in a convention; "" for numbers without a unit."""
        return self.units.get(convention, self.unit)

    @property
    def smallest(self) -> int:
        """The shortest side of a picture, in pixels, that it can do with."""
        return limits(self.function).smallest

    @property
    def conventions(self) -> tuple[str, ...]:
        """The conventions that define it."""
        return tuple(c for c in CONVENTIONS if c not in limits(self.function).undefined)


_GREY = "grey level"
_OF_ONE = {"matlab": ""}  # it computes on values in 0–1
METRICS: dict[str, Metric] = {
    "EN": Metric(en, "entropy", "bit", (0.0, 8.0), "doi:10.1117/1.2945910", inputs="f"),
    "SD": Metric(sd, "standard deviation", _GREY, (0.0, 127.5), "definition", inputs="f"),
    "SF": Metric(
        sf,
        "spatial frequency",
        _GREY,
        (0.0, 255 * 2**0.5),
        "doi:10.1109/26.477498",
        inputs="f",
        units=_OF_ONE,
    ),
    "AG": Metric(ag, "average gradient", _GREY, (0.0, 255.0), "doi:10.1016/j.optcom.2014.12.032", inputs="f"),
    "MI": Metric(
        mi, "mutual information", "bit", (0.0, 8.0), "doi:10.1049/el:20020212", units={"cddfuse": "nat"}
    ),
    "MSE": Metric(
        mse, "mean squared error", _GREY + "²", (0.0, 255.0**2), "definition", "lower", units=_OF_ONE
    ),
    "PSNR": Metric(psnr, "peak signal-to-noise ratio", "dB", (0.0, float("inf")), "definition"),
    "CC": Metric(cc, "correlation with the sources", "", (-1.0, 1.0), "definition"),
    "SCD": Metric(
        scd, "sum of correlations of differences", "", (-2.0, 2.0), "doi:10.1016/j.aeue.2015.09.004"
    ),
    "VIF": Metric(vif, "visual information fidelity", "", (0.0, float("inf")), "doi:10.1109/TIP.2005.859378"),
    "Qabf": Metric(qabf, "edge preservation", "", (0.0, 1.0), "doi:10.1049/el:20000267"),
    "SSIM": Metric(ssim, "structural similarity", "", (-1.0, 1.0), "doi:10.1109/TIP.2003.819861"),
    "NMI": Metric(nmi, "normalised mutual information", "", (0.0, 2.0), "doi:10.1049/el:20081754"),
    "CE": Metric(
        ce,
        "cross entropy",
        "bit",
        (-0.531, float("inf")),
        "doi:10.1016/j.biosystemseng.2009.02.009",
        "lower",
    ),
    "NCIE": Metric(
        ncie,
        "nonlinear correlation information entropy",
        "",
        (0.8018, 1.0),
        "doi:10.1016/j.physd.2004.11.001",
    ),
    "RMSE": Metric(
        rmse, "root mean squared error", _GREY, (0.0, 255.0), "definition", "lower", units=_OF_ONE
    ),
    "SCC": Metric(scc, "spatial correlation coefficient", "", (-1.0, 1.0), "doi:10.1080/014311698215973"),
    "EI": Metric(ei, "edge intensity", _GREY, (0.0, 255 * 20**0.5), "definition", inputs="f"),
    "MS-SSIM": Metric(
        ms_ssim, "multi-scale structural similarity", "", (0.0, 1.0), "doi:10.1109/ACSSC.2003.1292216"
    ),
    "Nabf": Metric(nabf, "fusion artefacts", "", (0.0, 1.0), "doi:10.1007/s11760-012-0361-x", "lower"),
    "FMI": Metric(fmi, "feature mutual information", "", (0.0, 1.0), "doi:10.1016/j.compeleceng.2011.07.012"),
    "VIFF": Metric(
        viff,
        "visual information fidelity for fusion",
        "",
        (0.0, float("inf")),
        "doi:10.1016/j.inffus.2011.08.002",
    ),
    "UQI": Metric(uqi, "universal image quality index", "", (-1.0, 1.0), "doi:10.1109/97.995823"),
    "Q": Metric(q, "fusion quality index", "", (-1.0, 1.0), "doi:10.1109/ICIP.2003.1247209"),
    "Qw": Metric(qw, "weighted fusion quality index", "", (-1.0, 1.0), "doi:10.1109/ICIP.2003.1247209"),
    "Qe": Metric(qe, "edge-dependent fusion quality index", "", (-1.0, 1.0), "doi:10.1109/ICIP.2003.1247209"),
    "Qy": Metric(qy, "similarity by Yang et al.", "", (-1.0, 1.0), "doi:10.1016/j.inffus.2006.09.001"),
    "Qcb": Metric(
        qcb, "contrast preservation by Chen and Blum", "", (0.0, 1.0), "doi:10.1016/j.imavis.2007.12.002"
    ),
    "Qcv": Metric(
        qcv,
        "visible error by Chen and Varshney",
        _GREY + "²",
        (0.0, float("inf")),
        "doi:10.1016/j.inffus.2005.10.001",
        "lower",
    ),
    "function": Metric(
        function, "rank correlation with the uptake", "", (-1.0, 1.0), "Haarmony", inputs="fb"
    ),
    "CIEDE2000": Metric(
        ciede2000,
        "colour difference in the uptake",
        "ΔE",
        (0.0, float("inf")),
        "doi:10.1002/col.20070",
        "lower",
        inputs="fc",
    ),
}


def score(
    f: Shaped[Any, "..."],
    a: Shaped[Any, "..."],
    b: Shaped[Any, "..."],
    *,
    convention: str = "haarmony",
    metrics: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Many metrics of a fused picture or batch at once; the pictures are checked and converted once.

    Args:
        f: fused picture or batch: grey, as `haarmony.metrics.convention.grey_levels` takes it, or RGB,
            (H, W, 3) or (B, 3, H, W). All but CIEDE2000 score the luma of RGB, rounded where it is integer.
        a: first source, of the same size and number, grey or RGB.
        b: second source, likewise.
        convention: see `haarmony.metrics.convention`.
        metrics: symbols from `METRICS`; without it all that the convention defines and that the pictures are
            large enough for (MS-SSIM needs 176×176 pixels, VIF and VIFF 41×41).

    Returns:
        Symbol → one value per image, (B,) for batches and a scalar for a single picture. CIEDE2000 is
        NaN where neither source is in colour.

    Raises:
        ValueError: an unknown symbol, and as the metrics themselves.
    """
    check_convention(convention)
    lumas = {name: to_grey(x, name=name) for name, x in (("f", f), ("a", a), ("b", b))}
    if metrics is None:
        room = min(lumas["f"].shape[-2:], default=0)
        metrics = [
            symbol
            for symbol, metric in METRICS.items()
            if convention in metric.conventions and metric.smallest <= room
        ]
    symbols = list(metrics)
    if unknown := [symbol for symbol in symbols if symbol not in METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; known are {', '.join(METRICS)}")
    needs = [limits(METRICS[symbol].function) for symbol in symbols]
    check_convention(convention, *needs)
    levels = dict(zip("fab", prepare(lumas, *needs), strict=True))
    values = {}
    for symbol in symbols:
        metric = METRICS[symbol]
        if "c" in metric.inputs:
            value = _against_coloured(metric.function, f, (a, b))
        else:
            as_written = inspect.unwrap(metric.function)
            value = as_written(*(levels[x] for x in metric.inputs), convention=convention)
        values[symbol] = value[0] if is_single(f) else value
    return values


def resolve(names: Iterable[str]) -> list[str]:
    """The symbols of metrics that are named in any case, without repeats.

    Raises:
        ValueError: An unknown name; the message lists the known ones.
    """
    by_name = {symbol.lower(): symbol for symbol in METRICS}
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name.lower() not in by_name]:
        raise ValueError(f"unknown metric {unknown[0]!r}; known are {', '.join(METRICS)}")
    return list(dict.fromkeys(by_name[name.lower()] for name in names))


def _against_coloured(
    metric: Callable[..., Any], f: Shaped[Any, "..."], sources: Sequence[Shaped[Any, "..."]]
) -> np.ndarray:
    """The metric of every picture and its coloured source, (B,); NaN where it has none."""
    values = []
    for rgb_f, *rgb_sources in zip(to_rgb(f), *map(to_rgb, sources), strict=True):
        c = most_colourful(*rgb_sources)
        values.append(np.nan if c is None else metric(rgb_f, c))
    return np.array(values)
