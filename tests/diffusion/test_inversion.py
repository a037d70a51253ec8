"""DDIM backwards: it undoes the sampler, for any network, and follows the flow of a Gaussian."""

import numpy as np
import pytest

from haarmony.diffusion import KINDS, Process, Schedule, sample
from haarmony.diffusion.inversion import invert

ZERO = Process(Schedule.cosine(1000).zero_terminal_snr())
LINEAR = Process(Schedule.linear(1000))


def gaussian(process, kind, mean, std):
    """The best prediction where x_0 ~ N(mean, std²), as a network would give it."""

    def denoise(x_t, t):
        a = process.schedule.alpha_bar[t]
        x_0 = mean + np.sqrt(a) * std**2 / (a * std**2 + 1 - a) * (x_t - np.sqrt(a) * mean)
        return process.target(kind, x_0, process.eps_from_x_0(x_0, x_t, t), t)

    return denoise


def uneven(x_t, t):
    """A prediction of x_0 that is neither linear nor the same at every step."""
    return np.tanh(0.8 * x_t + 0.1 * np.roll(x_t, 1, axis=-1)) * (1 - 0.3 * t / 1000)


@pytest.mark.parametrize("process", [ZERO, LINEAR], ids=["zero", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gaussian_picture_comes_back(process, kind):
    if process is ZERO and kind == "eps":
        pytest.skip("eps says nothing at zero signal")
    x = np.random.default_rng(0).normal(0.4, 0.5, (2, 1, 4, 4))
    options = {"process": process, "kind": kind, "steps": 50}
    code = invert(gaussian(process, kind, 0.4, 0.5), x, iterations=8, **options)
    *_, (_, t, back, _) = sample(gaussian(process, kind, 0.4, 0.5), code, **options)
    assert t == 0
    np.testing.assert_allclose(back, x, atol=1e-9)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_more_iterations_come_closer(spacing):
    x = 0.7 * np.tanh(np.random.default_rng(1).standard_normal((2, 1, 4, 4)))
    errors = []
    for iterations in (1, 3, 30):
        options = {"process": ZERO, "kind": "x_0", "steps": 40, "spacing": spacing}
        code = invert(uneven, x, iterations=iterations, **options)
        *_, (_, _, back, _) = sample(uneven, code, **options)
        errors.append(np.abs(back - x).max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-4


def test_the_code_of_a_gaussian_picture_is_its_standard_score():
    """The flow moves quantiles to quantiles: x_T = (x_0 − mean) / std, all the closer the more steps."""
    x = np.linspace(-1, 1.5, 16).reshape(1, 1, 4, 4)
    errors = [
        np.abs(
            invert(gaussian(ZERO, "v", 0.3, 0.5), x, process=ZERO, kind="v", steps=steps, iterations=3)
            - (x - 0.3) / 0.5
        ).max()
        for steps in (20, 80, 320)
    ]
    assert errors[1] < 0.3 * errors[0]  # Euler's method is of the first order
    assert errors[2] < 0.3 * errors[1] < 0.02


def test_refining_is_undone_too():
    def hold(x_0, t):
        return np.clip(x_0, -0.9, 0.9)

    x = np.random.default_rng(2).uniform(-0.5, 0.5, (1, 1, 4, 4))
    options = {"process": ZERO, "kind": "x_0", "steps": 50, "refine": hold}
    code = invert(uneven, x, iterations=30, **options)
    *_, (_, _, back, _) = sample(uneven, code, **options)
    np.testing.assert_allclose(back, x, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 1}, "steps must be at least 2 to invert, got 1"),
        ({"steps": 1001}, "steps must be in 1, …, 1000, got 1001"),
        ({"steps": 4, "iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_inverted_is_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        invert(uneven, np.zeros((1, 1, 4, 4)), process=ZERO, kind="x_0", **options)
