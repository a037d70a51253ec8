"""The refiner n_θ(x̃_0, condition, t): from the one-step estimate to the fused latent (Algorithm 1, line 9).

It corrects: x̄_0 = x̃_0 + n(x̃_0, condition, t), and the correction starts at zero. The fusion losses act here.
"""

from __future__ import annotations

from torch import Tensor, nn

from haarmony.nets.denoiser import StepNetwork


class Refiner(StepNetwork):
    """(x̃_0 (B, latent, h, w), condition, t (B,)) → x̄_0 (B, latent, h, w)."""

    def forward(self, z: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        return z + super().forward(z, condition, t)


class Unrefined(nn.Module):
    """No refiner: x̄_0 = x̃_0."""

    def forward(self, z: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        return z
