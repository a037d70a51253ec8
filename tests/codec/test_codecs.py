import numpy as np
import pytest

from haarmony.codec import CODECS, decode_channels, encode_channels


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_comes_back_and_keeps_energy(name):
    codec = CODECS[name]()
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 32))
    z = codec.encode(x)
    assert z.shape == (2, codec.channels, 16 // codec.factor, 32 // codec.factor)
    np.testing.assert_allclose(codec.decode(z), x, rtol=0, atol=1e-12)
    assert (z**2).sum() == pytest.approx((x**2).sum(), rel=1e-12)


def test_names_and_sizes():
    sizes = {name: (make().channels, make().factor) for name, make in CODECS.items()}
    assert sizes == {"haar": (16, 4), "identity": (1, 1)}


@pytest.mark.parametrize("name", CODECS)
def test_channels_are_encoded_one_by_one(name):
    codec = CODECS[name]()
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 16))
    z = encode_channels(codec, x)
    expected = np.concatenate([codec.encode(x[:, k : k + 1]) for k in range(3)], axis=1)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_allclose(decode_channels(codec, z), x, rtol=0, atol=1e-12)
