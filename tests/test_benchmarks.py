"""What a benchmark cannot use it refuses in one line, before it spends or removes anything."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from haarmony import settings
from haarmony.training.recipe import Recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RECIPE = """
name = "tiny"
title = "Tiny"
description = "For tests."
intended_use = "Tests."
limits = "Everything."
training_data = "None."
data = { sets = [{ name = "one", a = "a", b = "b", split = "one", functional = true }] }
optimiser = { steps = 4 }
"""

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refused:
    """Runs a benchmark that ends with exit code 2 and without a result: the last line that it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script
    Path("recipe.toml").write_text(RECIPE)

    def call(name: str, *argv: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *argv])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        printed = capsys.readouterr()
        assert (caught.value.code, printed.out) == (2, "")
        *usage, line = printed.err.splitlines()
        assert not usage or usage[0].startswith("usage: ")
        return line

    return call


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("ablation none.toml data -o out", "haarmony: none.toml: no such file or directory"),
        ("ablation recipe.toml data -o out --minutes nan", "--minutes: nan is not above 0"),
        ("ablation recipe.toml data -o out --minutes -5", "--minutes: -5 is not above 0"),
        ("ablation recipe.toml data -o recipe.toml", "haarmony: recipe.toml: file exists"),
        ("blind data -o out", "haarmony: data/splits.json: no such file or directory"),
        ("blind data -o recipe.toml", "recipe.toml exists already; name a folder that does not"),
        ("blind data -o out --pairs 0", "--pairs: 0 is too small"),
        ("blind data -o out --seed -1", "--seed: -1 is too small"),
        ("blind data -o out --methods maximum,maximum", "'maximum' is named twice"),
        ("blind data -o out --methods maxmum", "haarmony: unknown method 'maxmum'"),
        ("explain data", "haarmony: data/splits.json: no such file or directory"),
        ("explain --number 0", "--number: 0 is not above 0"),
        ("explain --heads -1", "--heads: -1 is not above 0"),
        ("quality data", "haarmony: data/splits.json: no such file or directory"),
        ("quality data --pairs 0", "--pairs: 0 is not above 0"),
        ("quality data --steps 0", "haarmony: steps must be in 1, …, 1000, got 0"),
        ("quality data --models maxmum", "recipes/maxmum.toml: no such file or directory"),
        ("speed --repeats 0", "--repeats: 0 is not above 0"),
        ("speed --threads -1", "--threads: -1 is not above 0"),
        ("speed --model none", "haarmony: unknown model 'none'"),
        ("tradeoff run -o out", "haarmony: run/recipe.toml: no such file or directory"),
        ("tradeoff run -o out --weights 0,-1", "--weights: -1 is no weight from 0 up"),
        ("tradeoff run -o out --weights nan", "--weights: nan is no weight from 0 up"),
        ("tradeoff run -o out --steps 0", "--steps: 0 is not above 0"),
        ("tradeoff run -o out --learning-rate inf", "--learning-rate: inf is not above 0"),
    ],
)
def test_what_it_cannot_use(refused, argv, says):
    assert says in refused(*argv.split())
    assert not Path("out").exists() or not any(Path("out").iterdir())


def test_a_variant_that_another_recipe_left_or_a_crash_damaged(refused):
    for name, done in (
        ("damaged", "{"),
        ("of another recipe", '{"steps": 1, "scores": {"two": {"VIF": 1.0}}}'),
    ):
        for variant in (
            *("full network", "without the wavelet", "without Restormer attention"),
            *("without cross-attention", "without the refiner", "without the raised prior"),
            "without metric terms",
        ):
            folder = Path(name, variant.replace(" ", "-"))
            folder.mkdir(parents=True)
            (folder / "done.json").write_text(done)
    of = "full-network/done.json"
    line = refused("ablation", "recipe.toml", "data", "-o", "damaged")
    assert line.startswith(f"haarmony: damaged/{of}: no scores of a variant (Invalid JSON")
    line = refused("ablation", "recipe.toml", "data", "-o", "of another recipe")
    assert line == f"haarmony: of another recipe/{of}: scores of two, which are not the recipe's sets"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As much of a finished run as is looked at first."""
    path = tmp_path / "runs" / "20"
    (path / "checkpoint").mkdir(parents=True)
    (path / "recipe.toml").write_text(RECIPE)
    (path / "checkpoint" / "state.json").write_text(json.dumps({"step": 4}))
    return path


def test_a_run_is_not_taken_for_an_earlier_result_and_removed(refused, run):
    assert refused("tradeoff", "runs/20", "-o", "runs").endswith("-o: runs/20 is or holds the run itself")
    assert (run / "recipe.toml").exists()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ('{"step": 3}', "runs/20: not finished, at step 3 of 4"),
        ("{", "runs/20/checkpoint/state.json: not the state of a run ("),
        ("[]", "runs/20/checkpoint/state.json: not the state of a run ("),
    ],
)
def test_a_run_that_cannot_be_trained_on(refused, run, state, says):
    (run / "checkpoint" / "state.json").write_text(state)
    assert refused("tradeoff", "runs/20", "-o", "out").startswith(f"haarmony: {says}")
    assert not Path("out").exists()


def test_a_run_without_function_has_no_tradeoff(refused, run):
    recipe = settings.load(run / "recipe.toml", Recipe)
    only = recipe.data.sets[0].model_copy(update={"functional": False})
    data = recipe.data.model_copy(update={"sets": (only,)})
    settings.dump(run / "recipe.toml", recipe.model_copy(update={"data": data}))
    line = refused("tradeoff", "runs/20", "-o", "out")
    assert line.startswith("haarmony: runs/20/recipe.toml: no set is functional")


def test_scores_that_a_crash_damaged_are_named(refused, run):
    best = Path("out", "0", "best")
    best.mkdir(parents=True)
    (best / "done").touch()
    for content, says in (("{", "no table of scores"), ("{}", "scores of ")):
        (best / "scores.json").write_text(content)
        line = refused("tradeoff", "runs/20", "-o", "out", "--weights", "0")
        assert line.startswith(f"haarmony: out/0/best/scores.json: {says}")
