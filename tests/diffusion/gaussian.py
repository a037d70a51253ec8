"""What the tests of diffusion share: seeded normal numbers, and Gaussian data's best denoiser."""

import numpy as np


def normal(seed, shape=(2, 1, 4, 4)):
    return np.random.default_rng(seed).standard_normal(shape)


def posterior_of_gaussian(process, mean, std):
    """E[x_0 | x_t] where x_0 ~ N(mean, std²), by the gain √ᾱ s² / (ᾱ s² + 1 − ᾱ)."""

    def denoise(x_t, t):
        a = process.schedule.alpha_bar[t]
        return mean + np.sqrt(a) * std**2 / (a * std**2 + 1 - a) * (x_t - np.sqrt(a) * mean)

    return denoise
