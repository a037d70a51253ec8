"""Show what function and the scores cost each other: one finished run, trained on under several weights.

    python benchmarks/tradeoff.py RUN [-o RUNS] [--weights 0,20,60,200] [--steps 600] [--learning-rate 4e-4]

RUN is what `haarmony train` left. From its last checkpoint every weight of the term `rank`, which holds the
order of the second source's levels, trains STEPS more steps by the recipe's last loss. Prints the validation
split's scores, `cddfuse` convention, and draws them in RUNS/tradeoff.svg. A weight that RUNS holds already is
not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import TypeAdapter, ValidationError

from haarmony import settings
from haarmony.cli import answer
from haarmony.compare.style import INK, MUTED, PALETTE, svg
from haarmony.io import replacing
from haarmony.training import train
from haarmony.training.recipe import Phase, Recipe
from haarmony.training.validation import Scores

DRAWN = ("VIF", "Qabf", "SCD")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs") / "tradeoff")
    parser.add_argument(
        "--weights", type=lambda text: [float(w) for w in text.split(",")], default="0,20,60,200"
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    options = parser.parse_args()
    for weight in options.weights:
        if not 0 <= weight < math.inf:
            parser.error(f"argument --weights: {weight:g} is no weight from 0 up")
        if options.run.resolve().is_relative_to((options.out / f"{weight:g}").resolve()):
            parser.error(f"argument -o: {options.out / f'{weight:g}'} is or holds the run itself")
    if options.steps < 1:
        parser.error(f"argument --steps: {options.steps} is not above 0")
    if not 0 < options.learning_rate < math.inf:
        parser.error(f"argument --learning-rate: {options.learning_rate:g} is not above 0")

    recipe = finished(options.run)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[float, Scores] = {}
    for weight in options.weights:
        folder = options.out / f"{weight:g}"
        if not (folder / "best" / "done").exists():
            trained_on(options.run, recipe, folder, weight, options.steps, options.learning_rate)
        rows[weight] = scores_in(folder / "best" / "scores.json", recipe)
    show(rows)
    with replacing(options.out / "tradeoff.svg") as file:
        file.write(drawn(rows))


def finished(run: Path) -> Recipe:
    """The recipe of a run that is done and has what is drawn; a ValueError says what it lacks."""
    recipe, path = settings.load(run / "recipe.toml", Recipe), run / "checkpoint" / "state.json"
    try:
        step = int(json.loads(path.read_bytes())["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the state of a run ({error})") from None
    if step != recipe.optimiser.steps:
        raise ValueError(f"{run}: not finished, at step {step} of {recipe.optimiser.steps}")
    if not any(pair_set.functional for pair_set in recipe.data.sets):
        raise ValueError(f"{run / 'recipe.toml'}: no set is functional, so nothing conflicts with the scores")
    return recipe


def scores_in(path: Path, recipe: Recipe) -> Scores:
    """Read scores.json; a ValueError names it if it is damaged or of a run of other sets."""
    try:
        scores = TypeAdapter(Scores).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: no table of scores ({error.errors()[0]['msg']})") from None
    if sorted(scores) != sorted(pair_set.name for pair_set in recipe.data.sets):
        raise ValueError(f"{path}: scores of {', '.join(scores)}, which are not the run's sets")
    return scores


def trained_on(run: Path, recipe: Recipe, folder: Path, weight: float, steps: int, rate: float) -> None:
    """Train `steps` more steps from a copy of the run under another weight."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("checkpoint", "prior"):  # not all of it: FOLDER may lie in the run
        shutil.copytree(run / name, folder / name)
    last = recipe.optimiser.steps
    loss = recipe.loss_at(last).model_copy(update={"rank": weight})
    update = {
        "phases": (*recipe.phases, Phase(from_step=last, learning_rate=rate, loss=loss)),
        "optimiser": recipe.optimiser.model_copy(update={"steps": last + steps}),
        "validation": recipe.validation.model_copy(update={"every": last + steps}),
    }
    settings.dump(folder / "recipe.toml", recipe.model_copy(update=update))
    train(folder / "recipe.toml", out=folder, resume=True)
    (folder / "best" / "done").touch()


def show(rows: dict[float, Scores]) -> None:
    """A table a set, a line a weight."""
    for of, first in next(iter(rows.values())).items():
        print(f"\n| {of}: weight of `rank` | " + " | ".join(first) + " |")
        print("|---" + "|---:" * len(first) + "|")
        for weight, scores in rows.items():
            print(f"| {weight:g} | " + " | ".join(f"{value:.3f}" for value in scores[of].values()) + " |")


@svg
def drawn(rows: dict[float, Scores]) -> Figure:
    """One panel a set and score: function along, the score up, a point a weight."""
    first = next(iter(rows.values()))
    sets = [name for name, row in first.items() if "function" in row]
    figure = Figure(figsize=(3 * len(DRAWN), 2.6 * len(sets)), layout="constrained")
    panels = figure.subplots(len(sets), len(DRAWN), squeeze=False)
    for along, of in zip(panels, sets, strict=True):
        for axes, metric in zip(along, DRAWN, strict=True):
            x, y = ([scores[of][m] for scores in rows.values()] for m in ("function", metric))
            axes.plot(x, y, "o-", color=PALETTE[0])
            for weight, *at in zip(rows, x, y, strict=True):
                axes.annotate(f"{weight:g}", at, xytext=(4, 4), textcoords="offset points", color=MUTED)
            axes.set_xlabel("function", color=INK)
            axes.set_ylabel(f"{of} {metric}", color=INK)
    return figure


if __name__ == "__main__":
    sys.exit(answer(main))
