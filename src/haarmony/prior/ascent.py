"""Gradient ascent: a fused picture raised along the gradients of the metrics themselves.

    f ← P(f + Adam(∇_f S(f))),   S(f) = Σ weight_m · metric_m(f, a, b) − hold · relu(least − function(f, b)),
    least = function(f⁰, b) + function_margin, where function is held,

from the search's winner f⁰. P projects onto what the sources support at each pixel (`haarmony.support`), so
that nothing is invented, no halo grows and air stays zero; the last term keeps the tracer in sight. It works
on whole batches, on a CPU or a GPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from haarmony import metrics
from haarmony.metrics import METRICS
from haarmony.prior.config import AscentConfig
from haarmony.support import project


def ascend(f: Tensor, a: Tensor, b: Tensor, config: AscentConfig, *, convention: str, held: bool) -> Tensor:
    """Raise fused lumas.

    Args:
        f: Where to begin, (B, 1, H, W) in [0, 1].
        a: First source, the same shape.
        b: Second source.
        config: What to raise, and how far.
        convention: Of the metrics.
        held: Whether function may not fall.

    Returns:
        The raised lumas, (B, 1, H, W) in [0, 1], within what the sources support.

    Raises:
        ValueError: Pictures that are too small for a metric.
    """
    raised = f.clone().requires_grad_()
    optimiser = torch.optim.Adam([raised], lr=config.step, betas=(0.9, 0.99))
    least = metrics.function(f, b) + config.function_margin if held else torch.zeros(len(f))
    for i in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.step * (0.525 + 0.475 * math.cos(math.pi * i / config.steps))
        total = torch.stack(
            [
                weight * METRICS[symbol].function(raised, a, b, convention=convention).sum()
                for symbol, weight in config.weights.items()
            ]
        ).sum()
        if held:
            total = total - config.hold * F.relu(least - metrics.function(raised, b)).sum()
        optimiser.zero_grad()
        (-total).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            raised.copy_(project(raised, a, b, margin=config.margin))
    return raised.detach()
