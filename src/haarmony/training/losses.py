"""The fusion terms of the training loss, one value an image, all of them smaller for a better picture.

Diff-IF's terms act on the refined luma f: L1 to the prior's target, to the pixel-wise maximum, and to the
sources' stronger gradient, and SSIM (the noise term is in `haarmony.training.algorithm`). The gradient is
signed: of the two Sobel responses the one of larger magnitude, with its sign. The others are the fusion
metrics themselves (`haarmony.metrics`, cddfuse convention), negated, and guards:

    span       how far f leaves what the sources support, before projection
    scd_floor  relu(SCD(max) + margin − SCD(f)), the others' alike: scores held, not raised at all cost
    sf_floor   relu(SF(max) (1 + margin) − SF(f)), in full scale
    function   relu(r(max) + margin − r(f)), r the Pearson correlation with b inside its uptake region
    rank       the same of Spearman's correlation (the metric `function`), for every pair
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from haarmony import metrics
from haarmony.training.recipe import LossConfig


def fusion_terms(
    f: Tensor,
    raw: Tensor,
    a: Tensor,
    b: Tensor,
    target: Tensor,
    functional: Tensor,
    config: LossConfig,
    *,
    trust: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms that act on the fused luma.

    Args:
        f: Fused luma after projection onto what the sources support, (B, 1, H, W) in [0, 1].
        raw: The same before projection.
        a: First source.
        b: Second source.
        target: The prior's picture.
        functional: (B,), 1 where b shows function.
        config: The weights; a term whose weight is zero is not computed.
        trust: (B,), weights of the targets; 1 without it.

    Returns:
        Term → (B,), unweighted.
    """
    terms: dict[str, Tensor] = {}
    maximum = torch.maximum(a, b)
    if config.target:
        terms["target"] = _mean(torch.abs(f - target)) * (1 if trust is None else trust)
    if config.maximum:
        terms["maximum"] = _mean(torch.abs(f - maximum))
    if config.gradient:
        terms["gradient"] = _mean(torch.abs(sobel(f) - stronger(sobel(a), sobel(b))))
    if config.span:
        terms["span"] = _mean(torch.abs(raw - f))
    for name, metric in (
        ("ssim", metrics.ssim),
        ("vif", metrics.vif),
        ("qabf", metrics.qabf),
        ("scd", metrics.scd),
    ):
        weight, floor, margin = (getattr(config, name + end) for end in ("", "_floor", "_margin"))
        if weight or floor:
            value = metric(f, a, b, convention="cddfuse")
            if weight:
                terms[name] = -value
            if floor:
                least = metric(maximum, a, b, convention="cddfuse") + margin
                terms[f"{name}_floor"] = F.relu(least - value)
    if config.sf_floor:
        least = (1 + config.sf_margin) * metrics.sf(maximum)
        terms["sf_floor"] = F.relu(least - metrics.sf(f)) / 255
    if config.rank:
        least = metrics.function(maximum, b) + config.rank_margin
        terms["rank"] = F.relu(least - metrics.function(f, b))
    if config.function and functional.any():
        least = metrics.function_pearson(maximum, b) + config.function_margin
        terms["function"] = functional * F.relu(least - metrics.function_pearson(f, b))
    return terms


def sobel(x: Tensor) -> Tensor:
    """Horizontal and vertical Sobel responses on [0, 1] luma: (B, 1, H, W) → (B, 2, H, W)."""
    kernel = (
        torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype, device=x.device)
        / 4
    )
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])


def stronger(x: Tensor, y: Tensor) -> Tensor:
    """Of two signed responses the one of larger magnitude."""
    return torch.where(x.abs() >= y.abs(), x, y)


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)
