"""Dif-Fusion at the command line: fuse, export, benchmark, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from haarmony import Fuser, weights
from haarmony.io import read
from haarmony.metrics import ciede2000


def test_two_files(run, street, dif_fusion, tmp_path):
    a, b = street / "visible" / "4.png", street / "infrared" / "4.png"
    for name in ("one.png", "two.png"):
        code, out, err = run("fuse", a, b, "-o", tmp_path / name, "--model", dif_fusion.model, "--seed", "3")
        assert (code, len(out), err) == (0, 1, [])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    expected = Fuser(dif_fusion.model)(read(a).pixels, read(b).pixels, seed=3)
    assert expected.shape == (72, 64, 3)
    np.testing.assert_array_equal(read(tmp_path / "one.png").pixels, expected)


def test_steps_are_refused(run, street, dif_fusion, tmp_path):
    a, b = street / "visible" / "4.png", street / "infrared" / "4.png"
    code, out, err = run("fuse", a, b, "-o", tmp_path / "o.png", "--model", dif_fusion.model, "--steps", "4")
    assert (code, out) == (2, [])
    assert err == ["haarmony: the model 'tiny-dif-fusion' does not sample: it takes no steps, got 4"]
    assert not (tmp_path / "o.png").exists()


def test_it_does_not_generate(run, dif_fusion, tmp_path):
    code, out, err = run("generate", "-o", tmp_path / "o.png", "--model", dif_fusion.model)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("haarmony: the model 'tiny-dif-fusion' is not for generation: choose ")


def test_a_missing_denoiser_is_one_line(run, dif_fusion, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = dif_fusion.recipe.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("denoiser"))
    recipe.write_text(text.replace(line, 'denoiser = "nowhere"'), encoding="utf-8")
    code, out, err = run("train", recipe, "-o", tmp_path / "run")
    assert (code, out) == (2, [])
    (line,) = err
    assert line.startswith("haarmony: denoiser: nowhere: no trained model here (a run directory, or its ex")
    assert line.endswith("); train stage one first")


def test_models_says_what_it_looks_at(run, dif_fusion, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny-dif-fusion").symlink_to(dif_fusion.model)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "weights")
    code, out, err = run("models")
    assert (code, err) == (0, [])
    assert out[0].startswith("tiny-dif-fusion: Street (features at t = 5, 50, 100, 0.0")
    assert out[-2].split() == ["validation", "MI", "VIF", "SF", "Qabf", "SD", "CIEDE2000"]


def test_it_is_benchmarked_beside_the_others_on_its_own_colours(run, street, dif_fusion, tmp_path):
    pytest.importorskip("jinja2")
    report = tmp_path / "report"
    code, _, err = run(
        *("benchmark", "--a", street / "visible", "--b", street / "infrared", "-o", report, "--quiet"),
        *("--methods", f"{dif_fusion.model},maximum", "--metrics", "MI,VIF,SF,Qabf,SD,CIEDE2000"),
        *("--split", f"{street / 'splits.json'}:street/val"),
    )
    assert (code, err) == (0, [])
    with (report / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["method"] == "model"]
    assert len(rows) == 4
    assert len(ours) == 2
    for row in ours:
        fused = read(Path(report, "fused", "model", f"{row['stem']}.png")).pixels
        visible = read(street / "visible" / f"{row['stem']}.png").pixels
        assert float(row["CIEDE2000"]) == pytest.approx(float(ciede2000(fused, visible)), rel=1e-4)
        assert np.ptp(fused.astype(int), axis=2).max() > 50
