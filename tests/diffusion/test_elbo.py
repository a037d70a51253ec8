"""The bound against exact likelihoods: Gaussian data, with the linear denoiser that is best for it.

Every term but L_0 is quadratic in ε, and so is L_0 where bins are fine. The mean over ε = ±1 is then the
exact mean over ε ~ N(0, 1), and the mean over x_0 = m ± s that over N(m, s²).
"""

import math
import re

import numpy as np
import pytest
import torch
from gaussian import posterior_of_gaussian
from torch.distributions import Normal, kl_divergence

from haarmony.codec import CODECS
from haarmony.diffusion import VARIANCES, Process, Schedule, bound, decoder_bits, prior_bits, step_bits

SCHEDULES = {"linear": Schedule.linear(8, 0.02, 0.5), "zero": Schedule.cosine(8).zero_terminal_snr()}
FINE = 2**20 + 1
"""So many levels that a bin's mass is its width times the density; the width is 2 / (FINE - 1)."""

GAP_OF_BETA_TILDE = (np.euler_gamma + 1 - math.log(2)) / (2 * math.log(2))
"""Bits that σ² = β̃ costs however short the steps: near t = 0 the reverse step has the variance β, of which β̃
is (t − 1)/t. The sum over t ≥ 2 of ½(1/(t − 1) − ln(t/(t − 1))) is γ/2; β̃_2 at t = 1 adds (1 − ln 2)/2."""


def normal(seed, shape=(3, 2, 4, 5)):
    return np.random.default_rng(seed).standard_normal(shape)


def expected_terms(process, x_0, mean, std, *, variance):
    """L_0, …, L_T at each x_0, averaged over ε: (T + 1, len(x_0)); L_0 as a density."""
    x_0 = np.asarray(x_0, dtype=np.float64)
    pairs = np.repeat(x_0, 2)[:, None, None, None]
    terms = bound(
        posterior_of_gaussian(process, mean, std),
        pairs,
        process=process,
        kind="x_0",
        noise=lambda t, shape: np.tile([1.0, -1.0], len(x_0)).reshape(shape),
        variance=variance,
        levels=FINE,
    )
    terms = terms.reshape(len(terms), len(x_0), 2).mean(2)
    terms[0] += math.log2(2 / (FINE - 1))
    return terms


def bits_of_normal(x, mean, variance):
    return 0.5 * np.log2(2 * np.pi * variance) + (x - mean) ** 2 / (2 * variance * np.log(2))


def reverse_chain(process, mean, std, variance):
    """Mean and covariance of (x_0, …, x_T) under p_θ, one affine step of ancestral sampling after another."""
    a, T = process.schedule.alpha_bar, process.schedule.T
    offset, weight = (
        np.zeros(T + 1),
        np.zeros((T + 1, T + 1)),
    )  # x_i = offset_i + weight_i · (z_1, …, z_T, x_T)
    weight[T, T] = 1
    for t in range(T, 0, -1):
        beta = 1 - a[t] / a[t - 1]
        tilde = (1 - a[t - 1]) / (1 - a[t]) * beta
        to_x_0, to_x_t = (
            np.sqrt(a[t - 1]) * beta / (1 - a[t]),
            np.sqrt(1 - beta) * (1 - a[t - 1]) / (1 - a[t]),
        )
        gain = np.sqrt(a[t]) * std**2 / (a[t] * std**2 + 1 - a[t])
        offset[t - 1] = to_x_0 * (mean - gain * np.sqrt(a[t]) * mean) + (to_x_0 * gain + to_x_t) * offset[t]
        weight[t - 1] = (to_x_0 * gain + to_x_t) * weight[t]
        if variance == "beta_tilde" and t == 1:
            tilde = (1 - a[1]) / (1 - a[2]) * (1 - a[2] / a[1])
        weight[t - 1, t - 1] = np.sqrt(beta if variance == "beta" else tilde)
    return offset, weight @ weight.T


def kl(mean_q, cov_q, mean_p, cov_p):
    """KL(N(mean_q, cov_q) ‖ N(mean_p, cov_p)) in bits."""
    off = mean_p - mean_q
    nats = np.trace(np.linalg.solve(cov_p, cov_q)) + off @ np.linalg.solve(cov_p, off) - len(off)
    return (nats + np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]) / 2 / np.log(2)


