"""One sampling loop for DDPM and DDIM, over NumPy arrays or torch tensors.

From x_T down to t = 0, each step estimates x_0, refines it if asked, and draws x_s at the next step s < t:

    DDPM    x_s = μ̃(x_0, x_t) + σ z,                             σ² = β or β̃                  DDPM algorithm 2
    DDIM    x_s = √ᾱ_s x_0 + √(1 − ᾱ_s − σ²) ε + σ z,            σ = η √β̃                      DDIM eq. 12, 16

with z ~ N(0, I) and ε = (x_t − √ᾱ_t x_0) / √(1 − ᾱ_t), so that a refined x_0 and its ε agree. DDIM is Song,
Meng & Ermon 2021 (its α is ᾱ here); η = 0 is deterministic, and η = 1 is DDPM with β̃.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float

from haarmony.diffusion.process import Process
from haarmony.diffusion.schedule import broadcast

SAMPLERS = ("ddim", "ddpm")


def sample(
    denoise: Callable[[Any, int], Any],
    x_T: Float[Any, "b c h w"],
    *,
    process: Process,
    kind: str,
    steps: int,
    spacing: str = "trailing",
    sampler: str = "ddim",
    eta: float = 0.0,
    variance: str = "beta",
    noise: Callable[[int, tuple[int, ...]], Any] | None = None,
    refine: Callable[[Any, int], Any] | None = None,
) -> Iterator[tuple[int, int, Any, Any]]:
    """Sample x_0 from the noise x_T, one yield a step.

    Args:
        denoise: the network, `denoise(x_t, t) -> prediction` with t ∈ 1, …, T.
        x_T: (B, C, H, W), drawn from N(0, I).
        process: the equations under a schedule.
        kind: what `denoise` predicts: "eps", "x_0" or "v".
        steps: how many steps, 1, …, T.
        spacing: which ones, see `Schedule.timesteps`.
        sampler: "ddim" or "ddpm".
        eta: DDIM's η ∈ [0, 1].
        variance: DDPM's σ², "beta" or "beta_tilde".
        noise: `noise(i, shape) -> z`, standard normal, asked at every step that draws (never the last), like
            `lambda i, shape: generator.standard_normal(shape)`; a NumPy generator serves torch too.
        refine: `refine(x_0, t) -> x_0`, applied to the estimate of every step.

    Yields:
        (i, t, x_t, x_0): i = 0, …, steps − 1, the step t just reached, x_t there, and the (refined) estimate
        of x_0 that led to it. The last has t = 0, and its x_t is the sample.

    Raises:
        ValueError: at the first step, for an unknown or impossible option, or a drawing step without `noise`.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    timesteps = process.schedule.timesteps(steps, spacing)
    x_t = x_T
    for i, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], 0], strict=True)):
        x_0 = process.x_0_from(denoise(x_t, t), x_t, t, kind)
        if refine is not None:
            x_0 = refine(x_0, t)
        if sampler == "ddpm":
            sigma_squared = process.variance(t, s, variance)
            x_s = process.posterior_mean(x_0, x_t, t, s)
        else:
            sigma_squared = eta**2 * process.variance(t, s, "beta_tilde")
            alpha_bar_s = process.schedule.at(s)
            # At eta = 1 the difference may round to just below zero.
            direction = np.sqrt(np.maximum(1 - alpha_bar_s - sigma_squared, 0))
            eps = process.eps_from_x_0(x_0, x_t, t)
            x_s = broadcast(np.sqrt(alpha_bar_s), x_0) * x_0 + broadcast(direction, x_0) * eps  # DDIM eq. 12
        if s > 0 and sigma_squared > 0:
            if noise is None:
                raise ValueError(f"{sampler} draws noise at t = {t}: pass noise=, got None")
            z = array_namespace(x_s).asarray(noise(i, tuple(x_s.shape)), dtype=x_s.dtype, device=device(x_s))
            x_s = x_s + broadcast(np.sqrt(sigma_squared), x_s) * z
        x_t = x_s
        yield i, s, x_t, x_0
