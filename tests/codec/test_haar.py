import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from haarmony.codec.haar import Haar, depth_to_space, dwt, idwt, space_to_depth


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_one_block_by_hand():
    bands = dwt(np.array([[[[1.0, 2], [4, 8]]]]))
    assert [band.item() for band in bands] == [7.5, -2.5, -4.5, 1.5]
    np.testing.assert_array_equal(idwt(*bands), [[[[1, 2], [4, 8]]]])


def test_bands_are_those_of_pywavelets():
    x = normal(2, 3, 12, 20)
    ll, (hl, lh, hh) = pywt.dwt2(x, "haar")
    for ours, theirs in zip(dwt(x), (ll, lh, hl, hh), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(idwt(ll, lh, hl, hh), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_channels_are_the_pyramid_of_pywavelets_from_coarse_to_fine(levels):
    x = normal(2, 1, 24, 40)
    ll, *details = pywt.wavedec2(x, "haar", level=levels)
    channels = [ll]
    for i, (hl, lh, hh) in enumerate(details):
        phases = range(2**i)
        channels += [band[..., r :: 2**i, c :: 2**i] for band in (lh, hl, hh) for r in phases for c in phases]
    np.testing.assert_allclose(Haar(levels).encode(x), np.concatenate(channels, axis=1), rtol=0, atol=1e-12)


@given(
    levels=st.integers(1, 4),
    b=st.integers(1, 3),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    torch_too=st.booleans(),
)
@settings(deadline=None)
def test_inverse_is_exact_and_energy_is_kept(levels, b, h, w, torch_too):
    codec = Haar(levels)
    x = normal(b, 1, h * codec.factor, w * codec.factor)
    z = codec.encode(torch.from_numpy(x) if torch_too else x)
    assert z.shape == (b, codec.channels, h, w)
    np.testing.assert_allclose(codec.decode(z), x, rtol=0, atol=1e-12)
    assert float((z**2).sum()) == pytest.approx((x**2).sum(), rel=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_white_noise_stays_white(levels):
    # The columns are what each pixel becomes: z = M x has covariance M Mᵀ where x has I.
    codec = Haar(levels)
    n = 8 * 16
    M = codec.encode(np.eye(n).reshape(n, 1, 8, 16)).reshape(n, n).T
    np.testing.assert_allclose(M @ M.T, np.eye(n), rtol=0, atol=1e-12)
    inverse = codec.decode(np.eye(n).reshape(n, codec.channels, 8 // codec.factor, 16 // codec.factor))
    np.testing.assert_allclose(inverse.reshape(n, n), M, rtol=0, atol=1e-12)


def test_the_range_of_ll_is_that_of_the_pixels_times_the_factor():
    z = Haar().encode(np.ones((1, 1, 8, 8)))
    np.testing.assert_array_equal(z[:, 0], 4)
    np.testing.assert_array_equal(z[:, 1:], 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_equals_numpy_and_keeps_the_type(dtype):
    x = normal(2, 1, 16, 24).astype(dtype)
    z, tensor = Haar().encode(x), Haar().encode(torch.from_numpy(x))
    assert z.dtype == dtype
    assert tensor.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(tensor.numpy(), z)
    np.testing.assert_array_equal(Haar().decode(tensor).numpy(), Haar().decode(z))


def test_space_to_depth_is_pixel_unshuffle():
    x = torch.from_numpy(normal(2, 3, 8, 12))
    z = torch.nn.functional.pixel_unshuffle(x, 4)
    assert torch.equal(space_to_depth(x, 4), z)
    assert torch.equal(depth_to_space(z, 4), x)


def test_gradients_pass():
    x = torch.from_numpy(normal(1, 1, 8, 8)).requires_grad_()
    (Haar().encode(x) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 10, 12), (1, 1, 12, 1)])
def test_sizes_that_do_not_divide(shape):
    with pytest.raises(ValueError, match=f"multiples of 4, got {shape[2]}×{shape[3]}"):
        Haar().encode(np.zeros(shape))


def test_errors_carry_the_value():
    with pytest.raises(ValueError, match="multiples of 2, got 4×5"):
        dwt(np.zeros((1, 1, 4, 5)))
    with pytest.raises(ValueError, match="multiples of 4, got 4×6"):
        space_to_depth(np.zeros((1, 1, 4, 6)), 4)
    with pytest.raises(ValueError, match="16 channels, got 4"):
        Haar().decode(np.zeros((1, 4, 2, 2)))
    with pytest.raises(ValueError, match="got 0"):
        Haar(0)
