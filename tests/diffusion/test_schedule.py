import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from haarmony.diffusion import SPACINGS, Schedule, broadcast

SCHEDULES = {
    "linear": Schedule.linear(1000, 1e-6, 1e-2),
    "cosine": Schedule.cosine(1000),
    "zero": Schedule.cosine(1000).zero_terminal_snr(),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_alpha_bar_is_the_product_of_what_each_step_keeps(name):
    schedule = SCHEDULES[name]
    assert schedule.T == 1000
    assert schedule.beta[0] == 0
    np.testing.assert_allclose(np.cumprod(1 - schedule.beta), schedule.alpha_bar, rtol=1e-12, atol=1e-16)


def test_linear_reproduces_its_betas():
    np.testing.assert_allclose(
        Schedule.linear(5, 0.1, 0.5).beta, [0, 0.1, 0.2, 0.3, 0.4, 0.5], rtol=0, atol=1e-15
    )
    # Diff-IF's schedule, whose last step still shows the picture.
    assert Schedule.linear(1000, 1e-6, 1e-2).alpha_bar[-1] == pytest.approx(0.0066, abs=5e-5)


def test_cosine_follows_its_equation_and_clips_beta():
    schedule = Schedule.cosine(1000)
    f = np.cos((np.arange(1000) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bar[:-1], f / f[0], rtol=1e-10)
    assert schedule.beta[-1] == pytest.approx(0.999)


@pytest.mark.parametrize("schedule", [Schedule.linear(1000), Schedule.cosine(50), Schedule.cosine(2)])
def test_zero_terminal_snr_ends_in_noise_and_keeps_the_first_step(schedule):
    rescaled = schedule.zero_terminal_snr()
    assert rescaled.alpha_bar[-1] == 0
    assert rescaled.alpha_bar[0] == 1
    assert rescaled.alpha_bar[1] == pytest.approx(schedule.alpha_bar[1], rel=1e-14)
    # An affine map of the root: ratios of differences stay.
    before, after = np.diff(np.sqrt(schedule.alpha_bar[1:])), np.diff(np.sqrt(rescaled.alpha_bar[1:]))
    np.testing.assert_allclose(after * before.sum(), before * after.sum(), rtol=0, atol=1e-14)


def test_known_timesteps():
    schedule = Schedule.linear(10)
    assert schedule.timesteps(4) == [10, 8, 5, 2]
    assert schedule.timesteps(4, "leading") == [7, 5, 3, 1]
    assert schedule.timesteps(4, "linspace") == [10, 7, 4, 1]
    assert [schedule.timesteps(1, spacing) for spacing in SPACINGS] == [[10], [1], [10]]


@given(T=st.integers(1, 1000), share=st.floats(0, 1), spacing=st.sampled_from(SPACINGS))
@settings(deadline=None)
def test_timesteps_fall_strictly_inside_1_to_T(T, share, spacing):
    steps = max(1, round(share * T))
    t = np.array(Schedule.linear(T).timesteps(steps, spacing))
    assert len(t) == steps
    assert (np.diff(t) < 0).all()
    assert t[0] <= T
    assert t[-1] >= 1
    if spacing != "leading":
        assert t[0] == T
    if spacing == "leading" or (spacing == "linspace" and steps > 1):
        assert t[-1] == 1


@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_steps_are_all_of_them(spacing):
    assert Schedule.linear(137).timesteps(137, spacing) == list(range(137, 0, -1))


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: Schedule.linear(10).timesteps(0), "got 0"),
        (lambda: Schedule.linear(10).timesteps(11), "got 11"),
        (lambda: Schedule.linear(10).timesteps(3, "uniform"), "got 'uniform'"),
        (lambda: Schedule.linear(10).at(11), "got 11"),
        (lambda: Schedule.linear(10).at(np.array([1, -1])), r"got \[ 1 -1\]"),
        (lambda: Schedule.linear(0), "T=0"),
        (lambda: Schedule.linear(10, 0.0, 0.5), "beta_1=0.0"),
        (lambda: Schedule.linear(10, 0.1, 1.0), "beta_T=1.0"),
        (lambda: Schedule.cosine(0), "got 0"),
        (lambda: Schedule.cosine(1).zero_terminal_snr(), "got T = 1"),
        (lambda: Schedule(np.array([1, 0.5, 0.5])), "got .*0.5 0.5"),
        (lambda: Schedule(np.array([0.9, 0.5])), "got .*0.9"),
        (lambda: Schedule(np.array([1, -0.1])), "got .*-0.1"),
    ],
)
def test_errors_carry_the_value(call, value):
    with pytest.raises(ValueError, match=value):
        call()


def test_at_takes_one_step_or_one_an_image():
    schedule = Schedule.cosine(10)
    assert schedule.at(3) == schedule.at(np.int64(3)) == schedule.alpha_bar[3]
    for t in (np.array([0, 3, 10]), torch.tensor([0, 3, 10])):
        np.testing.assert_array_equal(schedule.at(t), schedule.alpha_bar[[0, 3, 10]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_broadcast_rounds_once_to_the_arrays_own_type(dtype):
    value = np.array([1 / 3, 0.1])
    for like in (np.zeros((2, 3, 4, 5), dtype), torch.zeros((2, 3, 4, 5), dtype=getattr(torch, dtype))):
        coefficient = broadcast(value, like)
        assert type(coefficient) is type(like)
        assert coefficient.dtype == like.dtype
        assert coefficient.shape == (2, 1, 1, 1)
        np.testing.assert_array_equal(np.asarray(coefficient).ravel(), value.astype(dtype))
        assert broadcast(0.1, like).shape == (1, 1, 1, 1)
