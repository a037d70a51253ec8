"""How much of each pixel a fused picture draws on either source, asked of the model itself.

Each source is darkened by δ, all over but for its black, and the pair is fused again with the same noise. How
far the fused luma f follows the source's luma x is the model's response to that source,

    r_x = ⟨f − f'⟩ / ⟨x − x'⟩,        f' made of the darker x', ⟨·⟩ the mean over 3×3 pixels,

the sum of ∂f(p)/∂x(q) over all q that matter for the pixel p; for a weighted mean it is the weight. What is
darker than δ, in a channel, cannot be darkened by all of it, so what counts is by how much it was; where that
is next to nothing the source has nothing to give, and the response is 0. The shares are

    share_a = r_a⁺ / (r_a⁺ + r_b⁺),        share_b = r_b⁺ / (r_a⁺ + r_b⁺),        r⁺ = max(r, 0).

They sum to 1, but are both 0 where there is nothing to share: in air, where the fused picture follows neither
source (r_a⁺ + r_b⁺ below 1/4), and where it shows what neither does (`haarmony.explain.unsupported`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from haarmony.io import to_unit

DELTA = 0.04
"""By how much a source is darkened, in full scale: 10 of 255 levels."""
LEAST = 0.25
"""The smallest sum of both responses that is shared out."""
_LITTLE = 0.1  # part of δ by which a source must have been darkened for its response to be told
_DARKEST = 1e-4  # what is not black stays so: black in both sources counts as air


def darkened(x: Shaped[np.ndarray, "h w *colour"]) -> Float[np.ndarray, "h w *colour"]:
    """A source as floats in [0, 1], darkened by `DELTA`; its black stays so, and alone so."""
    unit = to_unit(x).astype(np.float32)
    return np.where(unit > 0, np.maximum(unit - np.float32(DELTA), np.float32(_DARKEST)), unit)


def response(
    f: Float[np.ndarray, "h w"],
    darker_f: Float[np.ndarray, "h w"],
    x: Float[np.ndarray, "h w"],
    darker_x: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w"]:
    """How far the fused luma follows a source's, r⁺ of the module.

    Args:
        f: Fused luma in [0, 1].
        darker_f: The same of the source `darkened`.
        x: The source's luma.
        darker_x: That of the source `darkened`.

    Returns:
        Float32, 0 and more; 0 where the source could not be darkened.
    """
    from scipy.ndimage import uniform_filter

    moved, by = (
        uniform_filter(np.subtract(*two), 3, mode="nearest") for two in ((f, darker_f), (x, darker_x))
    )
    there = by > _LITTLE * DELTA
    return np.maximum(np.divide(moved, by, out=np.zeros_like(f), where=there), 0).astype(np.float32)


def shares(
    r_a: Float[np.ndarray, "h w"], r_b: Float[np.ndarray, "h w"], supported: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The shares of both sources.

    Args:
        r_a: `response` to the first source.
        r_b: That to the second.
        supported: Where there is something to share: not air, nor unsupported.

    Returns:
        (share_a, share_b), float32 in [0, 1], 1 in sum where told and both 0 elsewhere.
    """
    total = r_a + r_b
    told = supported & (total >= LEAST)
    share_a = np.divide(r_a, total, out=np.zeros_like(total), where=told)
    return share_a, np.where(told, 1 - share_a, 0).astype(np.float32)
