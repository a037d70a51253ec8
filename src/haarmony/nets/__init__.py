"""The networks, and their sizes: fusion's three, a U-Net and Dif-Fusion's head, over latents; a codec's."""

from __future__ import annotations

from torch import nn

from haarmony.nets.autoencoder import AutoencoderNet
from haarmony.nets.config import AutoencoderConfig, DifFusionConfig, NetConfig, UNetConfig
from haarmony.nets.denoiser import Denoiser
from haarmony.nets.dif_fusion import DifFusionNet
from haarmony.nets.encoder import Encoder, Sources
from haarmony.nets.refiner import Refiner, Unrefined
from haarmony.nets.unet import ConditionalUNet, UNet

__all__ = [
    "AutoencoderConfig",
    "AutoencoderNet",
    "Denoiser",
    "DifFusionConfig",
    "DifFusionNet",
    "Encoder",
    "FusionNet",
    "NetConfig",
    "Refiner",
    "UNet",
    "UNetConfig",
]


class FusionNet(nn.Module):
    """The three networks that share one set of weights θ; each is exported as a graph of its own."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        latent, condition = config.latent_channels, config.condition
        self.config = config
        self.encoder = Encoder(config) if config.encoder else Sources()
        self.denoiser = (
            ConditionalUNet(config.unet, condition)
            if config.unet
            else Denoiser(latent, condition, width=config.step_width, depth=config.denoiser_depth)
        )
        self.refiner = (
            Refiner(latent, condition, width=config.step_width, depth=config.refiner_depth)
            if config.refiner_depth
            else Unrefined()
        )
