"""Codecs take a picture (B, 1, H, W) to the grid on which diffusion runs, and back; `CODECS` names them.

A codec is chosen by name, `CODECS["haar"]()`. The diffusion equations hold on its grid unchanged when it is
orthonormal: then white noise z ~ N(0, I) decodes to white noise, and distances on the grid are those between
pictures. `LEARNT` names one that is not, and that has to be loaded: a trained autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from array_api_compat import array_namespace
from jaxtyping import Float

from haarmony.codec.autoencoder import FACTOR, Autoencoder
from haarmony.codec.haar import Haar
from haarmony.codec.identity import Identity


@runtime_checkable
class Codec(Protocol):
    """`channels` values for each block of `factor` × `factor` pixels; arrays NumPy or torch."""

    @property
    def channels(self) -> int: ...

    @property
    def factor(self) -> int: ...

    @property
    def exact(self) -> bool:
        """Whether decoding is the inverse of encoding, both ways."""

    def encode(self, x: Float[Any, "b 1 H W"]) -> Float[Any, "b c h w"]: ...

    def decode(self, z: Float[Any, "b c h w"]) -> Float[Any, "b 1 H W"]: ...


CODECS: dict[str, Callable[[], Codec]] = {"haar": Haar, "identity": Identity}
"""Those that need no weights."""

LEARNT = "autoencoder"
"""The name of the one that does: `haarmony.engine.load_codec` loads it."""


def encode_channels(codec: Codec, x: Float[Any, "b k H W"]) -> Float[Any, "b c h w"]:
    """Pictures of K channels, each encoded on its own: (B, K, H, W) to (B, K · `codec.channels`, h, w)."""
    z = codec.encode(_reshape(x, len(x) * x.shape[1], 1))
    return _reshape(z, len(x), -1)


def decode_channels(codec: Codec, z: Float[Any, "b c h w"]) -> Float[Any, "b k H W"]:
    """The inverse of `encode_channels`."""
    x = codec.decode(_reshape(z, -1, codec.channels))
    return _reshape(x, len(z), -1)


def _reshape(x: Any, batch: int, channels: int) -> Any:
    return array_namespace(x).reshape(x, (batch, channels, *x.shape[-2:]))


__all__ = [
    "CODECS",
    "FACTOR",
    "LEARNT",
    "Autoencoder",
    "Codec",
    "Haar",
    "Identity",
    "decode_channels",
    "encode_channels",
]
