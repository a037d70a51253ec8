"""Make pictures out of noise with a trained diffusion model: DDPM and DDIM with the same weights.

    x_T ~ N(0, I) → sample in steps (`haarmony.diffusion.sample`) → decode the latent → picture

At η = 0 DDIM draws nothing on the way, so that x_T is a code of the picture: `decode` reads it, `encode`
finds it (`haarmony.diffusion.inversion`), and what lies between two codes lies between two pictures
(`interpolate`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from haarmony import weights
from haarmony.codec import Codec, decode_channels, encode_channels
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.inversion import invert
from haarmony.diffusion.process import Process
from haarmony.diffusion.sampler import sample
from haarmony.fuser import ENGINES
from haarmony.fusing_path import from_latent, to_latent

BATCH = 16
"""Pictures that are sampled at a time."""

Pictures = Float[np.ndarray, "b k H W"]
Code = Float[np.ndarray, "b c h w"]
Denoise = Callable[[Code, Int[np.ndarray, " b"]], Code]
"""A network: (x_t, t) → prediction, float32 on the codec's grid."""
Watch = Callable[[int, int, Code, Code], None]
"""Called at every step with (i, t, x_t, x̂_0), as `haarmony.diffusion.sample` yields them, for each batch."""


class Chain:
    """A network and the process it was trained for, ready to sample, encode and decode."""

    def __init__(
        self,
        denoise: Denoise,
        config: DiffusionConfig,
        shape: tuple[int, int, int],
        *,
        codec: Codec | None = None,
    ) -> None:
        """Join what is needed.

        Args:
            denoise: The network.
            config: Its latent space, schedule and default sampler.
            shape: Channels, height and width of the pictures.
            codec: The latent space; None makes the configuration's, which then must be one without weights.
        """
        self._denoise, self._config, self.shape = denoise, config, shape
        self._codec = config.make_codec() if codec is None else codec
        self._process = Process(config.make_schedule())
        channels, height, width = shape
        factor = self._codec.factor
        self.code_shape = (channels * self._codec.channels, height // factor, width // factor)
        """What x_t, and with it a code, has of channels, height and width."""

    def sample(
        self,
        n: int = 1,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int = 42,
        eta: float | None = None,
        callback: Watch | None = None,
    ) -> Pictures:
        """Sample n pictures; the k-th depends on the seed and k alone, and is the same with both engines.

        Args:
            n: How many, from 1.
            sampler: "ddim" or "ddpm"; None takes the model card's, as for the other two.
            steps: Sampling steps, 1 to T.
            seed: Seed of the noise, from 0.
            eta: DDIM's η in [0, 1]; 0 is deterministic once x_T is drawn.
            callback: Called after every step.

        Returns:
            Float32 in [0, 1].

        Raises:
            ValueError: A value that is not one of these.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        pictures = []
        for first in range(0, n, BATCH):
            rngs = _generators(seed, first, min(n, first + BATCH))
            x_T = _normal(rngs, self.code_shape)
            pictures.append(self._run(x_T, rngs, sampler, steps, eta, callback))
        return np.concatenate(pictures)

    def noise(self, n: int = 1, *, seed: int = 42) -> Code:
        """The x_T that `sample` starts from; a ValueError for n below 1."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return _normal(_generators(seed, 0, n), self.code_shape)

    def decode(self, x_T: Code, *, steps: int | None = None, callback: Watch | None = None) -> Pictures:
        """The pictures whose codes are x_T: DDIM at η = 0. Arguments and errors are those of `sample`."""
        self._check(x_T, (len(x_T), *self.code_shape))
        x_T = x_T.astype(np.float32, copy=False)
        batches = (x_T[first : first + BATCH] for first in range(0, len(x_T), BATCH))
        return np.concatenate([self._run(batch, [], "ddim", steps, 0.0, callback) for batch in batches])

    def encode(self, x: Pictures, *, steps: int | None = None, iterations: int = 5) -> Code:
        """The codes of pictures: what `decode` with as many steps turns into them.

        Args:
            x: In [0, 1], of the model's shape.
            steps: Steps, 2 to T; None takes the model card's.
            iterations: Evaluations of the network at every step (see `haarmony.diffusion.inversion.invert`).

        Returns:
            x_T, float32, as much like white noise as the model finds the picture likely.

        Raises:
            ValueError: Another shape, or a value that is not one of these.
        """
        if x.shape[1:] != self.shape:
            raise ValueError(f"the model knows pictures of {_by(self.shape)}, got {_by(x.shape[1:])}")
        self._check(x, (len(x), *self.shape))
        if x.min() < 0 or x.max() > 1:
            raise ValueError(f"pictures must lie in [0, 1]; they run from {x.min():g} to {x.max():g}")
        return invert(
            self._predict,
            encode_channels(self._codec, to_latent(x.astype(np.float32))),
            process=self._process,
            kind=self._config.prediction,
            steps=self._config.steps if steps is None else steps,
            spacing=self._config.spacing,
            iterations=iterations,
            refine=self._clip,
        )

    def interpolate(
        self,
        x_T1: Float[np.ndarray, "c h w"],
        x_T2: Float[np.ndarray, "c h w"],
        n: int,
        *,
        steps: int | None = None,
    ) -> Pictures:
        """Pictures from that of one code to that of another, n in all, on the great circle between them.

        With θ the angle of both codes, sin((1 − w) θ)/sin θ · x_T1 + sin(w θ)/sin θ · x_T2, w = 0, …, 1,
        has the length of white noise where both have it; a straight line would be too short (Song, Meng &
        Ermon 2021, eq. 67).

        Raises:
            ValueError: Codes that no one great circle joins: equal, or opposite; another shape, or n below 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        for code in (x_T1, x_T2):
            self._check(code, self.code_shape)
            if not code.any():
                raise ValueError("a code must not be all zero")
        cosine = np.vdot(x_T1, x_T2) / (np.linalg.norm(x_T1) * np.linalg.norm(x_T2))
        theta = np.arccos(np.clip(cosine, -1, 1))
        if np.sin(theta) < 1e-6:
            raise ValueError(f"the codes must be two that are not opposite, their cosine is {cosine:.3f}")
        w = np.linspace(0, 1, n)[:, None, None, None]
        codes = (np.sin((1 - w) * theta) * x_T1 + np.sin(w * theta) * x_T2) / np.sin(theta)
        return self.decode(codes.astype(np.float32), steps=steps)

    def _check(self, x: Float[np.ndarray, "..."], shape: tuple[int, ...]) -> None:
        """Refuse what is not so many finite numbers, with a ValueError."""
        if x.shape != shape or 0 in shape:
            raise ValueError(f"the model takes {_by(shape[-3:])} here, one at least, got {_by(x.shape)}")
        if not np.isfinite(x).all():
            raise ValueError("a value is not a finite number")

    def _run(
        self,
        x_T: Code,
        rngs: list[np.random.Generator],
        sampler: str | None,
        steps: int | None,
        eta: float | None,
        callback: Watch | None,
    ) -> Pictures:
        config = self._config
        trajectory = sample(
            self._predict,
            x_T,
            process=self._process,
            kind=config.prediction,
            steps=config.steps if steps is None else steps,
            spacing=config.spacing,
            sampler=config.sampler if sampler is None else sampler,
            eta=config.eta if eta is None else eta,
            variance=config.variance,
            noise=lambda i, shape: _normal(rngs, shape[1:]),
            refine=self._clip,
        )
        x_t = x_T
        for i, t, x_t, x_0 in trajectory:
            if callback is not None:
                callback(i, t, x_t, x_0)
        return np.clip(from_latent(decode_channels(self._codec, x_t)), 0, 1)

    def _predict(self, x_t: Code, t: int) -> Code:
        return self._denoise(x_t, np.full(len(x_t), t))

    def _clip(self, x_0: Code, t: int) -> Code:
        """Hold every pixel of the estimate to [−1, 1], as DDPM's code does: else errors grow on the way.

        Not through a codec that loses something each time: there the estimate stays as it is, as in latent
        diffusion (Rombach et al. 2022).
        """
        if not self._codec.exact:
            return x_0
        return encode_channels(self._codec, np.clip(decode_channels(self._codec, x_0), -1, 1))


class Generator(Chain):
    """A trained model, ready to make pictures."""

    def __init__(
        self, model: str | Path = "ddpm-mri", *, engine: str = "onnx", threads: int | None = None
    ) -> None:
        """Load a model.

        Args:
            model: Name of a shipped model, or a folder that `haarmony export` wrote.
            engine: "onnx" (ONNX Runtime on the CPU) or "torch" (needs the extra `train`; a GPU where there is
                one).
            threads: Threads of one operator; None takes all cores.

        Raises:
            ValueError: Unknown model or engine, a model that does not generate, a file that is not the
            card's. ModuleNotFoundError: The torch engine without torch.
        """
        if engine not in ENGINES:
            raise ValueError(f"unknown engine '{engine}': choose onnx or torch")
        folder = weights.find(model, weights.GenerationCard)
        self.card = weights.load_generation(folder)
        denoise: Denoise
        codec: Codec
        if engine == "torch":
            from haarmony import engine_torch

            denoise = engine_torch.TorchUNet.load(folder, self.card, threads=threads)
            codec = engine_torch.load_codec(folder, self.card)
        else:
            from haarmony.engine import OnnxUNet, load_codec

            denoise = OnnxUNet(folder, self.card, threads=threads)
            codec = load_codec(folder, self.card, threads=threads)
        super().__init__(denoise, self.card.diffusion, self.card.shape, codec=codec)


def grid(pictures: Pictures) -> Float[np.ndarray, "..."]:
    """All pictures on one, as square as possible, without scaling: (H, W), or (H, W, 3) for three channels.

    Raises:
        ValueError: Pictures of neither one nor three channels.
    """
    n, channels, height, width = pictures.shape
    if channels not in (1, 3):
        raise ValueError(f"only pictures of one channel or three can be shown, got {channels}")
    columns = min(range(1, n + 1), key=lambda c: (max(c * width, -(-n // c) * height), c * -(-n // c), -c))
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, channels, height, width), pictures.dtype)
    sheet[:n] = pictures
    tiled = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)  # (r, H, c, W, K)
    tiled = tiled.reshape(rows * height, columns * width, channels)
    return tiled[..., 0] if channels == 1 else tiled


def _generators(seed: int, first: int, last: int) -> list[np.random.Generator]:
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return [np.random.default_rng([seed, k]) for k in range(first, last)]


def _normal(rngs: list[np.random.Generator], shape: tuple[int, ...]) -> Code:
    return np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
