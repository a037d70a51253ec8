import subprocess
import sys

import numpy as np
import pytest
import torch
from gaussian import normal, posterior_of_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from haarmony.diffusion import KINDS, SPACINGS, Process, Schedule, sample

ZERO = Process(Schedule.cosine(1000).zero_terminal_snr())
LINEAR = Process(Schedule.linear(1000))


def last(*args, **options):
    *_, (_, t, x, _) = sample(*args, **options)
    assert t == 0
    return x


def moments(process, mean, std, *, steps, **options):
    """Exact mean and variance of the samples, without drawing any.

    With this denoiser a sample is affine in x_T and the noises. Image 0 has them all zero and ends in the
    mean; each other has one of them at 1 and ends in the mean plus its weight. The variance is the sum of
    their squares.
    """
    x_T = np.zeros((steps + 1, 1, 1, 1))
    x_T[1] = 1

    def noise(i, shape):
        z = np.zeros(shape)
        z[i + 2] = 1
        return z

    denoise = posterior_of_gaussian(process, mean, std)
    x = last(denoise, x_T, process=process, kind="x_0", steps=steps, noise=noise, **options).ravel()
    return x[0], ((x[1:] - x[0]) ** 2).sum()


@pytest.mark.parametrize("process", [ZERO, LINEAR], ids=["zero", "linear"])
@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddpm", "variance": "beta"},
        {"sampler": "ddpm", "variance": "beta_tilde"},
        {"sampler": "ddim", "eta": 0.0},
        {"sampler": "ddim", "eta": 0.5},
        {"sampler": "ddim", "eta": 1.0},
    ],
    ids=str,
)
def test_samples_have_the_mean_and_variance_of_the_data(process, options):
    mean, variance = moments(process, 0.4, 0.5, steps=1000, **options)
    assert mean == pytest.approx(0.4, abs=2e-3)
    assert variance == pytest.approx(0.25, rel=2e-2)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_beta_is_the_exact_variance_for_data_of_unit_variance(steps):
    # DDPM section 3.2: "the first choice is optimal for x_0 ~ N(0, I)", however long the steps.
    mean, variance = moments(ZERO, 0.4, 1.0, steps=steps, sampler="ddpm", variance="beta")
    assert mean == pytest.approx(0.4, abs=1e-12)
    # The last step adds no noise: it ends in E[x_0 | x_t] at its own t, of variance ᾱ_t.
    assert variance == pytest.approx(ZERO.schedule.alpha_bar[ZERO.schedule.timesteps(steps)[-1]], abs=1e-12)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_drawn_samples_have_the_mean_and_variance_of_the_data(variance):
    generator = np.random.default_rng(42)
    x = last(
        posterior_of_gaussian(ZERO, -0.3, 0.6),
        generator.standard_normal((1, 1, 100, 100)),
        process=ZERO,
        kind="x_0",
        steps=250,
        sampler="ddpm",
        variance=variance,
        noise=lambda i, shape: generator.standard_normal(shape),
    )
    assert x.mean() == pytest.approx(-0.3, abs=0.02)
    assert x.std() == pytest.approx(0.6, rel=0.03)


