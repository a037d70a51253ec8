"""Train the network without each of its parts under one budget, and print what each is worth.

    python benchmarks/ablation.py RECIPE DATA -o RUNS [--minutes 15] [--only NAME,…]

Every variant is the recipe with one thing changed, trained with the recipe's seed for the same time; the
learning rate falls, and the recipe's phases begin, over as many steps as fit, by a short trial. Scores are
means over the validation split, `cddfuse` convention, as differences from the full network's; of the full
network also, on some pairs, the numbers of steps and the samplers. A variant that RUNS holds already is not
trained again: two cores can train two variants at once, by two commands with other `--only`, and a third
prints the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from haarmony import settings
from haarmony.cli import answer
from haarmony.nets import FusionNet
from haarmony.training import checkpoint, train, validation
from haarmony.training.loop import LOG_EVERY
from haarmony.training.recipe import Recipe

FULL = "full network"
METRIC_TERMS = (
    *("ssim", "ssim_floor", "vif", "vif_floor", "qabf", "qabf_floor", "scd", "scd_floor", "sf_floor"),
    *("mi_floor", "rank", "rank_a"),
)
VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {},
    "without the wavelet": {"net": {"wavelet": False}},
    "without Restormer attention": {"net": {"attention": False}},
    "without cross-attention": {"net": {"cross_attention": False}},
    "without the refiner": {"net": {"refiner_depth": 0}},
    "without the raised prior": {"prior": {"ascent": None}},
    "without metric terms": {
        "loss": {**dict.fromkeys(METRIC_TERMS, 0.0), "ssim": 2.0, "maximum": 10.0, "gradient": 5.0}
    },
}
SAMPLING: dict[str, dict[str, Any]] = {
    **{f"DDIM, {steps} steps": {"steps": steps} for steps in (1, 2, 4, 8, 25)},
    **{f"DDPM, {steps} steps": {"steps": steps, "sampler": "ddpm"} for steps in (2, 4, 25)},
}
SAMPLED = 12
"""Pairs of each set that are sampled in many steps."""


class Done(BaseModel):
    """What a trained variant leaves in its folder, as done.json."""

    steps: int
    scores: validation.Scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*VARIANTS])
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in VARIANTS]:
        parser.error(f"unknown variant '{unknown[0]}': choose of {', '.join(VARIANTS)}")
    if not 0 < options.minutes < math.inf:
        parser.error(f"argument --minutes: {options.minutes:g} is not above 0")

    recipe = settings.load(options.recipe, Recipe)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(options.data)})})
    options.out.mkdir(parents=True, exist_ok=True)
    folders = {name: options.out / name.replace(" ", "-") for name in VARIANTS}
    for name in options.only:
        if not (folders[name] / "done.json").exists():
            trained(
                changed(recipe, VARIANTS[name]), folders[name], options.out / "prior", 60 * options.minutes
            )
    if missing := [name for name, folder in folders.items() if not (folder / "done.json").exists()]:
        raise SystemExit(f"no table yet, {options.out} lacks: {', '.join(missing)}")
    rows: dict[str, tuple[int, validation.Scores]] = {}
    for name, folder in folders.items():
        done = what_is_done(folder / "done.json", recipe)
        rows[name] = done.steps, done.scores
    show(rows)
    print(f"\nThe full network on {SAMPLED} pairs of each set, sampled otherwise:")
    net = checkpoint.load_best(folders[FULL] / "best", FusionNet(recipe.net))
    pairs = validation.load(recipe, pairs=SAMPLED)
    rows = {FULL: (0, validation.score(net, recipe, pairs)[0])}
    for name, update in SAMPLING.items():
        sampled = recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update=update)})
        rows[name] = 0, validation.score(net, sampled, pairs)[0]
    show(rows)


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with other values in some of its tables, those of the loss in every phase."""
    update = {table: getattr(recipe, table).model_copy(update=values) for table, values in changes.items()}
    if "loss" in changes:
        update["phases"] = tuple(
            one.model_copy(update={"loss": one.loss.model_copy(update=changes["loss"])})
            for one in recipe.phases
        )
    if changes.get("prior") == {"ascent": None}:
        sets = tuple(one.model_copy(update={"ascend": False}) for one in recipe.data.sets)
        update["data"] = recipe.data.model_copy(update={"sets": sets})
    return recipe.model_copy(update=update)


def what_is_done(path: Path, recipe: Recipe) -> Done:
    """Read done.json; a ValueError names it if it is damaged or of a recipe with other sets."""
    try:
        done = Done.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: no scores of a variant ({error.errors()[0]['msg']})") from None
    if sorted(done.scores) != sorted(pair_set.name for pair_set in recipe.data.sets):
        raise ValueError(f"{path}: scores of {', '.join(done.scores)}, which are not the recipe's sets")
    return done


def trained(recipe: Recipe, folder: Path, prior: Path, seconds: float) -> None:
    """Train for `seconds`, targets and validation left out, and leave the scores in FOLDER/done.json."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if prior.exists():  # most variants share their targets
        shutil.copytree(prior, folder / "prior")
    steps = max(1, round(seconds / seconds_a_step(recipe, folder)))
    if not prior.exists():
        shutil.copytree(folder / "prior", prior, dirs_exist_ok=True)  # another command may be at it too
    run(recipe, folder, steps, report=print)
    scores = json.loads((folder / "best" / "scores.json").read_text())
    checkpoint.write_json(folder / "done.json", {"steps": steps, "scores": scores})


def seconds_a_step(recipe: Recipe, folder: Path) -> float:
    """Time of one step, from the first two lines that training reports of its steps.

    On a CPU it is the processor's, shared out over the threads: what else runs there takes no steps from a
    variant.
    """
    on_gpu, times = torch.cuda.is_available(), list[float]()

    def report(line: str) -> None:
        if line.startswith("step "):
            times.append(time.monotonic() if on_gpu else time.process_time() / torch.get_num_threads())
        if len(times) == 2:
            raise EnoughError

    try:
        run(recipe, folder, 10 * LOG_EVERY, report=report)
    except EnoughError:
        pass
    return (times[1] - times[0]) / LOG_EVERY


class EnoughError(Exception):
    """Stops a trial."""


def run(recipe: Recipe, folder: Path, steps: int, *, report: Callable[[str], None]) -> None:
    share = steps / recipe.optimiser.steps
    update = {
        "optimiser": recipe.optimiser.model_copy(update={"steps": steps}),
        "validation": recipe.validation.model_copy(update={"every": steps}),
        "phases": tuple(
            one.model_copy(update={"from_step": max(1, round(share * one.from_step))})
            for one in recipe.phases
        ),
    }
    path = folder / "variant.toml"
    settings.dump(path, recipe.model_copy(update=update))
    train(path, out=folder, report=report)


def show(rows: dict[str, tuple[int, validation.Scores]]) -> None:
    """A table a set: the full network's scores as they are, the others' as differences from them."""
    full = rows[FULL][1]
    for of, wanted in full.items():
        print(f"\n| {of} | training steps | " + " | ".join(wanted) + " |")
        print("|---" + "|---:" * (len(wanted) + 1) + "|")
        for name, (steps, scores) in rows.items():
            shown = [
                f"{scores[of][m]:.3f}" if name == FULL else f"{scores[of][m] - wanted[m]:+.3f}"
                for m in wanted
            ]
            print(f"| {name} | {steps or ''} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    sys.exit(answer(main))
