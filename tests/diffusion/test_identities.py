"""Each identity of docs/method.md that no other test holds, both of its sides computed apart."""

import ast
import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian import normal
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.nn import functional as F  # noqa: N812

from haarmony.codec.haar import Haar, dwt
from haarmony.diffusion import Process, Schedule, langevin_step, sample
from haarmony.nets.blocks import TimedFeedForward, TimestepEmbedding, windowed_attention
from haarmony.nets.cross_attention import CrossAttention

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")

T = 12
LINEAR = Process(Schedule.linear(T, 0.01, 0.4))
ZERO = Process(Schedule.cosine(T).zero_terminal_snr())
PROCESSES = {"linear": LINEAR, "zero": ZERO}

# Data of two kinds, each a Gaussian: w = 0.3 at −0.6 and 0.7 at 0.5.
WEIGHTS, MEANS, STD = np.array([0.3, 0.7]), np.array([-0.6, 0.5]), 0.2


def mixture(process, t):
    """q(x_t) of that data."""
    a = process.schedule.alpha_bar[t]
    components = Normal(torch.from_numpy(np.sqrt(a) * MEANS), math.sqrt(a * STD**2 + 1 - a))
    return MixtureSameFamily(Categorical(torch.from_numpy(WEIGHTS)), components)


def posterior_of_mixture(process):
    """E[x_0 | x_t] of that data, by Bayes' rule."""

    def denoise(x_t, t):
        a = process.schedule.alpha_bar[t]
        variance = a * STD**2 + 1 - a
        off = x_t[..., None] - np.sqrt(a) * MEANS
        share = WEIGHTS * np.exp(-(off**2) / (2 * variance))
        return ((MEANS + np.sqrt(a) * STD**2 / variance * off) * share).sum(-1) / share.sum(-1)

    return denoise


@pytest.mark.parametrize("name", PROCESSES)
def test_posterior_is_the_conditional_of_the_whole_chain(name):
    # (x_0, …, x_T) = L (x_0, ε_1, …, ε_T) with x_0 ~ N(0, 1); x_s given (x_0, x_t) by the Schur complement.
    process = PROCESSES[name]
    L = np.zeros((T + 1, T + 1))
    L[0, 0] = 1
    for t in range(1, T + 1):
        beta = 1 - process.schedule.alpha_bar[t] / process.schedule.alpha_bar[t - 1]
        L[t] = np.sqrt(1 - beta) * L[t - 1]
        L[t, t] = np.sqrt(beta)
    covariance = L @ L.T
    one, zero = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))
    for t in range(2, T + 1):
        for s in range(1, t):
            given = [0, t]
            weights = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given, s])
            left = covariance[s, s] - weights @ covariance[given, s]
            got = [process.posterior_mean(*x, t, s).item() for x in ((one, zero), (zero, one))]
            np.testing.assert_allclose(got, weights, rtol=1e-9, atol=1e-12)
            assert process.variance(t, s, "beta_tilde") == pytest.approx(left, rel=1e-9)


@pytest.mark.parametrize("t", [1, 2, 7, T])
def test_the_mean_of_the_reverse_step_by_eps_and_by_the_score(t):
    # DDPM eq. 11: μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t, and √(1 − ᾱ_t) s = −ε.
    beta, a = LINEAR.schedule.beta[t], LINEAR.schedule.alpha_bar[t]
    x_t, eps = normal(1), normal(2)
    mean = LINEAR.posterior_mean(LINEAR.x_0_from(eps, x_t, t, "eps"), x_t, t, t - 1)
    np.testing.assert_allclose(mean, (x_t - beta / np.sqrt(1 - a) * eps) / np.sqrt(1 - beta), rtol=1e-9)
    np.testing.assert_allclose(mean, (x_t + beta * LINEAR.score(eps, t)) / np.sqrt(1 - beta), rtol=1e-9)


def test_the_gradient_passes_through_the_reparameterised_draw():
    # E[x_t²] = ᾱ x_0² + 1 − ᾱ, so dE/dx_0 = 2 ᾱ x_0; the mean over ε = ±1 is exact for squares.
    x_0 = torch.full((2, 1, 1, 1), 0.7, dtype=torch.float64, requires_grad=True)
    eps = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    (LINEAR.diffuse(x_0, eps, 5) ** 2).mean().backward()
    assert x_0.grad.sum().item() == pytest.approx(2 * LINEAR.schedule.alpha_bar[5] * 0.7, rel=1e-12)


