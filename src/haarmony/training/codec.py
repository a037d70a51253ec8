"""The codec of a network in training: where it is an autoencoder, the run has a copy of it.

    RUN/autoencoder/    the folder that the recipe names, as it was when the run began
    RUN/best/autoencoder/    the same, so that `best` can be exported alone

The weights on top know this autoencoder only, so one that is trained anew meanwhile changes nothing here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from haarmony import weights
from haarmony.codec import Codec
from haarmony.diffusion.config import DiffusionConfig
from haarmony.engine_torch import TorchAutoencoder
from haarmony.training import checkpoint
from haarmony.weights import AUTOENCODER

FILES = ("encoder.onnx", "decoder.onnx", "model.safetensors")


def bring_codec(diffusion: DiffusionConfig, run: Path) -> None:
    """Copy the autoencoder that a recipe names into its run, unless the run has steps behind it.

    Raises:
        ValueError: There is none of that name, or it has other channels than the recipe says.
        FileExistsError: What is in its place is no copy of an autoencoder.
        OSError: It cannot be read or written.
    """
    own = run / AUTOENCODER
    if (run / "checkpoint").exists() or diffusion.autoencoder is None:
        return
    if own.exists() and not {path.name for path in own.iterdir()} <= {*FILES, "card.toml"}:
        raise FileExistsError(f"{own}: exists and is no copy of an autoencoder; name another run directory")
    try:
        folder = weights.find(diffusion.autoencoder, weights.AutoencoderCard)
    except (OSError, ValueError) as error:
        raise ValueError(f"diffusion.autoencoder: {error}") from None
    card = weights.load_autoencoder(folder)
    if card.channels != diffusion.autoencoder_channels:
        raise ValueError(
            f"diffusion.autoencoder_channels = {diffusion.autoencoder_channels}, but the autoencoder"
            f" '{diffusion.autoencoder}' has {card.channels}"
        )
    copy_autoencoder(folder, own)


def copy_autoencoder(folder: Path, out: Path) -> None:
    """Copy the card and the files, after checking them against it."""
    card = weights.load_autoencoder(folder)
    with checkpoint.replacing_folder(out) as part:
        for name in FILES:
            (part / name).write_bytes(weights.verified(folder, name, card))
        shutil.copyfile(folder / "card.toml", part / "card.toml")


def load_codec(diffusion: DiffusionConfig, run: Path) -> Codec:
    """The codec, for arrays and tensors."""
    if diffusion.autoencoder is None:
        return diffusion.make_codec()
    folder = run / AUTOENCODER
    return TorchAutoencoder.load(folder, weights.load_autoencoder(folder))
