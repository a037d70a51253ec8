"""Fuse two aligned pictures with a trained diffusion model.

The path, in order, is one of two by the model's kind; this module is the only place that knows them:

    `fuse_luma`     luma → pad → encode once → sample in a few steps, each refined → crop → chroma back
    `fuse_colour`   join R, G, B and infrared → pad → noise to some t → features of each → fuse once → crop

What is around both, from the pictures that come to the one that goes, is `fuse_pictures`; volumes go through
it slice by slice (`haarmony.volumes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Shaped

from haarmony import volumes, weights
from haarmony.codec import Codec, decode_channels, encode_channels
from haarmony.colour import choose, chroma, is_coloured, merge, to_luma
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.diffusion.sampler import sample
from haarmony.engine import DifFusionEngine, Engine, OnnxDifFusion, OnnxEngine, load_codec
from haarmony.io import Picture, Volume, check_pixels, from_unit, to_unit
from haarmony.support import project
from haarmony.tiling import Noise, Piece, Tile, Tiling, assembled, in_bands
from haarmony.weights import DifFusionCard, ModelCard

ENGINES = ("onnx", "torch")
SMALLEST = 16
"""Smallest side of a picture, in pixels."""

Source = TypeVar("Source", Picture, Shaped[np.ndarray, "..."])
AnySource = TypeVar("AnySource", Picture, Volume, Shaped[np.ndarray, "..."])
Watch = Callable[[int, int, np.ndarray], None]
"""Called at every step with (steps done, steps in all, fused luma so far (H, W))."""


class Fuser:
    """A trained model, ready to fuse pairs of any size from 16×16 up."""

    def __init__(
        self, model: str | Path = "medical", *, engine: str = "onnx", threads: int | None = None
    ) -> None:
        """Load a model.

        Args:
            model: Name of a shipped model, or a folder that `haarmony export` wrote.
            engine: "onnx" (ONNX Runtime on the CPU) or "torch" (needs the extra `train`; a GPU where there is
                one).
            threads: Threads of one operator; None takes all cores.

        Raises:
            ValueError: Unknown model or engine, or a file that is not the card's.
            ModuleNotFoundError: The torch engine without torch.
        """
        if engine not in ENGINES:
            raise ValueError(f"unknown engine '{engine}': choose onnx or torch")
        folder = weights.find(model)
        self.card = weights.load_card(folder)
        self._engine, self._codec = _load(folder, self.card, engine, threads=threads)

    def __call__(
        self,
        a: AnySource,
        b: AnySource,
        *,
        steps: int | None = None,
        seed: int = 42,
        colour: str = "auto",
        plane: str = "auto",
        slices: tuple[int, int] | None = None,
        callback: Watch | None = None,
        tile: int | None = None,
    ) -> AnySource:
        """Fuse a pair.

        Args:
            a: First source: a `Picture`, or an array (H, W) or (H, W, 3), uint8, uint16 or float in [0, 1].
                For the medical model the MRI. Or a `Volume`.
            b: Second source, of the same height and width, or a `Volume` that overlaps the first; CT, PET or
                SPECT. Where one source is in colour, the order does not matter: the model's card says which
                place is its.
            steps: Sampling steps, 1 to T; None takes the model card's. A model that does not sample takes
                none.
            seed: Seed of the noise; the same seed gives the same bytes.
            colour: Whose chroma the result has: "auto" (the coloured source's, the more colourful where both
                are, or what the model makes of them if it fuses colours), "first", "second" or "grey".
            plane: Of the slices in which volumes are fused, with one noise: axial, coronal or sagittal;
                "auto": that in which the first was acquired (`haarmony.volumes.plane_of`).
            slices: (LO, HI), the slices LO to HI − 1 of the first volume along that plane, in the stored
                order; None takes all.
            callback: Called after every step, of every tile in turn: the steps are then those of all tiles
                together, and the luma is one array that fills up, black where no tile has been. For volumes
                after every slice: (slices done, slices in all, the slice).
            tile: Side in pixels of the tiles that a picture is fused in, one by one, in memory that hardly
                grows with it; None: about 768 above 2048×2048 pixels, else one piece; 0: always one piece.

        Returns:
            What `a` is, at the sources' size and the deeper of their sample types. An array is (H, W) for two
            grey arrays and for colour="grey", else (H, W, 3); a volume likewise, on the first's grid.

        Raises:
            ValueError: Sizes differ, a side is below 16, a value is not finite or not in [0, 1], steps,
                colour, plane or slices is not one there is, tile is smaller than the model's grid, a volume
                stands against a picture, or volumes do not overlap.
        """
        self.check_steps(steps)
        if isinstance(a, Volume) != isinstance(b, Volume):
            raise ValueError("one source is a volume, the other a picture; give two of a kind")
        rule = partial(self._rule, steps=steps, seed=seed, tile=tile)
        if isinstance(a, Volume) and isinstance(b, Volume):
            fused: Any = self._fuse_volumes(
                a, b, rule, colour=colour, plane=plane, slices=slices, callback=callback
            )
            return fused
        if slices is not None:
            raise ValueError("slices are of volumes; the sources are pictures")
        if plane != "auto":
            raise ValueError(f"planes ({plane}) are of volumes; the sources are pictures")
        return fuse_pictures(a, b, partial(rule, callback=callback), colour=colour)

    def _fuse_volumes(
        self,
        a: Volume,
        b: Volume,
        rule: Callable[..., Iterable[Piece]],
        *,
        colour: str,
        plane: str,
        slices: tuple[int, int] | None,
        callback: Watch | None,
    ) -> Volume:
        plane = volumes.plane_of(a, plane)
        a, b = volumes.aligned(a, b, plane=plane, slices=slices)
        # Of the volumes, since a slice of a coloured one may be grey.
        coloured = volumes.is_coloured(a), volumes.is_coloured(b)
        if isinstance(self._engine, Engine):
            colour = volumes.choose(colour, a, b)
        fuse: Any = partial(fuse_pictures, rule=partial(rule, coloured=coloured), colour=colour)
        return volumes.by_slices(a, b, fuse, plane=plane, callback=callback)

    def _rule(
        self,
        a: np.ndarray,
        b: np.ndarray,
        *,
        steps: int | None,
        seed: int,
        tile: int | None,
        coloured: tuple[bool, bool] | None = None,
        callback: Watch | None = None,
    ) -> Iterable[Piece]:
        """The fused luma or colours of two arrays; `coloured` says which of them count as such."""
        (a, b), engine, config = self._in_order(a, b, coloured), self._engine, self.card.diffusion
        if isinstance(engine, Engine):
            return _luma_tiles(
                engine,
                config,
                a,
                b,
                codec=self._codec,
                steps=steps,
                seed=seed,
                callback=callback,
                tile=tile,
            )
        colours = a if a.ndim == 3 else np.broadcast_to(a[..., None], (*a.shape, 3))
        return _colour_tiles(engine, config, colours, b, seed=seed, callback=callback, tile=tile)

    def _in_order(
        self, a: np.ndarray, b: np.ndarray, coloured: tuple[bool, bool] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both pictures, the one that is coloured where the model was trained to find it."""
        first, second = coloured or (is_coloured(a), is_coloured(b))
        misplaced = first and not second if self.card.coloured == "second" else second and not first
        return (b, a) if misplaced else (a, b)

    def check_steps(self, steps: int | None) -> None:
        """Refuse a number of sampling steps that the model's schedule does not have, with a ValueError."""
        if steps is not None and isinstance(self.card, DifFusionCard):
            raise ValueError(f"the model '{self.card.name}' does not sample: it takes no steps, got {steps}")
        if steps is not None and not 1 <= steps <= self.card.diffusion.timesteps:
            raise ValueError(f"steps must be in 1, …, {self.card.diffusion.timesteps}, got {steps}")