@pytest.mark.parametrize(("name", "mean"), [("linear", 0.0), ("zero", 0.0), ("zero", 0.6)])
def test_the_bound_is_the_likelihood_for_data_of_unit_variance(name, mean):
    # σ² = β is then the variance of the true reverse step (DDPM section 3.2), and x_T ~ N(0, 1) at the end.
    x_0 = np.array([-0.9, -0.2, 0.0, 0.7])
    terms = expected_terms(Process(SCHEDULES[name]), x_0, mean, 1.0, variance="beta")
    assert terms.shape == (9, 4)
    np.testing.assert_allclose(terms.sum(0), bits_of_normal(x_0, mean, 1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.4), (0.0, 1.7), (0.5, 1.0)])
def test_the_gap_to_the_likelihood_is_the_divergence_of_the_latents(name, variance, mean, std):
    # L(x_0) = −log p_θ(x_0) + KL(q(x_1…x_T | x_0) ‖ p_θ(x_1…x_T | x_0)), both from whole covariances.
    process = Process(SCHEDULES[name])
    a, x_0 = process.schedule.alpha_bar, np.array([-0.8, 0.1, 0.6])
    mean_p, cov_p = reverse_chain(process, mean, std, variance)
    forward = np.zeros((9, 9))  # of ε_t in x_t, by x_t = √(1 − β_t) x_{t−1} + √β_t ε_t
    for t in range(1, 9):
        forward[t] = np.sqrt(a[t] / a[t - 1]) * forward[t - 1]
        forward[t, t] = np.sqrt(1 - a[t] / a[t - 1])
    cov_q = (forward @ forward.T)[1:, 1:]
    gain = cov_p[1:, 0] / cov_p[0, 0]
    given_p = cov_p[1:, 1:] - np.outer(gain, cov_p[0, 1:])
    gaps = [kl(np.sqrt(a[1:]) * x, cov_q, mean_p[1:] + gain * (x - mean_p[0]), given_p) for x in x_0]
    likelihood = bits_of_normal(x_0, mean_p[0], cov_p[0, 0])
    total = expected_terms(process, x_0, mean, std, variance=variance).sum(0)
    np.testing.assert_allclose(total, likelihood + gaps, rtol=0, atol=1e-5)
    if std == 1.0 and name == "zero" and variance == "beta":
        np.testing.assert_allclose(gaps, 0, atol=1e-9)
    else:
        assert min(gaps) > 1e-3


@pytest.mark.parametrize(
    ("variance", "limit", "left"), [("beta", 0.0, 0.00203), ("beta_tilde", GAP_OF_BETA_TILDE, 0.0339)]
)
def test_the_gap_closes_with_more_steps_or_does_not(variance, limit, left):
    mean, std = 0.2, 0.5
    entropy = 0.5 * math.log2(2 * math.pi * math.e * std**2)
    gaps = []
    for T in (100, 200, 400):
        process = Process(Schedule(1 - np.arange(T + 1) / T))
        terms = expected_terms(process, [mean - std, mean + std], mean, std, variance=variance)
        gaps.append(terms.sum(0).mean() - entropy)
    distances = np.abs(np.subtract(gaps, limit))
    assert distances[-1] == pytest.approx(left, rel=5e-3)
    assert all(0.49 < ratio < 0.6 for ratio in distances[1:] / distances[:-1])


