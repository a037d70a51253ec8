"""Every coefficient and whole trajectories against the schedulers of `diffusers`, whose t is ours − 1."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from haarmony.diffusion import SPACINGS, Process, Schedule, sample

T = 1000
SCHEDULES = {
    "linear": (Schedule.linear(T, 1e-4, 0.02), {"beta_schedule": "linear", "beta_end": 0.02}),
    "cosine": (Schedule.cosine(T), {"beta_schedule": "squaredcos_cap_v2"}),
}
ZEROS = {
    f"{name}, zero": (schedule.zero_terminal_snr(), options | {"rescale_betas_zero_snr": True})
    for name, (schedule, options) in SCHEDULES.items()
}
KINDS = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
VARIANCES = {"beta": "fixed_large", "beta_tilde": "fixed_small"}


def float64_betas(options):
    """The betas that `diffusers` computes, less its rounding to float32 (1 − 0.999 loses four digits)."""
    if options["beta_schedule"] == "linear":
        betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    else:
        cosine = [np.cos((i / T + 0.008) / 1.008 * np.pi / 2) ** 2 for i in range(T + 1)]
        betas = torch.tensor(
            [min(1 - cosine[i + 1] / cosine[i], 0.999) for i in range(T)], dtype=torch.float64
        )
    return rescale_zero_terminal_snr(betas) if options.get("rescale_betas_zero_snr") else betas


def make(cls, options, **more):
    scheduler = cls(T, **{"clip_sample": False, "timestep_spacing": "trailing"} | options | more)
    exact = float64_betas(options)
    assert torch.allclose(exact.float(), scheduler.betas, rtol=0, atol=1e-5)
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = (
        exact,
        1 - exact,
        torch.cumprod(1 - exact, 0),
    )
    return scheduler


def draw(seed, shape=(2, 1, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x_t, t):
    """Any function of x_t and t will do; t counts from 1."""
    return torch.tanh(1.3 * x_t + t / T) - 0.2


def assert_same_trajectory(ours, scheduler, x_T, **step_options):
    """Every x and estimate of x_0 in `ours` is what `scheduler` makes of the same network."""
    x_t = x_T
    for (_, _, x, x_0), t in zip(ours, scheduler.timesteps.tolist()[: len(ours)], strict=True):
        step = scheduler.step(network(x_t, t + 1), t, x_t, **step_options)
        x_t = step.prev_sample
        for mine, theirs in ((x, x_t), (x_0, step.pred_original_sample)):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES | ZEROS)
def test_coefficients(name):
    schedule, options = (SCHEDULES | ZEROS)[name]
    # Their own float32 tables, as they come.
    scheduler = DDPMScheduler(T, **options)
    np.testing.assert_allclose(schedule.beta[1:], scheduler.betas, rtol=0, atol=1e-5)
    np.testing.assert_allclose(schedule.alpha_bar[1:], scheduler.alphas_cumprod, rtol=0, atol=1e-5)
    np.testing.assert_allclose(schedule.beta[1:], float64_betas(options), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_variances(name, variance):
    schedule, options = SCHEDULES[name]
    scheduler = DDPMScheduler(T, variance_type=VARIANCES[variance], **options)
    for t in range(2, T + 1, 3):
        ours = Process(schedule).variance(t, t - 1, variance)
        assert ours == pytest.approx(scheduler._get_variance(t - 1).item(), rel=0, abs=1e-5)


@pytest.mark.parametrize("name", SCHEDULES | ZEROS)
def test_diffusing_and_velocity(name):
    schedule, options = (SCHEDULES | ZEROS)[name]
    scheduler, process = make(DDPMScheduler, options), Process(schedule)
    x_0, eps, t = draw(1), draw(2), torch.tensor([37, T])
    torch.testing.assert_close(
        process.diffuse(x_0, eps, t), scheduler.add_noise(x_0, eps, t - 1), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(
        process.target("v", x_0, eps, t), scheduler.get_velocity(x_0, eps, t - 1), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [2, 3, 4, 7, 10, 50, 333, 999, 1000])
def test_timesteps(spacing, steps):
    scheduler = DDIMScheduler(T, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    assert [t - 1 for t in Schedule.linear(T).timesteps(steps, spacing)] == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_ddpm_trajectory(name, kind, variance, spacing):
    schedule, options = SCHEDULES[name]
    scheduler = make(
        DDPMScheduler,
        options,
        prediction_type=KINDS[kind],
        variance_type=VARIANCES[variance],
        timestep_spacing=spacing,
    )
    # Their previous step is t − T / 10, whatever the spacing, unless the steps are named.
    steps = schedule.timesteps(10, spacing)
    scheduler.set_timesteps(timesteps=[t - 1 for t in steps])
    # They draw noise in a long last step to the clean picture (trailing); DDPM's algorithm 2 has z = 0.
    ends_noisy = steps[-1] > 1 and variance == "beta"
    generator, same = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    ours = sample(
        network,
        draw(3),
        process=Process(schedule),
        kind=kind,
        steps=10,
        spacing=spacing,
        sampler="ddpm",
        variance=variance,
        noise=lambda i, shape: torch.randn(shape, generator=generator, dtype=torch.float64),
    )
    ours = list(ours)[: 9 if ends_noisy else 10]
    assert_same_trajectory(ours, scheduler, draw(3), generator=same)


@pytest.mark.parametrize("steps", [1, 7, 64])
def test_ddpm_trajectory_with_steps_of_unequal_length(steps):
    schedule, options = SCHEDULES["linear"]
    scheduler = make(DDPMScheduler, options)
    scheduler.set_timesteps(timesteps=[t - 1 for t in schedule.timesteps(steps)])
    generator, same = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    ours = sample(
        network,
        draw(3),
        process=Process(schedule),
        kind="eps",
        steps=steps,
        sampler="ddpm",
        variance="beta_tilde",
        noise=lambda i, shape: torch.randn(shape, generator=generator, dtype=torch.float64),
    )
    assert_same_trajectory(list(ours), scheduler, draw(3), generator=same)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in SCHEDULES for kind in KINDS]
    + [(name, kind) for name in ZEROS for kind in ("v", "x_0")],
)
def test_ddim_trajectory(name, kind, eta):
    schedule, options = (SCHEDULES | ZEROS)[name]
    scheduler = make(DDIMScheduler, options, prediction_type=KINDS[kind])
    scheduler.set_timesteps(10)
    generator, same = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    ours = sample(
        network,
        draw(3),
        process=Process(schedule),
        kind=kind,
        steps=10,
        eta=eta,
        noise=lambda i, shape: torch.randn(shape, generator=generator, dtype=torch.float64),
    )
    assert_same_trajectory(list(ours), scheduler, draw(3), eta=eta, generator=same)


def test_refined_trajectory_recomputes_eps():
    # Their clipping with `use_clipped_model_output` is a refiner that clamps.
    schedule, options = ZEROS["cosine, zero"]
    scheduler = make(
        DDIMScheduler, options, prediction_type="v_prediction", clip_sample=True, clip_sample_range=0.4
    )
    scheduler.set_timesteps(10)
    ours = sample(
        network,
        draw(3),
        process=Process(schedule),
        kind="v",
        steps=10,
        refine=lambda x_0, t: x_0.clamp(-0.4, 0.4),
    )
    assert_same_trajectory(list(ours), scheduler, draw(3), use_clipped_model_output=True)
