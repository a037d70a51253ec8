"""The Gaussian process of a schedule: noise in, the posterior back, and what a network may predict.

    forward step    x_t = √(1 − β_t) x_{t−1} + √β_t ε                              DDPM eq. 2
    closed form     x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε                                  DDPM eq. 4
    posterior       q(x_s | x_t, x_0) = N(μ̃, β̃ I),  α = ᾱ_t / ᾱ_s,  β = 1 − α     DDPM eq. 6, 7
                    μ̃ = √ᾱ_s β / (1 − ᾱ_t) x_0 + √α (1 − ᾱ_s) / (1 − ᾱ_t) x_t
                    β̃ = (1 − ᾱ_s) / (1 − ᾱ_t) β
    predictions     "eps": ε      "x_0": x_0      "v": v = √ᾱ_t ε − √(1 − ᾱ_t) x_0   Salimans & Ho 2022
    score           ∇ log q(x_t) = −E[ε | x_t] / √(1 − ᾱ_t)                        Song & Ermon 2019

DDPM is Ho, Jain & Abbeel 2020, where s = t − 1; any 0 ≤ s < t will do. Arrays are (B, C, H, W), of NumPy or
torch; t and s are one step, or one an image (`Step`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from haarmony.diffusion.schedule import Schedule, Step, broadcast

KINDS = ("eps", "x_0", "v")
VARIANCES = ("beta", "beta_tilde")


@dataclass(frozen=True)
class Process:
    """The forward and backward equations under one schedule."""

    schedule: Schedule

    def step(self, x: Float[Any, "b c h w"], eps: Float[Any, "b c h w"], t: Step) -> Float[Any, "b c h w"]:
        """x_t from x_{t−1} and ε ~ N(0, I), t ∈ 1, …, T (DDPM eq. 2)."""
        alpha_t = self.schedule.at(t) / self.schedule.at(t - 1)
        return broadcast(np.sqrt(alpha_t), x) * x + broadcast(np.sqrt(1 - alpha_t), x) * eps

    def diffuse(
        self, x_0: Float[Any, "b c h w"], eps: Float[Any, "b c h w"], t: Step
    ) -> Float[Any, "b c h w"]:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (DDPM eq. 4; Algorithm 1, line 6)."""
        signal, noise = self._signal_and_noise(t, x_0)
        return signal * x_0 + noise * eps

    def posterior_mean(
        self, x_0: Float[Any, "b c h w"], x_t: Float[Any, "b c h w"], t: Step, s: Step
    ) -> Float[Any, "b c h w"]:
        """μ̃ of q(x_s | x_t, x_0) for a jump from t to s < t (DDPM eq. 7 at s = t − 1)."""
        alpha_bar_t, alpha_bar_s = self.schedule.at(t), self.schedule.at(s)
        alpha = alpha_bar_t / alpha_bar_s
        of_x_0 = np.sqrt(alpha_bar_s) * (1 - alpha) / (1 - alpha_bar_t)
        of_x_t = np.sqrt(alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t)
        return broadcast(of_x_0, x_0) * x_0 + broadcast(of_x_t, x_t) * x_t

    def variance(self, t: Step, s: Step, kind: str = "beta_tilde") -> Any:
        """σ² of the step from t to s < t: "beta" β or "beta_tilde" β̃, float64, a number or (B,).

        Raises:
            ValueError: an unknown `kind`.
        """
        if kind not in VARIANCES:
            raise ValueError(f"variance must be one of {', '.join(VARIANCES)}, got {kind!r}")
        alpha_bar_t, alpha_bar_s = self.schedule.at(t), self.schedule.at(s)
        beta = 1 - alpha_bar_t / alpha_bar_s
        return beta if kind == "beta" else (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta

    def target(
        self, kind: str, x_0: Float[Any, "b c h w"], eps: Float[Any, "b c h w"], t: Step
    ) -> Float[Any, "b c h w"]:
        """What a network of this prediction kind should return for x_t = diffuse(x_0, eps, t).

        Raises:
            ValueError: an unknown `kind`, or "eps" where ᾱ_t = 0.
        """
        self._check(kind, t)
        if kind == "eps":
            return eps
        if kind == "x_0":
            return x_0
        signal, noise = self._signal_and_noise(t, x_0)
        return signal * eps - noise * x_0

    def x_0_from(
        self, prediction: Float[Any, "b c h w"], x_t: Float[Any, "b c h w"], t: Step, kind: str
    ) -> Float[Any, "b c h w"]:
        """The one-step estimate x̃_0 that a prediction of this kind means (Algorithm 1, line 8).

        Raises:
            ValueError: an unknown `kind`, or "eps" where ᾱ_t = 0.
        """
        self._check(kind, t)
        if kind == "x_0":
            return prediction
        signal, noise = self._signal_and_noise(t, x_t)
        if kind == "eps":
            return (x_t - noise * prediction) / signal
        return signal * x_t - noise * prediction

    def eps_from_x_0(
        self, x_0: Float[Any, "b c h w"], x_t: Float[Any, "b c h w"], t: Step
    ) -> Float[Any, "b c h w"]:
        """The ε that joins x_0 to x_t, t ≥ 1: (x_t − √ᾱ_t x_0) / √(1 − ᾱ_t)."""
        signal, noise = self._signal_and_noise(t, x_t)
        return (x_t - signal * x_0) / noise

    def score(self, eps: Float[Any, "b c h w"], t: Step) -> Float[Any, "b c h w"]:
        """∇ log q(x_t), t ≥ 1, by an ε-prediction for x_t: s = −ε / √(1 − ᾱ_t) (DDPM section 3.2)."""
        return eps * broadcast(-1 / np.sqrt(1 - self.schedule.at(t)), eps)

    def _signal_and_noise(self, t: Step, like: Any) -> tuple[Any, Any]:
        alpha_bar_t = self.schedule.at(t)
        return broadcast(np.sqrt(alpha_bar_t), like), broadcast(np.sqrt(1 - alpha_bar_t), like)

    def _check(self, kind: str, t: Step) -> None:
        if kind not in KINDS:
            raise ValueError(f"the prediction must be one of {', '.join(KINDS)}, got {kind!r}")
        if kind == "eps" and np.any(self.schedule.at(t) == 0):
            raise ValueError(
                f"'eps' says nothing about x_0 at t = {self.schedule.T}, where ᾱ_t = 0 and x_t is noise:"
                " with zero terminal SNR let the network predict 'v' or 'x_0'"
            )


def langevin_step(
    x: Float[Any, "b c h w"], score: Float[Any, "b c h w"], z: Float[Any, "b c h w"], size: float
) -> Float[Any, "b c h w"]:
    """One step of Langevin dynamics: x + size/2 · ∇ log p(x) + √size · z, z ~ N(0, I).

    Repeated with a small size it samples from p; the score of a noised picture is `Process.score`.

    Source: Song & Ermon 2019, eq. 4.
    """
    return x + size / 2 * score + size**0.5 * z