def test_for_gaussian_data_progressive_coding_attains_the_rate_distortion_function():
    # Rate so far L_t + … + L_T = I(x_0; x_t) = ½ log₂(1 / D), where D = E(x_0 − x̂_0)² = 1 − ᾱ_t (DDPM 4.3).
    process = Process(SCHEDULES["linear"])
    terms = expected_terms(process, [-1.0, 1.0], 0.0, 1.0, variance="beta").mean(1)
    rate = terms[::-1].cumsum()[::-1][1:]
    np.testing.assert_allclose(rate, -0.5 * np.log2(1 - process.schedule.alpha_bar[1:]), rtol=1e-9)
    x_0 = np.array([1.0, 1.0, -1.0, -1.0]).reshape(4, 1, 1, 1)
    eps = np.array([1.0, -1.0, 1.0, -1.0]).reshape(4, 1, 1, 1)
    for t in range(1, 9):
        estimate = posterior_of_gaussian(process, 0.0, 1.0)(process.diffuse(x_0, eps, t), t)
        assert np.mean((x_0 - estimate) ** 2) == pytest.approx(1 - process.schedule.alpha_bar[t], rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("t", [2, 5, 8, np.array([2, 4, 8])])
def test_step_bits_are_the_divergence_of_both_posteriors(name, variance, t):
    process, x_0, estimate, x_t = Process(SCHEDULES[name]), normal(1), normal(2), normal(3)
    q, p = (
        Normal(
            torch.from_numpy(process.posterior_mean(x, x_t, t, t - 1)),
            torch.from_numpy(np.sqrt(np.reshape(process.variance(t, t - 1, kind), (-1, 1, 1, 1)))),
        )
        for x, kind in ((x_0, "beta_tilde"), (estimate, variance))
    )
    expected = kl_divergence(q, p).mean((1, 2, 3)) / math.log(2)
    got = step_bits(x_0, estimate, t, process=process, variance=variance)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_prior_bits_are_the_divergence_from_pure_noise():
    x_0, a = normal(1), SCHEDULES["linear"].alpha_bar[-1]
    q = Normal(torch.from_numpy(np.sqrt(a) * x_0), math.sqrt(1 - a))
    expected = kl_divergence(q, Normal(0.0, 1.0)).mean((1, 2, 3)) / math.log(2)
    np.testing.assert_allclose(prior_bits(x_0, process=Process(SCHEDULES["linear"])), expected, rtol=1e-9)
    np.testing.assert_array_equal(prior_bits(x_0, process=Process(SCHEDULES["zero"])), 0)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("t", [2, 5, 8])
def test_the_simple_loss_is_the_bound_without_its_weight(variance, t):
    # L_{t−1} = β² / (2 σ² α (1 − ᾱ)) ‖ε − ε_θ‖² + C (DDPM eq. 12), and C = 0 for σ² = β̃.
    process, x_0, eps, predicted = Process(SCHEDULES["linear"]), normal(1), normal(2), normal(3)
    beta, a = process.schedule.beta[t], process.schedule.alpha_bar
    tilde = (1 - a[t - 1]) / (1 - a[t]) * beta
    sigma_squared = {"beta": beta, "beta_tilde": tilde}[variance]
    weight = beta**2 / (2 * sigma_squared * (1 - beta) * (1 - a[t]))
    constant = 0.5 * (tilde / sigma_squared - 1 - math.log(tilde / sigma_squared))
    assert (constant == 0) == (variance == "beta_tilde")
    estimate = process.x_0_from(predicted, process.diffuse(x_0, eps, t), t, "eps")
    simple = ((eps - predicted) ** 2).mean((1, 2, 3))
    bits = step_bits(x_0, estimate, t, process=process, variance=variance)
    np.testing.assert_allclose(bits * math.log(2), weight * simple + constant, rtol=1e-9)


@pytest.mark.parametrize("estimate", [-3.0, -1.0, -0.31, 0.002, 0.999, 1.7])
@pytest.mark.parametrize("variance", VARIANCES)
def test_decoder_bits_are_the_mass_of_a_bin_and_all_bins_hold_all_of_it(estimate, variance):
    process = Process(Schedule.linear(1000))
    beta = process.schedule.beta
    squared = beta[1] if variance == "beta" else beta[1] * beta[2] / (1 - process.schedule.alpha_bar[2])
    levels = np.arange(256)
    x_0 = (levels / 255 * 2 - 1)[:, None, None, None]
    bits = decoder_bits(x_0, np.full_like(x_0, estimate), process=process, variance=variance)
    assert (2.0**-bits).sum() == pytest.approx(1, rel=1e-9)
    for level in levels:
        lower, upper = (((level + d) / 127.5 - 1 - estimate) / math.sqrt(2 * squared) for d in (-0.5, 0.5))
        tail = [math.erfc(abs(z)) / 2 for z in (lower, upper)]  # each on its own side: no digits are lost
        if level == 0:
            mass = tail[1] if upper < 0 else 1 - tail[1]
        elif level == 255:
            mass = tail[0] if lower > 0 else 1 - tail[0]
        else:
            mass = abs(tail[0] - tail[1]) if lower * upper > 0 else 1 - tail[0] - tail[1]
        if mass > 1e-300:
            assert bits[level] == pytest.approx(-math.log2(mass), rel=1e-7, abs=1e-9)
        else:
            assert 990 < bits[level] < math.inf


@pytest.mark.parametrize(("variance", "least", "most"), [("beta", 0.007, 0.009), ("beta_tilde", 0.7, 0.9)])
@pytest.mark.parametrize("level", [20, 140, 254])
def test_the_bound_of_8_bit_data_is_just_above_the_models_own_likelihood(variance, least, most, level):
    # −log₂ of the mass that the model's Gaussian has in the level's bin; the mean over ε by quadrature.
    process = Process(Schedule.cosine(400).zero_terminal_snr())
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    terms = bound(
        posterior_of_gaussian(process, 0.1, 0.3),
        np.full((40, 1, 1, 1), level / 127.5 - 1),
        process=process,
        kind="x_0",
        noise=lambda t, shape: nodes.reshape(shape),
        variance=variance,
    )
    mean_p, cov_p = reverse_chain(process, 0.1, 0.3, variance)
    ends = [(level + d) / 127.5 - 1 - mean_p[0] for d in (-0.5, 0.5)]
    below = [math.erfc(-x / math.sqrt(2 * cov_p[0, 0])) / 2 for x in ends]
    gap = (terms.sum(0) * weights).sum() / weights.sum() + math.log2(below[1] - below[0])
    assert least < gap < most


@pytest.mark.parametrize(("name", "kind"), [("linear", "eps"), ("linear", "v"), ("zero", "v")])
def test_a_prediction_of_any_kind_has_the_same_bound(name, kind):
    process, x_0 = Process(SCHEDULES[name]), np.round(normal(1) * 30).clip(-127, 127) / 127.5

    def denoise(x_t, t):
        estimate = np.tanh(x_t)
        return process.target(kind, estimate, process.eps_from_x_0(estimate, x_t, t), t)

    options = {"process": process, "noise": lambda t, shape: normal(t, shape)}
    terms = bound(denoise, x_0, kind=kind, **options)
    expected = bound(lambda x_t, t: np.tanh(x_t), x_0, kind="x_0", **options)
    np.testing.assert_allclose(terms, expected, rtol=1e-9)
    assert terms.shape == (9, 3)
    # The index is the subscript of L.
    x_5 = process.diffuse(x_0, normal(5), 5)
    np.testing.assert_allclose(terms[4], step_bits(x_0, np.tanh(x_5), 5, process=process), rtol=1e-9)
    np.testing.assert_allclose(terms[8], prior_bits(x_0, process=process), rtol=1e-9, atol=1e-15)


def test_an_orthonormal_codec_keeps_the_bits_of_a_step():
    process, haar = Process(SCHEDULES["linear"]), CODECS["haar"]()
    x_0, estimate = normal(1, (2, 1, 8, 8)), normal(2, (2, 1, 8, 8))
    np.testing.assert_allclose(
        step_bits(haar.encode(x_0), haar.encode(estimate), 3, process=process, variance="beta"),
        step_bits(x_0, estimate, 3, process=process, variance="beta"),
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_equals_numpy(dtype):
    process = Process(SCHEDULES["linear"])
    x_0 = (np.round(normal(1).clip(-1, 1) * 127.5 + 127.5) / 127.5 - 1).astype(dtype)
    tensor = torch.from_numpy(x_0)
    options = {
        "process": process,
        "kind": "v",
        "noise": lambda t, shape: normal(t, shape),
        "variance": "beta",
    }
    arrays = bound(lambda x, t: 0.3 * x, x_0, **options)
    tensors = bound(lambda x, t: 0.3 * x, tensor, **options)
    assert arrays.dtype == dtype
    assert tensors.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(tensors, arrays, rtol=1e-11 if dtype == "float64" else 1e-4)
    estimate = tensor.clone().requires_grad_()
    decoder_bits(tensor, estimate, process=process).sum().backward()
    assert torch.isfinite(estimate.grad).all()


def test_errors_carry_the_value():
    process, x = Process(SCHEDULES["linear"]), normal(1)
    for call in (
        lambda: step_bits(x, x, 3, process=process, variance="learned"),
        lambda: decoder_bits(x, x, process=process, variance="learned"),
    ):
        with pytest.raises(ValueError, match="got 'learned'"):
            call()
    with pytest.raises(ValueError, match=re.escape("steps must be in 0, …, 1, got 2")):
        decoder_bits(x, x, process=Process(Schedule.linear(1)))
    options = {"kind": "eps", "noise": lambda t, shape: normal(t, shape)}
    with pytest.raises(ValueError, match="ᾱ_t = 0"):
        bound(lambda x, t: x, x, process=Process(SCHEDULES["zero"]), **options)
