"""What a fused picture shows that neither source does: a score per pixel, 1 and more where it is flagged.

Each of three looks at the fused luma f and the sources' a and b gives an excess, over the tolerance for what
a fused picture may do where the sources look as they do around a pixel. The score is the largest:

    span     how far f leaves [min, max] of both sources over the 3×3 neighbourhood
                                                                          / 0.016
    edges    how far ∇f lies outside the triangle of 0, ∇a and ∇b: an edge stronger than both sources'
             edges there, or of another direction (∇: Sobel's, after a Gaussian of 1 pixel)
                                                                          / (0.0009 + 0.22 m + 0.52 d)
    grain    |D f| − max(|D a|, |D b|), where positive: texture finer than either source's, D the mixed
             second difference (1 −2 1)ᵀ (1 −2 1) / 16
                                                                          / (0.0024 + 0.027 s + 0.044 m)

with s the sum and m the smaller one of both sources' standard deviations over 5×5 pixels: where both show
structure the picture has to choose, so more is allowed. Edges need d, since the gradient of a local mixture
f = w a + (1 − w) b, with a logistic weight w = 1 / (1 + exp(−u)), is

    ∇f = w ∇a + (1 − w) ∇b + w (1 − w) (a − b) ∇u:

inside the triangle but for the last, of size d |∇u|, where the picture passes from one source to the other:

    d = w (1 − w) |a − b| = |f − a| |f − b| / (|f − a| + |f − b|),        after that Gaussian,

which is 0 where f shows one source alone. The tolerances are fitted to what the model `medical` makes of
phantoms, by `python benchmarks/explain.py --fit` (docs/explain.md has what is found).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from haarmony.support import span

FLAGGED = 1.0
"""The score from which a pixel counts as unsupported."""
SPAN = (0.016,)
EDGES = 0.0009, 0.22, 0.52
GRAIN = 0.0024, 0.027, 0.044
SIDE = 5
"""Side in pixels of the windows that structure is measured over."""
SIGMA = 1.0
"""Of the Gaussian before gradients, in pixels."""


def unsupported(
    f: Float[np.ndarray, "h w"], a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """The score of every pixel, by the module's three looks.

    Args:
        f: Fused luma in [0, 1], by whatever method.
        a: First source's luma in [0, 1], the same shape.
        b: Second source's, likewise; swapping the sources changes nothing.

    Returns:
        Float32, 0 and more; `FLAGGED` and more is unsupported.

    Raises:
        ValueError: Shapes that differ.
    """
    return np.maximum.reduce(list(looks(f, a, b).values()))


def looks(
    f: Float[np.ndarray, "h w"], a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]
) -> dict[str, Float[np.ndarray, "h w"]]:
    """The score's three parts, "span", "edges" and "grain"; arguments and errors are `unsupported`'s."""
    if not f.shape == a.shape == b.shape:
        raise ValueError(f"pictures of different sizes: {f.shape} fused, sources {a.shape} and {b.shape}")
    f, a, b = (x.astype(np.float64) for x in (f, a, b))
    found, allowed = excesses(f, a, b), terms(f, a, b)
    weights = {"span": SPAN, "edges": EDGES, "grain": GRAIN}
    tolerances = {
        name: sum(w * x for w, x in zip(weights[name], of, strict=True)) for name, of in allowed.items()
    }
    return {name: (found[name] / tolerance).astype(np.float32) for name, tolerance in tolerances.items()}


def excesses(f: Any, a: Any, b: Any) -> dict[str, Any]:
    """What the three looks measure, before the tolerances, in full scale; float64 (H, W)."""
    lo, hi = span(a, b)
    of_f, of_a, of_b = (np.abs(_finest(x)) for x in (f, a, b))
    return {
        "span": np.maximum(0, np.maximum(lo - f, f - hi)),
        "edges": _outside_triangle(*(_gradient(x) for x in (f, a, b))),
        "grain": np.maximum(0, of_f - np.maximum(of_a, of_b)),
    }


def terms(f: Any, a: Any, b: Any) -> dict[str, tuple[Any, ...]]:
    """What each look's tolerance is a sum of, with the weights `SPAN`, `EDGES` and `GRAIN`."""
    one, sigma_a, sigma_b = np.ones_like(a), _deviation(a), _deviation(b)
    s, m = sigma_a + sigma_b, np.minimum(sigma_a, sigma_b)
    to_a, to_b = (np.abs(_smooth(f - x)) for x in (a, b))
    d = to_a * to_b / np.maximum(to_a + to_b, 1e-9)
    return {"span": (one,), "edges": (one, m, d), "grain": (one, s, m)}


def _deviation(x: Any) -> Any:
    """Standard deviation over the window around each pixel."""
    from scipy.ndimage import uniform_filter

    mean = uniform_filter(x, SIDE, mode="nearest")
    return np.sqrt(np.maximum(uniform_filter(x * x, SIDE, mode="nearest") - mean * mean, 0))


def _smooth(x: Any) -> Any:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, SIGMA, mode="nearest")


def _gradient(x: Any) -> tuple[Any, Any]:
    from scipy.ndimage import sobel

    x = _smooth(x)
    return sobel(x, 1, mode="nearest") / 8, sobel(x, 0, mode="nearest") / 8


def _finest(x: Any) -> Any:
    from scipy.ndimage import correlate1d

    for axis in (0, 1):
        x = correlate1d(x, (0.25, -0.5, 0.25), axis, mode="nearest")
    return x


def _outside_triangle(p: tuple[Any, Any], q: tuple[Any, Any], r: tuple[Any, Any]) -> Any:
    """Distance of the vector p from the triangle of 0, q and r; 0 inside it."""
    apart = np.minimum(_from_segment(p, q), _from_segment(p, r))
    apart = np.minimum(apart, _from_segment((p[0] - q[0], p[1] - q[1]), (r[0] - q[0], r[1] - q[1])))
    area = q[0] * r[1] - q[1] * r[0]
    # p = u q + v r: inside where u, v and 1 − u − v are not negative; each times the area, for its sign.
    u, v = p[0] * r[1] - p[1] * r[0], q[0] * p[1] - q[1] * p[0]
    sign = np.sign(area)
    inside = (area != 0) & (sign * u >= 0) & (sign * v >= 0) & (sign * (area - u - v) >= 0)
    return np.where(inside, 0, apart)


def _from_segment(p: tuple[Any, Any], q: tuple[Any, Any]) -> Any:
    """Distance of p from the segment 0 to q."""
    t = np.clip((p[0] * q[0] + p[1] * q[1]) / np.maximum(q[0] ** 2 + q[1] ** 2, 1e-12), 0, 1)
    return np.hypot(p[0] - t * q[0], p[1] - t * q[1])
