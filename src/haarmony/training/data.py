"""Training and validation pairs: lumas in memory, random crops from an explicit generator.

A batch depends only on the generator it is given. The loop makes one from (seed, step, process), so that a
resumed run draws exactly what an unbroken one would have drawn, without any state to save.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from haarmony import jobs, prior
from haarmony.io import to_unit
from haarmony.prior import SearchConfig
from haarmony.training.recipe import DataConfig, Pairs, PairsConfig, PairSet

Report = Callable[[str], None]

PATIENCE = 30.0
"""Seconds after which a search says how far it is."""


@dataclass(frozen=True)
class Pair:
    """Two lumas of one size, float32 in [0, 1], and what they are."""

    stem: str
    a: Float[np.ndarray, "h w"]
    b: Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class Batch:
    """Crops, float32 in [0, 1]."""

    a: Float[np.ndarray, "b 1 h w"]
    b: Float[np.ndarray, "b 1 h w"]
    clean_a: Float[np.ndarray, "b 1 h w"]
    """What the fused picture is scored against: the sources without the noise that was added to them."""
    clean_b: Float[np.ndarray, "b 1 h w"]
    target: Float[np.ndarray, "b 1 h w"]
    of: Int[np.ndarray, " b"]
    """The set that each is of, by its place in the recipe."""


@dataclass(frozen=True)
class Training:
    """One set's training pairs and their targets."""

    set: PairSet
    pairs: list[Pair]
    targets: list[Float[np.ndarray, "h w"]]


