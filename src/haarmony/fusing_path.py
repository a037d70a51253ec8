"""From a pair of pictures to what is fused of them, on one of two paths, by the kind of the model.

    `fuse_luma`     luma → pad → encode once → sample in a few steps, each refined → crop
    `fuse_colour`   join R, G, B and infrared → pad → noise to some t → features of each → fuse once → crop

Large pictures go through by tiles (`haarmony.tiling`). This module is the only place that knows these orders;
what is around them, colour first of all, is `haarmony.fuser`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from haarmony.codec import Codec, decode_channels, encode_channels
from haarmony.colour import to_luma
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.diffusion.sampler import sample
from haarmony.engine import DifFusionEngine, Engine
from haarmony.support import project
from haarmony.tiling import Noise, Piece, Tile, Tiling, assembled

TOGETHER = 2**17
"""Pixels that are fused in one batch, where there are several seeds or pairs: two of 256×256, the fastest."""

Watch = Callable[[int, int, np.ndarray], None]
"""Called at every step with (steps done, steps in all, fused luma so far (H, W))."""


def fuse_luma(
    engine: Engine,
    config: DiffusionConfig,
    a: Shaped[np.ndarray, "h w"] | Shaped[np.ndarray, "h w 3"],
    b: Shaped[np.ndarray, "h w"] | Shaped[np.ndarray, "h w 3"],
    *,
    codec: Codec | None = None,
    steps: int | None = None,
    seed: int = 42,
    callback: Watch | None = None,
    tile: int | None = None,
) -> Float[np.ndarray, "h w"]:
    """The fused luma of two lumas: pad, encode once, sample with every estimate refined, crop; by tiles.

    Args:
        engine: The model's networks.
        config: Its latent space and sampler.
        a: First luma, float in [0, 1]; or a picture, of uint8, uint16 or such floats, whose luma is taken.
        b: Second, likewise, of the same height and width.
        codec: The latent space; None makes the configuration's, which then must be one without weights.
        steps: Sampling steps; None takes the configuration's.
        seed: Seed of the noise.
        callback: Called after every step, of every tile.
        tile: Side of the tiles, as in `Fuser`.

    Returns:
        Float32 in [0, 1], supported by the sources (see `haarmony.support`).

    Raises:
        ValueError: `tile` is smaller than the model's grid.
    """
    pieces = luma_tiles(
        engine, config, a, b, codec=codec, steps=steps, seed=seed, callback=callback, tile=tile
    )
    return assembled(pieces, a.shape[:2])


def luma_tiles(
    engine: Engine,
    config: DiffusionConfig,
    a: np.ndarray,
    b: np.ndarray,
    *,
    codec: Codec | None,
    steps: int | None,
    seed: int,
    callback: Watch | None,
    tile: int | None,
) -> Iterator[Piece]:
    """`fuse_luma` tile by tile, so that of a large picture there never is more than a tile in floats."""
    codec = config.make_codec() if codec is None else codec
    shape = a.shape[:2]
    tiling = Tiling.plan(shape, tile, factor=codec.factor, grid=config.grid, border=config.border)
    parts, total = tiling.tiles(), config.steps if steps is None else steps
    noise = Noise(seed, codec.channels, tiling.size, once=len(parts) == 1)
    shown = np.zeros(shape if callback and len(parts) > 1 else (0, 0), dtype=np.float16)
    for number, part in enumerate(parts):
        draw = partial(_draw, [noise], part, 1)
        estimates = _sample_luma(engine, config, codec, part.cut(a), part.cut(b), draw, steps=total)
        mine = shown
        for i, (estimate,) in enumerate(estimates, number * total + 1):
            mine = estimate[part.inside]
            if callback is None:
                continue
            if len(parts) == 1:
                shown = mine
            else:
                shown[part.place] = mine
            callback(i, len(parts) * total, shown)
        if mine.size:
            yield part.place, mine


def fuse_lumas(
    engine: Engine,
    config: DiffusionConfig,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    seeds: Sequence[int],
    *,
    codec: Codec,
    steps: int | None = None,
    tile: int | None = None,
) -> Float[np.ndarray, "k h w"]:
    """What `fuse_luma` makes of one pair with several seeds, or of several pairs with one, in batches.

    Args:
        engine: The model's networks.
        config: Its latent space and sampler.
        pairs: Sources as `fuse_luma` takes them, all of one size; one pair if there are several seeds.
        seeds: Seeds of the noise; one if there are several pairs.
        codec: The latent space.
        steps: Sampling steps; None takes the configuration's.
        tile: Side of the tiles, as in `Fuser`.

    Returns:
        Float32 in [0, 1], one a pair or a seed: `fuse_luma`'s, but for rounding in the last digits.

    Raises:
        ValueError: `tile` is smaller than the model's grid.
    """
    shape, count = pairs[0][0].shape[:2], max(len(pairs), len(seeds))
    tiling = Tiling.plan(shape, tile, factor=codec.factor, grid=config.grid, border=config.border)
    parts, total = tiling.tiles(), config.steps if steps is None else steps
    once = len(parts) == len(pairs) == 1
    noises = [Noise(seed, codec.channels, tiling.size, once=once) for seed in seeds]
    fused = np.zeros((count, *shape), dtype=np.float32)
    for part in parts:
        pixels = codec.factor**2 * math.prod(seen.stop - seen.start for seen in part.seen)
        together = max(1, TOGETHER // pixels)
        for first in range(0, count, together):
            some = slice(first, first + together)
            chosen = pairs if len(pairs) == 1 else pairs[some]
            drawn = noises if len(noises) == 1 else noises[some]
            a, b = (np.concatenate([part.cut(pair[i]) for pair in chosen]) for i in (0, 1))
            draw = partial(_draw, drawn, part, max(len(chosen), len(drawn)))
            *_, last = _sample_luma(engine, config, codec, a, b, draw, steps=total)
            (rows, columns), inside = part.place, part.inside
            fused[some, rows, columns] = last[:, inside[0], inside[1]]
    return fused


def _draw(noises: Sequence[Noise], part: Tile, count: int, number: int) -> Float[np.ndarray, "k c h w"]:
    """The draws of that number that a tile gets: one a noise, or of one noise `count` times the same."""
    z = np.concatenate([noise.part(number, *part.seen) for noise in noises])
    return np.repeat(z, count // len(z), axis=0)


def _sample_luma(
    engine: Engine,
    config: DiffusionConfig,
    codec: Codec,
    a: Float[np.ndarray, "n 1 H W"],
    b: Float[np.ndarray, "n 1 H W"],
    draw: Callable[[int], Float[np.ndarray, "k c h w"]],
    *,
    steps: int,
) -> Iterator[Float[np.ndarray, "k H W"]]:
    """The estimates of what a tile sees, after every step: one a noise, of as many pairs or of one."""
    condition = engine.encode(*(codec.encode(to_latent(x)) for x in (a, b, np.maximum(a, b))))
    z_T, fused = draw(0), a
    condition = np.repeat(condition, len(z_T) // len(condition), axis=0)

    def denoise(z_t: np.ndarray, t: int) -> np.ndarray:
        return engine.denoise(z_t, condition, np.full(len(z_t), t))

    def refine(x_0: np.ndarray, t: int) -> np.ndarray:
        nonlocal fused
        refined = from_latent(codec.decode(engine.refine(x_0, condition, np.full(len(x_0), t))))
        fused = project(refined, a, b, margin=config.margin, diagonal=config.diagonal)
        return codec.encode(to_latent(fused))

    trajectory = sample(
        denoise,
        z_T,
        process=Process(config.make_schedule()),
        kind=config.prediction,
        steps=steps,
        spacing=config.spacing,
        sampler=config.sampler,
        eta=config.eta,
        variance=config.variance,
        noise=lambda i, shape: draw(1 + i),
        refine=refine,
    )
    for _ in trajectory:
        yield fused[:, 0]


def fuse_colour(
    engine: DifFusionEngine,
    config: DiffusionConfig,
    visible: Shaped[np.ndarray, "h w 3"],
    infrared: Shaped[np.ndarray, "h w"] | Shaped[np.ndarray, "h w 3"],
    *,
    seed: int = 42,
    callback: Watch | None = None,
    tile: int | None = None,
) -> Float[np.ndarray, "h w 3"]:
    """The fused colours of a picture in colour and one without: what a denoiser sees in both, fused once.

    Args:
        engine: The model's networks.
        config: Its latent space and schedule.
        visible: First source, uint8, uint16 or float in [0, 1].
        infrared: Second source, likewise, of the same height and width; of colours the luma is taken.
        seed: Seed of the noise.
        callback: Called after every tile.
        tile: Side of the tiles, as in `Fuser`.

    Returns:
        Float32 in [0, 1], each channel supported by the sources (see `haarmony.support`).

    Raises:
        ValueError: `tile` is smaller than the model's grid.
    """
    pieces = colour_tiles(engine, config, visible, infrared, seed=seed, callback=callback, tile=tile)
    return assembled(pieces, visible.shape)


def colour_tiles(
    engine: DifFusionEngine,
    config: DiffusionConfig,
    visible: np.ndarray,
    infrared: np.ndarray,
    *,
    seed: int,
    callback: Watch | None,
    tile: int | None,
) -> Iterator[Piece]:
    """`fuse_colour` likewise."""
    codec, process = config.make_codec(), Process(config.make_schedule())
    shape = infrared.shape[:2]
    tiling = Tiling.plan(shape, tile, factor=codec.factor, grid=config.grid)
    channels, parts = [*np.moveaxis(visible, 2, 0), infrared], tiling.tiles()
    noise = Noise(seed, 4 * codec.channels, tiling.size, once=len(parts) == 1, keep=len(engine.steps) == 1)
    shown = np.zeros(shape if callback else (0, 0), dtype=np.float32 if len(parts) == 1 else np.float16)
    for number, part in enumerate(parts, 1):
        x_0 = encode_channels(codec, to_latent(_cut(part, channels)))
        # The denoiser sees far, but the head hardly beyond the tile: of its hundreds of channels no more.
        near, features = part.narrowed(engine.reach), []
        rows, columns = near.within(part)
        for k, t in enumerate(engine.steps):
            x_t = process.diffuse(x_0, noise.part(k, *part.seen), t)
            seen = engine.observe(x_t, np.array([k]))
            features.append(np.ascontiguousarray(seen[:, :, rows, columns]))
            del seen
        fused = from_latent(decode_channels(codec, engine.fuse(np.concatenate(features, axis=1))))
        x = _cut(near, channels)
        fused = project(fused, x[:, :3], np.repeat(x[:, 3:], 3, axis=1), margin=config.margin)
        mine = np.moveaxis(fused[0], 0, 2)[near.inside]
        if callback is not None:
            shown[part.place] = to_luma(mine)
            callback(number, len(parts), shown)
        if mine.size:
            yield part.place, mine


def _cut(part: Tile, channels: list[np.ndarray]) -> Float[np.ndarray, "1 c H W"]:
    return np.concatenate([part.cut(channel) for channel in channels], axis=1)


def to_latent(x: Any) -> Any:
    """[0, 1] to the diffusion's [-1, 1]."""
    return 2 * x - 1


def from_latent(x: Any) -> Any:
    """The diffusion's [-1, 1] to [0, 1]."""
    return (x + 1) / 2


def pad(x: np.ndarray, multiple: int, *, border: int = 0) -> np.ndarray:
    """(H, W) to float32 (1, 1, H', W'), both multiples of `multiple`, mirrored at the edges."""
    wide = [(border, border + -(n + 2 * border) % multiple) for n in x.shape]
    return np.pad(x, wide, mode="symmetric").astype(np.float32)[None, None]