@pytest.mark.parametrize("t", [1, 5, T])
def test_the_simple_loss_of_other_predictions_is_that_of_eps_weighted(t):
    a = LINEAR.schedule.alpha_bar[t]
    x_0, eps, predicted = normal(1), normal(2), normal(3)
    x_t = LINEAR.diffuse(x_0, eps, t)
    estimate = LINEAR.x_0_from(predicted, x_t, t, "eps")
    of_eps = ((eps - predicted) ** 2).mean()
    assert ((x_0 - estimate) ** 2).mean() == pytest.approx((1 - a) / a * of_eps, rel=1e-9)
    off = LINEAR.target("v", x_0, eps, t) - LINEAR.target("v", estimate, predicted, t)
    assert (off**2).mean() == pytest.approx(of_eps / a, rel=1e-9)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("t", [1, 4, T])
def test_the_score_is_the_gradient_of_the_log_density(name, t):
    process, x_t = PROCESSES[name], 1.5 * normal(4)
    eps = process.eps_from_x_0(posterior_of_mixture(process)(x_t, t), x_t, t)  # E[ε | x_t]
    variable = torch.from_numpy(x_t).requires_grad_()
    mixture(process, t).log_prob(variable).sum().backward()
    np.testing.assert_allclose(process.score(eps, t), variable.grad, rtol=1e-9, atol=1e-12)


def test_denoising_score_matching_is_the_simple_loss():
    # (1 − ᾱ) ‖s_θ − ∇ log q(x_t|x_0)‖² = ‖ε_θ − ε‖², a step an image.
    x_0, eps, predicted, t = normal(1), normal(2), normal(3), np.array([2, 9])
    a = LINEAR.schedule.alpha_bar[t].reshape(2, 1, 1, 1)
    variable = torch.from_numpy(LINEAR.diffuse(x_0, eps, t)).requires_grad_()
    Normal(torch.from_numpy(np.sqrt(a) * x_0), torch.from_numpy(np.sqrt(1 - a))).log_prob(
        variable
    ).sum().backward()
    off = LINEAR.score(predicted, t) - variable.grad.numpy()
    np.testing.assert_allclose((1 - a) * off**2, (predicted - eps) ** 2, rtol=1e-9)


@pytest.mark.parametrize("size", [1e-3, 0.1, 0.4])
def test_langevin_dynamics_has_the_variance_of_the_target_as_steps_shrink(size):
    # Score −x/s²: x ← (1 − δ/2s²) x + √δ z, at rest where v = (1 − δ/2s²)² v + δ, v = s² / (1 − δ/4s²).
    std, one, zero = 0.5, np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))
    shrink, noise = langevin_step(one, -one / std**2, zero, size), langevin_step(zero, zero, one, size)
    at_rest = (noise**2 / (1 - shrink**2)).item()
    assert at_rest == pytest.approx(std**2 / (1 - size / (4 * std**2)), rel=1e-9)
    assert (at_rest == pytest.approx(std**2, rel=2e-3)) == (size == 1e-3)


def test_langevin_dynamics_by_a_network_that_predicts_eps_samples_from_q():
    rng, t = np.random.default_rng(0), 6
    x, denoise = np.zeros((1, 1, 100, 200)), posterior_of_mixture(LINEAR)
    for _ in range(300):
        score = LINEAR.score(LINEAR.eps_from_x_0(denoise(x, t), x, t), t)
        x = langevin_step(x, score, rng.standard_normal(x.shape), 0.03)
    target = mixture(LINEAR, t)
    assert x.mean() == pytest.approx(target.mean.item(), abs=0.02)
    assert x.std() == pytest.approx(target.stddev.item(), rel=0.02)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_every_member_of_the_ddim_family_keeps_the_marginals(eta):
    # DDIM lemma 1: x_t ~ N(√ᾱ_t x_0, (1 − ᾱ_t) I) at every step, whatever σ. A network that knows x_0 leaves
    # x affine in x_T and the noises: image 0 has none, each other one of them at 1.
    a, x_0, steps = LINEAR.schedule.alpha_bar, 0.7, 5
    x_T = np.full((steps + 1, 1, 1, 1), np.sqrt(a[T]) * x_0)
    x_T[1] += np.sqrt(1 - a[T])

    def noise(i, shape):
        z = np.zeros(shape)
        z[i + 2] = 1
        return z

    visited = LINEAR.schedule.timesteps(steps)
    options = {"process": LINEAR, "kind": "x_0", "steps": steps, "noise": noise}
    for i, s, x, _ in sample(lambda x, t: np.full_like(x, x_0), x_T, eta=eta, **options):
        weights = (x[1:] - x[0]).ravel()
        assert x[0].item() == pytest.approx(np.sqrt(a[s]) * x_0, rel=1e-12)
        assert (weights**2).sum() == pytest.approx(1 - a[s], rel=1e-9, abs=1e-12)
        if s > 0:  # DDIM eq. 16
            sigma = eta * np.sqrt((1 - a[s]) / (1 - a[visited[i]])) * np.sqrt(1 - a[visited[i]] / a[s])
            assert weights[i + 1] == pytest.approx(sigma, rel=1e-9)
    # DDPM with σ² = β is no member: around a known x_0 its x_s is wider, by β − β̃.
    ddpm = sample(lambda x, t: np.full_like(x, x_0), x_T, sampler="ddpm", variance="beta", **options)
    _, s, x, _ = next(ddpm)
    beta = 1 - a[T] / a[s]
    wider = beta - (1 - a[s]) / (1 - a[T]) * beta
    assert ((x[1:] - x[0]) ** 2).sum() == pytest.approx(1 - a[s] + wider, rel=1e-9)
    assert wider > 0.05