def stems(path: Path, key: str, split: str) -> list[str]:
    """The stems of one split ("train" or "val") of a set in a splits file, {key: {split: [stem, …]}}.

    Raises:
        ValueError: The file is not readable, or lacks the set or the split.
        OSError: It cannot be opened.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key][split]
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number or a nesting too long
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    except (KeyError, TypeError):
        raise ValueError(f"{path}: no split '{split}' of '{key}'") from None
    if not isinstance(found, list) or not all(isinstance(stem, str) for stem in found):
        raise ValueError(f"{path}: split '{split}' of '{key}' is no list of stems")
    if twice := [stem for stem, count in Counter(found).items() if count > 1]:
        raise ValueError(f"{path}: split '{split}' of '{key}' names {twice[0]} twice")
    if not found:
        raise ValueError(f"{path}: '{key}': split '{split}' is empty")
    return found


def files(config: PairsConfig, pair_set: Pairs, split: str) -> list[jobs.Pair]:
    """The files of one split ("train" or "val") of one set, in the split's order.

    Raises:
        ValueError: The splits file is not readable, lacks the set or the split, or names a stem that has no
            files.
        OSError: A file or folder cannot be opened.
    """
    root = Path(config.root)
    path = root / config.splits
    wanted = stems(path, pair_set.split, split)
    found = {pair.stem: pair for pair in jobs.pairs(root / pair_set.a, root / pair_set.b).pairs}
    if missing := [stem for stem in wanted if stem not in found]:
        raise ValueError(
            f"{path}: '{pair_set.split}': no pair {missing[0]} ({len(missing)} missing)"
            f" in {root / pair_set.a} and {root / pair_set.b}"
        )
    return [found[stem] for stem in wanted]


def load_pair(files: jobs.Pair) -> Pair:
    """Read the lumas of one pair; a ValueError says both sizes where they differ."""
    a, b = (to_unit(prior.read_luma(path)[0]) for path in (files.a, files.b))
    if a.shape != b.shape:
        raise ValueError(f"{files.a} and {files.b}: sizes differ, {a.shape} and {b.shape} (height, width)")
    return Pair(files.stem, a, b)


def find_targets(
    config: DataConfig, search: SearchConfig, out: Path, *, report: Report, until: float | None = None
) -> bool:
    """Line 1 of Algorithm 1: search the targets of every set's training pairs.

    Args:
        config: The sets and their split.
        search: How targets are chosen.
        out: Folder of the targets, one folder a set in it; what an earlier run found there is used.
        report: Given one line a set, and one every `PATIENCE` seconds meanwhile.
        until: When to stop, by `time.monotonic`; what is found then stays.

    Returns:
        Whether every target is there.

    Raises:
        ValueError: A pair is not usable.
        OSError: A file cannot be read or written.
    """
    for pair_set in config.sets:
        winners: Counter[str] = Counter()
        pairs = files(config, pair_set, "train")
        hold = search.hold_function if search.hold_function is not None else pair_set.functional or None
        ascent = search.ascent if pair_set.ascend else None
        own = search.model_copy(update={"hold_function": hold, "ascent": ascent})
        said = time.monotonic()
        for progress in prior.build(pairs, out / pair_set.name, config=own):
            if progress.entry is None:
                raise progress.error or ValueError(f"{progress.stem}: no target")
            winners[progress.entry.winner] += 1
            late = until is not None and time.monotonic() >= until
            if late and progress.scored and progress.done < progress.total:  # what is known costs no time
                report(f"prior {pair_set.name}: {progress.done} of {progress.total} pairs")
                return False
            if time.monotonic() - said > PATIENCE:  # raised targets take seconds a pair
                said = time.monotonic()
                report(f"prior {pair_set.name}: {progress.done} of {progress.total} pairs")
        report(
            f"prior {pair_set.name}: " + ", ".join(f"{name} {count}" for name, count in winners.most_common())
        )
    return True


def load_training(config: DataConfig, out: Path) -> list[Training]:
    """The training pairs of every set with the targets that `find_targets` left in `out`; errors are its."""
    loaded = []
    for pair_set in config.sets:
        pairs = files(config, pair_set, "train")
        targets = [prior.load(out / pair_set.name, pair.stem) for pair in pairs]
        loaded.append(Training(pair_set, [load_pair(pair) for pair in pairs], targets))
    return loaded


def draw(sets: list[Training], rng: np.random.Generator, *, batch: int, crop: int) -> Batch:
    """A batch of random crops, each set by its share: flipped, turned by quarter turns, dimmed, noisy."""
    share = np.array([one.set.share for one in sets])
    of = rng.choice(len(sets), batch, p=share / share.sum())
    crops = [_draw_one(sets[i], rng, crop=crop) for i in of]
    a, b, clean_a, clean_b, target = (np.stack([one[i] for one in crops])[:, None] for i in range(5))
    return Batch(a, b, clean_a, clean_b, target, of)


def _draw_one(training: Training, rng: np.random.Generator, *, crop: int) -> list[np.ndarray]:
    """A, b with noise, a, b without, target."""
    i = rng.integers(len(training.pairs))
    a, b, target = (
        _at_least(x, crop) for x in (training.pairs[i].a, training.pairs[i].b, training.targets[i])
    )
    height, width = a.shape
    for _ in range(4):  # a crop of mere air teaches nothing; a few tries find tissue
        y, x = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
        window = slice(y, y + crop), slice(x, x + crop)
        if np.maximum(a[window], b[window]).mean() > 0.05:
            break
    turns, flip, swap = int(rng.integers(4)), rng.integers(2), rng.random() < training.set.swap
    pictures = [np.rot90(picture[window], turns) for picture in ((b, a, target) if swap else (a, b, target))]
    if flip:
        pictures = [np.fliplr(picture) for picture in pictures]
    a, b, target = (np.ascontiguousarray(picture) for picture in pictures)
    if training.set.dim and rng.random() < training.set.dim:
        lost = np.float32(1 - rng.uniform(0.25, 1)) * a
        a, target = a - lost, np.maximum(target - lost, np.minimum(target, b))  # what b lent keeps its light
    seen = [_with_noise(x, rng, most=training.set.noise) for x in (a, b)]
    return [*seen, a, b, target]


def _with_noise(x: np.ndarray, rng: np.random.Generator, *, most: float) -> np.ndarray:
    """Every other picture with white noise of a random strength; air stays zero."""
    if not most or rng.random() < 0.5:
        return x
    noise = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, most))
    return np.clip(x + noise, 0, 1) * (x > 0)


def _at_least(x: np.ndarray, side: int) -> np.ndarray:
    return np.pad(x, [(0, max(0, side - n)) for n in x.shape], mode="symmetric")
