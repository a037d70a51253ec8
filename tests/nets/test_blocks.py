"""The attention against a plain reference, and the locality that lets a picture be tiled."""

import numpy as np
import pytest
import pywt
import torch
from torch.nn import functional as F  # noqa: N812

from haarmony.nets import Encoder, FusionNet, NetConfig
from haarmony.nets.blocks import (
    FeedForward,
    GatedConvolution,
    Norm,
    TimestepEmbedding,
    TransposedAttention,
    windowed_attention,
)
from haarmony.nets.cross_attention import CrossAttention
from haarmony.nets.wavelet import HaarTransformerBlock, TransformerBlock

SMALL = NetConfig(width=8, heads=2, condition_channels=8, step_width=8, denoiser_depth=1, refiner_depth=1)


def reference_attention(q, k, v, temperature, cell):
    """One position at a time: its four windows, each one's softmax(τ q̂ k̂ᵀ) v, bilinear weights."""
    _, channels, height, width = q.shape
    heads = len(temperature)
    size = channels // heads
    out = torch.zeros_like(v)
    for y in range(height):
        for x in range(width):
            i, j = y // cell, x // cell
            down, right = (y % cell + 0.5) / cell, (x % cell + 0.5) / cell
            for di, weight_i in ((0, 1 - down), (1, down)):
                for dj, weight_j in ((0, 1 - right), (1, right)):
                    rows = slice(max(0, (i + di - 1) * cell), (i + di + 1) * cell)
                    columns = slice(max(0, (j + dj - 1) * cell), (j + dj + 1) * cell)
                    for m in range(heads):
                        head = slice(m * size, (m + 1) * size)
                        q_w = F.normalize(q[0, head, rows, columns].flatten(1), dim=1)
                        k_w = F.normalize(k[0, head, rows, columns].flatten(1), dim=1)
                        attention = torch.softmax(temperature[m] * q_w @ k_w.T, dim=-1)
                        out[0, head, y, x] += weight_i * weight_j * attention @ v[0, head, y, x]
    return out


def test_windowed_attention_equals_the_reference():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 6, 8, 12, generator=generator, dtype=torch.float64) for _ in range(3))
    temperature = torch.tensor([0.7, 3.0], dtype=torch.float64)[:, None, None]
    got = windowed_attention(q, k, v, temperature, cell=4)
    torch.testing.assert_close(got, reference_attention(q, k, v, temperature, 4), rtol=1e-5, atol=1e-5)


def test_a_single_window_is_restormers_attention():
    # Where both halves of the picture are alike every window has the same statistics as the whole.
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 4, 4, 4, generator=generator).repeat(1, 1, 3, 3) for _ in range(3))
    temperature = torch.tensor([[[2.0]]])
    whole = torch.softmax(
        2.0 * F.normalize(q.flatten(2), dim=2) @ F.normalize(k.flatten(2), dim=2).mT, dim=-1
    )
    expected = (whole @ v.flatten(2)).view_as(v)
    torch.testing.assert_close(
        windowed_attention(q, k, v, temperature, cell=4), expected, rtol=1e-4, atol=1e-4
    )


def test_norm_gives_unit_root_mean_square_everywhere():
    x = torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(2)) * 100
    torch.testing.assert_close(Norm(16)(x).square().mean(1), torch.ones(2, 5, 7), rtol=1e-5, atol=1e-5)


def test_timestep_embedding_tells_neighbouring_steps_apart():
    torch.manual_seed(2)
    embedding = TimestepEmbedding(16)
    t = torch.tensor([1, 2, 500, 999, 1000])
    out = embedding(t)
    distances = torch.cdist(out, out) + torch.eye(5)
    assert distances.min() > 1e-3
    # Sinusoids of t at frequencies from 1 down to 1e-4.
    np.testing.assert_allclose(embedding.omega[[0, -1]], [1, 1e-4], rtol=1e-2)


SWITCHES = [{}, {"wavelet": False}, {"attention": False}, {"cross_attention": False}]


@pytest.mark.parametrize("switched", SWITCHES, ids=str)
def test_far_away_pixels_do_not_reach_a_position(switched):
    """What the encoder says of a crop is what it says of the whole, away from the crop's border."""
    torch.manual_seed(3)
    encoder = Encoder(SMALL.model_copy(update=switched)).eval()
    z = torch.randn(3, 1, 16, 96, 96)
    with torch.inference_mode():
        whole = encoder(*z)
        crop = encoder(*z[..., 16:80, 16:80])
    inner = slice(32 - 8, 32 + 8)
    torch.testing.assert_close(
        crop[..., inner, inner], whole[..., 16:80, 16:80][..., inner, inner], rtol=0, atol=1e-5
    )


