"""Which files make a pair, and what is refused before anything is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from haarmony import jobs
from haarmony.io import write
from haarmony.jobs import Pair


def grey(seed: int, size: tuple[int, int] = (16, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def fill(folder: Path, stems: str, *, seed: int = 0) -> Path:
    folder.mkdir()
    for i, stem in enumerate(stems.split()):
        write(folder / f"{stem}.png", grey(seed + i))
    return folder


def test_pairs_share_their_stem(tmp_path):
    a, b = fill(tmp_path / "a", "p10 p2 p1 lone"), fill(tmp_path / "b", "p1 p10 other")
    (b / "p2.TIF").write_bytes(b"")
    (a / "notes.txt").write_text("")
    (b / "notes.txt").write_text("")
    (a / ".p1.png").write_text("")
    (a / "folder.png").mkdir()
    found = jobs.pairs(a, b)
    assert found.pairs == (
        Pair(a / "p1.png", b / "p1.png"),
        Pair(a / "p10.png", b / "p10.png"),
        Pair(a / "p2.png", b / "p2.TIF"),
    )
    assert (found.only_a, found.only_b) == (("lone",), ("other",))


def test_two_pictures_of_one_stem_are_refused(tmp_path):
    a, b = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1")
    (b / "p1.tif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b: p1\.png and p1\.tif share a stem"):
        jobs.pairs(a, b)


def test_folders_without_a_common_stem_are_refused(tmp_path):
    a, b = fill(tmp_path / "a", "p1 p2"), fill(tmp_path / "b", "q1")
    with pytest.raises(ValueError, match="no stem in common among 2 and 1 pictures"):
        jobs.pairs(a, b)


@pytest.mark.parametrize(
    ("a", "b", "out", "error", "problem"),
    [
        ("a/none.png", "b/p1.png", "out.png", FileNotFoundError, "a/none.png: there is no such file"),
        ("a", "b/p1.png", "out.png", ValueError, "a: is a folder but .*b/p1.png is a file"),
        ("a/p1.png", "b", "out.png", ValueError, "b: is a folder but .*a/p1.png is a file"),
        ("a/p1.png", "b/p1.png", "none/out.png", FileNotFoundError, "none"),
        ("a/p1.png", "b/p1.png", "old.png/out.png", NotADirectoryError, "old.png"),
        ("a/p1.png", "b/p1.png", "old.png", FileExistsError, "old.png: exists already"),
        ("a/p1.png", "b/p1.png", "a", IsADirectoryError, "a: is a folder"),
        ("a/p1.png", "b/p1.png", "out.xyz", ValueError, "out.xyz"),
        ("a/p1.png", "b/p1.png", "a/p1.png", ValueError, "a/p1.png: is a source"),
        ("a/p1.png", "b/p1.png", "link.png", ValueError, "link.png: is a source"),
        ("a", "b", "a", ValueError, "a: is or lies in the source folder"),
        ("a", "b", "b/new/out", ValueError, "out: is or lies in the source folder"),
        ("a", "b", "link", ValueError, "link: is or lies in the source folder"),
        ("a", "b", "old.png", NotADirectoryError, "old.png is a file"),
        ("a", "b", "old.png/out", NotADirectoryError, "old.png is a file"),
    ],
)
def test_check_refuses(tmp_path, a, b, out, error, problem):
    fill(tmp_path / "a", "p1")
    fill(tmp_path / "b", "p1")
    write(tmp_path / "old.png", grey(3))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.link(tmp_path / "b/p1.png", tmp_path / "link.png")
    with pytest.raises(error, match=problem):
        jobs.check(tmp_path / a, tmp_path / b, tmp_path / out)


@pytest.mark.parametrize("out", ["out.png", "old.png", "out", "deep/out"])
def test_check_lets_pass(tmp_path, out):
    a, b = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1")
    write(tmp_path / "old.png", grey(3))
    if out.endswith(".png"):
        a, b = a / "p1.png", b / "p1.png"
    jobs.check(a, b, tmp_path / out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "old.png"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_check_refuses_a_closed_folder(tmp_path, monkeypatch, kind):
    a, b = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1")
    # Permissions do not bind root, whom CI may run as.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    if kind == "file":
        a, b = a / "p1.png", b / "p1.png"
    with pytest.raises(PermissionError, match="cannot be written to"):
        jobs.check(a, b, tmp_path / "out.png")


def test_what_the_output_is_called_while_it_is_written_is_no_source(tmp_path):
    for name in ("a.png", "out.png.part"):
        write(tmp_path / "p.png", np.zeros((16, 16), np.uint8))
        (tmp_path / "p.png").rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"out\.png\.part: is a source"):
        jobs.check(tmp_path / "a.png", tmp_path / "out.png.part", tmp_path / "out.png", overwrite=True)


def test_a_link_that_leads_nowhere_exists(tmp_path):
    write(tmp_path / "a.png", np.zeros((16, 16), np.uint8))
    (tmp_path / "out.png").symlink_to("gone.png")
    sources = tmp_path / "a.png", tmp_path / "a.png"
    with pytest.raises(FileExistsError, match="--overwrite"):
        jobs.check(*sources, tmp_path / "out.png")
    jobs.check(*sources, tmp_path / "out.png", overwrite=True)