def decode(process, x_T, steps):
    def never(i, shape):
        raise AssertionError("η = 0 draws no noise")

    options = {"process": process, "kind": "x_0", "steps": steps, "noise": never}
    *_, (_, _, x, _) = sample(posterior_of_mixture(process), x_T, **options)
    return x


def encode(process, x, steps):
    """The deterministic step taken upwards, as docs/method.md says; ε at the step that it leaves."""
    visited = process.schedule.timesteps(steps)[::-1]
    for t, later in zip([1, *visited[:-1]], visited, strict=True):
        x_0 = posterior_of_mixture(process)(x, t)
        x = process.diffuse(x_0, process.eps_from_x_0(x_0, x, t), later)
    return x


def test_ddim_without_noise_is_the_flow_that_keeps_quantiles():
    # On a line the probability-flow ODE keeps F_t(x_t): the p-quantile of N(0, 1) goes to that of the data.
    process = Process(Schedule.cosine(1000).zero_terminal_snr())
    p = np.linspace(0.02, 0.98, 25)
    x_T = Normal(0.0, 1.0).icdf(torch.from_numpy(p)).numpy().reshape(25, 1, 1, 1)
    errors = []
    for steps in (125, 250, 500):
        x_0 = decode(process, x_T, steps)
        errors.append(np.abs(mixture(process, 0).cdf(torch.from_numpy(x_0)).numpy().ravel() - p).max())
    assert errors[-1] < 2e-3
    np.testing.assert_allclose(np.divide(errors[1:], errors[:-1]), 0.5, atol=0.02)


def test_ddim_inverts():
    # Encoding and decoding again come back, the nearer the more steps: both are Euler's method on one ODE.
    process = Process(Schedule.cosine(1000).zero_terminal_snr())
    x_0 = np.linspace(-1.0, 0.9, 20).reshape(20, 1, 1, 1)
    errors = [np.abs(decode(process, encode(process, x_0, n), n) - x_0).max() for n in (125, 250, 500)]
    assert errors[-1] < 0.015
    np.testing.assert_allclose(np.divide(errors[1:], errors[:-1]), 0.5, atol=0.04)


def test_timestep_embedding_is_its_formula():
    torch.manual_seed(0)
    embedding, t = TimestepEmbedding(8, frequencies=32), np.array([1, 17, 250, 1000])
    angle = t[:, None] * np.exp(-9.21 * np.arange(32) / 31)
    x = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    for layer in (embedding.mlp[0], embedding.mlp[2]):
        x = x @ layer.weight.detach().numpy().T.astype(float) + layer.bias.detach().numpy()
        x = x / (1 + np.exp(-x))  # SiLU
    np.testing.assert_allclose(embedding(torch.from_numpy(t)).detach(), x, atol=1e-4)
    assert np.ptp(x, axis=0).max() > 0.05


def test_the_embedding_scales_and_shifts_what_a_block_sees():
    # x + GDFN((1 + s_t) ⊙ Norm(x) + b_t).
    torch.manual_seed(1)
    block, x, time = TimedFeedForward(4, time_channels=6), torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    with torch.no_grad():
        block.modulation.weight.normal_()
        block.modulation.bias.normal_()
        scale, shift = (time @ block.modulation.weight.T + block.modulation.bias).split(4, dim=1)
        unit = x / x.square().mean(1, keepdim=True).sqrt()
        expected = x + block.feed_forward((1 + scale[..., None, None]) * unit + shift[..., None, None])
        torch.testing.assert_close(block(x, time), expected, rtol=1e-4, atol=1e-5)


