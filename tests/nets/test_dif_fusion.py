"""Dif-Fusion's network: size, what it observes, what it starts as, how far it looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from haarmony.diffusion import Process, Schedule
from haarmony.nets import DifFusionConfig, DifFusionNet, UNet
from haarmony.nets.unet import SelfAttention

STEPS = (5, 50, 100)
SMALL = DifFusionConfig(width=8, multipliers=(1, 2), heads=2, window=2, head_width=8, head_depth=2)
PROCESS = Process(Schedule.linear(1000))


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(module, seed=0):
    """The module with all its weights drawn anew, so that none is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture
def unet():
    """A denoiser as a run leaves it."""
    net = stirred(UNet(SMALL))
    rng = np.random.default_rng(0)
    net.precondition(PROCESS, "v", rng.normal(size=64), rng.uniform(0.1, 1, 64))
    return net


@pytest.fixture
def net(unet):
    net = DifFusionNet(SMALL, STEPS)
    net.observer.load_denoiser(unet, PROCESS, "v")
    return net


def test_the_shipped_size():
    net = DifFusionNet(DifFusionConfig(multipliers=(1, 2, 2), window=8, timesteps=2000), STEPS)
    weights = {part: sum(p.numel() for p in getattr(net, part).parameters()) for part in ("observer", "head")}
    assert weights == {"observer": 1_227_552, "head": 213_536}
    stored = sum(x.numel() for x in net.state_dict().values())
    assert stored - sum(weights.values()) == 5 * 3 * 64  # of 2001 rows of coefficients three are kept


def test_the_estimate_is_the_one_step_estimate_of_the_denoiser(unet, net):
    x_t, k = drawn(3, 64, 4, 8), torch.tensor([0, 1, 2])
    t = torch.tensor(STEPS)
    expected = PROCESS.x_0_from(unet(x_t, t), x_t, t, "v")
    features = net.observer(x_t, k)
    assert features.shape == (3, 64 + 16 + 8, 4, 8) == (3, SMALL.features, 4, 8)
    torch.testing.assert_close(features[:, :64], expected, rtol=1e-4, atol=1e-4)


def test_the_other_features_are_the_levels_on_the_way_up(unet, net):
    x_t, t = drawn(1, 64, 4, 4), torch.tensor([50])
    seen = []
    for block in unet.up:
        block.register_forward_hook(lambda module, given, out: seen.append(out))
    unet(x_t, t)
    low, first = seen[1], seen[-1]  # two blocks, up, two blocks
    assert (low.shape, first.shape) == ((1, 16, 2, 2), (1, 8, 4, 4))
    features = net.observer(x_t, torch.tensor([1]))
    torch.testing.assert_close(features[:, 64:80], low.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(features[:, 80:], first)
    assert torch.equal(net.observer(x_t, torch.tensor([1])), features)


def test_untrained_it_answers_with_the_visible_picture(net):
    x_t = drawn(2, 3 * 64, 4, 4)
    estimate = net.observer(x_t[:, :64], torch.tensor([0, 0]))[:, :48]
    torch.testing.assert_close(net(x_t), estimate)


def test_the_head_sees_every_step_and_learns_alone(net):
    stirred(net.head)
    x_t = drawn(2, 3 * 64, 4, 4)
    fused = net(x_t)
    for k in range(3):
        changed = x_t.clone()
        changed[:, 64 * k] += 1
        assert (net(changed) - fused).abs().max() > 1e-3
    fused.square().sum().backward()
    assert [name for name, p in net.head.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert [name for name, p in net.observer.named_parameters() if p.grad is not None] == []


def test_what_is_far_away_changes_nothing(net):
    stirred(net.head)
    x_t = drawn(1, 3 * 64, 8, 160)
    changed = x_t.clone()
    changed[..., 0] += 1
    moved = (net(changed) - net(x_t)).abs().amax((0, 1, 2)).detach().numpy()
    assert moved[:8].min() > 1e-4
    assert moved[48:].max() < 1e-6
    whole = DifFusionNet(SMALL.model_copy(update={"window": 0}), STEPS)
    whole.load_state_dict(net.state_dict())
    moved = (whole(changed) - whole(x_t)).abs().amax((0, 1, 2))
    assert moved[48:].max() > 1e-5  # its attention sees all


def test_attention_in_windows_is_attention_to_each():
    alone, windowed = SelfAttention(8, heads=2), SelfAttention(8, heads=2, window=4)
    windowed.load_state_dict(stirred(alone).state_dict())
    x, time = drawn(2, 8, 8, 4), drawn(2, 1)
    expected = torch.cat([alone(half, time) for half in x.split(4, dim=2)], dim=2)
    torch.testing.assert_close(windowed(x, time), expected)
    torch.testing.assert_close(windowed(x[:, :, :4], time), alone(x[:, :, :4], time))
    assert not torch.allclose(windowed(x, time), alone(x, time), atol=1e-4)
    q, k, v = (
        part.reshape(2, 2, 4, 16).mT for part in windowed.to_qkv(windowed.norm(x[:, :, 4:])).chunk(3, dim=1)
    )
    attended = F.scaled_dot_product_attention(q, k, v).mT.reshape(2, 8, 4, 4)
    torch.testing.assert_close(windowed(x, time)[:, :, 4:], x[:, :, 4:] + windowed.out(attended))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="latent_channels = 18 is no multiple of 4"):
        DifFusionConfig(latent_channels=18)
    assert SMALL.factor == 4
    assert DifFusionConfig(window=8).factor == 32
