"""The orthonormal Haar transform, and the lossless codec made of it.

One level takes every 2×2 block of pixels [[p, q], [r, s]] to four numbers, a_k = (s_2k + s_2k+1)/√2 and
d_k = (s_2k − s_2k+1)/√2 along both axes; the first letter is the filter along H, the second along W:

    ll = (p + q + r + s)/2    lh = (p − q + r − s)/2    hl = (p + q − r − s)/2    hh = (p − q − r + s)/2

(PyWavelets' `dwt2(x, "haar")` returns them as `ll, (hl, lh, hh)`.) The matrix is orthonormal and its own
inverse: energy is kept and white noise stays white. It is all adds, slices and reshapes, on NumPy or torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace
from jaxtyping import Float


def dwt(
    x: Float[Any, "b c H W"],
) -> tuple[Float[Any, "b c h w"], Float[Any, "b c h w"], Float[Any, "b c h w"], Float[Any, "b c h w"]]:
    """One level, channel by channel: (B, C, H, W) to the bands ll, lh, hl, hh, each (B, C, H/2, W/2).

    Raises:
        ValueError: H or W is odd.
    """
    check_divisible(x, 2)
    xp = array_namespace(x)
    b, c, h, w = x.shape[0], x.shape[1], x.shape[2] // 2, x.shape[3] // 2
    # ONNX Runtime takes one transpose and whole slices more quickly than strided slices.
    blocks = xp.permute_dims(xp.reshape(x, (b, c, h, 2, w, 2)), (3, 5, 0, 1, 2, 4))
    left, right = blocks[:, 0, ...], blocks[:, 1, ...]
    low_left, high_left = (left[0, ...] + left[1, ...]) * 0.5, (left[0, ...] - left[1, ...]) * 0.5
    low_right, high_right = (right[0, ...] + right[1, ...]) * 0.5, (right[0, ...] - right[1, ...]) * 0.5
    return low_left + low_right, low_left - low_right, high_left + high_right, high_left - high_right


def idwt(
    ll: Float[Any, "b c h w"],
    lh: Float[Any, "b c h w"],
    hl: Float[Any, "b c h w"],
    hh: Float[Any, "b c h w"],
) -> Float[Any, "b c H W"]:
    """The inverse of `dwt`: four bands (B, C, h, w) to (B, C, 2h, 2w)."""
    xp = array_namespace(ll)
    b, c, h, w = ll.shape
    low_left, low_right, high_left, high_right = ll + lh, ll - lh, hl + hh, hl - hh
    top = xp.stack((low_left + high_left, low_right + high_right), axis=-1)  # (B, C, h, w, 2)
    bottom = xp.stack((low_left - high_left, low_right - high_right), axis=-1)
    return xp.reshape(xp.stack((top, bottom), axis=3), (b, c, 2 * h, 2 * w)) * 0.5


def space_to_depth(x: Float[Any, "b c H W"], factor: int) -> Float[Any, "b C h w"]:
    """(B, C, H, W) to (B, C·factor², H/factor, W/factor), channels in the order (c, row, column).

    Raises:
        ValueError: H or W is not a multiple of `factor`.
    """
    check_divisible(x, factor)
    xp = array_namespace(x)
    b, c, h, w = x.shape[0], x.shape[1], x.shape[2] // factor, x.shape[3] // factor
    blocks = xp.permute_dims(xp.reshape(x, (b, c, h, factor, w, factor)), (0, 1, 3, 5, 2, 4))
    return xp.reshape(blocks, (b, c * factor**2, h, w))


def depth_to_space(x: Float[Any, "b C h w"], factor: int) -> Float[Any, "b c H W"]:
    """The inverse of `space_to_depth`: (B, C·factor², h, w) to (B, C, h·factor, w·factor)."""
    xp = array_namespace(x)
    b, c, h, w = x.shape[0], x.shape[1] // factor**2, x.shape[2], x.shape[3]
    blocks = xp.permute_dims(xp.reshape(x, (b, c, factor, factor, h, w)), (0, 1, 4, 2, 5, 3))
    return xp.reshape(blocks, (b, c, h * factor, w * factor))


@dataclass(frozen=True)
class Haar:
    """The Haar pyramid of L levels as a codec: (B, 1, H, W) to (B, 4^L, H/2^L, W/2^L) and exactly back.

    Each level transforms the ll of the one before, and the details of a finer level l < L reach the coarse
    grid by space-to-depth. Channels run from coarse to fine: ll, lh, hl, hh of level L, then for l = L − 1 to
    1 its lh, hl, hh with 4^(L−l) positions each. Two levels: ll, lh, hl, hh | 4 × lh, 4 × hl, 4 × hh.
    For x in [−1, 1], ll lies in [−2^L, 2^L]; the mean square over all channels is that over the pixels.
    """

    levels: int = 2
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")

    @property
    def channels(self) -> int:
        return int(4**self.levels)

    @property
    def factor(self) -> int:
        return int(2**self.levels)

    def encode(self, x: Float[Any, "b 1 H W"]) -> Float[Any, "b c h w"]:
        """Raises ValueError where H or W is not a multiple of `factor`."""
        check_divisible(x, self.factor)
        xp = array_namespace(x)
        bands = []
        for level in range(1, self.levels + 1):
            x, *details = dwt(x)
            bands.append(space_to_depth(xp.concat(details, axis=1), 2 ** (self.levels - level)))
        return xp.concat([x, *bands[::-1]], axis=1)

    def decode(self, z: Float[Any, "b c h w"]) -> Float[Any, "b 1 H W"]:
        """Raises ValueError where z has not `channels` channels."""
        if z.shape[1] != self.channels:
            raise ValueError(f"{self.levels} Haar levels have {self.channels} channels, got {z.shape[1]}")
        x = z[:, :1]
        for level in range(self.levels, 0, -1):
            finer = 4 ** (self.levels - level)
            details = depth_to_space(z[:, finer : 4 * finer], 2 ** (self.levels - level))
            x = idwt(x, details[:, 0:1], details[:, 1:2], details[:, 2:3])
        return x


def check_divisible(x: Any, factor: int) -> None:
    """Refuse a picture whose height or width is no multiple of `factor`, with a ValueError."""
    h, w = x.shape[-2:]
    if h % factor or w % factor:
        raise ValueError(f"height and width must be multiples of {factor}, got {h}×{w}")