def test_cross_attention_answers_with_the_other_modality():
    torch.manual_seed(4)
    cross = CrossAttention(8, heads=2)
    a, b, other = torch.randn(3, 1, 8, 16, 16)
    a_1, b_1 = cross(a, b)
    a_2, _ = cross(a, other)
    assert (a_1 - a_2).abs().max() > 1e-3
    with torch.no_grad():
        cross.ask_b.to_qkv.weight[16:] = 0  # b's values
        cross.ask_b.to_qkv.bias[16:] = 0
        cross.ask_b.local.bias[16:] = 0
        cross.ask_a.out.bias[:] = 0
    a_3, b_3 = cross(a, b)
    torch.testing.assert_close(a_3, a)
    torch.testing.assert_close(b_3, b_1)


@pytest.mark.parametrize(
    ("switched", "gone"),
    [
        ({"wavelet": False}, ".detail_"),
        ({"attention": False}, ".temperature"),
        ({"cross_attention": False}, "cross."),
    ],
)
def test_what_is_switched_off_is_not_there(switched, gone):
    names = [[*FusionNet(SMALL.model_copy(update=update)).encoder.state_dict()] for update in ({}, switched)]
    whole, part = (
        [name for name in one if gone in name and "cross." not in name.replace(gone, "")] for one in names
    )
    assert whole
    assert not part


def test_without_a_refiner_the_estimate_is_the_result():
    net = FusionNet(SMALL.model_copy(update={"refiner_depth": 0}))
    z = torch.randn(1, 16, 8, 8)
    assert net.refiner(z, torch.zeros(1, 56, 8, 8), torch.tensor([7])) is z
    assert not list(net.refiner.parameters())


def test_feed_forward_is_its_formula():
    """W_out (GELU(D_1 W_1 x) ⊙ D_2 W_2 x): the first half of the channels is the gate."""
    torch.manual_seed(7)
    block, x = FeedForward(6), torch.randn(2, 6, 5, 7)
    gate, value = block.local(block.into(x)).chunk(2, dim=1)
    torch.testing.assert_close(block(x), block.out(F.gelu(gate) * value))


def test_the_haar_block_attends_to_the_low_band_and_gates_the_details():
    """Before its feed-forward, on PyWavelets' bands: LL by attention alone, each detail band by its gate."""
    torch.manual_seed(8)
    block, x = HaarTransformerBlock(4, heads=2), torch.randn(1, 4, 16, 24)
    with torch.no_grad():
        for parameter in block.feed_forward.out.parameters():
            parameter.zero_()
        ll, hl_lh_hh = pywt.dwt2(block.norm(x).numpy(), "haar")
        hl, lh, hh = map(torch.from_numpy, hl_lh_hh)
        details = torch.cat([lh, hl, hh], dim=1)
        gated = block.detail_out(F.gelu(block.detail_gate(details)) * block.detail_value(details))
        added_ll, (added_hl, added_lh, added_hh) = pywt.dwt2((block(x) - x).numpy(), "haar")
        torch.testing.assert_close(torch.from_numpy(added_ll), block.attention(torch.from_numpy(ll)))
        torch.testing.assert_close(torch.from_numpy(np.concatenate([added_lh, added_hl, added_hh], 1)), gated)


def test_every_weight_of_the_blocks_matters():
    torch.manual_seed(5)
    blocks = [HaarTransformerBlock(8, heads=2), TransposedAttention(8, heads=2), TransformerBlock(8, heads=2)]
    for block in (*blocks, GatedConvolution(8)):
        block(torch.randn(1, 8, 32, 32)).square().sum().backward()
        unused = [
            name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
        ]
        assert unused == []


def test_untrained_denoiser_answers_with_the_maximum_and_the_refiner_with_its_input():
    torch.manual_seed(6)
    net = FusionNet(SMALL)
    z, condition, t = torch.randn(2, 16, 8, 8), torch.randn(2, 8 + 48, 8, 8), torch.tensor([1, 1000])
    torch.testing.assert_close(net.denoiser(z, condition, t), condition[:, -16:])
    assert torch.equal(net.refiner(z, condition, t), z)
