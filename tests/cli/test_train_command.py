"""`haarmony train` and `haarmony export` hand their options on and refuse what they cannot use."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from haarmony import training


def test_train_hands_its_options_on(run, monkeypatch, tmp_path):
    given = {}

    def train(recipe: Path, **options: object) -> Path:
        given.update(options, recipe=recipe)
        return tmp_path

    monkeypatch.setattr(training, "train", train)
    (tmp_path / "best").mkdir()
    argv = ("recipe.toml", "--data", "pictures", "--out", "run", "--resume", "--max-time", "90m")
    assert run("train", *argv) == (
        0,
        [f"{tmp_path}: to use the model, haarmony export {tmp_path} -o DIR"],
        [],
    )
    given.pop("report")
    assert given == {
        **{"recipe": Path("recipe.toml"), "data": Path("pictures"), "out": Path("run")},
        **{"resume": True, "max_time": 5400.0},
    }
    run("train", "recipe.toml")
    given.pop("report")
    assert given == {
        "recipe": Path("recipe.toml"),
        "data": None,
        "out": None,
        "resume": False,
        "max_time": None,
    }


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (None, "recipe.toml"),
        ("name = ", "recipe.toml: not readable as TOML"),
        ("name = " + 100_000 * "[", "recipe.toml: not readable as TOML"),
        ("colour = 1", "recipe.toml: "),
    ],
)
def test_a_recipe_that_is_none(run, monkeypatch, tmp_path, recipe, says):
    monkeypatch.chdir(tmp_path)
    if recipe is not None:
        Path("recipe.toml").write_text(recipe)
    code, out, err = run("train", "recipe.toml", "--out", "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]
    assert not Path("run").exists()


def test_a_log_that_fills_the_disk_is_one_line(run, monkeypatch):
    """The log's thread fails first, then training; the traceback of the one would hide the other's line."""
    full = OSError(28, "No space left on device", "run/tensorboard")

    def train(recipe: Path, **options: object) -> Path:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        raise full

    def write() -> None:
        raise full

    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(training, "train", train)
    says = ["haarmony: run/tensorboard: no space left on device"]
    assert run("train", "recipe.toml") == (2, [], says)


def test_nothing_to_export(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("export", "none", "-o", "model")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: none: ")
    assert not Path("model").exists()