@given(
    T=st.integers(1, 60),
    share=st.floats(0, 1),
    kind=st.sampled_from(KINDS),
    spacing=st.sampled_from(SPACINGS),
    sampler=st.sampled_from(["ddim", "ddpm"]),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_a_network_that_knows_x_0_reaches_it_in_any_number_of_steps(T, share, kind, spacing, sampler, eta):
    process, steps, x_0 = Process(Schedule.linear(T, 1e-3, 0.2)), max(1, round(share * T)), normal(1)
    visited = []

    def denoise(x_t, t):
        visited.append(t)
        return process.target(kind, x_0, process.eps_from_x_0(x_0, x_t, t), t)

    generator = np.random.default_rng(3)
    trajectory = list(
        sample(
            denoise,
            normal(2),
            process=process,
            kind=kind,
            steps=steps,
            spacing=spacing,
            sampler=sampler,
            eta=eta,
            noise=lambda i, shape: generator.standard_normal(shape),
        )
    )
    assert visited == process.schedule.timesteps(steps, spacing)
    assert [(i, t) for i, t, _, _ in trajectory] == list(enumerate([*visited[1:], 0]))
    np.testing.assert_allclose(trajectory[-1][2], x_0, atol=1e-9)


def test_ddim_keeps_the_noise_of_a_known_picture():
    x_0, eps = normal(1), normal(2)
    x_T = LINEAR.diffuse(x_0, eps, 1000)
    trajectory = sample(lambda x, t: eps, x_T, process=LINEAR, kind="eps", steps=5)
    for _, t, x_t, estimate in trajectory:
        np.testing.assert_allclose(x_t, LINEAR.diffuse(x_0, eps, t), atol=1e-10)
        np.testing.assert_allclose(estimate, x_0, atol=1e-10)


def test_ddim_at_eta_1_is_ddpm_with_beta_tilde():
    options = {
        "process": ZERO,
        "kind": "v",
        "steps": 9,
        "noise": lambda i, shape: normal(i, shape),
    }
    ddim = last(lambda x, t: np.tanh(x), normal(9), sampler="ddim", eta=1.0, **options)
    ddpm = last(lambda x, t: np.tanh(x), normal(9), sampler="ddpm", variance="beta_tilde", **options)
    np.testing.assert_allclose(ddim, ddpm, rtol=1e-10)


def test_the_next_x_uses_the_refined_x_0_and_its_own_eps():
    # Algorithm 1, line 9 (Diff-IF mixes the raw ε with the refined x_0).
    seen, target, x_T = [], normal(5), normal(6)

    def refine(x_0, t):
        seen.append(t)
        return target

    trajectory = list(sample(lambda x, t: 0 * x, x_T, process=ZERO, kind="v", steps=4, refine=refine))
    assert seen == [1000, 750, 500, 250]
    for _, t, x_t, x_0 in trajectory:
        assert x_0 is target
        np.testing.assert_allclose(x_t, ZERO.diffuse(target, x_T, t), atol=1e-12)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("kind", ["v", "x_0"])
def test_torch_equals_numpy(sampler, kind):
    options = {
        "process": ZERO,
        "kind": kind,
        "steps": 10,
        "sampler": sampler,
        "eta": 0.7,
        "noise": lambda i, shape: normal(i, shape),
    }
    arrays = list(sample(lambda x, t: np.tanh(x + t / 1000), normal(9), **options))
    tensors = list(sample(lambda x, t: torch.tanh(x + t / 1000), torch.from_numpy(normal(9)), **options))
    for (_, _, x, x_0), (_, _, tensor, estimate) in zip(arrays, tensors, strict=True):
        assert tensor.dtype == torch.float64
        np.testing.assert_allclose(tensor.numpy(), x, rtol=1e-11)
        np.testing.assert_allclose(estimate.numpy(), x_0, rtol=1e-11)


def test_float32_stays_float32_whatever_the_generator_draws():
    x_T = normal(9).astype(np.float32)
    options = {
        "process": ZERO,
        "kind": "v",
        "steps": 3,
        "eta": 1.0,
        "noise": lambda i, shape: normal(i, shape),
    }
    for x in (x_T, torch.from_numpy(x_T)):
        assert last(lambda x, t: 0.5 * x, x, **options).dtype == x.dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "got 0"),
        ({"steps": 1001}, "got 1001"),
        ({"sampler": "euler"}, "got 'euler'"),
        ({"eta": 1.5}, "got 1.5"),
        ({"eta": 0.5}, "pass noise="),
        ({"sampler": "ddpm"}, "pass noise="),
        ({"sampler": "ddpm", "variance": "learned"}, "got 'learned'"),
        ({"kind": "score"}, "got 'score'"),
        ({"kind": "eps"}, "ᾱ_t = 0"),
        ({"spacing": "karras"}, "got 'karras'"),
    ],
)
def test_errors_carry_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        list(sample(lambda x, t: x, normal(1), **{"process": ZERO, "kind": "v", "steps": 3} | options))


def test_one_step_draws_no_noise():
    x = last(
        posterior_of_gaussian(ZERO, 0.4, 0.5), normal(1), process=ZERO, kind="x_0", steps=1, sampler="ddpm"
    )
    np.testing.assert_allclose(x, 0.4, rtol=1e-12)


def test_sampling_in_numpy_never_loads_torch():
    code = """
import sys, numpy as np
from haarmony.codec import CODECS
from haarmony.diffusion import Process, Schedule, sample
codec, process = CODECS["haar"](), Process(Schedule.cosine(10).zero_terminal_snr())
z = codec.encode(np.ones((1, 1, 8, 8)))
*_, (_, _, z, _) = sample(lambda z, t: z, z, process=process, kind="v", steps=2)
codec.decode(z)
slow = {"torch", "scipy", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code], check=True)
