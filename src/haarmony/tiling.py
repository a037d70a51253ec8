"""Large pictures in tiles: which part is fused when, how much each sees around it, and the noise it gets.

A picture is mirrored to the padded size that a model fuses at, and its latent grid is cut into tiles:

    kept    what a tile gives: these cover every position once, cut on multiples of the model's grid
    seen    what it is fused from: `kept` and at least HALO pixels and CELLS cells around it, in the picture

Statistics in the networks are local, so what lies beyond the halo hardly counts, and a plain cut leaves no
seam: `benchmarks/tiles.py` measures it. The noise is the whole picture's: a `Noise` plays the generator's
numbers again, wherever a tile lies; of it alone a band as wide as the picture may be held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Shaped

from haarmony.colour import blocks, to_luma
from haarmony.io import to_unit

LARGEST = 2**22
"""Pixels of the largest picture that is fused whole by default: 2048×2048."""
SIDE = 768
"""Side of a tile in pixels, about: tiles of a picture are equal, as far as the grid allows."""
HALO = 128
"""Pixels around a tile that it is fused with and that are then cut off, at least."""
CELLS = 3
"""Cells of the grid around it, at least: a U-Net with attention in windows of a cell sees far."""
ROWS = 32
"""Rows of noise from one remembered state of the generator to the next."""

Piece = tuple[tuple[slice, slice], np.ndarray]
"""Rows and columns of a picture, and what they hold: luma (H, W) or colours (H, W, 3), float in [0, 1]."""


@dataclass(frozen=True)
class Span:
    """Where a tile lies along one axis, in positions of the padded latent grid."""

    kept: slice
    seen: slice


@dataclass(frozen=True)
class Tiling:
    """The tiles of one picture.

    Attributes:
        shape: The picture's height and width in pixels.
        factor: Pixels along a position of the latent grid.
        grid: Positions that every cut is a multiple of.
        border: Pixels mirrored on every side, beyond what fills the last cell of the grid.
        side: Side of a tile in pixels, at least a cell of the grid; 0: one tile.
    """

    shape: tuple[int, int]
    factor: int
    grid: int
    border: int = 0
    side: int = 0

    @classmethod
    def plan(
        cls, shape: tuple[int, int], tile: int | None, *, factor: int, grid: int, border: int = 0
    ) -> Tiling:
        """The tiling that an argument `tile` asks for.

        Args:
            shape: The picture's height and width.
            tile: Side of a tile in pixels; 0: one tile; None: tiles of about 768, above 2048×2048 pixels.
            factor: Pixels along a position of the latent grid.
            grid: Positions that the model's latent is a multiple of.
            border: Pixels that the model mirrors on every side.

        Raises:
            ValueError: `tile` is neither None, 0 nor a cell of the grid or more.
        """
        cell = factor * grid
        if tile is None:
            side = SIDE if shape[0] * shape[1] > LARGEST else 0
        elif tile == 0 or tile >= cell:
            side = tile
        else:
            raise ValueError(f"tile must be 0 (never) or at least {cell} pixels for this model, got {tile}")
        return cls(shape, factor, grid, border, side)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the padded latent grid."""
        cell = self.factor * self.grid
        height, width = (-(-(n + 2 * self.border) // cell) * self.grid for n in self.shape)
        return height, width

    def tiles(self) -> list[Tile]:
        """The tiles, row by row."""
        rows, columns = (list(self._spans(n)) for n in self.size)
        return [Tile(self, down, across) for down in rows for across in columns]

    def _spans(self, length: int) -> Iterator[Span]:
        cells = length // self.grid
        count = -(-length * self.factor // self.side) if self.side else 1
        count = min(count, cells)
        halo = max(CELLS, -(-HALO // (self.factor * self.grid))) * self.grid
        cuts = [round(i * cells / count) * self.grid for i in range(count + 1)]
        for first, last in pairwise(cuts):
            yield Span(slice(first, last), slice(max(0, first - halo), min(length, last + halo)))


@dataclass(frozen=True)
class Tile:
    """One tile: how to cut it out of a picture, and where in the picture its result belongs."""

    tiling: Tiling
    rows: Span
    columns: Span

    def cut(self, x: Shaped[np.ndarray, "h w"] | Shaped[np.ndarray, "h w 3"]) -> Float[np.ndarray, "1 1 H W"]:
        """What the tile sees of a picture's luma, mirrored at the picture's edges, as float32.

        Of a picture of any sample type, so that a large one need not be held as floats.
        """
        rows, columns = (
            self._mirrored(n, span, size)
            for n, span, size in zip(x.shape[:2], (self.rows, self.columns), self.tiling.size, strict=True)
        )
        return to_luma(to_unit(x[rows[:, None], columns])).astype(np.float32)[None, None]

    def narrowed(self, reach: int) -> Tile:
        """The tile that sees no more than so many positions around what it gives."""
        rows, columns = (
            Span(
                span.kept,
                slice(max(span.seen.start, kept.start - reach), min(span.seen.stop, kept.stop + reach)),
            )
            for span, kept in ((span, span.kept) for span in (self.rows, self.columns))
        )
        return Tile(self.tiling, rows, columns)

    def within(self, wider: Tile) -> tuple[slice, slice]:
        """Rows and columns that it sees of what a wider one sees, in positions."""
        starts = wider.rows.seen.start, wider.columns.seen.start
        rows, columns = (
            slice(seen.start - start, seen.stop - start)
            for seen, start in zip(self.seen, starts, strict=True)
        )
        return rows, columns

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the latent grid that the tile sees."""
        return self.rows.seen, self.columns.seen

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that are the tile's; empty where it is padding alone."""
        return self._pixels(0), self._pixels(1)

    @property
    def inside(self) -> tuple[slice, slice]:
        """The same pixels in what `cut` gives."""
        moved = []
        for span, at in zip((self.rows, self.columns), self.place, strict=True):
            by = self.tiling.border - span.seen.start * self.tiling.factor
            moved.append(slice(at.start + by, at.stop + by))
        return moved[0], moved[1]

    def _pixels(self, axis: int) -> slice:
        kept, tiling = (self.rows, self.columns)[axis].kept, self.tiling
        first, last = (
            min(max(end * tiling.factor - tiling.border, 0), tiling.shape[axis])
            for end in (kept.start, kept.stop)
        )
        return slice(first, last)

    def _mirrored(self, length: int, span: Span, size: int) -> np.ndarray:
        """Index of each pixel seen in a row or column of that length."""
        factor, border = self.tiling.factor, self.tiling.border
        wide = np.pad(np.arange(length), (border, size * factor - border - length), mode="symmetric")
        return wide[span.seen.start * factor : span.seen.stop * factor]


def in_bands(made: np.ndarray | Iterable[Piece]) -> Iterator[Piece]:
    """A picture, or pieces of one, in pieces of a few rows."""
    if isinstance(made, np.ndarray):
        height, width = made.shape[:2]
        made = [((slice(0, height), slice(0, width)), made)]
    for (rows, columns), piece in made:
        for band in blocks(*piece.shape[:2]):
            yield (slice(rows.start + band.start, rows.start + band.stop), columns), piece[band]


def assembled(pieces: Iterable[Piece], shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    """The picture that pieces make."""
    whole = np.zeros(shape, dtype=np.float32)
    for place, piece in pieces:
        whole[place] = piece
    return whole


class Noise:
    """Standard normal arrays (1, channels, h, w), drawn one after another, any part of any at any time.

    The numbers are those of `rng.standard_normal(shape, dtype=np.float32)`, called again and again. Their
    places in the generator's stream cannot be computed, so its state is remembered every few rows.
    """

    def __init__(
        self, seed: int, channels: int, size: tuple[int, int], *, once: bool = False, keep: bool = True
    ) -> None:
        """`once`: every draw is asked for whole, in order and once, so nothing need be remembered.

        `keep`: hold the rows last drawn, as wide as the picture, for the next tile; of no use where tiles ask
        for several draws each.
        """
        self._once, self._keep = once, keep
        self._rng = np.random.default_rng(seed)
        self._shape = (channels, *size)
        self._states: list[list[list[dict[str, object]]]] = []  # of draw, channel, block of rows
        self._last: tuple[tuple[int, slice], np.ndarray] | None = None

    def part(self, draw: int, rows: slice, columns: slice) -> Float[np.ndarray, "1 c h w"]:
        """Rows and columns of the draw of that number, from 0."""
        if self._once:
            return self._rng.standard_normal((1, *self._shape), dtype=np.float32)
        if not self._keep:
            return self._drawn(draw, rows, columns)
        if self._last is None or self._last[0] != (draw, rows):
            self._last = None
            self._last = (draw, rows), self._drawn(draw, rows, slice(None))
        return np.ascontiguousarray(self._last[1][..., columns])

    def _drawn(self, draw: int, rows: slice, columns: slice) -> np.ndarray:
        while draw >= len(self._states):
            self._states.append(self._remember())
        channels, _, width = self._shape
        wide = np.empty((rows.stop - rows.start, width), dtype=np.float32)
        band = np.empty((1, channels, *wide[:, columns].shape), dtype=np.float32)
        again, before = np.random.default_rng(0), rows.start // ROWS
        skipped = np.empty((rows.start - before * ROWS, width), dtype=np.float32)
        for channel, states in enumerate(self._states[draw]):
            again.bit_generator.state = states[before]
            again.standard_normal(out=skipped, dtype=np.float32)
            again.standard_normal(out=wide, dtype=np.float32)
            band[0, channel] = wide[:, columns]
        return band

    def _remember(self) -> list[list[dict[str, object]]]:
        channels, height, width = self._shape
        scratch = np.empty((ROWS, width), dtype=np.float32)
        states: list[list[dict[str, object]]] = [[] for _ in range(channels)]
        for of_channel in states:
            for top in range(0, height, ROWS):
                of_channel.append(dict(self._rng.bit_generator.state))
                self._rng.standard_normal(out=scratch[: height - top], dtype=np.float32)
        return states
