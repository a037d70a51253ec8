"""How much of each pixel a fused picture draws on either source, asked of the model itself.

Each source is darkened by δ, all over but for its black, and the pair is fused again with the same noise. How
far the fused luma follows is the model's response to that source,

    r_x = (f − f(x − δ)) / δ,        the sum of ∂f(p)/∂x(q) over all q that matter for the pixel p,

which for a weighted mean is the weight. Responses are averaged over 3×3 pixels, and the shares are

    share_a = r_a⁺ / (r_a⁺ + r_b⁺),        share_b = r_b⁺ / (r_a⁺ + r_b⁺),        r⁺ = max(r, 0).

They sum to 1, but are both 0 where there is nothing to share: in air, where the fused picture follows neither
source (r_a⁺ + r_b⁺ below 1/4), and where it shows what neither does (`haarmony.explain.unsupported`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from haarmony.io import to_unit

DELTA = 0.04
"""By how much a source is darkened, in full scale: 10 of 255 levels."""
LEAST = 0.25
"""The smallest sum of both responses that is shared out."""
_DARKEST = 1e-4  # what is not black stays so: black in both sources counts as air


def darkened(x: Shaped[np.ndarray, "h w *colour"]) -> Float[np.ndarray, "h w *colour"]:
    """A source as floats in [0, 1], darkened by `DELTA`; its black stays so, and alone so."""
    unit = to_unit(x).astype(np.float32)
    return np.where(unit > 0, np.maximum(unit - np.float32(DELTA), np.float32(_DARKEST)), unit)


def shares(
    f: Float[np.ndarray, "h w"],
    without_a: Float[np.ndarray, "h w"],
    without_b: Float[np.ndarray, "h w"],
    supported: Shaped[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The shares of both sources.

    Args:
        f: Fused luma in [0, 1].
        without_a: The same of the first source `darkened`.
        without_b: The same of the second.
        supported: Where there is something to share: not air, nor unsupported.

    Returns:
        (share_a, share_b), float32 in [0, 1], 1 in sum where told and both 0 elsewhere.
    """
    r_a, r_b = (_response(f, darker) for darker in (without_a, without_b))
    total = r_a + r_b
    told = supported & (total >= LEAST)
    share_a = np.divide(r_a, total, out=np.zeros_like(total), where=told)
    return share_a, np.where(told, 1 - share_a, 0).astype(np.float32)


def _response(f: Any, darker: Any) -> Any:
    from scipy.ndimage import uniform_filter

    mean = uniform_filter((f - darker) / np.float32(DELTA), 3, mode="nearest")
    return np.maximum(mean, 0).astype(np.float32)
