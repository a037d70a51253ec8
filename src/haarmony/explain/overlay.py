"""A map laid over the fused picture, beside that picture and a colour bar, as one labelled sheet.

Under the map lies the fused luma, dimmed. A value v of the scale, 0 to 1, is shown in a colour of Oklab
(Ottosson 2020, https://bottosson.github.io/posts/oklab/) of

    L = 0.42 + 0.52 v,        h = 290° + 175° v,        C = 0.15, less where sRGB does not reach it,

from violet by red to yellow: lighter with every step, so that it reads without colour vision and in print,
and never grey, as the picture below is. Where there is nothing to show the picture lies open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

import haarmony
from haarmony import sheet, volumes
from haarmony.colour import to_luma
from haarmony.explain import Explanation
from haarmony.explain.record import Meaning, figures, meaning, pixels_of, shown_slice, shows
from haarmony.io import to_unit
from haarmony.manifest import printable
from haarmony.text import visible

DIMMED = 0.55
"""What white of the fused luma is dimmed to."""
SIDE, LARGE = 480, 1024
"""Pixels that the longest side is enlarged to, about and by a whole factor, and made smaller to at most."""
FAINT, OPAQUE = 0.3, 0.9
"""How opaque a map is just below its threshold, and at the most."""
RISE = 0.25
"""Where a map without threshold is at its most opaque, as a part of its scale."""
LEVELS = 256
"""Colours of the map."""
_BAR, _TICK, _GAP = 26, 6, 8  # of the colour bar, in pixels
_LEGEND, _LEAST = 156, 180  # its width in all, and height at least


@dataclass(frozen=True)
class _Shown:
    """What is to be seen of a map, in two dimensions."""

    fused: np.ndarray  # in [0, 1], perhaps in colour
    values: np.ndarray
    told: np.ndarray
    slice: int | None = None


def overlay(name: str, of: Explanation) -> UInt8[np.ndarray, "h w 3"]:
    """The labelled sheet of one map, of a volume for the slice that shows most of it.

    Args:
        name: One of `haarmony.explain.record.MAPS`.
        of: The explanation.

    Returns:
        The fused picture, the map over it and a colour bar; small pictures enlarged, large ones made smaller:
        a pixel then has the largest value of those that it stands for.
    """
    says, shown = meaning(name, of), _shown(name, of)
    step = math.ceil(max(shown.values.shape) / LARGE)
    factor = max(1, round(SIDE / max(shown.values.shape)))
    fused = _reduced(shown.fused, step, np.mean)
    values = _reduced(shown.values, step, np.max) / says.white
    alpha = opacity(values, says)
    if says.told:
        alpha = np.where(_reduced(shown.told, step, np.max), alpha, 0)
    ground = DIMMED * to_luma(fused)[..., None]
    over = ground + alpha[..., None] * (colours(values) - ground)
    panels = [x.repeat(factor, 0).repeat(factor, 1) for x in (_bytes(fused), _bytes(over))]
    where = "" if shown.slice is None else f", {of.plane} slice {shown.slice}"
    return sheet.contact_sheet(
        [sheet.Row("", [*panels, _legend(panels[0].shape[0], says, more=bool(values.max() > 1))])],
        columns=[f"Fused picture{where}", f"{says.title}{where}", says.unit[0].upper() + says.unit[1:]],
        title=says.title,
        subtitle=f"{says.what}\n{_figures(name, of)}",
        footer=_footer(of, step, factor),
    )


def colours(v: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """The RGB colours, in [0, 1], of places on the scale; what is beyond its ends is as they are."""
    return _table()[np.round(np.clip(v, 0, 1) * (LEVELS - 1)).astype(int)]


def opacity(v: Float[np.ndarray, "*shape"], says: Meaning) -> Float[np.ndarray, "*shape"]:
    """How much of the picture a map's colour hides at places on the scale, 0 to `OPAQUE`."""
    if says.told:
        return np.full_like(v, OPAQUE)
    if says.threshold is None:
        return OPAQUE * np.clip(v / RISE, 0, 1)
    at = says.threshold / says.white
    return np.where(v >= at, OPAQUE, FAINT * v / at)


