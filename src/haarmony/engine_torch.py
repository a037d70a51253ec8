"""Run a model with PyTorch: `haarmony.engine`'s calls, for GPUs, research and validation in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from haarmony.codec import Autoencoder, Codec
from haarmony.engine import Condition, Latent, Steps, head_reach
from haarmony.weights import (
    AutoencoderCard,
    Card,
    DifFusionCard,
    DiffusionCard,
    GenerationCard,
    LumaCard,
    load_needed,
    verified,
)

try:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    from haarmony.nets import (
        AutoencoderConfig,
        AutoencoderNet,
        DifFusionConfig,
        DifFusionNet,
        FusionNet,
        NetConfig,
        UNet,
        UNetConfig,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'the torch engine needs {error.name}: pip install "haarmony[train]"', name=error.name
    ) from None


class TorchEngine:
    """A FusionNet behind NumPy arrays, on the device its weights are on."""

    def __init__(self, net: FusionNet) -> None:
        self._net = net.eval()
        self._device = next(net.parameters()).device

    @classmethod
    def load(cls, folder: Path, card: LumaCard, *, threads: int | None = None) -> TorchEngine:
        """Load model.safetensors, on a GPU where there is one, after checking it against the card."""
        return cls(_load(folder, card, NetConfig, FusionNet, threads=threads))

    def encode(self, z_a: Latent, z_b: Latent, z_max: Latent) -> Condition:
        return _run(self._net.encoder, self._device, z_a, z_b, z_max)

    def denoise(self, z_t: Latent, condition: Condition, t: Steps) -> Latent:
        return _run(self._net.denoiser, self._device, z_t, condition, t)

    def refine(self, x_0: Latent, condition: Condition, t: Steps) -> Latent:
        return _run(self._net.refiner, self._device, x_0, condition, t)


class TorchDifFusion:
    """A DifFusionNet behind NumPy arrays, likewise."""

    def __init__(self, net: DifFusionNet) -> None:
        self._net = net.eval()
        self._device = next(net.parameters()).device
        self.steps = tuple(net.observer.t.tolist())
        self.reach = head_reach(len(net.head.blocks))

    @classmethod
    def load(cls, folder: Path, card: DifFusionCard, *, threads: int | None = None) -> TorchDifFusion:
        """As for `TorchEngine`."""

        def build(config: DifFusionConfig) -> DifFusionNet:
            return DifFusionNet(config, card.features_at)

        return cls(_load(folder, card, DifFusionConfig, build, threads=threads))

    def observe(self, x_t: Latent, k: Steps) -> Condition:
        return _run(self._net.observer, self._device, x_t, k)

    def fuse(self, features: Condition) -> Latent:
        return _run(self._net.head, self._device, features)


class TorchUNet:
    """A UNet behind NumPy arrays, on the device its weights are on: a `haarmony.generator.Denoise`."""

    def __init__(self, net: UNet) -> None:
        self._net = net.eval()
        self._device = next(net.parameters()).device

    @classmethod
    def load(cls, folder: Path, card: GenerationCard, *, threads: int | None = None) -> TorchUNet:
        """As for `TorchEngine`."""
        return cls(_load(folder, card, UNetConfig, UNet, threads=threads))

    def __call__(self, x_t: Latent, t: Steps) -> Latent:
        return _run(self._net, self._device, x_t, t)


class TorchAutoencoder(torch.nn.Module):
    """A trained network as a codec, for NumPy arrays and for tensors, through which gradients pass.

    It learns no more. A module, so that it goes with the module it belongs to from device to device.
    """

    exact = False

    def __init__(self, net: AutoencoderNet) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self._codec = Autoencoder(self._calling(net.encode), self._calling(net.decode), net.channels)
        self.channels, self.factor = self._codec.channels, self._codec.factor
        self.encode, self.decode = self._codec.encode, self._codec.decode

    @classmethod
    def load(cls, folder: Path, card: AutoencoderCard, *, threads: int | None = None) -> TorchAutoencoder:
        """As for `TorchEngine`."""
        return cls(_load(folder, card, AutoencoderConfig, AutoencoderNet, threads=threads))

    def _calling(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], Any]:
        def call(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                return _run(function, next(self.net.parameters()).device, x.astype(np.float32))
            # Its latents are another network's targets: full precision, whatever that one's is.
            with torch.autocast(x.device.type, enabled=False):
                return function(x.float())

        return call


def load_codec(folder: Path, card: DiffusionCard, *, threads: int | None = None) -> Codec:
    """The codec of a model, on a GPU where there is one; errors are those of `haarmony.engine.load_codec`."""
    if card.diffusion.autoencoder is None:
        return card.diffusion.make_codec()
    return TorchAutoencoder.load(*load_needed(folder, card), threads=threads)


Config = TypeVar("Config", bound=BaseModel)
Net = TypeVar("Net", bound=torch.nn.Module)


def _load(
    folder: Path, card: Card, config: type[Config], build: Callable[[Config], Net], *, threads: int | None
) -> Net:
    if threads is not None:
        torch.set_num_threads(threads)
    content = verified(folder, "model.safetensors", card)
    try:
        net = build(config.model_validate(card.net))
        net.load_state_dict(load_safetensors(content))
    except (ValidationError, RuntimeError, SafetensorError) as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{folder / 'model.safetensors'}: not the card's network ({problem})") from error
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


def _run(network: Callable[..., torch.Tensor], device: torch.device, *arrays: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        try:
            return network(*(torch.from_numpy(x).to(device) for x in arrays)).cpu().numpy()
        except RuntimeError as error:  # wrong shapes, or no memory
            shapes = ", ".join(str(x.shape) for x in arrays)
            problem = str(error).splitlines()[0]
            raise ValueError(f"the model cannot run on inputs of {shapes} ({problem})") from error
