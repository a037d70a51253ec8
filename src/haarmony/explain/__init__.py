"""Where a fused picture can be believed: maps beside it, figures of it, and warnings in plain words.

    spread         s = √( Σ_k (f_k − f̄)² / (K − 1) ) over K seeds: what the noise decides, not the sources
    unsupported    what the picture shows that neither source does (`haarmony.explain.unsupported`)
    share          how much each pixel draws on either source (`haarmony.explain.share`)
    checks         does the function still show, is the pair aligned (`haarmony.explain.checks`)

`Fuser.explain` makes an `Explanation`; `haarmony.explain.files` writes it into a folder. docs/explain.md says
how far each can be trusted, measured on phantoms, whose truth is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haarmony import volumes
from haarmony.colour import to_luma
from haarmony.explain.checks import Alignment, Function, alignment_of, function_of, warnings_of
from haarmony.explain.share import darkened, shares
from haarmony.explain.unsupported import FLAGGED, unsupported
from haarmony.io import Picture, Volume, to_unit
from haarmony.tiling import Piece, assembled

SEEDS = 8
"""Seeds by default."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A fused picture or volume with what speaks for and against it.

    Attributes:
        fused: What `Fuser` returns.
        spread: Standard deviation of the fused luma over the seeds, in the fused picture's units, float32; of
            its height and width, (I, J, K) for a volume. So are all maps.
        unsupported: The score, from 0; `haarmony.explain.unsupported.FLAGGED` and more is flagged.
        share_a: How much of each pixel is drawn on the first source, in [0, 1].
        share_b: The same of the second; both are 0 where nothing can be told, else they sum to 1.
        inside: Where at least one source is not black, which all figures are of.
        values: The values that black and white of the fused picture stand for.
        seeds: The seeds that `spread` is over; the first is the fused picture's.
        function: How well the fused picture keeps the order of the second source's uptake.
        alignment: Where the second source seems to lie.
    """

    fused: Any
    spread: np.ndarray
    unsupported: np.ndarray
    share_a: np.ndarray
    share_b: np.ndarray
    inside: np.ndarray
    values: tuple[float, float]
    seeds: tuple[int, ...]
    function: Function
    alignment: Alignment | None

    @property
    def flagged(self) -> float:
        """The part of the picture, air apart, that is unsupported."""
        return float((self.unsupported[self.inside] >= FLAGGED).mean()) if self.inside.any() else 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before believing the picture, one plain sentence each."""
        return warnings_of(self.function, self.alignment, self.flagged)


@dataclass(frozen=True)
class _Slice:
    """What is known of one picture, or of one slice of a volume; lumas in [0, 1], upright."""

    f: np.ndarray
    functional: np.ndarray
    other: np.ndarray
    spread: np.ndarray
    unsupported: np.ndarray
    share_a: np.ndarray
    share_b: np.ndarray
    inside: np.ndarray


class Looking:
    """A fusing rule for `haarmony.fuser.fuse_pictures` that looks at each picture it makes."""

    def __init__(
        self,
        rule: Callable[..., Iterable[Piece]],
        several: Callable[..., np.ndarray],
        misplaced: Callable[[np.ndarray, np.ndarray, Any], bool],
        *,
        seeds: Sequence[int],
    ) -> None:
        """Look at what a model makes.

        Args:
            rule: Fuses a pair with the first of the seeds, piece by piece.
            several: The fused lumas (k, H, W) of one pair with several seeds, or of several pairs with one.
            misplaced: Whether a pair's functional source is the first.
            seeds: Two or more.
        """
        self._rule, self._several, self._misplaced, self._seeds = rule, several, misplaced, seeds
        self._slices: list[_Slice] = []

    def __call__(
        self, a: np.ndarray, b: np.ndarray, *, coloured: Any = None, callback: Any = None
    ) -> np.ndarray:
        """What `rule` makes of a pair."""
        pieces = [*self._rule(a, b, coloured=coloured, callback=callback)]
        fused = assembled(pieces, (*a.shape[:2], *pieces[0][1].shape[2:]))
        others = self._several([(a, b)], self._seeds[1:], coloured=coloured)
        darker = self._several([(darkened(a), b), (a, darkened(b))], self._seeds[:1], coloured=coloured)
        f, x, y = (to_luma(to_unit(z)).astype(np.float32) for z in (fused, a, b))
        score, inside = unsupported(f, x, y), (x > 0) | (y > 0)
        share_a, share_b = shares(f, darker[0], darker[1], inside & (score < FLAGGED))
        spread = np.std(np.concatenate([f[None], others]), axis=0, ddof=1)
        functional, other = (x, y) if self._misplaced(a, b, coloured) else (y, x)
        self._slices.append(_Slice(f, functional, other, spread, score, share_a, share_b, inside))
        return fused

    def explanation(self, fused: Any, a: Any, b: Any, *, plane: str) -> Explanation:
        """What was seen of `fused`, which was made of `a` and `b`, volumes in slices along `plane`."""
        values = _values(fused)
        if isinstance(fused, Volume):
            plane = volumes.plane_of(a, plane)

        def whole(name: str) -> np.ndarray:
            layers = [getattr(one, name) for one in self._slices]
            if not isinstance(fused, Volume):
                return layers[0]
            stored = np.empty(fused.shape, layers[0].dtype, order="F")
            upright = volumes.upright(stored, fused.affine, plane)
            for k, layer in enumerate(layers):
                upright[:, :, k] = layer
            return stored

        return Explanation(
            fused=fused,
            spread=whole("spread") * np.float32(values[1] - values[0]),
            unsupported=whole("unsupported"),
            share_a=whole("share_a"),
            share_b=whole("share_b"),
            inside=whole("inside"),
            values=values,
            seeds=tuple(self._seeds),
            function=function_of(
                *([getattr(one, of) for one in self._slices] for of in ("f", "functional", "other"))
            ),
            alignment=alignment_of(a, b),
        )


def _values(fused: Any) -> tuple[float, float]:
    if isinstance(fused, Picture | Volume):
        return float(fused.value_range[0]), float(fused.value_range[1])
    return 0.0, 1.0 if fused.dtype.kind == "f" else float(np.iinfo(fused.dtype).max)
