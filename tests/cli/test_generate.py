"""`haarmony generate`: a grid of pictures, the same for the same seed; bad input is one line and code 2."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from haarmony.generator import Generator, grid
from haarmony.io import from_unit, read


@pytest.fixture
def generate(run, generation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        return run("generate", "--model", generation.model, *argv)

    return call


def test_a_grid_of_what_the_library_makes(generate, generation):
    options = ("-n", "5", "--sampler", "ddpm", "--steps", "3", "--seed", "9")
    code, out, err = generate(*options, "-o", "grid.png")
    assert (code, len(out), err) == (0, 1, [])
    assert out[0].startswith("grid.png: 5 pictures in ")
    pictures = Generator(generation.model).sample(5, sampler="ddpm", steps=3, seed=9)
    expected = from_unit(grid(pictures), np.uint8)
    assert expected.shape == (64, 96)
    np.testing.assert_array_equal(read("grid.png").pixels, expected)
    assert generate(*options, "-o", "again.png")[0] == 0
    assert Path("again.png").read_bytes() == Path("grid.png").read_bytes()
    assert sorted(os.listdir()) == ["again.png", "grid.png"]


def test_the_model_decides_what_is_not_said(generate, generation):
    assert generate("-o", "grid.png")[0] == 0
    expected = from_unit(grid(Generator(generation.model).sample(16)), np.uint8)
    np.testing.assert_array_equal(read("grid.png").pixels, expected)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("-o", "grid.jpg"), "grid.jpg: cannot write .jpg pictures"),
        (("-o", "none/grid.png"), "there is no folder none"),
        (("-o", "grid.png", "--steps", "1001"), "steps must be in 1, …, 1000, got 1001"),
        (("-o", "grid.png", "--model", "medical"), "the model 'medical' is not for generation: choose "),
        (("-o", "grid.png", "--model", "none"), "unknown model 'none': choose "),
    ],
)
def test_bad_input_is_one_line(generate, argv, says):
    code, out, err = generate(*argv)
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]
    assert os.listdir() == []


@pytest.mark.parametrize("argv", [("-n", "0"), ("--sampler", "euler"), ("--seed", "-1"), ("--steps", "0")])
def test_wrong_usage(generate, argv):
    code, out, err = generate("-o", "grid.png", *argv)
    assert (code, out, len(err)) == (2, [], 2)
    assert f"'{argv[0]}'" in err[0] or "--number" in err[0]
    assert os.listdir() == []


def test_an_export_says_what_it_is_for(run, generation, tmp_path):
    code, out, err = run("export", generation.run, "-o", tmp_path / "model")
    assert (code, err) == (0, [])
    (line,) = out
    assert line.startswith(
        f"{tmp_path / 'model'}: discs, 0.05 million parameters; to use it, haarmony generate -o "
    )


def test_what_exists_stays(generate):
    Path("grid.png").write_text("mine")
    code, _, err = generate("-o", "grid.png", "--steps", "1")
    assert (code, err) == (
        2,
        ["haarmony: grid.png: exists already; --overwrite (in Python overwrite=True) replaces it"],
    )
    assert Path("grid.png").read_text() == "mine"
    assert generate("-o", "grid.png", "--steps", "1", "--overwrite")[0] == 0
    assert read("grid.png").pixels.shape == (128, 128)


def test_a_model_that_generates_does_not_fuse(run, here, generation):
    code, out, err = run("fuse", "mri.png", "pet.png", "-o", "out.png", "--model", generation.model)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: the model 'discs' is not for fusion: choose ")
