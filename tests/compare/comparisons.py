"""Comparisons with known numbers, for the tests of figures and report."""

import numpy as np
import pandas as pd

from haarmony.compare.ranking import rank
from haarmony.compare.results import Dataset, Example, Method, Results
from haarmony.metrics import METRICS


def comparison(values, *, kinds=(), pictures=None, **more):
    """Results and ranking of {symbol: {method: [a value a picture]}}; `kinds` names the models."""
    columns = {
        symbol: pd.Series({(m, f"p{i}"): v for m, x in methods.items() for i, v in enumerate(x)}, dtype=float)
        for symbol, methods in values.items()
    }
    images = pd.DataFrame(columns)
    names = list(dict.fromkeys(images.index.get_level_values(0)))
    fields = {
        "convention": "haarmony",
        "metrics": tuple(values),
        "methods": tuple(Method(n, n.upper(), dict(kinds).get(n, "classical"), seconds=0.01) for n in names),
        "images": images,
        "dataset": Dataset("mri", "pet", "val of brains", len(images) // len(names), "48×48"),
        "provenance": {"Command": "haarmony benchmark --a mri --b pet -o report", "Versions": "1 & 2"},
        "examples": (example(names),) if pictures is None else pictures,
    }
    results = Results(**(fields | more))
    return results, rank(images, {s: METRICS[s].direction for s in values}, resamples=200)


def example(names, size=48):
    """Noise as pictures; the second source is in colour."""
    rng = np.random.default_rng(1)
    pictures = {"MRI": rng.integers(0, 255, (size, size), np.uint8)}
    pictures["PET"] = rng.integers(0, 255, (size, size, 3), np.uint8)
    return Example("p0", pictures | {n: rng.integers(0, 255, (size, size), np.uint8) for n in names})


def three():
    """Three methods by mean rank: ours (1, 1, 2), other (2, 2, 1), worst (3, 3, 3), in PSNR, MSE and SSIM."""
    spread = np.linspace(-1, 1, 8)
    means = {
        "PSNR": {"worst": 16, "other": 24, "ours": 32},
        "MSE": {"worst": 900, "other": 500, "ours": 100},
        "SSIM": {"worst": 0.2, "other": 0.8, "ours": 0.6},
    }
    return comparison(
        {s: {m: mean * (1 + 0.01 * spread) for m, mean in x.items()} for s, x in means.items()},
        kinds={"ours": "model"},
    )
