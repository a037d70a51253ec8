"""Folder runs of many pairs, with real processes that are killed, starved of room and interrupted."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony import phantom
from haarmony.io import read, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
PAIRS = 60


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders mri and pet of many pairs of 64×64; no two alike."""
    monkeypatch.chdir(tmp_path)
    sources = phantom.head(size=64).pair("PET", 32)
    for folder, source in zip(("mri", "pet"), sources, strict=True):
        Path(folder).mkdir()
        for i in range(PAIRS):
            write(f"{folder}/p{i:02}.png", np.roll(source, i, axis=0))
    return tmp_path


def command(model, out, *more):
    argv = ["fuse", "mri", "pet", "-o", out, "--model", model, *more]
    return [sys.executable, "-m", "haarmony", *map(str, argv)]


def start(model, out, *more):
    return subprocess.Popen(
        command(model, out, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def places(out):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in Path(out).glob("*.png")}


def digests(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(out).glob("*.png")}


def rows(out):
    with open(f"{out}/manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_whole(out, unbroken):
    found = digests(out)
    assert found == digests(unbroken)
    assert {row["out"]: row["out_sha256"] for row in rows(out)} == found
    assert {row["result"] for row in rows(out)} == {"fused"}
    assert sorted(os.listdir(out)) == ["manifest.csv", "manifest.jsonl", *sorted(found)]


def test_a_run_that_is_killed_goes_on_where_it_was(folders, run, model):
    quiet = ("--model", model, "--quiet")
    assert run("fuse", "mri", "pet", "-o", "unbroken", *quiet, "--workers", "1") == (0, [], [])
    assert len(digests("unbroken")) == PAIRS
    done = {}
    for _ in range(2):
        process = start(model, "out", "--workers", "2")
        said = ""
        while said.count(" fused in ") < 8:
            said += process.stderr.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        stands = digests("out")
        assert stands.items() <= digests("unbroken").items()  # whole, all of them
        assert len(done) + 8 <= len(stands) < PAIRS
        assert {name: places("out")[name] for name in done} == done  # none was made again
        done = places("out")
    code, out, err = run("fuse", "mri", "pet", "-o", "out", "--model", model, "--workers", "2")
    assert (code, out) == (0, [f"out: {PAIRS - len(done)} fused, {len(done)} skipped, 0 failed"])
    assert not [line for line in err if "manifest" in line]  # it knows all that stands there
    assert {name: places("out")[name] for name in done} == done
    check_whole("out", "unbroken")
    before = places("out")
    assert run("fuse", "mri", "pet", "-o", "out", "--model", model)[1] == [
        f"out: 0 fused, {PAIRS} skipped, 0 failed"
    ]
    assert places("out") == before


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    argv = [mount or "", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_in_a_line_and_what_is_finished_stays(folders, run, model, disk):
    run("fuse", "mri", "pet", "-o", "unbroken", "--model", model, "--quiet", "--workers", "1")
    sizes = sum(path.stat().st_size for path in Path("unbroken").glob("*.png"))
    assert sizes > 128 << 10
    done = subprocess.run(
        command(model, disk / "out", "--workers", "2"), capture_output=True, text=True, check=False
    )
    *lines, last = done.stderr.splitlines()
    failed = [line for line in lines if " failed: " in line]
    stands = digests(disk / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert 5 < len(stands) < PAIRS
    assert 1 <= len(failed) <= 4  # two that were done, and two that were begun for them
    assert all("No space left" in line or "no space left" in line for line in failed)
    left = PAIRS - len(stands) - len(failed)
    assert last == (
        f"haarmony: {disk / 'out'}: the disk is full: {len(stands)} fused, 0 skipped, {len(failed)} failed,"
        f" {left} not begun; make room and give the command again"
    )
    assert not list((disk / "out").glob("*.part"))
    assert stands.items() <= digests("unbroken").items()
    before = places(disk / "out")
    if subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=False).returncode:
        pytest.skip("the disk cannot be made larger")
    code, out, _ = run("fuse", "mri", "pet", "-o", disk / "out", "--model", model)
    again = PAIRS - len(stands)
    assert (code, out) == (0, [f"{disk / 'out'}: {again} fused, {len(stands)} skipped, 0 failed"])
    assert {name: places(disk / "out")[name] for name in before} == before
    check_whole(disk / "out", "unbroken")


def test_a_changed_source_and_another_seed(folders, run, model):
    for path in [*Path("mri").iterdir(), *Path("pet").iterdir()]:
        if path.stem not in ("p00", "p01"):
            path.unlink()
    fuse = ("fuse", "mri", "pet", "-o", "out", "--model", model)
    assert run(*fuse)[0] == 0
    write("pet/p01.png", 255 - read("pet/p01.png").pixels)
    before = places("out")
    code, out, err = run(*fuse)
    assert (code, out) == (0, ["out: 1 fused, 1 skipped, 0 failed"])
    assert err[0] == "[1/2] p00 skipped"
    assert err[-1] == "out/p01.png: fused again, since pet/p01.png has changed"
    assert places("out")["p00.png"] == before["p00.png"]
    assert run(*fuse, "--seed", "5", "--steps", "3")[2][1] == (
        "out/p00.png: fused again, since steps: 2 → 3, seed: 42 → 5"
    )
    for name in ("manifest.jsonl", "manifest.csv"):
        Path("out", name).unlink()
    code, out, err = run(*fuse)
    assert (code, out) == (0, ["out: 0 fused, 2 skipped, 0 failed"])
    assert err[1] == "out/p00.png: is no file that the manifest knows, so it stays; --overwrite replaces it"


@pytest.mark.parametrize("more", [["--workers", "2"], ["--ray", "auto"]], ids=" ".join)
def test_options_for_folders_are_for_folders(folders, run, model, more):
    code, out, err = run("fuse", "mri/p00.png", "pet/p00.png", "-o", "out.png", "--model", model, *more)
    assert (code, out) == (2, [])
    assert err == ["haarmony: --workers and --ray are for folders, not for two files"]
    code, out, err = run("fuse", "mri", "pet", "-o", "out", "--engine", "torch", *more)
    assert (code, err) == (2, ["haarmony: --workers and --ray need the onnx engine, not torch"])
    assert not Path("out").exists()


def test_a_second_run_on_the_same_folder_is_refused(folders, run, model):
    process = start(model, "out", "--workers", "1")
    assert " fused in " in process.stderr.readline()
    process.send_signal(signal.SIGSTOP)
    try:
        found = run("fuse", "mri", "pet", "-o", "out", "--model", model)
    finally:
        process.kill()
        process.communicate()
    problem = "out/manifest.jsonl: another run is at work on it; wait for it to end"
    assert found == (2, [], [f"haarmony: {problem}"])
