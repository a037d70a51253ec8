"""Model cards and the weights that ship with the package.

A model is a folder: `card.toml` says what it is, how it samples and what its files' sha256 are; beside it lie
the ONNX graphs for serving, those that a card of its kind names (`Card.graphs`), and `model.safetensors` for
torch. A model in an autoencoder's latent space has that one's whole folder in its own, as `autoencoder`.
Nothing is downloaded and no file can run code; a file whose sha256 is not the card's is not loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from haarmony import settings
from haarmony.text import plain
from haarmony.weights.card import (
    KINDS,
    AutoencoderCard,
    Card,
    DifFusionCard,
    DiffusionCard,
    GenerationCard,
    LumaCard,
    ModelCard,
)

__all__ = [
    "AUTOENCODER",
    "AutoencoderCard",
    "Card",
    "DifFusionCard",
    "DiffusionCard",
    "GenerationCard",
    "LumaCard",
    "ModelCard",
    "cards",
    "find",
    "load_any",
    "load_autoencoder",
    "load_card",
    "load_generation",
    "load_needed",
    "verified",
]

SHIPPED = Path(__file__).parent

AUTOENCODER = "autoencoder"
"""The folder, in a model's or a run's own, of the autoencoder that is its codec."""

AnyCard = TypeVar("AnyCard", bound=Card)


class _Head(BaseModel):
    """The one key of a card that says how the others are to be read."""

    kind: str = "fusion"


def cards(kind: type[Card] = Card) -> dict[str, Card]:
    """The shipped models' cards, by name; those of one kind, or all."""
    shipped = {path.parent.name: load_any(path.parent) for path in sorted(SHIPPED.glob("*/card.toml"))}
    return {name: card for name, card in shipped.items() if isinstance(card, kind)}


def find(model: str | Path, kind: type[Card] = ModelCard) -> Path:
    """The folder of a shipped model (by name) or of one's own (by path).

    Raises:
        ValueError: There is neither; the message lists the shipped names of that kind.
    """
    for folder in (SHIPPED / str(model), Path(model)):
        if (folder / "card.toml").is_file():
            return folder
    raise ValueError(f"unknown model '{model}': {_choices(kind)}")


def load_any(folder: Path) -> Card:
    """Read `folder`/card.toml, of whatever kind; a ValueError names the file and the key that is wrong."""
    path = folder / "card.toml"
    kind = settings.load(path, _Head).kind
    if kind not in KINDS:
        raise ValueError(f"{path}: kind: unknown kind '{plain(kind)}', only {', '.join(KINDS)} are known")
    return settings.load(path, KINDS[kind])


def load_card(folder: Path) -> ModelCard:
    """Read `folder`/card.toml of a model that fuses.

    Raises:
        ValueError: As for `load_any`, or the model is of another kind; the message lists shipped ones.
    """
    return _load(folder, ModelCard)


def load_generation(folder: Path) -> GenerationCard:
    """Read `folder`/card.toml of a model that generates; errors are those of `load_card`."""
    return _load(folder, GenerationCard)


def load_autoencoder(folder: Path) -> AutoencoderCard:
    """Read `folder`/card.toml of an autoencoder; errors are those of `load_card`."""
    return _load(folder, AutoencoderCard)


def load_needed(folder: Path, card: DiffusionCard) -> tuple[Path, AutoencoderCard]:
    """The folder and the card of the autoencoder that lies in a model's folder.

    Raises:
        ValueError: It is not the one that the model was trained with.
        FileNotFoundError: It is missing.
    """
    own, diffusion = folder / AUTOENCODER, card.diffusion
    verified(folder, f"{AUTOENCODER}/card.toml", card)
    found = load_autoencoder(own)
    if (found.name, found.channels) != (diffusion.autoencoder, diffusion.autoencoder_channels):
        raise ValueError(
            f"{own / 'card.toml'}: is of '{found.name}' with {found.channels} channels, but the model needs"
            f" '{diffusion.autoencoder}' with {diffusion.autoencoder_channels}"
        )
    return own, found


def _load(folder: Path, kind: type[AnyCard]) -> AnyCard:
    card = load_any(folder)
    if not isinstance(card, kind):
        raise ValueError(f"the model '{card.name}' is not for {kind.use}: {_choices(kind)}")
    return card


def _choices(kind: type[Card]) -> str:
    names = ", ".join(cards(kind))
    return f"choose {f'one of {names}, or ' if names else ''}a folder that holds a card.toml"


def verified(folder: Path, name: str, card: Card) -> bytes:
    """The bytes of one of the model's files, after checking them against the card.

    Raises:
        ValueError: The card does not list the file, or its sha256 is another one.
        FileNotFoundError: The file is missing.
    """
    expected = card.sha256.get(name)
    if expected is None:
        raise ValueError(f"{folder / 'card.toml'}: lists no file {name}")
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{folder / name}: sha256 differs from the model card's; the file is damaged or not this model's"
        )
    return content
