"""Fusion metrics, each in the conventions that published tables follow.

    from haarmony.metrics import score
    score(f, a, b, convention="cddfuse")        # {"EN": …, "VIF": …, "Qabf": …, …}

`METRICS` declares for each metric its inputs, range, unit, direction, conventions and source. All take NumPy arrays and
torch tensors and give one value per image; `haarmony.metrics.convention` says what goes in and what conventions are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from haarmony.metrics.convention import CONVENTIONS, UNDEFINED, Convention, check_convention, prepare
from haarmony.metrics.edges import qabf
from haarmony.metrics.fidelity import function, function_pearson
from haarmony.metrics.information import mi
from haarmony.metrics.statistics import ag, cc, en, mse, psnr, scd, sd, sf
from haarmony.metrics.structure import ssim, vif

__all__ = [
    "CONVENTIONS", "METRICS", "Convention", "Metric",
    "ag", "cc", "en", "function", "function_pearson", "mi", "mse", "psnr", "qabf", "scd", "score", "sd", "sf", "ssim", "vif",
]  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One row of `METRICS`; unit and range are the `haarmony` convention's."""

    function: Callable[..., Any]
    name: str
    unit: str
    range: tuple[float, float]
    direction: str  # "higher" or "lower" is better
    source: str
    inputs: str = "fab"

    @property
    def conventions(self) -> tuple[str, ...]:
        """The conventions that define it."""
        return tuple(c for c in CONVENTIONS if self.function.__name__ not in UNDEFINED.get(c, ()))


_INF = float("inf")
METRICS: dict[str, Metric] = {
    "EN": Metric(en, "entropy", "bit", (0, 8), "higher", "doi:10.1117/1.2945910", "f"),
    "SD": Metric(sd, "standard deviation", "grey level", (0, 127.5), "higher", "doi:10.1088/0957-0233/8/4/002", "f"),
    "SF": Metric(sf, "spatial frequency", "grey level", (0, 255 * 2**0.5), "higher", "doi:10.1109/26.477498", "f"),
    "AG": Metric(ag, "average gradient", "grey level", (0, 255), "higher", "doi:10.1016/j.optcom.2014.12.032", "f"),
    "MI": Metric(mi, "mutual information", "bit", (0, 8), "higher", "doi:10.1049/el:20020212"),
    "MSE": Metric(mse, "mean squared error", "grey level²", (0, 65025), "lower", "golden/README"),
    "PSNR": Metric(psnr, "peak signal-to-noise ratio", "dB", (0, _INF), "higher", "golden/README"),
    "CC": Metric(cc, "correlation coefficient", "", (-1, 1), "higher", ""),
    "SCD": Metric(scd, "sum of correlations of differences", "", (-2, 2), "higher", "doi:10.1016/j.aeue.2015.09.004"),
    "VIF": Metric(vif, "visual information fidelity", "", (0, _INF), "higher", "doi:10.1109/TIP.2005.859378"),
    "Qabf": Metric(qabf, "edge preservation", "", (0, 1), "higher", "doi:10.1049/el:20000267"),
    "SSIM": Metric(ssim, "structural similarity", "", (-1, 1), "higher", "doi:10.1109/TIP.2003.819861"),
    "function": Metric(function, "rank correlation with the second source's uptake", "", (-1, 1), "higher", "Haarmony", "fb"),
}  # fmt: skip


def score(
    f: Any, a: Any, b: Any, *, convention: Convention = "haarmony", metrics: Iterable[str] | None = None
) -> dict[str, Any]:
    """Many metrics of a fused picture or batch at once; the pictures are checked and converted once.

    Args:
        f: fused picture or batch, as `haarmony.metrics.convention.grey_levels` takes it.
        a: first source, the same shape.
        b: second source, the same shape.
        convention: see `haarmony.metrics.convention`.
        metrics: symbols from `METRICS`; all that the convention defines without it.

    Returns:
        Symbol → one value per image, (B,) for batches and a scalar for a single (H, W).

    Raises:
        ValueError: an unknown symbol, and as the metrics themselves.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; known are {', '.join(CONVENTIONS)}")
    symbols = (
        [s for s, m in METRICS.items() if convention in m.conventions] if metrics is None else list(metrics)
    )
    for symbol in symbols:
        if symbol not in METRICS:
            raise ValueError(f"unknown metric {symbol!r}; known are {', '.join(METRICS)}")
        check_convention(METRICS[symbol].function.__name__, convention)
    largest = max(symbols, key=lambda s: METRICS[s].function.smallest, default=None)  # type: ignore[attr-defined]
    smallest = METRICS[largest].function.smallest if largest else 1  # type: ignore[attr-defined]
    levels = dict(
        zip("fab", prepare({"f": f, "a": a, "b": b}, smallest=smallest, metric=str(largest)), strict=True)
    )
    values = {}
    for symbol in symbols:
        metric = METRICS[symbol]
        value = inspect.unwrap(metric.function)(*(levels[x] for x in metric.inputs), convention=convention)
        values[symbol] = value[0] if len(f.shape) == 2 else value
    return values
