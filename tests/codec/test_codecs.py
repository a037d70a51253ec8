import numpy as np
import pytest

from haarmony.codec import CODECS


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