def fuse(
    a: AnySource,
    b: AnySource,
    *,
    model: str | Path = "medical",
    engine: str = "onnx",
    steps: int | None = None,
    seed: int = 42,
    colour: str = "auto",
    plane: str = "auto",
    slices: tuple[int, int] | None = None,
    tile: int | None = None,
) -> AnySource:
    """Fuse one pair; make a `Fuser` to fuse several with one model. Arguments and errors are `Fuser`'s."""
    fuser = Fuser(model, engine=engine)
    return fuser(a, b, steps=steps, seed=seed, colour=colour, plane=plane, slices=slices, tile=tile)


def fuse_pictures(
    a: Source,
    b: Source,
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray | Iterable[Piece]],
    *,
    colour: str = "auto",
) -> Source:
    """Fuse the lumas of two pictures by any rule and put the colour back: what is around the fusing itself.

    Args:
        a: First source, as `Fuser` takes it.
        b: Second source, of the same height and width.
        rule: Makes the fused luma (H, W), or fused colours (H, W, 3), in [0, 1] of both sources' pixels,
            which are either, too, and of any sample type; whole, or piece by piece, so that of a large one
            there never is more than a piece in floats.
        colour: Whose chroma the result has, as in `Fuser`; "auto" leaves fused colours as they are.

    Returns:
        What `Fuser` returns.

    Raises:
        ValueError: As for `Fuser`.
    """
    pixels_a: np.ndarray
    pixels_b: np.ndarray
    pixels_a, pixels_b = (x.pixels if isinstance(x, Picture) else x for x in (a, b))
    check_pair(pixels_a, pixels_b)
    source = choose(colour, pixels_a, pixels_b)
    dtype = np.result_type(pixels_a.dtype, pixels_b.dtype)
    fused = np.empty((*pixels_a.shape[:2], 3)[: 2 if source is None else 3], dtype)
    for place, part in in_bands(rule(pixels_a, pixels_b)):
        if source is None:
            part = to_luma(part)
        elif part.ndim == 2 or colour != "auto":
            part = merge(to_luma(part), chroma(to_unit(source[place])))
        fused[place] = from_unit(part, dtype)
    if isinstance(a, Picture):
        range_ = a.value_range if dtype == pixels_a.dtype or not isinstance(b, Picture) else b.value_range
        return replace(a, pixels=fused, value_range=range_, notes=())
    if fused.ndim == 2 and colour != "grey" and max(pixels_a.ndim, pixels_b.ndim) == 3:
        fused = np.repeat(fused[..., None], 3, axis=2)
    return fused


