"""Diffusion: a noise schedule, the Gaussian process it defines, its likelihood bound, and one sampler.

    x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε,   ε ~ N(0, I),   t = 1, …, T        (Ho, Jain & Abbeel 2020, eq. 4)

It is all plain array arithmetic: the same lines run on NumPy arrays in serving and torch tensors in training.
"""

from __future__ import annotations

from haarmony.diffusion.elbo import bound, decoder_bits, prior_bits, step_bits
from haarmony.diffusion.process import KINDS, VARIANCES, Process, langevin_step
from haarmony.diffusion.sampler import SAMPLERS, sample
from haarmony.diffusion.schedule import SPACINGS, Schedule, Step, broadcast

__all__ = [
    "KINDS",
    "SAMPLERS",
    "SPACINGS",
    "VARIANCES",
    "Process",
    "Schedule",
    "Step",
    "bound",
    "broadcast",
    "decoder_bits",
    "langevin_step",
    "prior_bits",
    "sample",
    "step_bits",
]
