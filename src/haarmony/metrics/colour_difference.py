"""Colour difference CIEDE2000: is a colour of the coloured source still the same colour in the fused picture?

    CIEDE2000 = mean ΔE_00(Lab(f), Lab(c)) over {Y_c > 0.1 max Y_c},  Y the luma

The luma that the other metrics score says nothing of hue, and a brighter luma washes hue out; this one tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from haarmony.colour import luma
from haarmony.metrics.convention import Convention, check_convention, is_single, to_rgb
from haarmony.metrics.fidelity import uptake


def ciede2000(
    f: Shaped[Any, "..."], c: Shaped[Any, "..."], *, convention: Convention = "haarmony"
) -> Float[np.ndarray | np.floating, "*b"]:
    """Mean CIEDE2000 difference of `f` from the coloured source where that is above 10 % of its maximum.

    Args:
        f: fused picture in sRGB, NumPy or torch: (H, W, 3), a batch (B, 3, H, W), or grey as
            `haarmony.metrics.convention.grey_levels` takes it; uint8, uint16 or floating point in [0, 1].
        c: coloured source, of the same size and number.
        convention: alike in every one.

    Returns:
        At least 0, as NumPy; 1 is about the least that is seen; smaller is truer; 0 where c is black.

    Raises:
        ValueError: another shape or type, values outside [0, 1], unequal sizes, an unknown convention.

    Source: Sharma, Wu and Dalal 2005, doi:10.1002/col.20070; computed by scikit-image, white point D65.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    check_convention(convention)
    rgb_f, rgb_c = to_rgb(f, name="f"), to_rgb(c, name="c")
    if rgb_f.shape != rgb_c.shape:
        raise ValueError(f"shapes differ: f {tuple(f.shape)}, c {tuple(c.shape)}")
    values = np.zeros(len(rgb_f))
    for i, where in enumerate(uptake(255 * luma(rgb_c))):
        if where.any():
            lab_f, lab_c = (rgb2lab(rgb[i][where]) for rgb in (rgb_f, rgb_c))
            values[i] = np.mean(deltaE_ciede2000(lab_f, lab_c))  # type: ignore[no-untyped-call]
    return values[0] if is_single(f) else values