def check_pair(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> None:
    """Refuse two arrays that are no pair of pictures, saying what is wrong.

    Raises:
        ValueError: One is no picture (see `haarmony.io.check_pixels`), they differ in size, or a side is
            below 16.
    """
    for name, pixels in (("first", a), ("second", b)):
        try:
            check_pixels(pixels)
        except ValueError as error:
            raise ValueError(f"{name} source: {error}") from None
    (height, width), (height_b, width_b) = a.shape[:2], b.shape[:2]
    if (height, width) != (height_b, width_b):
        raise ValueError(
            f"the sources differ in size: {width}×{height} the first, {width_b}×{height_b} the second"
        )
    if min(height, width) < SMALLEST:
        raise ValueError(f"the sources are {width}×{height} pixels; each side must be at least {SMALLEST}")


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
    pieces = _luma_tiles(
        engine, config, a, b, codec=codec, steps=steps, seed=seed, callback=callback, tile=tile
    )
    return assembled(pieces, a.shape[:2])


def _luma_tiles(
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
    codec = config.make_codec() if codec is None else codec
    shape = a.shape[:2]
    tiling = Tiling.plan(shape, tile, factor=codec.factor, grid=config.grid, border=config.border)
    parts, total = tiling.tiles(), config.steps if steps is None else steps
    noise = Noise(seed, codec.channels, tiling.size, once=len(parts) == 1)
    shown = np.zeros(shape if callback and len(parts) > 1 else (0, 0), dtype=np.float32)
    for number, part in enumerate(parts):
        estimates = _sample_luma(engine, config, codec, part, a, b, steps=total, noise=noise)
        mine = shown
        for i, estimate in enumerate(estimates, number * total + 1):
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


def _sample_luma(
    engine: Engine,
    config: DiffusionConfig,
    codec: Codec,
    part: Tile,
    a: np.ndarray,
    b: np.ndarray,
    *,
    steps: int,
    noise: Noise,
) -> Iterator[Float[np.ndarray, "H W"]]:
    """The estimate of what a tile sees, after every step."""
    a, b = part.cut(a), part.cut(b)
    condition = engine.encode(*(codec.encode(to_latent(x)) for x in (a, b, np.maximum(a, b))))
    fused = a

    def denoise(z_t: np.ndarray, t: int) -> np.ndarray:
        return engine.denoise(z_t, condition, np.array([t]))

    def refine(x_0: np.ndarray, t: int) -> np.ndarray:
        nonlocal fused
        refined = from_latent(codec.decode(engine.refine(x_0, condition, np.array([t]))))
        fused = project(refined, a, b, margin=config.margin, diagonal=config.diagonal)
        return codec.encode(to_latent(fused))

    trajectory = sample(
        denoise,
        noise.part(0, *part.seen),
        process=Process(config.make_schedule()),
        kind=config.prediction,
        steps=steps,
        spacing=config.spacing,
        sampler=config.sampler,
        eta=config.eta,
        variance=config.variance,
        noise=lambda i, shape: noise.part(1 + i, *part.seen),
        refine=refine,
    )
    for _ in trajectory:
        yield fused[0, 0]


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
    pieces = _colour_tiles(engine, config, visible, infrared, seed=seed, callback=callback, tile=tile)
    return assembled(pieces, visible.shape)


def _colour_tiles(
    engine: DifFusionEngine,
    config: DiffusionConfig,
    visible: np.ndarray,
    infrared: np.ndarray,
    *,
    seed: int,
    callback: Watch | None,
    tile: int | None,
) -> Iterator[Piece]:
    codec, process = config.make_codec(), Process(config.make_schedule())
    shape = infrared.shape[:2]
    tiling = Tiling.plan(shape, tile, factor=codec.factor, grid=config.grid)
    channels, parts = [*np.moveaxis(visible, 2, 0), infrared], tiling.tiles()
    noise = Noise(seed, 4 * codec.channels, tiling.size, once=len(parts) == 1, keep=len(engine.steps) == 1)
    shown = np.zeros(shape if callback else (0, 0), dtype=np.float32)
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


def _load(
    folder: Path, card: ModelCard, engine: str, *, threads: int | None
) -> tuple[Engine | DifFusionEngine, Codec]:
    """The networks of a model, of the card's kind, and its codec."""
    luma: Callable[..., Engine] = OnnxEngine
    colour: Callable[..., DifFusionEngine] = OnnxDifFusion
    codec = load_codec
    if engine == "torch":
        from haarmony import engine_torch

        luma, colour = engine_torch.TorchEngine.load, engine_torch.TorchDifFusion.load
        codec = engine_torch.load_codec
    networks = (colour if isinstance(card, DifFusionCard) else luma)(folder, card, threads=threads)
    return networks, codec(folder, card, threads=threads)


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
