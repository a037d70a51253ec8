"""The noise schedule, and the notation of every equation in this package.

    β_t ∈ (0, 1]            variance that step t adds, t = 1, …, T
    α_t = 1 − β_t           signal that step t keeps
    ᾱ_t = ∏_{i≤t} α_i       signal kept since t = 0, where ᾱ_0 = 1     (the DDIM paper calls this α_t)

Steps count from 1 to T and t = 0 is the clean picture (`diffusers` counts 0 to T − 1: its t is ours − 1).
A schedule is its ᾱ alone, in float64: β and α follow from it, also for a jump from t to any earlier s,
α = ᾱ_t / ᾱ_s and β = 1 − α. Coefficients are computed in float64 and rounded once, by `broadcast`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device, to_device
from jaxtyping import Float, Float64, Integer

Step: TypeAlias = int | Integer[Any, ""] | Integer[Any, " b"]
"""One step for the whole batch, or a NumPy or torch array with one step an image."""

SPACINGS = ("trailing", "leading", "linspace")


@dataclass(frozen=True, eq=False)
class Schedule:
    """How much signal is left after each step.

    Args:
        alpha_bar: (T + 1,), ᾱ_0 = 1 to ᾱ_T ≥ 0, strictly decreasing.

    Raises:
        ValueError: `alpha_bar` is not such a sequence.
    """

    alpha_bar: Float64[np.ndarray, " n"]

    def __post_init__(self) -> None:
        a = self.alpha_bar
        if a.ndim != 1 or a.size < 2 or a[0] != 1 or not (np.diff(a) < 0).all() or a[-1] < 0:
            raise ValueError(f"alpha_bar must fall strictly from 1 to a last value of at least 0, got {a}")

    @classmethod
    def linear(cls, T: int, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
        """β_t on a line from `beta_1` to `beta_T` (Ho, Jain & Abbeel 2020, section 4).

        Raises:
            ValueError: T < 1, or a β outside (0, 1).
        """
        if T < 1 or not (0 < beta_1 < 1 and 0 < beta_T < 1):
            raise ValueError(f"T must be at least 1 and β inside (0, 1), got {T=}, {beta_1=}, {beta_T=}")
        return cls(np.cumprod(np.append(1.0, 1 - np.linspace(beta_1, beta_T, T))))

    @classmethod
    def cosine(cls, T: int) -> Schedule:
        """ᾱ_t = f(t) / f(0), f(t) = cos²((t/T + s)/(1 + s) · π/2), s = 0.008, every β_t at most 0.999.

        Source: Nichol & Dhariwal 2021, eq. 17.

        Raises:
            ValueError: T < 1.
        """
        if T < 1:
            raise ValueError(f"T must be at least 1, got {T}")
        f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
        return cls(np.cumprod(np.append(1.0, np.maximum(f[1:] / f[:-1], 1 - 0.999))))

    def zero_terminal_snr(self) -> Schedule:
        """The same schedule with √ᾱ shifted and scaled so that ᾱ_T = 0 and ᾱ_1 stays: x_T is pure noise.

        Source: Lin et al. 2024, algorithm 1.

        Raises:
            ValueError: T = 1, where ᾱ_1 is ᾱ_T.
        """
        if self.T == 1:
            raise ValueError("zero terminal SNR needs a schedule of at least 2 steps, got T = 1")
        root = np.sqrt(self.alpha_bar)
        rescaled = (root - root[-1]) * (root[1] / (root[1] - root[-1]))
        return Schedule(np.append(1.0, rescaled[1:] ** 2))

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.alpha_bar) - 1

    @property
    def beta(self) -> Float64[np.ndarray, " n"]:
        """β_t, (T + 1,), with β_0 = 0 so that the index is t."""
        return np.append(0.0, 1 - self.alpha_bar[1:] / self.alpha_bar[:-1])

    def at(self, t: Step) -> Any:
        """ᾱ_t in float64: a number for one step, (B,) for a step an image.

        The answer lies in NumPy: a `t` kept on a GPU costs a wait for it, so keep `t` on the CPU.

        Raises:
            ValueError: a step outside 0, …, T.
        """
        index = np.asarray(t if isinstance(t, int) else to_device(t, "cpu"))
        if np.any((index < 0) | (index > self.T)):
            raise ValueError(f"steps must be in 0, …, {self.T}, got {index}")
        return self.alpha_bar[index]

    def timesteps(self, steps: int, spacing: str = "trailing") -> list[int]:
        """The decreasing steps t ∈ 1, …, T that sampling visits.

        "trailing" starts at T, where the chain is noise; "leading" ends at 1 and may leave out T;
        "linspace" does both ends (Lin et al. 2024, table 2).

        Raises:
            ValueError: `steps` outside 1, …, T, or an unknown `spacing`.
        """
        if not 1 <= steps <= self.T:
            raise ValueError(f"steps must be in 1, …, {self.T}, got {steps}")
        if spacing == "trailing":
            t = (np.arange(steps, 0, -1) * self.T / steps).round()
        elif spacing == "leading":
            t = np.arange(steps)[::-1] * (self.T // steps) + 1.0
        elif spacing == "linspace":
            # Rounded while counting from 0: halves go to even, and diffusers counts so.
            t = np.linspace(self.T - 1, 0, steps).round() + 1
        else:
            raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
        return [int(step) for step in t]


def broadcast(value: Any, like: Float[Any, "b c h w"]) -> Float[Any, "..."]:
    """A coefficient, a number or (B,), shaped (1 or B, 1, 1, 1) with the dtype and device of `like`."""
    shaped = np.reshape(value, (-1,) + (1,) * (like.ndim - 1))
    return array_namespace(like).asarray(shaped, dtype=like.dtype, device=device(like))
