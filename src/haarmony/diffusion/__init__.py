"""Diffusion: a noise schedule, the Gaussian process it defines, and one sampler for DDPM and DDIM.

    x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε,   ε ~ N(0, I),   t = 1, …, T        (Ho, Jain & Abbeel 2020, eq. 4)

It is all plain array arithmetic: the same lines run on NumPy arrays in serving and torch tensors in training.
"""

from __future__ import annotations

from haarmony.diffusion.process import KINDS, VARIANCES, Process
from haarmony.diffusion.sampler import SAMPLERS, sample
from haarmony.diffusion.schedule import SPACINGS, Schedule, Step, broadcast

__all__ = ["KINDS", "SAMPLERS", "SPACINGS", "VARIANCES", "Process", "Schedule", "Step", "broadcast", "sample"]