@lru_cache
def _table() -> np.ndarray:
    """The map's colours, `LEVELS` × 3; where sRGB lacks one, the most colourful it has of that L and h."""
    v = np.linspace(0, 1, LEVELS)
    lightness, hue = 0.42 + 0.52 * v, np.deg2rad(290 + 175 * v)
    chroma = np.linspace(0, 0.15, 151)[:, None]
    rgb = _srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))  # (chroma, LEVELS, 3)
    inside = ((rgb > -1e-6) & (rgb < 1 + 1e-6)).all(axis=2)
    most = np.cumprod(inside, axis=0).sum(axis=0) - 1
    return np.clip(rgb[most, np.arange(LEVELS)], 0, 1)


def _srgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Oklab to sRGB, with Ottosson's matrices and the transfer function of IEC 61966-2-1."""
    lms = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = lms**3 @ np.transpose(to_rgb)
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)


def _shown(name: str, of: Explanation) -> _Shown:
    values, told = np.where(shows(of), getattr(of, name), 0), of.told
    fused, chosen = pixels_of(of.fused), shown_slice(name, of)
    if chosen is None:
        return _Shown(to_unit(fused), values, told)
    fused, values, told = (
        volumes.upright(x, of.fused.affine, of.plane)[:, :, chosen] for x in (fused, values, told)
    )
    return _Shown(to_unit(fused), values, told, volumes.stored_at(of.fused, of.plane)[chosen])


def _reduced(x: np.ndarray, step: int, by: Callable[..., np.ndarray]) -> np.ndarray:
    """Each step×step pixels as one; what they lack at the edges is repeated."""
    if step == 1:
        return x
    edges = [(0, -n % step) for n in x.shape[:2]] + [(0, 0)] * (x.ndim - 2)
    x = np.pad(x, edges, mode="edge")
    return by(x.reshape(x.shape[0] // step, step, x.shape[1] // step, step, *x.shape[2:]), axis=(1, 3))


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)


def _legend(height: int, says: Meaning, *, more: bool) -> np.ndarray:
    """The colour bar as it looks over black, with its values; a line where the threshold is."""
    height = max(height, _LEAST)
    image = Image.new("RGB", (_LEGEND, height), sheet.GROUND)
    draw, font = ImageDraw.Draw(image), sheet.font(sheet.BODY)
    pad = sheet.BODY
    v = np.linspace(1, 0, height - 2 * pad)
    bar = colours(v) * opacity(v, says)[:, None]
    left, right = _GAP, _GAP + _BAR
    image.paste(Image.fromarray(_bytes(np.repeat(bar[:, None], _BAR, axis=1))), (left, pad))
    draw.rectangle((left - 1, pad - 1, right, height - pad), outline=sheet.HAIRLINE)
    for value in ticks(says.white):
        y = pad + round((height - 2 * pad - 1) * (1 - value / says.white))
        flagged = value == says.threshold
        said = f"{value:.4g}{': flagged' if flagged else ' and more' if more and value == says.white else ''}"
        ink = sheet.BRIGHT if flagged else sheet.DIM
        if flagged:
            draw.line((left, y, right, y), fill=ink)
        draw.line((right + 1, y, right + _TICK, y), fill=ink)
        draw.text((right + _TICK + _GAP, y), said, font=font, fill=ink, anchor="lm")
    return np.array(image)


def ticks(white: float) -> list[float]:
    """The values that a scale from 0 is marked at: round ones, not too near its end, and that."""
    step = 10.0 ** math.floor(math.log10(white / 2))
    step *= next(n for n in (1, 2, 5, 10) if white <= 6 * n * step)
    return [*(k * step for k in range(7) if k * step < white - step / 2), white]


def _figures(name: str, of: Explanation) -> str:
    mean, p99, maximum = figures(getattr(of, name)[of.inside])
    flagged = f"; {of.flagged:.2%} is flagged" if name == "unsupported" else ""
    figured = f"mean {mean:.3g}, 99th percentile {p99:.3g}, at most {maximum:.3g}{flagged}"
    return f"Over the {'volume' if of.plane else 'picture'} without air: {figured}."


def _footer(of: Explanation, step: int, factor: int) -> str:
    parts = [f"Haarmony {haarmony.__version__}"]
    names = [visible(printable(name)) for name in of.sources if name]
    if names:
        parts.insert(0, " with ".join(names))
    if of.settings is not None:
        parts.append(f"model {visible(of.settings.model)}")
    parts.append(f"seed {of.seeds[0]}")
    if step > 1:
        parts.append(f"shown at 1/{step} of its size; a pixel has the largest value of {step}×{step}")
    elif factor > 1:
        parts.append(f"shown at {factor} times its size")
    return " · ".join(parts)
