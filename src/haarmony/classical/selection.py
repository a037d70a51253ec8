"""Choose-max, the selection that every multi-scale fuser makes: of two coefficients the one that says more.

c = c_a where |c_a| > |c_b|, c_b where |c_b| > |c_a|. Equal magnitudes give their mean: neither is preferred.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def stronger(
    c_a: Float[np.ndarray, "*shape"], c_b: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return the coefficient of larger magnitude at each place, sign kept."""
    lead = np.abs(c_a) - np.abs(c_b)
    return np.where(lead > 0, c_a, np.where(lead < 0, c_b, (c_a + c_b) / 2))
