r"""Where a fused picture can be believed: maps beside it, figures of it, and warnings in plain words.

    spread         s = √( Σ_k (f_k − f̄)² / (K − 1) ) over K seeds: what the noise decides, not the sources
    unsupported    what the picture shows that neither source does (`haarmony.explain.unsupported`)
    share          how much each pixel draws on either source (`haarmony.explain.share`)
    checks         does the function still show, is the pair aligned (`haarmony.explain.checks`)

`Fuser.explain` makes an `Explanation`, whose `save` writes it into a folder (`haarmony.explain.files`)::

    explanation = Fuser("medical").explain(read("mri.png"), read("pet.png"))
    print(*explanation.warnings, sep="\n")
    explanation.save("why")

docs/explain.md says how far each can be trusted, measured on phantoms, whose truth is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from haarmony import volumes
from haarmony.colour import is_coloured, to_luma
from haarmony.explain.checks import Alignment, Function, alignment_of, function_of, warnings_of
from haarmony.explain.share import darkened, response, shares
from haarmony.explain.unsupported import FLAGGED, unsupported
from haarmony.io import Picture, Volume, to_unit
from haarmony.manifest import Settings
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
        function: How well the fused picture keeps the order of the functional source's uptake.
        alignment: Where the second source seems to lie.
        plane: The plane that a volume's slices were fused in; "" for a picture.
        settings: What made it, where that is known.
        sources: The names of both sources' files, where they have one that may be told.
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
    plane: str = ""
    settings: Settings | None = None
    sources: tuple[str | None, str | None] = (None, None)

    @property
    def flagged(self) -> float:
        """The part of the picture, air apart, that is unsupported."""
        return float((self.unsupported[self.inside] >= FLAGGED).mean()) if self.inside.any() else 0.0

    @property
    def told(self) -> np.ndarray:
        """Where both shares are told."""
        return np.asarray((self.share_a > 0) | (self.share_b > 0))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before believing the picture, one plain sentence each."""
        return warnings_of(self.function, self.alignment, self.flagged)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write maps, overlays and figures into a folder, whole or not at all (`haarmony.explain.files`).

        Args:
            folder: To be made; its parent exists.
            overwrite: Replace a folder that holds nothing but a former explanation.

        Raises:
            ValueError: A volume that NIfTI cannot hold.
            OSError: The folder is there and may not be replaced, or cannot be written.
        """
        from haarmony.explain.files import save

        save(self, folder, overwrite=overwrite)

    def as_picture(self) -> Explanation:
        """That of a volume of one slice as one of this slice, upright."""

        def cut(voxels: np.ndarray) -> np.ndarray:
            upright = volumes.upright(voxels, self.fused.affine, volumes.plane_of(self.fused))
            return np.ascontiguousarray(upright[:, :, 0])

        function = self.function
        if function.worst is not None:
            function = replace(function, worst=replace(function.worst, slice=None))
        return replace(
            self,
            fused=volumes.as_picture(self.fused),
            spread=cut(self.spread),
            unsupported=cut(self.unsupported),
            share_a=cut(self.share_a),
            share_b=cut(self.share_b),
            inside=cut(self.inside),
            function=function,
            plane="",
        )


@dataclass(frozen=True)
class _Slice:
    """What fusing shows of one picture, or of one slice of a volume, upright; lumas in [0, 1]."""

    a: np.ndarray
    b: np.ndarray
    misplaced: bool
    spread: np.ndarray
    response_a: np.ndarray
    response_b: np.ndarray


@dataclass(frozen=True)
class _Layer:
    """What is said of it once it is as it is delivered, with its colour and at its depth."""

    f: np.ndarray
    functional: np.ndarray
    other: np.ndarray
    spread: np.ndarray
    unsupported: np.ndarray
    share_a: np.ndarray
    share_b: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, f: np.ndarray, seen: _Slice) -> _Layer:
        """That of a delivered luma."""
        score, inside = unsupported(f, seen.a, seen.b), (seen.a > 0) | (seen.b > 0)
        share_a, share_b = shares(seen.response_a, seen.response_b, inside & (score < FLAGGED))
        functional, other = (seen.a, seen.b) if seen.misplaced else (seen.b, seen.a)
        return cls(f, functional, other, seen.spread, score, share_a, share_b, inside)


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
        if coloured is None:
            coloured = is_coloured(a), is_coloured(b)
        pieces = [*self._rule(a, b, coloured=coloured, callback=callback)]
        fused = assembled(pieces, (*a.shape[:2], *pieces[0][1].shape[2:]))
        others = self._several([(a, b)], self._seeds[1:], coloured=coloured)
        darker = darkened(a), darkened(b)
        darker_f = self._several([(darker[0], b), (a, darker[1])], self._seeds[:1], coloured=coloured)
        f, x, y = (_luma(z) for z in (fused, a, b))
        self._slices.append(
            _Slice(
                a=x,
                b=y,
                misplaced=self._misplaced(a, b, coloured),
                spread=np.std(np.concatenate([f[None], others]), axis=0, ddof=1),
                response_a=response(f, darker_f[0], x, _luma(darker[0])),
                response_b=response(f, darker_f[1], y, _luma(darker[1])),
            )
        )
        return fused

    def explanation(self, fused: Any, a: Any, b: Any, *, plane: str, settings: Settings) -> Explanation:
        """What was seen of `fused`, which was made of `a` and `b`, volumes in slices along `plane`."""
        values = _values(fused)
        if isinstance(fused, Volume):
            plane = volumes.plane_of(a, plane)
            cut = volumes.upright(fused.voxels, fused.affine, plane)
            delivered = [cut[:, :, k] for k in range(cut.shape[2])]
        else:
            delivered = [fused.pixels if isinstance(fused, Picture) else fused]
        seen = [_Layer.of(_luma(f), one) for f, one in zip(delivered, self._slices, strict=True)]
        function = function_of(*([getattr(one, of) for one in seen] for of in ("f", "functional", "other")))
        if isinstance(fused, Volume) and function.worst is not None and function.worst.slice is not None:
            stored = volumes.stored_at(fused, plane)[function.worst.slice]
            function = replace(function, worst=replace(function.worst, slice=stored))

        def whole(name: str) -> np.ndarray:
            layers = [getattr(one, name) for one in seen]
            if not isinstance(fused, Volume):
                return layers[0]
            stored = np.empty(fused.shape, layers[0].dtype, order="F")
            upright = volumes.upright(stored, fused.affine, plane)
            for k, layer in enumerate(layers):
                upright[:, :, k] = layer
            return stored

        return Explanation(
            fused=fused,
            spread=whole("spread") * np.float32(abs(values[1] - values[0])),  # white may be the lesser
            unsupported=whole("unsupported"),
            share_a=whole("share_a"),
            share_b=whole("share_b"),
            inside=whole("inside"),
            values=values,
            seeds=tuple(self._seeds),
            function=function,
            alignment=alignment_of(a, b),
            plane=plane if isinstance(fused, Volume) else "",
            settings=settings,
        )


def _luma(pixels: np.ndarray) -> np.ndarray:
    return to_luma(to_unit(pixels)).astype(np.float32)


def _values(fused: Any) -> tuple[float, float]:
    if isinstance(fused, Picture | Volume):
        return float(fused.value_range[0]), float(fused.value_range[1])
    return 0.0, 1.0 if fused.dtype.kind == "f" else float(np.iinfo(fused.dtype).max)
