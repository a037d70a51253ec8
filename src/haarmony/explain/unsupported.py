"""What a fused picture shows that neither source does: a score per pixel, 1 and more where it is flagged.

Each of three looks at the fused luma f and the sources' a and b gives an excess, over what a fused picture
may do where the sources look as they do around a pixel. The score is the largest:

    span     how far f leaves [min, max] of both sources over the 3×3 neighbourhood                 / 0.0165
    edges    how far ∇f lies outside the triangle of 0, ∇a and ∇b: an edge stronger than both
             sources' edges there, or of another direction (∇: Sobel's, after a Gaussian of 1 pixel)
                                                                                  / (0.003 + 0.49 m)
    detail   |f − f̂|, f̂ the least-squares fit of f by 1, a, b, Δa and Δb over 5×5 pixels, whatever
             the weights: a local mixture of both sources, sharpened or smoothed
                                                                       / (0.005 + 0.19 s + 0.40 m)

with s the sum and m the smaller one of both sources' standard deviations over 5×5 pixels: a fused picture
has to choose where both show structure, so more is allowed there. The tolerances are fitted to what the model
`medical` makes of phantoms, by `python benchmarks/explain.py --fit` (docs/explain.md has what is found).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from haarmony.support import span

FLAGGED = 1.0
"""The score from which a pixel counts as unsupported."""
SPAN = 0.0165
EDGES = 0.003, 0.49
DETAIL = 0.005, 0.19, 0.40
SIDE = 5
"""Side in pixels of the windows that detail and structure are taken over."""
_RIDGE = 1e-6  # where a source is flat its weight is none


def unsupported(
    f: Float[np.ndarray, "h w"], a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """The score of every pixel, by the module's three looks.

    Args:
        f: Fused luma in [0, 1], by whatever method.
        a: First source's luma in [0, 1], the same shape, at least 5×5.
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
    """The score's three parts, "span", "edges" and "detail"; arguments and errors are `unsupported`'s."""
    if not f.shape == a.shape == b.shape:
        raise ValueError(f"pictures of different sizes: {f.shape} fused, sources {a.shape} and {b.shape}")
    f, a, b = (x.astype(np.float64) for x in (f, a, b))
    excess = excesses(f, a, b)
    sigma_a, sigma_b = deviation(a), deviation(b)
    s, m = sigma_a + sigma_b, np.minimum(sigma_a, sigma_b)
    allowed = {
        "span": np.array(SPAN),
        "edges": EDGES[0] + EDGES[1] * m,
        "detail": DETAIL[0] + DETAIL[1] * s + DETAIL[2] * m,
    }
    return {name: (x / allowed[name]).astype(np.float32) for name, x in excess.items()}


def excesses(f: Any, a: Any, b: Any) -> dict[str, Any]:
    """What the three looks measure, before the tolerances, in full scale; float64 (H, W)."""
    lo, hi = span(a, b)
    return {
        "span": np.maximum(0, np.maximum(lo - f, f - hi)),
        "edges": _outside_triangle(*(_gradient(x) for x in (f, a, b))),
        "detail": np.abs(_misfit(f, [a, b, _laplacian(a), _laplacian(b)])),
    }


def deviation(x: Any) -> Any:
    """Standard deviation over the window around each pixel."""
    mean = _mean(x)
    return np.sqrt(np.maximum(_mean(x * x) - mean * mean, 0))


def _mean(x: Any) -> Any:
    from scipy.ndimage import uniform_filter

    return uniform_filter(x, SIDE, mode="nearest")


def _laplacian(x: Any) -> Any:
    from scipy.ndimage import laplace

    return laplace(x, mode="nearest") / 4


def _gradient(x: Any) -> tuple[Any, Any]:
    from scipy.ndimage import gaussian_filter, sobel

    x = gaussian_filter(x, 1.0, mode="nearest")
    return sobel(x, 1, mode="nearest") / 8, sobel(x, 0, mode="nearest") / 8


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


def _misfit(f: Any, terms: list[Any]) -> Any:
    """F − f̂ in each window's middle, f̂ the least-squares fit by the terms and a constant."""
    means = [_mean(x) for x in terms]
    rows = []  # of the normal equations, centred: covariances of the terms, then with f
    mean_f = _mean(f)
    for i, x in enumerate(terms):
        row = {j: _mean(x * terms[j]) - means[i] * means[j] for j in range(i, len(terms))}
        row[i] = row[i] + _RIDGE
        rows.append((row, _mean(x * f) - means[i] * mean_f))
    return (f - mean_f) - sum(w * (x - mean) for w, x, mean in zip(_solved(rows), terms, means, strict=True))


def _solved(rows: list[tuple[dict[int, Any], Any]]) -> list[Any]:
    """Gauss's elimination of symmetric equations at all pixels at once; each row from the diagonal on."""
    count = len(rows)
    matrix = [dict(row) for row, _ in rows]
    right = [of_f for _, of_f in rows]
    for k in range(count):
        for i in range(k + 1, count):
            factor = matrix[k][i] / matrix[k][k]
            for j in range(i, count):
                matrix[i][j] = matrix[i][j] - factor * matrix[k][j]
            right[i] = right[i] - factor * right[k]
    weights: list[Any] = [None] * count
    for k in reversed(range(count)):
        weights[k] = (right[k] - sum(matrix[k][j] * weights[j] for j in range(k + 1, count))) / matrix[k][k]
    return weights
