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

from haarmony.colour import BLUE, GREEN, RED

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
    """The limits that `on_pictures` was given for a metric; one without them has none."""
    return cast(Limits, getattr(metric, "limits", Limits(metric.__name__)))


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


def is_rgb(x: Shaped[Any, "..."]) -> bool:
    """Whether an array has the shape of a colour picture: (H, W, 3), or a batch of them, (B, 3, H, W)."""
    return (x.ndim == 3 and x.shape[-1] == 3) or (x.ndim == 4 and x.shape[1] == 3)


def is_single(x: Shaped[Any, "..."]) -> bool:
    """Whether an array is one picture, (H, W) or (H, W, 3), and no batch."""
    return x.ndim == 2 or (x.ndim == 3 and is_rgb(x))


def to_grey(x: Shaped[Any, "..."], *, name: str = "picture") -> Shaped[Any, "..."]:
    """The luma of a colour picture or batch, at its own depth (rounded where integer); a grey one as it is.

    Raises:
        ValueError: as `grey_levels`, for a colour picture.
    """
    if not is_rgb(x):
        return x
    xp, batch = array_namespace(x), x.ndim == 4
    channels = xp.moveaxis(x, 1, 0) if batch else xp.moveaxis(x, -1, 0)
    levels = grey_levels(xp.reshape(channels, (1, -1, x.shape[-1])), name=name)
    # In double precision: many sums of integer channels end in exactly one half.
    R, G, B = xp.reshape(levels if x.dtype == xp.float32 else xp.astype(levels, xp.float64), channels.shape)
    y = RED * R + GREEN * G + BLUE * B
    if x.dtype == xp.uint8:
        y = xp.astype(xp.round(y), x.dtype)
    elif x.dtype == xp.uint16:
        y = xp.astype(xp.round(257 * y), x.dtype)
    else:
        y = y / 255
    return y[:, None] if batch else y


def to_rgb(x: Shaped[Any, "..."], *, name: str = "picture") -> Float[np.ndarray, "b h w 3"]:
    """A grey or colour picture or batch as NumPy RGB in [0, 1], channels last.

    Raises:
        ValueError: as `grey_levels`.
    """
    if not is_rgb(x):
        return np.repeat(as_numpy(grey_levels(x, name=name))[..., None] / 255, 3, axis=-1)
    channels = as_numpy(x)[None] if x.ndim == 3 else np.moveaxis(as_numpy(x), 1, -1)
    B, H, W, _ = channels.shape
    return as_numpy(grey_levels(channels.reshape(B, H, 3 * W), name=name)).reshape(B, H, W, 3) / 255


def prepare(pictures: Mapping[str, Any], *metrics: Limits) -> list[Any]:
    """Pictures that belong together as (B, H, W) grey levels of one type, for metrics of these limits.

    Raises:
        ValueError: as `grey_levels`, or unequal shapes, NumPy beside torch, or smaller than a metric can do
            with.
    """
    shapes = {name: tuple(x.shape) for name, x in pictures.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError("shapes differ: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
    if len({is_torch_array(x) for x in pictures.values()}) > 1:
        kinds = (f"{name} {'torch' if is_torch_array(x) else 'NumPy'}" for name, x in pictures.items())
        raise ValueError(f"array libraries differ: {', '.join(kinds)}; convert them to one")
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
