"""Codecs take a picture (B, 1, H, W) to the grid on which diffusion runs, and back; `CODECS` names them.

A codec is chosen by name, `CODECS["haar"]()`. The diffusion equations hold on its grid unchanged when it is
orthonormal: then white noise z ~ N(0, I) decodes to white noise, and distances on the grid are those between
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Float

from haarmony.codec.haar import Haar
from haarmony.codec.identity import Identity


class Codec(Protocol):
    """`channels` values for each block of `factor` × `factor` pixels; arrays NumPy or torch."""

    @property
    def channels(self) -> int: ...

    @property
    def factor(self) -> int: ...

    def encode(self, x: Float[Any, "b 1 H W"]) -> Float[Any, "b c h w"]: ...

    def decode(self, z: Float[Any, "b c h w"]) -> Float[Any, "b 1 H W"]: ...


CODECS: dict[str, Callable[[], Codec]] = {"haar": Haar, "identity": Identity}

__all__ = ["CODECS", "Codec", "Haar", "Identity"]
