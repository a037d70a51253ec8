"""The U-Net: sizes, what it starts as, its attention against torch's, every picture on its own."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from haarmony.diffusion import Process, Schedule
from haarmony.nets import UNet, UNetConfig
from haarmony.nets.unet import ResidualBlock, SelfAttention

SMALL = UNetConfig(latent_channels=4, width=8, multipliers=(1, 2), heads=2)
COSINE = Process(Schedule.cosine(1000))
MEAN, STD = np.array([-2.0, 0, 0.1, 0]), np.array([2.0, 0.4, 0.1, 0.05])


def stirred(module, seed=0):
    """The module with all its weights drawn anew, so that none is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_shipped_size():
    net = UNet(UNetConfig())
    assert sum(p.numel() for p in net.parameters()) == 1_921_520
    assert UNetConfig().factor == 4


def test_untrained_it_predicts_nothing():
    net = UNet(SMALL)
    assert not net(noise(2, 4, 8, 12), torch.tensor([1, 1000])).any()


@pytest.mark.parametrize("kind", ["eps", "x_0", "v"])
def test_untrained_but_preconditioned_it_is_the_best_for_gaussian_bands(kind):
    net = UNet(SMALL)
    net.precondition(COSINE, kind, MEAN, STD)
    t = torch.tensor([1, 300, 999])
    z, a = noise(3, 4, 8, 8), COSINE.schedule.at(t)[:, None, None, None]
    mean, std = MEAN[:, None, None], STD[:, None, None]
    expected = mean + np.sqrt(a) * std**2 / (a * std**2 + 1 - a) * (z.numpy() - np.sqrt(a) * mean)
    x_0 = COSINE.x_0_from(net(z, t).double(), z.double(), t, kind)
    np.testing.assert_allclose(x_0.detach(), expected, atol=5e-3 if kind == "eps" else 1e-5)


def test_preconditioned_blocks_see_and_give_numbers_of_unit_variance():
    net = UNet(SMALL)
    net.precondition(COSINE, "v", MEAN, STD)
    rng = np.random.default_rng(0)
    x_0 = MEAN[:, None, None] + STD[:, None, None] * rng.standard_normal((1, 4, 200, 200))
    eps = rng.standard_normal(x_0.shape)
    for t in (5, 300, 900):
        x_t, target = COSINE.diffuse(x_0, eps, t), COSINE.target("v", x_0, eps, t)
        tables = (net.scale_in, net.shift_in, net.gain, net.shift, net.scale)
        scale_in, shift_in, gain, shift, scale = (x[t].numpy()[:, None, None] for x in tables)
        for seen in (scale_in * x_t + shift_in, (target - gain * x_t - shift) / scale):
            np.testing.assert_allclose(seen.mean((0, 2, 3)), 0, atol=0.03)
            np.testing.assert_allclose(seen.std((0, 2, 3)), 1, atol=0.03)


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (6, 10)])
def test_pictures_of_a_batch_do_not_meet(size):
    net, z, t = stirred(UNet(SMALL)), noise(3, 4, *size), torch.tensor([1, 500, 1000])
    together = net(z, t)
    assert together.shape == z.shape
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], net(z[k : k + 1], t[k : k + 1]), rtol=1e-4, atol=1e-5)
    assert (net(z, t.flip(0))[[0, 2]] - together[[0, 2]]).abs().amax() > 1e-3


def test_every_weight_learns():
    net = stirred(UNet(SMALL))
    net(noise(2, 4, 8, 8), torch.tensor([5, 900])).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_attention_is_torchs():
    block, x = stirred(SelfAttention(8, heads=2)), noise(2, 8, 3, 5)
    q, k, v = (
        part.reshape(2, 2, 4, 15).transpose(2, 3) for part in block.to_qkv(block.norm(x)).chunk(3, dim=1)
    )
    expected = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(2, 8, 3, 5)
    torch.testing.assert_close(block(x, noise(2, 1)), x + block.out(expected))


def test_a_residual_block_starts_as_its_short_cut():
    time, x = noise(2, 16), noise(2, 4, 6, 6)
    assert torch.equal(ResidualBlock(4, 4, time_channels=16)(x, time), x)
    block = ResidualBlock(4, 6, time_channels=16)
    assert torch.equal(block(x, time), block.past(x))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads = 3 does not divide the lowest level's 16 channels"):
        UNetConfig(width=8, multipliers=(1, 2), heads=3)
    with pytest.raises(ValueError, match="multipliers must be at least 1"):
        UNetConfig(multipliers=(1, 0))
