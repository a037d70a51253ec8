"""Model cards and the weights that ship with the package.

A model is a folder: `card.toml` says what it is, how it samples and what its files' sha256 are; beside it lie
`encoder.onnx`, `denoiser.onnx`, `refiner.onnx` for serving and `model.safetensors` for torch. Nothing is
downloaded and no file can run code; a file whose sha256 is not the card's is not loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from haarmony import settings
from haarmony.weights.card import ModelCard

__all__ = ["ModelCard", "cards", "find", "load_card", "verified"]

SHIPPED = Path(__file__).parent


def cards() -> dict[str, ModelCard]:
    """The shipped models' cards, by name."""
    return {folder.parent.name: load_card(folder.parent) for folder in sorted(SHIPPED.glob("*/card.toml"))}


def find(model: str | Path) -> Path:
    """The folder of a shipped model (by name) or of one's own (by path).

    Raises:
        ValueError: There is neither; the message lists the shipped names.
    """
    for folder in (SHIPPED / str(model), Path(model)):
        if (folder / "card.toml").is_file():
            return folder
    names = ", ".join(sorted(folder.parent.name for folder in SHIPPED.glob("*/card.toml")))
    raise ValueError(f"unknown model '{model}': choose one of {names}, or a folder that holds a card.toml")


def load_card(folder: Path) -> ModelCard:
    """Read `folder`/card.toml; a ValueError names the file and the key that is wrong."""
    return settings.load(folder / "card.toml", ModelCard)


def verified(folder: Path, name: str, card: ModelCard) -> bytes:
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
