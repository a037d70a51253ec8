"""What metrics accept and which definition they follow.

Three conventions, because published tables disagree:

- ``haarmony`` (default): bits, a data range of 255, means over the two sources, known slips mended.
- ``cddfuse``: the Python evaluator behind most tables since 2023: nats, sums over the sources, SSIM with data
  range 2.
- ``matlab``: the MATLAB suite behind many infrared–visible tables.

Every metric computes on (B, H, W) grey levels in 0–255, whatever came in; `on_pictures` converts.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_args

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from jaxtyping import Float, Shaped

Convention = Literal["haarmony", "cddfuse", "matlab"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)
ROUNDING = 1e-3  # grey levels: a difference below it is arithmetic, not picture

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Limits:
    """What a metric cannot do."""

    name: str
    smallest: int = 1
    """Shortest side in pixels: room for its windows, on its last scale."""
    undefined: frozenset[str] = frozenset()
    """Conventions whose published code prints a metric of this name that cannot be reproduced."""


def limits(metric: Callable[..., Any]) -> Limits:
    """The limits that `on_pictures` was given for a metric."""
    return cast(Limits, metric.limits)  # type: ignore[attr-defined]


def grey_levels(x: Shaped[Any, "..."], *, name: str = "picture") -> Float[Any, "b h w"]:
    """A picture or batch as (B, H, W) floating point grey levels in 0–255.

    Args:
        x: NumPy array or torch tensor, (H, W), (B, H, W) or (B, 1, H, W); uint8, uint16 (65535 is white) or
            floating point in [0, 1]. The range of tensors that carry gradients is not checked: a network may
            overshoot.
        name: what to call it in errors.

    Raises:
        ValueError: another shape or type, no pixels, values outside [0, 1] or not finite.
    """
    xp = array_namespace(x)
    shape = tuple(x.shape)
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[1] != 1) or 0 in shape:
        raise ValueError(f"{name} has shape {shape}; metrics take (H, W), (B, H, W) or (B, 1, H, W) luma")
    x = xp.reshape(x, (-1, *shape[-2:]))
    if x.dtype == xp.uint8:
        return xp.astype(x, xp.float32)
    if x.dtype == xp.uint16:
        return xp.astype(x, xp.float32) / 257
    if "float" not in str(x.dtype):
        raise ValueError(f"{name} has type {x.dtype}; metrics take uint8, uint16 or floating point in [0, 1]")
    if x.dtype != xp.float64:
        x = xp.astype(x, xp.float32)
    if not getattr(x, "requires_grad", False):
        low, high = float(xp.min(x)), float(xp.max(x))
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # false for NaN too
            raise ValueError(
                f"{name} has values from {low:g} to {high:g}; floating point pictures are in [0, 1]"
            )
    return x * 255


def prepare(pictures: Mapping[str, Any], *metrics: Limits) -> list[Any]:
    """Pictures that belong together as (B, H, W) grey levels of one type, for metrics of these limits.

    Raises:
        ValueError: as `grey_levels`, or unequal shapes, or smaller than a metric can do with.
    """
    shapes = {name: tuple(x.shape) for name, x in pictures.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError("shapes differ: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
    levels = [grey_levels(x, name=name) for name, x in pictures.items()]
    H, W = levels[0].shape[1:]
    for metric in metrics:
        if min(H, W) < (n := metric.smallest):
            raise ValueError(f"{metric.name} needs at least {n}×{n} pixels, these are {H}×{W}")
    xp = array_namespace(*levels)
    dtype = xp.result_type(*levels)
    return [xp.astype(x, dtype, copy=False) for x in levels]


def check_convention(convention: str, *metrics: Limits) -> None:
    """Refuse a convention that is unknown or leaves one of the metrics undefined."""
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; known are {', '.join(CONVENTIONS)}")
    for metric in metrics:
        if convention in metric.undefined:
            raise ValueError(f"{metric.name} is not defined in the convention {convention!r}")


def on_pictures(
    *, smallest: int = 1, undefined: Iterable[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a metric that is written for (B, H, W) grey levels take whatever `grey_levels` takes.

    It gives one value per image: (B,) for batches, a scalar for a single (H, W). `inspect.unwrap` returns the
    metric as written, `limits` what is said here.

    Args:
        smallest: shortest side in pixels that it can do with.
        undefined: conventions that do not define it.
    """

    def decorate(metric: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(metric)
        own = Limits(metric.__name__, smallest, frozenset(undefined))

        @functools.wraps(metric)
        def public(*args: P.args, **kwargs: P.kwargs) -> R:
            pictures = signature.bind(*args, **kwargs).arguments
            options = {"convention": pictures.pop("convention")} if "convention" in pictures else {}
            check_convention(options.get("convention", "haarmony"), own)
            values: Any = metric(*prepare(pictures, own), **options)  # type: ignore[call-arg]
            return cast(R, values[0] if pictures["f"].ndim == 2 else values)

        public.limits = own  # type: ignore[attr-defined]
        return public

    return decorate


def eight_bit(x: Any) -> np.ndarray:
    """Grey levels rounded to the integers 0 to 255, to count with, as NumPy."""
    levels: np.ndarray = np.clip(np.rint(as_numpy(x)), 0, 255).astype(np.uint8)
    return levels


def as_numpy(x: Any) -> np.ndarray:
    """The same numbers as a NumPy array, cut from any gradient."""
    array: np.ndarray = np.asarray(x.detach().cpu() if is_torch_array(x) else x)
    return array
