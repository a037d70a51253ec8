import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from haarmony.diffusion import KINDS, Process, Schedule

T = 40
SCHEDULES = {
    "linear": Schedule.linear(T, 1e-3, 0.3),
    "cosine": Schedule.cosine(T),
    "zero": Schedule.cosine(T).zero_terminal_snr(),
}
SHAPE = (3, 2, 4, 5)


def normal(seed, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_chain_of_single_steps_is_the_closed_form(name):
    # The chain is linear in x_0 and its noises: element 0 carries a unit x_0, element i a unit ε at step i.
    process = Process(SCHEDULES[name])
    x = np.zeros((T + 1, 1, 1, 1))
    x[0] = 1
    for t in range(1, T + 1):
        eps = np.zeros_like(x)
        eps[t] = 1
        x = process.step(x, eps, t)
        alpha_bar_t = process.schedule.alpha_bar[t]
        one, zero = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))
        assert x[0].item() == pytest.approx(process.diffuse(one, zero, t).item(), rel=1e-12, abs=1e-15)
        assert x[0].item() ** 2 == pytest.approx(alpha_bar_t, rel=1e-12, abs=1e-15)
        variance = (x[1:] ** 2).sum()
        assert variance == pytest.approx(process.diffuse(zero, one, t).item() ** 2, rel=1e-12)
        assert variance == pytest.approx(1 - alpha_bar_t, rel=1e-12)


@given(jump=st.tuples(st.integers(1, T), st.integers(1, T)).filter(lambda p: p[0] > p[1]))
@settings(deadline=None)
@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_is_bayes_rule(name, jump):
    (t, s), process = jump, Process(SCHEDULES[name])
    alpha_bar_t, alpha_bar_s = process.schedule.alpha_bar[[t, s]]
    alpha = alpha_bar_t / alpha_bar_s
    beta = 1 - alpha
    x_0, x_t = normal(1), normal(2)
    # q(x_t|x_s) q(x_s|x_0): precisions add, means are weighted by them.
    precision = alpha / beta + 1 / (1 - alpha_bar_s)
    mean = (np.sqrt(alpha) / beta * x_t + np.sqrt(alpha_bar_s) / (1 - alpha_bar_s) * x_0) / precision
    np.testing.assert_allclose(process.posterior_mean(x_0, x_t, t, s), mean, rtol=1e-9, atol=1e-12)
    assert process.variance(t, s) == pytest.approx(1 / precision, rel=1e-9)
    assert process.variance(t, s, "beta") == pytest.approx(beta, rel=1e-12)
    if s == t - 1:
        assert process.variance(t, s, "beta") == pytest.approx(process.schedule.beta[t], rel=1e-12)


def test_posterior_at_zero_is_x_0():
    process = Process(SCHEDULES["cosine"])
    np.testing.assert_allclose(process.posterior_mean(normal(1), normal(2), 7, 0), normal(1), rtol=1e-12)
    assert process.variance(7, 0) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [1, 17, T - 1, np.array([1, 20, T - 1]), torch.tensor([T - 1, 2, 3])])
def test_conversions_round_trip(kind, name, t):
    process, x_0, eps = Process(SCHEDULES[name]), normal(1), normal(2)
    x_t = process.diffuse(x_0, eps, t)
    back = process.x_0_from(process.target(kind, x_0, eps, t), x_t, t, kind)
    np.testing.assert_allclose(back, x_0, rtol=0, atol=1e-10)
    np.testing.assert_allclose(process.eps_from_x_0(back, x_t, t), eps, rtol=0, atol=1e-10)


def test_v_is_the_velocity_of_the_angle():
    # With √ᾱ = cos φ and √(1 − ᾱ) = sin φ, v = dx/dφ (Salimans & Ho 2022, appendix D).
    process, x_0, eps, t = Process(SCHEDULES["linear"]), normal(1), normal(2), 11
    phi = np.arccos(np.sqrt(process.schedule.alpha_bar[t]))
    ahead, behind = (np.cos(phi + d) * x_0 + np.sin(phi + d) * eps for d in (1e-6, -1e-6))
    np.testing.assert_allclose(process.target("v", x_0, eps, t), (ahead - behind) / 2e-6, atol=1e-8)


def test_pure_noise_says_nothing_through_eps():
    process, x_0, eps = Process(SCHEDULES["zero"]), normal(1), normal(2)
    for t in (T, np.array([1, 2, T])):
        np.testing.assert_array_equal(process.diffuse(x_0, eps, T), eps)
        with pytest.raises(ValueError, match=f"t = {T}, where ᾱ_t = 0"):
            process.x_0_from(eps, eps, t, "eps")
        with pytest.raises(ValueError, match="let the network predict 'v' or 'x_0'"):
            process.target("eps", x_0, eps, t)
    np.testing.assert_array_equal(process.target("v", x_0, eps, T), -x_0)
    np.testing.assert_array_equal(process.x_0_from(-x_0, eps, T, "v"), x_0)


def test_unknown_names_are_named():
    process, x = Process(SCHEDULES["linear"]), normal(1)
    with pytest.raises(ValueError, match="got 'epsilon'"):
        process.x_0_from(x, x, 3, "epsilon")
    with pytest.raises(ValueError, match="got 'noise'"):
        process.target("noise", x, x, 3)
    with pytest.raises(ValueError, match="got 'learned'"):
        process.variance(3, 2, "learned")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_equals_numpy_with_a_step_an_image(dtype):
    process, t, s = Process(SCHEDULES["cosine"]), np.array([2, 19, T]), np.array([1, 5, 9])
    arrays = [normal(i).astype(dtype) for i in range(2)]
    tensors = [torch.from_numpy(array) for array in arrays]
    tensor_t, tensor_s = torch.from_numpy(t), torch.from_numpy(s)
    for ours, theirs in [
        (process.step(*arrays, t), process.step(*tensors, tensor_t)),
        (process.diffuse(*arrays, t), process.diffuse(*tensors, tensor_t)),
        (process.posterior_mean(*arrays, t, s), process.posterior_mean(*tensors, tensor_t, tensor_s)),
        (process.target("v", *arrays, t), process.target("v", *tensors, tensor_t)),
        (process.x_0_from(*arrays, t, "v"), process.x_0_from(*tensors, tensor_t, "v")),
        (process.eps_from_x_0(*arrays, t), process.eps_from_x_0(*tensors, tensor_t)),
    ]:
        assert ours.dtype == dtype
        assert theirs.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-6 if dtype == "float32" else 1e-14)
    # A step an image is each image's own step.
    np.testing.assert_array_equal(
        process.diffuse(*arrays, t)[1:2], process.diffuse(*(a[1:2] for a in arrays), 19)
    )
