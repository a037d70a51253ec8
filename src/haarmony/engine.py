"""Run an exported model with ONNX Runtime.

An engine answers calls with NumPy arrays, whatever computes behind it. `Engine` fuses lumas: `encode` once a
pair, `denoise` and `refine` at every step. `DifFusionEngine` fuses colours: `observe` at every step, then
`fuse` once. `haarmony.engine_torch` has the same calls with torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from haarmony.codec import FACTOR, Autoencoder, Codec
from haarmony.text import plain
from haarmony.weights import (
    Card,
    DifFusionCard,
    DiffusionCard,
    GenerationCard,
    LumaCard,
    load_needed,
    verified,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

STRIP = 16384
"""Positions that a step network works on at a time: more outgrow the processor's caches (4 times slower)."""

DEEPEST = 1000
"""Blocks that a network may say it has."""

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


@runtime_checkable
class DifFusionEngine(Protocol):
    """The two networks of Dif-Fusion, likewise."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps t that a pair is looked at."""

    @property
    def reach(self) -> int:
        """Positions around a part that `fuse` has to be given with it, a multiple of 8."""

    def observe(self, x_t: Latent, k: Steps) -> Condition:
        """The features of x_t at t = steps[k]."""

    def fuse(self, features: Condition) -> Latent:
        """The three fused channels, from the features at every step joined."""


