"""The autoencoder: its size, its linear start, KL against an integral, standardised latents, locality."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from haarmony.nets import AutoencoderConfig, AutoencoderNet
from haarmony.nets.autoencoder import kl_to_standard_normal

SMALL = AutoencoderConfig(latent_channels=3, width=8)


def stirred(net, seed=0):
    """The network with all its weights drawn anew, so that none is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def pictures(*shape, seed=1):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


def test_the_default_size():
    net = AutoencoderNet(AutoencoderConfig())
    assert sum(p.numel() for p in net.parameters()) == 232_164


def test_shapes():
    net = stirred(AutoencoderNet(SMALL))
    mean, log_variance = net.encoder(pictures(2, 1, 20, 36))
    assert mean.shape == log_variance.shape == net.encode(pictures(2, 1, 20, 36)).shape == (2, 3, 5, 9)
    assert net.decode(mean).shape == (2, 1, 20, 36)


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.2), (2.0, -6.0)])
def test_kl_is_the_integral_of_its_definition(mean, log_variance):
    sigma = np.exp(log_variance / 2)
    z = np.linspace(mean - 12 * sigma, mean + 12 * sigma, 200_001)
    log_q = -0.5 * ((z - mean) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    log_p = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
    found = kl_to_standard_normal(*(torch.tensor(x, dtype=torch.float64) for x in (mean, log_variance)))
    assert found.item() == pytest.approx(expected, abs=1e-9)
    assert found.item() >= 0


def test_it_starts_as_a_linear_autoencoder():
    """Untrained, blocks of 4×4 pixels do not meet, and sums of pictures give sums of latents."""
    net = AutoencoderNet(SMALL)
    with torch.no_grad():
        for bias in (net.encoder.linear.bias, net.encoder.out.bias):
            bias.zero_()
    x, y = pictures(2, 1, 1, 16, 16)
    torch.testing.assert_close(net.encode(2 * x + y), 2 * net.encode(x) + net.encode(y), rtol=1e-4, atol=1e-5)
    changed = x.clone()
    changed[..., 4:8, 8:12] += 0.5
    moved = (net.encode(changed) - net.encode(x)).abs().amax((0, 1))
    assert moved[1, 2] > 1e-3
    moved[1, 2] = 0
    assert not moved.any()


def test_a_linear_path_of_the_right_weights_is_the_identity():
    net = AutoencoderNet(AutoencoderConfig(latent_channels=16, width=8))
    with torch.no_grad():
        for convolution in (net.encoder.linear, net.decoder.linear):
            convolution.weight.copy_(torch.eye(16, 16).repeat(2, 1)[: len(convolution.weight), :, None, None])
        for part in (net.encoder, net.decoder):
            part.linear.bias.zero_()
            part.out.bias.zero_()
    x = pictures(2, 1, 12, 20)
    torch.testing.assert_close(net.decode(net.encode(x)), x)


def test_standardised_latents_have_mean_0_and_variance_1_and_decode_alike():
    net, x = stirred(AutoencoderNet(SMALL)), [pictures(2, 1, 32, 24), pictures(1, 1, 16, 40, seed=2)]
    before = net.decode(net.encode(x[0]))
    net.standardise(x)
    z = torch.cat([net.encode(one).transpose(0, 1).flatten(1) for one in x], 1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.var(1, correction=0), torch.ones(3), rtol=1e-4, atol=0)
    torch.testing.assert_close(net.decode(net.encode(x[0])), before, rtol=1e-3, atol=1e-3)
    assert {"shift", "scale"} <= set(net.state_dict())


def test_a_channel_that_says_nothing_is_not_blown_up():
    net = AutoencoderNet(SMALL)
    with torch.no_grad():
        net.encoder.linear.weight[0] = 0
    net.standardise([pictures(1, 1, 16, 16)])
    assert net.scale[0].item() == pytest.approx(1e-3)
    assert torch.isfinite(net.encode(pictures(1, 1, 16, 16, seed=3))).all()


def test_a_crop_encodes_and_decodes_as_the_whole():
    net, x = stirred(AutoencoderNet(SMALL)), pictures(1, 1, 96, 96)
    whole, crop = net.encode(x), net.encode(x[..., 16:80, 16:80])
    torch.testing.assert_close(crop[..., 6:10, 6:10], whole[..., 10:14, 10:14], rtol=1e-3, atol=1e-4)
    whole, crop = net.decode(whole), net.decode(whole[..., 4:20, 4:20])
    torch.testing.assert_close(crop[..., 28:36, 28:36], whole[..., 44:52, 44:52], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_row_depends_on_3_depth_plus_2_rows_on_either_side(depth):
    """What `haarmony.engine` cuts strips by."""
    net, reach = stirred(AutoencoderNet(SMALL.model_copy(update={"depth": depth}))), 3 * depth + 2
    x = pictures(1, 1, 96, 8).requires_grad_()
    net.encode(x)[:, :, 12].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).reshape(24, 4).sum(1).nonzero().flatten()
    assert (rows.min(), rows.max()) == (12 - reach, 12 + reach)
    z = pictures(1, 3, 24, 2).requires_grad_()
    net.decode(z)[:, :, 48:52].sum().backward()
    rows = z.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (rows.min(), rows.max()) == (12 - reach, 12 + reach)


def test_every_weight_learns():
    net = stirred(AutoencoderNet(SMALL))
    mean, log_variance = net.encoder(pictures(2, 1, 16, 16))
    (net.decoder(mean).square().sum() + log_variance.sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sizes_that_make_no_network_are_refused():
    for key in ("latent_channels", "width", "depth"):
        with pytest.raises(ValidationError, match=key):
            AutoencoderConfig(**{key: 0})
