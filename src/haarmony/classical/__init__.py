"""Classical fusers: rules that need no training, as baselines and as candidates for the prior.

Every fuser is f = rule(a, b) over two aligned luma pictures. What all of them share is done here once: f is
clipped to [0, 1] (never stretched), and air, the pixels that are zero in both sources, stays exactly zero::

    from haarmony.classical import CLASSICAL
    f = CLASSICAL["laplacian"].function(a, b)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from haarmony.classical.guided import guided_filter_fusion
from haarmony.classical.pixelwise import average, maximum, pca
from haarmony.classical.pyramid import laplacian, laplacian_maximum, ratio
from haarmony.classical.wavelets import stationary, wavelet

__all__ = ["CLASSICAL", "Classical", "keep_air"]


def keep_air(
    f: Float[np.ndarray, "h w"], a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Return `f` clipped to [0, 1], and exactly zero where both sources are: f · [a > 0 or b > 0]."""
    return np.where((a > 0) | (b > 0), np.clip(f, 0, 1), 0).astype(f.dtype, copy=False)


@dataclass(frozen=True)
class Classical:
    """A classical fuser: its rule, its name in a table, its family and where it was published."""

    rule: Callable[[np.ndarray, np.ndarray], np.ndarray]
    title: str
    family: str
    source: str

    def function(self, a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Fuse two lumas; swapping them changes nothing but rounding. The rule runs in float64.

        Args:
            a: First source, (H, W) in [0, 1], at least 16×16.
            b: Second source, the same shape.

        Returns:
            f, (H, W) in [0, 1], of the sources' type.
        """
        f = self.rule(a.astype(np.float64), b.astype(np.float64))
        return keep_air(f, a, b).astype(np.result_type(a, b), copy=False)


CLASSICAL: dict[str, Classical] = {
    "average": Classical(average, "Average", "pixel-wise", "(a + b) / 2"),
    "maximum": Classical(maximum, "Maximum", "pixel-wise", "max(a, b)"),
    "pca": Classical(pca, "PCA", "pixel-wise", "Naidu & Raol, Defence Science Journal 58(3), 2008"),
    "laplacian": Classical(
        laplacian, "Laplacian pyramid", "pyramid", "Burt & Adelson, IEEE Trans. Communications 31(4), 1983"
    ),
    "laplacian_maximum": Classical(
        laplacian_maximum,
        "Laplacian pyramid, maximum base",
        "pyramid",
        "Burt & Adelson 1983, all levels by choose-max: the variant that published fusion tables score",
    ),
    "ratio": Classical(
        ratio, "Ratio-of-low-pass pyramid", "pyramid", "Toet, Pattern Recognition Letters 9(4), 1989"
    ),
    "wavelet": Classical(
        wavelet,
        "Wavelet",
        "wavelet",
        "Li, Manjunath & Mitra, Graph. Models Image Process. 57(3), 1995",
    ),
    "stationary": Classical(
        stationary, "Stationary wavelet", "wavelet", "Rockinger, Proc. IEEE Int. Conf. Image Processing, 1997"
    ),
    "guided": Classical(
        guided_filter_fusion,
        "Guided filter",
        "guided filter",
        "Li, Kang & Hu, IEEE Trans. Image Processing 22(7), 2013",
    ),
}
