"""Run an exported model with ONNX Runtime.

An engine answers three calls with NumPy arrays, whatever computes behind it: `encode` once a pair, `denoise`
and `refine` at every step. `haarmony.engine_torch` is the same call with torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from haarmony.weights import ModelCard, verified

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
        from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

        options = SessionOptions()
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.intra_op_num_threads = threads if threads is not None else _usable_cores()
        self._encoder, self._denoiser, self._refiner = (
            InferenceSession(
                verified(folder, f"{name}.onnx", card), options, providers=["CPUExecutionProvider"]
            )
            for name in ("encoder", "denoiser", "refiner")
        )

    def encode(self, z_a: Latent, z_b: Latent, z_max: Latent) -> Condition:
        return self._encoder.run(None, {"z_a": z_a, "z_b": z_b, "z_max": z_max})[0]

    def denoise(self, z_t: Latent, condition: Condition, t: Steps) -> Latent:
        return self._denoiser.run(None, {"z": z_t, "condition": condition, "t": t})[0]

    def refine(self, x_0: Latent, condition: Condition, t: Steps) -> Latent:
        return self._refiner.run(None, {"z": x_0, "condition": condition, "t": t})[0]


def _usable_cores() -> int:
    """Cores in the process's affinity where that is not all of them, else 0: ONNX Runtime's choice."""
    # More threads than cores wait for one another: a machine shared by affinity ran five times slower.
    if not hasattr(os, "sched_getaffinity"):
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else 0
