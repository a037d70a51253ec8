"""The methods that a comparison can run: diffusion models and classical fusers, alike in what they are given.

All but Dif-Fusion fuse the luma and put the coloured source's chroma back, so that they differ in the fusing
alone; Dif-Fusion makes the colours itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

import haarmony.classical
import haarmony.codec
import haarmony.diffusion
import haarmony.io
from haarmony import weights
from haarmony.classical import CLASSICAL
from haarmony.colour import to_luma
from haarmony.compare.results import Method
from haarmony.digests import digest, digest_code
from haarmony.fuser import Fuser, fuse_pictures
from haarmony.io import Picture, resolved, to_unit
from haarmony.jobs import Fuse
from haarmony.weights import ModelCard


def shipped() -> list[str]:
    """The names of all that the package brings: its models, then the classical fusers."""
    return [*weights.cards(ModelCard), *CLASSICAL]


def find(names: Iterable[str]) -> list[Method]:
    """Methods by name: a shipped model's, a classical fuser's, or the path of an exported model's folder.

    Raises:
        ValueError: A name that is none of these, or a damaged model.
    """
    methods = []
    for name in dict.fromkeys(names):
        if name in CLASSICAL:
            methods.append(Method(name, CLASSICAL[name].title, "classical"))
            continue
        try:
            folder = weights.find(name)
        except ValueError:
            known = ", ".join(shipped())
            raise ValueError(
                f"unknown method {name!r}; known are {known}, and folders of an exported model"
            ) from None
        card = weights.load_card(folder)
        used: list[tuple[Path, weights.Card]] = [(folder, card)]
        if card.diffusion.autoencoder is not None:
            used.append(weights.load_needed(folder, card))
        for own, of in used:
            for graph in of.graphs:
                weights.verified(own, f"{graph}.onnx", of)
        if folder.parent == weights.SHIPPED:
            methods.append(Method(name, f"Haarmony ({name})", "model"))
        else:
            methods.append(Method(resolved(Path(name)).name, card.title, "model", folder=name))
    return methods


def elsewhere(text: str) -> Method:
    """A method whose results were made elsewhere, from "NAME=DIR".

    Raises:
        ValueError: The text is not of this form.
        OSError: DIR is no folder.
    """
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise ValueError(f"results {text!r} are not NAME=DIR, such as CDDFuse=their-results/")
    if not name.isprintable():
        raise ValueError(f"results {text!r} have a name that cannot be printed; use letters and signs")
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: there is no such folder")
    return Method(name, name, "results", folder=folder)


def fuser(method: Method) -> Fuse:
    """What fuses a pair of pictures by a model or a classical fuser, ready to go."""
    return Fuser(method.folder or method.name) if method.kind == "model" else partial(_classical, method.name)


def _classical(name: str, a: Picture, b: Picture) -> Picture:
    def rule(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return CLASSICAL[name].function(to_luma(to_unit(a)), to_luma(to_unit(b)))

    return fuse_pictures(a, b, rule)


def fingerprint(method: Method) -> str:
    """Hash of all that the method's results depend on besides the sources: its code, a model's card."""
    if method.kind == "classical":
        return digest(method.name, digest_code(haarmony, haarmony.classical, haarmony.io))
    card = (weights.find(method.folder or method.name) / "card.toml").read_text(encoding="utf-8")
    return digest(card, digest_code(haarmony, haarmony.codec, haarmony.diffusion, haarmony.io))
