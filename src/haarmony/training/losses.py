"""The fusion terms of the training loss, one value an image, all of them smaller for a better picture.

Diff-IF's terms act on the refined luma f: L1 to the prior's target, to the pixel-wise maximum, and to the
sources' stronger gradient, and SSIM (the noise term is in `haarmony.training.algorithm`). The gradient is
signed, where the recipe does not say otherwise: of the two Sobel responses the one of larger magnitude, with
its sign. The others are the fusion
metrics themselves (`haarmony.metrics`, cddfuse convention), negated, and guards:

    span       how far f leaves what the sources support, before projection
    scd_floor  relu(SCD(max) + margin − SCD(f)), the others' alike: scores held, not raised at all cost
    sf_floor   relu(SF(max) (1 + margin) − SF(f)), in full scale
    mi_floor   relu((1 + margin) I(max) − I(f)), I = I(a; f) + I(b; f) by `mutual_information`
    rank       relu(r(max) + margin − r(f)), r Spearman's correlation with b (the metric `function`)
    rank_a     the same with the first source, where both must be seen (visible with infrared)

A set of pairs may have margins of its own, and trust its targets less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from haarmony import metrics
from haarmony.training.recipe import LossConfig, Margin, PairSet

_METRICS: dict[str, tuple[Callable[..., Tensor], Margin]] = {
    "ssim": (metrics.ssim, "ssim_margin"),
    "vif": (metrics.vif, "vif_margin"),
    "qabf": (metrics.qabf, "qabf_margin"),
    "scd": (metrics.scd, "scd_margin"),
}


def fusion_terms(
    f: Float[Tensor, "b 1 h w"],
    raw: Float[Tensor, "b 1 h w"],
    a: Float[Tensor, "b 1 h w"],
    b: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    *,
    config: LossConfig,
    sets: Sequence[PairSet],
) -> dict[str, Float[Tensor, " b"]]:
    """The terms that act on the fused luma.

    Args:
        f: Fused luma after projection onto what the sources support, in [0, 1].
        raw: The same before projection.
        a: First source.
        b: Second source.
        target: The prior's picture.
        config: The weights; a term whose weight is zero is not computed.
        sets: The set of pairs that each of the B is of.

    Returns:
        Term → one value an image, unweighted.
    """
    terms: dict[str, Tensor] = {}

    def margin(name: Margin) -> Tensor:
        return f.new_tensor([one.margins.get(name, getattr(config, name)) for one in sets])

    maximum = torch.maximum(a, b)
    if config.target:
        terms["target"] = f.new_tensor([one.target for one in sets]) * _mean(torch.abs(f - target))
    if config.maximum:
        terms["maximum"] = _mean(torch.abs(f - maximum))
    if config.gradient:
        responses = sobel(f), stronger(sobel(a), sobel(b))
        of_f, wanted = responses if config.gradient_signed else (x.abs() for x in responses)
        terms["gradient"] = _mean(torch.abs(of_f - wanted))
    if config.span:
        terms["span"] = _mean(torch.abs(raw - f))
    for name, (metric, of_floor) in _METRICS.items():
        weight, floor = (getattr(config, name + end) for end in ("", "_floor"))
        if weight or floor:
            value = metric(f, a, b, convention="cddfuse")
            if weight and name == "ssim" and config.ssim_range == "full":
                terms[name] = -2 * metric(f, a, b, convention="haarmony")  # the sum of both sources' again
            elif weight:
                terms[name] = -value
            if floor:
                least = metric(maximum, a, b, convention="cddfuse") + margin(of_floor)
                terms[f"{name}_floor"] = F.relu(least - value)
    if config.sf_floor:
        least = (1 + margin("sf_margin")) * metrics.sf(maximum)
        terms["sf_floor"] = F.relu(least - metrics.sf(f)) / 255
    if config.mi_floor:
        of_maximum, value = (mutual_information(x, a) + mutual_information(x, b) for x in (maximum, f))
        terms["mi_floor"] = F.relu((1 + margin("mi_margin")) * of_maximum - value)
    for name, source in (("rank", b), ("rank_a", a)):
        if getattr(config, name):
            least = metrics.function(maximum, source) + margin("rank_margin")
            terms[name] = F.relu(least - metrics.function(f, source))
    return terms


def sobel(x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Horizontal and vertical Sobel responses on [0, 1] luma."""
    kernel = (
        torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype, device=x.device)
        / 4
    )
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])


def stronger(x: Float[Tensor, "*s"], y: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Of two signed responses the one of larger magnitude."""
    return torch.where(x.abs() >= y.abs(), x, y)


def mutual_information(
    x: Float[Tensor, "b 1 h w"], y: Float[Tensor, "b 1 h w"], *, bins: int = 48
) -> Float[Tensor, " b"]:
    """I(x; y) in bits by a soft joint histogram, which has a gradient.

    Every pixel counts in the two nearest bins, by linear weights; of each 2×2 pixels one is taken.

    Args:
        x: Lumas in [0, 1].
        y: Likewise.
        bins: Grey levels that are told apart.
    """
    levels = torch.arange(bins, device=x.device, dtype=x.dtype)
    of_x, of_y = (
        F.relu(1 - torch.abs((bins - 1) * z[..., ::2, ::2].flatten(1)[..., None] - levels)) for z in (x, y)
    )  # (B, pixels, bins)
    joint = of_x.transpose(1, 2) @ of_y / of_x.shape[1]
    apart = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    return (joint * torch.log2((joint + 1e-9) / (apart + 1e-9))).sum((1, 2))


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)