class OnnxEngine:
    """The shipped graphs on the CPU; every file is checked against the card before it is loaded."""

    def __init__(self, folder: Path, card: LumaCard, *, threads: int | None = None) -> None:
        """Load the three graphs.

        Args:
            folder: The model's folder.
            card: Its card.
            threads: Threads of one operator; None takes the cores that this process may use.
        """
        # A step network's 3×3 convolutions: one a block, one before and one after; in steps of the grid.
        # A U-Net sees all there is at its lowest level.
        reach = 2 + max(_depth(folder, card, f"{name}_depth") for name in ("denoiser", "refiner"))
        self._halo = -(-reach // card.diffusion.grid) * card.diffusion.grid
        self._whole = card.net.get("unet") is not None
        self._encoder, self._denoiser, self._refiner = _load(folder, card, threads=threads)

    def encode(self, z_a: Latent, z_b: Latent, z_max: Latent) -> Condition:
        return _run(self._encoder, {"z_a": z_a, "z_b": z_b, "z_max": z_max})

    def denoise(self, z_t: Latent, condition: Condition, t: Steps) -> Latent:
        inputs = {"z": z_t, "condition": condition, "t": t}
        if self._whole:
            return _run(self._denoiser, inputs, channels=z_t.shape[1])
        return _in_strips(self._denoiser, inputs, halo=self._halo, channels=z_t.shape[1])

    def refine(self, x_0: Latent, condition: Condition, t: Steps) -> Latent:
        inputs = {"z": x_0, "condition": condition, "t": t}
        return _in_strips(self._refiner, inputs, halo=self._halo, channels=x_0.shape[1])


class OnnxDifFusion:
    """The two graphs of a `DifFusionEngine`; their files are checked too."""

    def __init__(self, folder: Path, card: DifFusionCard, *, threads: int | None = None) -> None:
        self.steps = card.features_at
        self._channels = 3 * card.diffusion.channels
        self.reach = head_reach(_depth(folder, card, "head_depth"))
        self._observer, self._head = _load(folder, card, threads=threads)

    def observe(self, x_t: Latent, k: Steps) -> Condition:
        return _run(self._observer, {"x_t": x_t, "k": k})

    def fuse(self, features: Condition) -> Latent:
        return _in_strips(self._head, {"features": features}, halo=self.reach, channels=self._channels)


class OnnxUNet:
    """The graph of a model that generates, a `haarmony.generator.Denoise`; its file is checked too."""

    def __init__(self, folder: Path, card: GenerationCard, *, threads: int | None = None) -> None:
        (self._unet,) = _load(folder, card, threads=threads)

    def __call__(self, x_t: Latent, t: Steps) -> Latent:
        return _run(self._unet, {"z": x_t, "t": t}, channels=x_t.shape[1])


def head_reach(depth: int) -> int:
    """What a head of so many blocks reaches: a 3×3 convolution each, and one; as `DifFusionEngine` has it."""
    return -(-(1 + depth) // 8) * 8


def load_codec(folder: Path, card: DiffusionCard, *, threads: int | None = None) -> Codec:
    """The codec of a model, for NumPy arrays: an autoencoder's files are checked as the model's own.

    Raises:
        ValueError: The autoencoder is not the model's, or a file is not its card's.
        FileNotFoundError: A file is missing.
    """
    if card.diffusion.autoencoder is None:
        return card.diffusion.make_codec()
    own, of = load_needed(folder, card)
    halo = 3 * _depth(own, of, "depth") + 2  # rows of the latent that either network's convolutions reach
    encoder, decoder = _load(own, of, threads=threads)
    return Autoencoder(
        lambda x: _in_strips(encoder, {"x": x}, halo=halo, into=FACTOR, channels=of.channels),
        lambda z: _in_strips(decoder, {"z": z}, halo=halo, out=FACTOR, channels=1),
        of.channels,
    )


def _depth(folder: Path, card: Card, name: str) -> int:
    """How many blocks a network has, of those whose reach decides how it can be run in parts."""
    try:
        depth = int(str(card.net[name]))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{folder / 'card.toml'}: net: no depth of a network ({plain(error)})") from None
    if not 0 <= depth <= DEEPEST:
        raise ValueError(f"{folder / 'card.toml'}: net: {name} is {depth}, not from 0 to {DEEPEST}")
    return depth


def _in_strips(
    network: InferenceSession,
    inputs: dict[str, np.ndarray],
    *,
    halo: int,
    channels: int,
    into: int = 1,
    out: int = 1,
) -> Latent:
    """A network on strips of rows that reach `halo` rows into their neighbours: the same result.

    A row has `into` rows of the inputs and `out` of the result.
    """
    batch, _, height, width = next(iter(inputs.values())).shape
    height, width = height // into, width // into
    rows = max(halo, STRIP // (batch * width) // halo * halo)
    strips = []
    for top in range(0, height, rows):
        first, last = max(0, top - halo), min(height, top + rows + halo)
        part = {
            name: np.ascontiguousarray(x[:, :, into * first : into * last]) if x.ndim == 4 else x
            for name, x in inputs.items()
        }
        strip = _run(network, part, channels=channels, into=into, out=out)
        strips.append(strip[:, :, out * (top - first) :][:, :, : out * rows])
    return np.concatenate(strips, axis=2)


def _options(threads: int | None) -> SessionOptions:
    from onnxruntime import GraphOptimizationLevel, SessionOptions

    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # its errors are raised
    options.intra_op_num_threads = threads if threads is not None else _usable_cores()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # and no other, told by content
    # An arena keeps the most that a graph ever took, each graph its own: three times what is in use at once.
    options.enable_cpu_mem_arena = False
    # Else one graph's idle threads spin on the cores that the next graph needs: twice the time a pair.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _load(folder: Path, card: Card, *, threads: int | None) -> list[InferenceSession]:
    """The graphs of a card's kind, in their order."""
    from onnxruntime import InferenceSession

    options, loaded = _options(threads), []
    for name in card.graphs:
        content = verified(folder, f"{name}.onnx", card)
        # ONNX's key of a tensor kept in another file, or at an address: one that no sha256 covers.
        if b"location" in content:
            raise ValueError(
                f"{folder / f'{name}.onnx'}: keeps weights outside itself ('location'); export it as one file"
            )
        try:
            loaded.append(InferenceSession(content, options, providers=["CPUExecutionProvider"]))
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            problem = str(error).splitlines()[0]
            raise ValueError(f"{folder / f'{name}.onnx'}: cannot be loaded ({problem})") from error
    return loaded


def _run(
    network: InferenceSession,
    inputs: dict[str, np.ndarray],
    *,
    channels: int | None = None,
    into: int = 1,
    out: int = 1,
) -> np.ndarray:
    """The answer to those of the inputs that the graph has: unused ones are not exported.

    Raises:
        ValueError: It cannot run on them, or answers with what is no float picture of so many channels, with
            `out` rows and columns for `into` of the inputs.
    """
    try:
        asked = {one.name for one in network.get_inputs()}
        answers = network.run(None, {name: x for name, x in inputs.items() if name in asked})
        answer = np.asarray(answers[0])
    except Exception as error:  # wrong inputs or shapes, or no memory
        shapes = ", ".join(str(x.shape) for x in inputs.values())
        problem = str(error).splitlines()[0]
        raise ValueError(f"the model cannot run on inputs of {shapes} ({problem})") from error
    batch, _, height, width = next(x.shape for x in inputs.values() if x.ndim == 4)
    wanted = batch, channels, height // into * out, width // into * out
    fits = answer.ndim == 4 and all(n in (None, m) for n, m in zip(wanted, answer.shape, strict=True))
    if not fits or answer.dtype.kind != "f":
        shown = tuple("any" if n is None else n for n in wanted)
        raise ValueError(
            f"the model is damaged: a graph answers with {answer.dtype} {answer.shape}, not floats {shown}"
        )
    return answer


def _usable_cores() -> int:
    """Cores in the process's affinity where that is not all of them, else 0: ONNX Runtime's choice."""
    # More threads than cores wait for one another: a machine shared by affinity ran five times slower.
    if not hasattr(os, "sched_getaffinity"):
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else 0
