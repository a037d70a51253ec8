"""Fuse two aligned pictures with a trained diffusion model.

A pair goes in as pictures, arrays or volumes and comes out as one of them: `fuse_pictures` is what is around
the fusing itself, `haarmony.fusing_path` has the order inside, and volumes go through slice by slice
(`haarmony.volumes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Shaped

from haarmony import volumes, weights
from haarmony.codec import Codec
from haarmony.colour import choose, chroma, is_coloured, merge, to_luma
from haarmony.engine import DifFusionEngine, Engine, OnnxDifFusion, OnnxEngine, load_codec
from haarmony.fusing_path import Watch, colour_tiles, fuse_colour, fuse_lumas, luma_tiles
from haarmony.io import Picture, Volume, check_pixels, from_unit, to_unit
from haarmony.tiling import Piece, in_bands
from haarmony.weights import DifFusionCard, ModelCard

if TYPE_CHECKING:
    from haarmony.explain import Explanation

ENGINES = ("onnx", "torch")
SMALLEST = 16
"""Smallest side of a picture, in pixels."""

Source = TypeVar("Source", Picture, Shaped[np.ndarray, "..."])
AnySource = TypeVar("AnySource", Picture, Volume, Shaped[np.ndarray, "..."])


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
        self._folder, self._engine_name = folder, engine
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
                together, and the luma is one array, float16, that fills up, black where no tile has been. For
                volumes after every slice: (slices done, slices in all, the slice).
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
        rule = partial(self._rule, steps=steps, seed=seed, tile=tile)
        return self._fuse(a, b, rule, colour=colour, plane=plane, slices=slices, callback=callback)

    def explain(
        self,
        a: AnySource,
        b: AnySource,
        *,
        seeds: int = 8,
        steps: int | None = None,
        seed: int = 42,
        colour: str = "auto",
        plane: str = "auto",
        slices: tuple[int, int] | None = None,
        callback: Watch | None = None,
        tile: int | None = None,
    ) -> Explanation:
        """Fuse a pair and say where the result can be believed, in the time of about ten fusings.

        Args:
            a: First source, as for a call.
            b: Second source.
            seeds: How many seeds, `seed` and those after it, the spread is over; 2 or more.
            steps: As for a call, like all that follows.
            seed: The fused picture's seed.
            colour: Whose chroma it has.
            plane: Of the slices of volumes.
            slices: Which of them.
            callback: Called after every step of the fused picture, or every slice.
            tile: Side of the tiles of large pictures.

        Returns:
            The same fused picture as by a call, with maps of its size, figures and warnings.

        Raises:
            ValueError: As for a call, or too few seeds.
        """
        from haarmony.explain import Looking
        from haarmony.manifest import Settings, sha256, shown

        self.check_steps(steps)
        if seeds < 2:
            raise ValueError(f"seeds must be 2 or more to have a spread, got {seeds}")
        look = Looking(
            partial(self._rule, steps=steps, seed=seed, tile=tile),
            partial(self._several, steps=steps, tile=tile),
            self._misplaced,
            seeds=range(seed, seed + seeds),
        )
        fused = self._fuse(a, b, look, colour=colour, plane=plane, slices=slices, callback=callback)
        settings = Settings(
            model=self.card.name,
            card_sha256=sha256(self._folder / "card.toml"),
            engine=self._engine_name,
            steps=None if isinstance(self.card, DifFusionCard) else steps or self.card.diffusion.steps,
            seed=seed,
            colour=colour,
            plane=plane,
            slices=shown(slices, ":"),
            tile=tile,
        )
        return look.explanation(fused, a, b, plane=plane, settings=settings)

    def _fuse(
        self,
        a: AnySource,
        b: AnySource,
        rule: Callable[..., Any],
        *,
        colour: str,
        plane: str,
        slices: tuple[int, int] | None,
        callback: Watch | None,
    ) -> AnySource:
        """Pictures at once, volumes slice by slice."""
        if isinstance(a, Volume) != isinstance(b, Volume):
            raise ValueError("one source is a volume, the other a picture; give two of a kind")
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
            return luma_tiles(
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
        return colour_tiles(engine, config, _in_colour(a), b, seed=seed, callback=callback, tile=tile)

    def _several(
        self,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        seeds: Sequence[int],
        *,
        steps: int | None,
        tile: int | None,
        coloured: tuple[bool, bool] | None = None,
    ) -> np.ndarray:
        """The fused lumas (k, H, W) of one pair with several seeds, or of several with one."""
        pairs = [self._in_order(a, b, coloured) for a, b in pairs]
        engine, config = self._engine, self.card.diffusion
        if isinstance(engine, Engine):
            return fuse_lumas(engine, config, pairs, seeds, codec=self._codec, steps=steps, tile=tile)
        fused = [
            to_luma(fuse_colour(engine, config, _in_colour(a), b, seed=seed, tile=tile))
            for a, b in pairs
            for seed in seeds
        ]
        return np.stack(fused)

    def _in_order(
        self, a: np.ndarray, b: np.ndarray, coloured: tuple[bool, bool] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both pictures, the one that is coloured where the model was trained to find it."""
        return (b, a) if self._misplaced(a, b, coloured) else (a, b)

    def _misplaced(self, a: np.ndarray, b: np.ndarray, coloured: tuple[bool, bool] | None) -> bool:
        first, second = coloured or (is_coloured(a), is_coloured(b))
        return first and not second if self.card.coloured == "second" else second and not first

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


def _in_colour(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 3 else np.broadcast_to(x[..., None], (*x.shape, 3))


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
