"""Run an exported model with ONNX Runtime.

An engine answers three calls with NumPy arrays, whatever computes behind it: `encode` once a pair, `denoise`
and `refine` at every step. `haarmony.engine_torch` is the same call with torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from haarmony.weights import Card, GenerationCard, ModelCard, verified

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

STRIP = 16384
"""Positions that a step network works on at a time: more outgrow the processor's caches (4 times slower)."""

Latent = Float[np.ndarray, "b c h w"]
Condition = Float[np.ndarray, "b k h w"]
Steps = Int[np.ndarray, " b"]


@runtime_checkable
class Engine(Protocol):
    """The three networks as functions of float32 arrays on the codec's grid."""

    def encode(self, z_a: Latent, z_b: Latent, z_max: Latent) -> Condition:
        """The condition of a pair, from the latents of both sources and of their pixel-wise maximum."""

    def denoise(self, z_t: Latent, condition: Condition, t: Steps) -> Latent:
        """ε_θ: what the card's prediction type says, at step t in 1..T."""

    def refine(self, x_0: Latent, condition: Condition, t: Steps) -> Latent:
        """n_θ: the refined x̄_0 from the one-step estimate x̃_0."""


class OnnxEngine:
    """The shipped graphs on the CPU; every file is checked against the card before it is loaded."""

    def __init__(self, folder: Path, card: ModelCard, *, threads: int | None = None) -> None:
        """Load the three graphs.

        Args:
            folder: The model's folder.
            card: Its card.
            threads: Threads of one operator; None takes the cores that this process may use.
        """
        # A step network's 3×3 convolutions: one a block, one before and one after; in steps of the grid.
        # A U-Net sees all there is at its lowest level.
        try:
            reach = 2 + max(*(int(str(card.net[f"{name}_depth"])) for name in ("denoiser", "refiner")))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{folder / 'card.toml'}: net: no depth of a network ({error})") from None
        self._halo = -(-reach // card.diffusion.grid) * card.diffusion.grid
        self._whole = card.net.get("unet") is not None
        options = _options(threads)
        self._encoder, self._denoiser, self._refiner = (
            _load(folder / f"{name}.onnx", card, options) for name in ("encoder", "denoiser", "refiner")
        )

    def encode(self, z_a: Latent, z_b: Latent, z_max: Latent) -> Condition:
        sources = {"z_a": z_a, "z_b": z_b, "z_max": z_max}
        return _run(self._encoder, {one.name: sources[one.name] for one in self._encoder.get_inputs()})

    def denoise(self, z_t: Latent, condition: Condition, t: Steps) -> Latent:
        if self._whole:
            return _run(self._denoiser, {"z": z_t, "condition": condition, "t": t})
        return self._in_strips(self._denoiser, z_t, condition, t)

    def refine(self, x_0: Latent, condition: Condition, t: Steps) -> Latent:
        return self._in_strips(self._refiner, x_0, condition, t)

    def _in_strips(self, network: InferenceSession, z: Latent, condition: Condition, t: Steps) -> Latent:
        """A step network on strips of rows that reach `_halo` rows into their neighbours: the same result."""
        height, width = z.shape[-2:]
        rows = max(self._halo, STRIP // (len(z) * width) // self._halo * self._halo)
        result = np.empty_like(z)
        for top in range(0, height, rows):
            first, last = max(0, top - self._halo), min(height, top + rows + self._halo)
            inputs = {
                "z": np.ascontiguousarray(z[:, :, first:last]),
                "condition": np.ascontiguousarray(condition[:, :, first:last]),
                "t": t,
            }
            result[:, :, top : top + rows] = _run(network, inputs)[:, :, top - first :][:, :, :rows]
        return result


class OnnxUNet:
    """The graph of a model that generates, a `haarmony.generator.Denoise`; its file is checked too."""

    def __init__(self, folder: Path, card: GenerationCard, *, threads: int | None = None) -> None:
        self._unet = _load(folder / "unet.onnx", card, _options(threads))

    def __call__(self, x_t: Latent, t: Steps) -> Latent:
        return _run(self._unet, {"z": x_t, "t": t})


def _options(threads: int | None) -> SessionOptions:
    from onnxruntime import GraphOptimizationLevel, SessionOptions

    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # its errors are raised
    options.intra_op_num_threads = threads if threads is not None else _usable_cores()
    # Else one graph's idle threads spin on the cores that the next graph needs: twice the time a pair.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _load(path: Path, card: Card, options: SessionOptions) -> InferenceSession:
    from onnxruntime import InferenceSession

    content = verified(path.parent, path.name, card)
    try:
        return InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise ValueError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error


def _run(network: InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    try:
        return np.asarray(network.run(None, inputs)[0])
    except Exception as error:  # wrong inputs or shapes, or no memory
        raise ValueError(f"the model cannot run on these pictures ({str(error).splitlines()[0]})") from error


def _usable_cores() -> int:
    """Cores in the process's affinity where that is not all of them, else 0: ONNX Runtime's choice."""
    # More threads than cores wait for one another: a machine shared by affinity ran five times slower.
    if not hasattr(os, "sched_getaffinity"):
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else 0
