"""The evidence lower bound of a denoising diffusion model, term by term, in bits per dimension.

    −log p_θ(x_0) ≤ E_q[L_T + Σ_{t=2..T} L_{t−1} + L_0]                                         DDPM eq. 5
    L_T      = KL(q(x_T|x_0) ‖ N(0, I))                                       what x_T still shows of x_0
    L_{t−1}  = KL(q(x_{t−1}|x_t, x_0) ‖ p_θ(x_{t−1}|x_t)),  p_θ = N(μ̃_t(x̂_0, x_t), σ_t² I)
    L_0      = −log p_θ(x_0|x_1), the mass of N(x̂_0, σ_1² I) in x_0's bin                        DDPM eq. 13

x̂_0 is what the network's prediction means (`Process.x_0_from`); σ_t² is β_t or β̃_t (`Process.variance`). As
β̃_1 = 0 leaves no mass beside x̂_0, β̃_2 stands for it (in DDPM's own code for β_1 too). Arrays are of NumPy or
torch, (B, C, H, W); every term has one value an image, its mean over the C·H·W dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array
from jaxtyping import Float

from haarmony.diffusion.process import Process
from haarmony.diffusion.schedule import Step, broadcast


def prior_bits(x_0: Float[Any, "b c h w"], *, process: Process) -> Float[Any, " b"]:
    """L_T = ½ mean(ᾱ_T x_0² − ᾱ_T − ln(1 − ᾱ_T)) / ln 2, zero under zero terminal SNR; (B,), at least 0."""
    alpha_bar_T = process.schedule.alpha_bar[-1]
    constant = -alpha_bar_T - np.log1p(-alpha_bar_T)
    return _bits(broadcast(alpha_bar_T / 2, x_0) * x_0**2 + broadcast(constant / 2, x_0))


def step_bits(
    x_0: Float[Any, "b c h w"],
    estimate: Float[Any, "b c h w"],
    t: Step,
    *,
    process: Process,
    variance: str = "beta_tilde",
) -> Float[Any, " b"]:
    """L_{t−1} = ½ mean(‖μ̃ − μ_θ‖² / σ² + β̃/σ² − 1 − ln(β̃/σ²)) / ln 2 for t ∈ 2, …, T (DDPM eq. 8).

    Args:
        x_0: The picture.
        estimate: x̂_0, what the network makes of x_t.
        t: One step, or one an image.
        process: The equations under a schedule.
        variance: σ², "beta" or "beta_tilde".

    Returns:
        (B,), at least 0.

    Raises:
        ValueError: an unknown `variance`.
    """
    sigma_squared = process.variance(t, t - 1, variance)
    ratio = process.variance(t, t - 1, "beta_tilde") / sigma_squared
    off = process.posterior_mean(x_0 - estimate, 0 * x_0, t, t - 1)  # x_t has the same share in both means
    constant = ratio - 1 - np.log(ratio)
    return _bits(broadcast(1 / (2 * sigma_squared), x_0) * off**2 + broadcast(constant / 2, x_0))


def decoder_bits(
    x_0: Float[Any, "b c h w"],
    estimate: Float[Any, "b c h w"],
    *,
    process: Process,
    variance: str = "beta_tilde",
    levels: int = 256,
) -> Float[Any, " b"]:
    """L_0 = −mean log₂(Φ((x_0 + h − x̂_0)/σ_1) − Φ((x_0 − h − x̂_0)/σ_1)), h = 1/(levels − 1) (DDPM eq. 13).

    Args:
        x_0: The picture, whose integer levels lie evenly on [−1, 1]; the outermost bins reach to ±∞.
        estimate: x̂_0, what the network makes of x_1; it is μ_θ(x_1, 1) too.
        process: The equations under a schedule.
        variance: σ_1², "beta" (β_1) or "beta_tilde" (β̃_2).
        levels: How many levels a value has: 256 for 8 bit.

    Returns:
        (B,), at least 0.

    Raises:
        ValueError: an unknown `variance`; "beta_tilde" for a schedule of one step.
    """
    xp = array_namespace(x_0)
    t = 1 if variance == "beta" else 2
    sigma, h = np.sqrt(process.variance(t, t - 1, variance)), 1 / (levels - 1)
    above, below = ((x_0 - estimate + end) * broadcast(1 / sigma, x_0) for end in (h, -h))
    # A bin in the upper tail is the one mirrored in the lower, where log Φ keeps its digits.
    mirrored = above + below > 0
    lower, upper = xp.where(mirrored, -above, below), xp.where(mirrored, -below, above)
    log_upper, log_lower = _log_ndtr(upper), _log_ndtr(lower)
    inside = log_upper + xp.log1p(-xp.exp(log_lower - log_upper))
    log_mass = xp.where(x_0 > 1 - h, _log_ndtr(-below), xp.where(x_0 < h - 1, _log_ndtr(above), inside))
    return _bits(-log_mass)


def bound(
    denoise: Callable[[Any, int], Any],
    x_0: Float[Any, "b c h w"],
    *,
    process: Process,
    kind: str,
    noise: Callable[[int, tuple[int, ...]], Any],
    variance: str = "beta_tilde",
    levels: int = 256,
) -> Float[Any, "n b"]:
    """Every term of the bound, one draw of ε each: L_0, L_1, …, L_T by their index; T network passes.

    Their sum over the first axis is an unbiased estimate of the bound; summed from t on it is the rate of
    progressive coding, the bits that lead to x_t, and L_0 is the distortion (DDPM section 4.3).

    Args:
        denoise: The network, `denoise(x_t, t) -> prediction` with t ∈ 1, …, T.
        x_0: Pictures on [−1, 1], (B, C, H, W).
        process: The equations under a schedule.
        kind: What `denoise` predicts: "eps", "x_0" or "v".
        noise: `noise(t, shape) -> ε`, standard normal, asked for every t.
        variance: σ², "beta" or "beta_tilde".
        levels: How many levels a value of x_0 has.

    Returns:
        (T + 1, B).

    Raises:
        ValueError: an unknown option, or "eps" where ᾱ_T = 0.
    """
    xp = array_namespace(x_0)
    terms = []
    for t in range(1, process.schedule.T + 1):
        eps = xp.asarray(noise(t, tuple(x_0.shape)), dtype=x_0.dtype, device=device(x_0))
        x_t = process.diffuse(x_0, eps, t)
        estimate = process.x_0_from(denoise(x_t, t), x_t, t, kind)
        if t == 1:
            terms.append(decoder_bits(x_0, estimate, process=process, variance=variance, levels=levels))
        else:
            terms.append(step_bits(x_0, estimate, t, process=process, variance=variance))
    return xp.stack([*terms, prior_bits(x_0, process=process)])


def _bits(nats: Any) -> Any:
    return array_namespace(nats).mean(nats, axis=(1, 2, 3)) / math.log(2)


def _log_ndtr(z: Any) -> Any:
    """The logarithm of Φ, the standard normal distribution function."""
    if is_torch_array(z):
        return array_namespace(z).special.log_ndtr(z)
    from scipy.special import log_ndtr

    return log_ndtr(z)
