"""The codec around two trained networks, and the settings that name it."""

import numpy as np
import pytest

from haarmony.codec import CODECS, FACTOR, Autoencoder, Codec, Haar
from haarmony.diffusion.config import DiffusionConfig

HAAR = Haar()
CODEC = Autoencoder(HAAR.encode, HAAR.decode, 16)


def test_it_is_what_its_networks_are():
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 32))
    assert isinstance(CODEC, Codec)
    np.testing.assert_array_equal(CODEC.encode(x), HAAR.encode(x))
    np.testing.assert_allclose(CODEC.decode(CODEC.encode(x)), x, atol=1e-12)
    assert (CODEC.factor, FACTOR) == (4, 4)
    assert [CODECS[name]().exact for name in CODECS] == [True, True]
    assert not CODEC.exact


def test_shapes_that_do_not_fit_are_refused_as_by_haar():
    for codec in (CODEC, HAAR):
        with pytest.raises(ValueError, match="must be multiples of 4, got 16×18"):
            codec.encode(np.zeros((1, 1, 16, 18)))
    with pytest.raises(ValueError, match="the autoencoder has 16 channels, got 3"):
        CODEC.decode(np.zeros((1, 3, 4, 4)))


def test_settings_say_its_size_before_it_is_loaded():
    config = DiffusionConfig(codec="autoencoder", autoencoder="mine", autoencoder_channels=5)
    assert (config.channels, config.factor) == (5, 4)
    with pytest.raises(ValueError, match="is the autoencoder 'mine': load it"):
        config.make_codec()
    for name, sizes in {"haar": (16, 4), "identity": (1, 1)}.items():
        config = DiffusionConfig(codec=name)
        assert (config.channels, config.factor) == sizes
        assert config.make_codec() == CODECS[name]()


@pytest.mark.parametrize(
    "keys",
    [
        {"codec": "autoencoder"},
        {"codec": "autoencoder", "autoencoder": "mine"},
        {"codec": "autoencoder", "autoencoder_channels": 4},
        {"codec": "haar", "autoencoder": "mine"},
        {"codec": "identity", "autoencoder_channels": 4},
    ],
)
def test_its_keys_come_together_or_not_at_all(keys):
    with pytest.raises(ValueError, match="belong to codec = 'autoencoder', which needs both"):
        DiffusionConfig(**keys)


def test_an_unknown_codec_is_named_beside_the_known():
    with pytest.raises(ValueError, match="unknown codec 'jpeg': choose one of autoencoder, haar, identity"):
        DiffusionConfig(codec="jpeg")
