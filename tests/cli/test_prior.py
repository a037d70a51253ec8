"""`haarmony prior`: targets for two folders, with other methods' results as candidates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from haarmony.io import read, write


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Folders mri and ct of three pairs, the third of unequal sizes; another method's result for p1."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:64, :64]
    disc = np.hypot(x - 32, y - 32) < 24
    for folder in ("mri", "ct", "other"):
        Path(folder).mkdir()
    for i, stem in enumerate(("p1", "p2", "p3")):
        write(f"mri/{stem}.png", (disc * (120 + 80 * np.sin((x + i) / 2))).astype(np.uint8))
        write(f"ct/{stem}.png", (255 * (np.abs(np.hypot(x - 32, y - 32) - 26) < 3)).astype(np.uint8))
    write("ct/p3.png", np.zeros((32, 64), np.uint8))
    write("other/p1.png", np.maximum(read("mri/p1.png").pixels, read("ct/p1.png").pixels))
    return tmp_path


def test_targets_are_found_and_kept(run, pairs):
    argv = ("prior", "--a", "mri", "--b", "ct", "-o", "prior", "--candidates", "other=other")
    code, out, err = run(*argv)
    assert (code, len(err)) == (1, 3)
    assert out[0].startswith("prior: 2 targets (")
    assert out[0].endswith("), 1 failed")
    (failure,) = (line for line in err if "failed" in line)
    assert all(text in failure for text in ("p3", "64", "32"))
    assert sorted(os.listdir("prior")) == ["p1.png", "p2.png", "prior.json"]
    assert read("prior/p1.png").pixels.shape == (64, 64)
    before = {name: Path("prior", name).read_bytes() for name in os.listdir("prior")}
    assert run(*argv)[1] == out
    assert {name: Path("prior", name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--a", "mri", "--b", "none", "-o", "prior"], "none"),
        (["--a", "mri", "--b", "ct/p1.png", "-o", "prior"], "ct/p1.png"),
        (["--a", "mri", "--b", "ct", "-o", "mri"], "mri"),
        (["--a", "mri", "--b", "ct", "-o", "prior", "--candidates", "other"], "'other' is not NAME=DIR"),
        (["--a", "mri", "--b", "ct", "-o", "prior", "--candidates", "other=none"], "none"),
        (
            ["--a", "mri", "--b", "ct", "-o", "prior", "--candidates", "x=other", "x=mri"],
            "'x' is named twice",
        ),
        (["--a", "mri", "--b", "ct", "-o", "prior", "--candidates", "maximum=other"], "maximum"),
    ],
)
def test_bad_folders_and_candidates(run, pairs, argv, says):
    code, out, err = run("prior", *argv)
    assert (code, out) == (2, [])
    assert 1 <= len(err) <= 2
    assert says in err[0]
    assert not Path("prior").exists()