def test_transposed_attention_is_scaled_dot_product_attention_over_channels():
    # softmax(τ q̂ k̂ᵀ) v = softmax(QKᵀ / √d) V: tokens are channels, d counts positions, Q = τ √d q̂, K = k̂.
    torch.manual_seed(2)
    q, k, v = torch.randn(3, 2, 6, 8, 8, dtype=torch.float64)  # one cell, which every window is cut to
    temperature = torch.tensor([0.8, 5.0], dtype=torch.float64)[:, None, None]
    tokens = [x.reshape(2, 2, 3, 64) for x in (q, k, v)]
    Q = F.normalize(tokens[0], dim=-1) * temperature * 8
    expected = F.scaled_dot_product_attention(Q, F.normalize(tokens[1], dim=-1), tokens[2])
    got = windowed_attention(q, k, v, temperature)
    torch.testing.assert_close(got, expected.reshape(2, 6, 8, 8), rtol=1e-4, atol=1e-6)


def test_cross_attention_asks_one_modality_and_is_answered_by_the_other():
    # a + W softmax(τ q̂_a k̂_bᵀ) v_b, and the other way round.
    torch.manual_seed(3)
    cross = CrossAttention(6, heads=2).double()
    a, b = torch.randn(2, 1, 6, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        cross.ask_a.temperature[:] = torch.tensor([[[2.0]], [[7.0]]])

        def parts(x, branch):
            unit = x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt()
            y = branch.local(branch.to_qkv(unit)).reshape(3, 2, 3, 64)  # (qkv, heads, channels, positions)
            return F.normalize(y[0], dim=-1), F.normalize(y[1], dim=-1), y[2]

        of_a, of_b = parts(a, cross.ask_a), parts(b, cross.ask_b)
        for x, branch, (q, _, _), (_, k, v), got in zip(
            (a, b), (cross.ask_a, cross.ask_b), (of_a, of_b), (of_b, of_a), cross(a, b), strict=True
        ):
            answer = torch.softmax(branch.temperature * q @ k.mT, dim=-1) @ v
            expected = x + branch.out(answer.reshape(1, 6, 8, 8))
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_bands_are_inner_products_with_haars_functions():
    def phi(x):
        return 1.0 * ((x >= 0) & (x < 1))

    def psi(x):
        return phi(2 * x) - phi(2 * x - 1)

    # A pixel is a unit square of constant value: sums at centres are the integrals.
    image, y, x = normal(5, (1, 1, 6, 8)), np.arange(6) + 0.5, np.arange(8) + 0.5
    for band, (along_h, along_w) in zip(
        dwt(image), ((phi, phi), (phi, psi), (psi, phi), (psi, psi)), strict=True
    ):
        rows = np.stack([along_h(y / 2 - k) / math.sqrt(2) for k in range(3)])
        columns = np.stack([along_w(x / 2 - k) / math.sqrt(2) for k in range(4)])
        np.testing.assert_allclose(band[0, 0], rows @ image[0, 0] @ columns.T, rtol=0, atol=1e-12)


def test_diffusing_haar_coefficients_is_diffusing_pixels():
    haar, x_0, eps, t = Haar(2), normal(1, (2, 1, 8, 8)), normal(2, (2, 1, 8, 8)), np.array([3, 11])
    latent = LINEAR.diffuse(haar.encode(x_0), haar.encode(eps), t)
    np.testing.assert_allclose(haar.decode(latent), LINEAR.diffuse(x_0, eps, t), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        haar.decode(LINEAR.posterior_mean(haar.encode(x_0), latent, 9, 4)),
        LINEAR.posterior_mean(x_0, haar.decode(latent), 9, 4),
        rtol=0,
        atol=1e-12,
    )


def test_the_page_names_functions_and_tests_that_exist():
    functions = re.findall(r"`([\w/]+)\.py: ([\w.]+)`", PAGE)
    assert len(functions) > 30
    for file, name in functions:
        found = importlib.import_module("haarmony." + file.replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(tests) > 20
    for file, name in tests:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_the_code_on_the_page_prints_what_stands_below_it(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == PAGE.count("```python") == 1
    for code, expected in blocks:
        exec(compile(code, "docs/method.md", "exec"), {})
        assert capsys.readouterr().out == expected
