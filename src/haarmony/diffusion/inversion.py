"""DDIM backwards: the noise x_T that deterministic sampling turns into a given x_0.

At η = 0 a step of DDIM from t to s < t is a rotation by δ = φ_t − φ_s, where cos φ = √ᾱ and sin φ = √(1 − ᾱ):

    x_s = cos δ · x_t − sin δ · v(x_t, t),       v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 = (√ᾱ_t x_t − x_0) / √(1 − ᾱ_t)

so that x_t = (x_s + sin δ · v(x_t, t)) / cos δ. With v(x_s, t) in its place this is an Euler step of the
ordinary differential equation behind DDIM (Song, Meng & Ermon 2021, eq. 14), right for many small steps
only. Repeated with the x_t just found it converges to that which sampling takes to x_s (a fixed point, as
in Pan et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from haarmony.diffusion.process import Process
from haarmony.diffusion.schedule import broadcast


def invert(
    denoise: Callable[[Any, int], Any],
    x_0: Float[Any, "b c h w"],
    *,
    process: Process,
    kind: str,
    steps: int,
    spacing: str = "trailing",
    iterations: int = 5,
    refine: Callable[[Any, int], Any] | None = None,
) -> Float[Any, "b c h w"]:
    """The x_T from which `haarmony.diffusion.sample`, with sampler "ddim" and η = 0, reaches x_0.

    Args:
        denoise: the network, `denoise(x_t, t) -> prediction` with t ∈ 1, …, T.
        x_0: (B, C, H, W).
        process: the equations under a schedule.
        kind: what `denoise` predicts: "eps", "x_0" or "v".
        steps: how many steps, 2, …, T; more make x_T more like noise, and the iteration converge sooner.
        spacing: which ones, see `Schedule.timesteps`.
        iterations: evaluations of `denoise` at every step; 1 is plain Euler.
        refine: what sampling is given as `refine`.

    Returns:
        x_T, or x at the first step that `spacing` visits.

    Raises:
        ValueError: `iterations` below 1, or `steps` that are not there; one step from ᾱ_T = 0 forgets x_T.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    timesteps = process.schedule.timesteps(steps, spacing)
    if len(timesteps) == 1:
        raise ValueError("steps must be at least 2 to invert, got 1")
    x_s = x_0
    for t, s in zip(timesteps[::-1], [0, *timesteps[:0:-1]], strict=True):
        alpha_bar_t = process.schedule.at(t)
        delta = np.arccos(np.sqrt(alpha_bar_t)) - np.arccos(np.sqrt(process.schedule.at(s)))
        x_t = x_s
        for _ in range(iterations):
            estimate = process.x_0_from(denoise(x_t, t), x_t, t, kind)
            if refine is not None:
                estimate = refine(estimate, t)
            v = (broadcast(np.sqrt(alpha_bar_t), x_t) * x_t - estimate) / broadcast(
                np.sqrt(1 - alpha_bar_t), x_t
            )
            x_t = (x_s + broadcast(np.sin(delta), x_s) * v) / broadcast(np.cos(delta), x_s)
        x_s = x_t
    return x_s
