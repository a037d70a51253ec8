"""Show what steps buy: the quality of DDPM's and DDIM's samples against their number, and the time it takes.

    python benchmarks/sampling.py DATA [--model ddpm-mri] [-n 64] [--steps 2,4,10,20,50,100,1000] [-o SVG]

DATA holds the pictures that recipes/ddpm-mri.toml names and their splits.json. Every row is N samples by one
seed against the training slices of the sets that the recipe scores, most of what was learnt; prints a
Markdown table and draws it.

The distance is the sliced Wasserstein distance on Haar bands (`haarmony.metrics.sliced_wasserstein`), not
the Fréchet inception distance. That one needs a network trained on photographs, which would have to be
downloaded, knows nothing of MRI, and asks for tens of thousands of pictures to estimate a covariance of
2048 numbers. Quantiles of projections need neither, and bands say where a sampler fails: too few steps blur
the fine ones. How near real pictures come are rows of their own: N slices of the training split against all
of it, and slices of the validation split, which are of other patients. Every sample's nearest of these
is looked for, too: copies would lie nearer than other patients' slices do.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from haarmony.cli import answer
from haarmony.compare.style import INK, MUTED, PALETTE, svg
from haarmony.diffusion import SAMPLERS
from haarmony.generator import Generator
from haarmony.metrics import sliced_wasserstein
from haarmony.training.generation import load
from haarmony.training.tasks import load_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "ddpm-mri.toml"
TITLES = {"ddim": "DDIM, η = 0", "ddpm": "DDPM"}


@dataclass(frozen=True)
class Point:
    """N samples of one sampler."""

    steps: int
    distance: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="ddpm-mri")
    parser.add_argument("-n", "--number", type=int, default=64)
    parser.add_argument(
        "--steps", type=lambda text: [int(n) for n in text.split(",")], default="2,4,10,20,50,100,1000"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("-o", "--out", type=Path, default=Path("sampling.svg"))
    options = parser.parse_args()

    recipe = load_recipe(RECIPE, data=options.data)
    scored = [one for one in recipe.data.sets if one.scored]
    validation, training = (
        np.stack([picture for one in scored for picture in load(recipe, one, split)])
        for split in ("val", "train")
    )
    rng = np.random.default_rng(options.seed)
    picked = rng.choice(len(training), min(options.number, len(training)), replace=False)
    floor = sliced_wasserstein(training[picked], training)
    print(f"{options.number} samples against {len(training)} slices\n")
    print("| sampler | steps | distance | seconds a picture | nearest slice |\n|---|---:|---:|---:|---:|")
    others = np.delete(training, picked, axis=0)
    print(f"| none: training slices | | {floor:.3f} | | {nearest(training[picked], others)} |")
    distance = sliced_wasserstein(validation, training)
    print(f"| none: validation slices | | {distance:.3f} | | {nearest(validation, training)} |", flush=True)
    generator = Generator(options.model)
    points: dict[str, list[Point]] = {}
    generator.sample(options.number, steps=1)  # the first call's cost is no sampler's
    for sampler in SAMPLERS:
        for steps in options.steps:
            start = time.perf_counter()
            pictures = generator.sample(
                options.number, sampler=sampler, steps=steps, seed=options.seed, eta=0.0
            )
            seconds = (time.perf_counter() - start) / options.number
            point = Point(steps, sliced_wasserstein(pictures, training), seconds)
            points.setdefault(sampler, []).append(point)
            cells = TITLES[sampler], steps, f"{point.distance:.3f}", f"{seconds:.3f}"
            print("|", " | ".join(map(str, cells)), f"| {nearest(pictures, training)} |", flush=True)
    options.out.write_bytes(drawn(points, floor))


def nearest(pictures: np.ndarray, training: np.ndarray) -> str:
    """RMSE, of 255, to the nearest training slice or its mirror image: median and least of the pictures."""
    slices = np.concatenate([training, training[..., ::-1]]).reshape(2 * len(training), -1)
    found = [255 * np.sqrt(np.square(slices - x.ravel()).mean(1).min()) for x in pictures]
    return f"{np.median(found):.1f}, {min(found):.1f}"


@svg
def drawn(points: dict[str, list[Point]], floor: float) -> Figure:
    """Distance against steps and against time, a line a sampler; the dashed line is what real slices have."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    by_steps, by_time = figure.subplots(1, 2, sharey=True)
    for colour, (sampler, row) in zip(PALETTE, points.items(), strict=False):
        distances = [point.distance for point in row]
        by_steps.plot([point.steps for point in row], distances, "o-", color=colour, label=TITLES[sampler])
        by_time.plot([point.seconds for point in row], distances, "o-", color=colour)
    for axes, label in ((by_steps, "steps"), (by_time, "seconds a picture")):
        axes.axhline(
            floor, color=MUTED, linestyle="--", label="training slices" if axes is by_steps else None
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers would need mathtext
        axes.set_xlabel(label, color=INK)
    by_steps.set_ylim(bottom=0)
    by_steps.set_ylabel("sliced Wasserstein distance", color=INK)
    by_steps.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(answer(main))
