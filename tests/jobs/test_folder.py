"""Folder runs. The fusing function is the pixel-wise maximum: what runs do to files is the same for any."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from haarmony import jobs
from haarmony.io import Picture, read, write
from haarmony.jobs import Pair, folder

MANIFEST = ["manifest.csv", "manifest.jsonl"]


def maximum(a: Picture, b: Picture) -> Picture:
    if a.pixels.shape != b.pixels.shape:
        raise ValueError(f"sizes differ: {a.pixels.shape} and {b.pixels.shape}")
    return Picture(np.maximum(a.pixels, b.pixels), a.value_range)


def grey(seed: int, size: tuple[int, int] = (16, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def fill(folder: Path, stems: str, *, seed: int = 0) -> Path:
    folder.mkdir()
    for i, stem in enumerate(stems.split()):
        write(folder / f"{stem}.png", grey(seed + i))
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_run_fuses_every_pair_and_goes_on_after_a_bad_one(tmp_path):
    a, b, out = (
        fill(tmp_path / "a", "p1 p2 p3 p4"),
        fill(tmp_path / "b", "p1 p2 p3 p4", seed=9),
        tmp_path / "deep/out",
    )
    write(b / "p2.png", grey(5, (16, 16)))
    (a / "p3.png").write_bytes(b"no picture")
    outcomes = list(jobs.run(jobs.pairs(a, b).pairs, out, maximum))
    assert [outcome.status for outcome in outcomes] == ["fused", "failed", "failed", "fused"]
    assert [outcome.out.name for outcome in outcomes] == ["p1.png", "p2.png", "p3.png", "p4.png"]
    assert (
        str(outcomes[1].error) == f"{a / 'p2.png'} with {b / 'p2.png'}: sizes differ: (16, 20) and (16, 16)"
    )
    assert str(a / "p3.png") in str(outcomes[2].error)
    assert sorted(path.name for path in out.iterdir()) == [*MANIFEST, "p1.png", "p4.png"]
    for stem in ("p1", "p4"):
        expected = np.maximum(read(a / f"{stem}.png").pixels, read(b / f"{stem}.png").pixels)
        np.testing.assert_array_equal(read(out / f"{stem}.png").pixels, expected)


def test_outputs_that_exist_are_skipped_unless_overwritten(tmp_path):
    a, b, out = fill(tmp_path / "a", "p1 p2"), fill(tmp_path / "b", "p1 p2", seed=9), tmp_path / "out"
    out.mkdir()
    (out / "p1.png").write_bytes(b"precious")
    before = state(out)
    pairs = jobs.pairs(a, b).pairs
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum)] == ["skipped", "fused"]
    assert state(out)["p1.png"] == before["p1.png"]
    assert [outcome.status for outcome in jobs.run(pairs, out, maximum, overwrite=True)] == ["fused", "fused"]
    np.testing.assert_array_equal(read(out / "p1.png").pixels, np.maximum(grey(0), grey(9)))


def test_a_failed_pair_leaves_the_output_it_had(tmp_path):
    a, b, out = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1"), tmp_path / "out"
    pairs = jobs.pairs(a, b).pairs
    list(jobs.run(pairs, out, maximum))
    before = state(out)
    (b / "p1.png").write_bytes((b / "p1.png").read_bytes()[:-40])
    (outcome,) = jobs.run(pairs, out, maximum, overwrite=True)
    assert outcome.status == "failed"
    assert "p1.png: is damaged" in str(outcome.error)
    assert state(out)["p1.png"] == before["p1.png"]


def test_a_source_that_breaks_leaves_a_file_that_is_said_to_be_the_former_ones(tmp_path):
    a, b, out = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1", seed=9), tmp_path / "out"
    pairs = jobs.pairs(a, b).pairs
    list(jobs.run(pairs, out, maximum))
    good, stands = (a / "p1.png").read_bytes(), (out / "p1.png").read_bytes()
    (a / "p1.png").write_bytes(b"broken")
    still = f"{out / 'p1.png'}: is still the file of a former run"
    for overwrite, says in ((False, f"{still}, though {a / 'p1.png'} has changed"), (True, still)):
        (outcome,) = jobs.run(pairs, out, maximum, overwrite=overwrite)
        assert (outcome.status, outcome.notes) == ("failed", (says,))
        assert (out / "p1.png").read_bytes() == stands
        with open(out / "manifest.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["result"], row["out_sha256"]) == ("failed", hashlib.sha256(stands).hexdigest())
    (a / "p1.png").write_bytes(good)  # and what was made of it is known again
    (outcome,) = jobs.run(pairs, out, maximum)
    assert (outcome.status, outcome.notes) == ("skipped", ())
    (a / "p1.png").unlink()
    write(a / "p1.png", grey(3))
    (outcome,) = jobs.run(pairs, out, maximum)
    assert outcome.notes == (f"{out / 'p1.png'}: fused again, since {a / 'p1.png'} has changed",)


def test_a_run_removes_its_own_unfinished_files_alone(tmp_path):
    a, b, out = fill(tmp_path / "a", "p1 p2"), fill(tmp_path / "b", "p1 p2"), tmp_path / "out"
    out.mkdir()
    for name in ("p1.png", "p1.png.part", "p2.png.part", "download.part", "p3.png.part"):
        (out / name).write_bytes(b"")
    list(jobs.run(jobs.pairs(a, b).pairs, out, maximum))
    expected = ["download.part", *MANIFEST, "p1.png", "p2.png", "p3.png.part"]
    assert sorted(path.name for path in out.iterdir()) == expected


def test_bytes_depend_on_the_pair_alone(tmp_path):
    a, b = fill(tmp_path / "a", "p1 p2 p3"), fill(tmp_path / "b", "p1 p2 p3", seed=9)
    pairs = jobs.pairs(a, b).pairs
    list(jobs.run(pairs, tmp_path / "all", maximum))
    list(jobs.run(pairs[1:2], tmp_path / "one", maximum))
    jobs.fuse_file(pairs[1], tmp_path / "single.png", maximum)
    expected = (tmp_path / "all/p2.png").read_bytes()
    assert (tmp_path / "one/p2.png").read_bytes() == expected
    assert (tmp_path / "single.png").read_bytes() == expected


def test_notes_name_their_file(tmp_path):
    a, b = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1")
    Image.fromarray(grey(0)).convert("P").save(a / "p1.png")
    Image.fromarray(grey(1)).convert("RGB").save(b / "p1.png")
    (outcome,) = jobs.run(jobs.pairs(a, b).pairs, tmp_path / "out", maximum)
    assert outcome.status == "fused"
    assert outcome.notes == (f"{a / 'p1.png'}: palette converted to RGB",)


def test_a_mistake_in_the_program_is_no_failed_pair(tmp_path):
    a, b = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1")

    def broken(a: Picture, b: Picture) -> Picture:
        raise TypeError("broken")

    with pytest.raises(TypeError, match="broken"):
        list(jobs.run(jobs.pairs(a, b).pairs, tmp_path / "out", broken))


def test_a_leftover_that_cannot_be_removed_fails_its_own_pair(tmp_path):
    for name in ("p", "q"):
        write(tmp_path / f"{name}.png", np.zeros((16, 16), np.uint8))
    out = tmp_path / "out"
    (out / "p.png.part").mkdir(parents=True)
    pairs = [Pair(tmp_path / f"{name}.png", tmp_path / f"{name}.png") for name in ("p", "q")]
    first, second = jobs.run(pairs, out, maximum)
    assert (first.status, second.status) == ("failed", "fused")
    assert str(first.error) == f"{out / 'p.png'}: cannot be written (Is a directory)"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_after_a_full_disk_no_pair_is_begun(tmp_path, monkeypatch, number):
    a, b, out = fill(tmp_path / "a", "p1 p2 p3 p4"), fill(tmp_path / "b", "p1 p2 p3 p4"), tmp_path / "out"
    real, asked = folder.place, []

    def no_room_for_the_second(target, *of, **options):
        asked.append(target.name)
        if target.name == "p2.png":
            raise OSError(number, "No room", str(target))
        real(target, *of, **options)

    monkeypatch.setattr(folder, "place", no_room_for_the_second)
    done = []
    with pytest.raises(OSError, match="not begun") as caught:
        done.extend(jobs.run(jobs.pairs(a, b).pairs, out, maximum))
    assert str(caught.value) == (
        f"{out}: the disk is full: 1 fused, 0 skipped, 1 failed, 2 not begun; make room and give the command"
        " again"
    )
    assert asked == ["p1.png", "p2.png"]
    monkeypatch.setattr(folder, "place", real)
    statuses = [outcome.status for outcome in jobs.run(jobs.pairs(a, b).pairs, out, maximum)]
    assert statuses == ["skipped", "fused", "fused", "fused"]


def test_a_full_disk_at_the_last_pair_leaves_none(tmp_path, monkeypatch):
    a, b, out = fill(tmp_path / "a", "p1"), fill(tmp_path / "b", "p1"), tmp_path / "out"

    def no_room(target, *of, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(folder, "place", no_room)
    (outcome,) = jobs.run(jobs.pairs(a, b).pairs, out, maximum)
    assert outcome.status == "failed"


def test_a_file_that_appears_while_two_files_are_fused_stays(tmp_path):
    a, b, out = fill(tmp_path / "a", "p"), fill(tmp_path / "b", "p"), tmp_path / "out.png"

    def slow(a: Picture, b: Picture) -> Picture:
        out.write_bytes(b"mine")
        return maximum(a, b)

    pair = Pair(a / "p.png", b / "p.png")
    with pytest.raises(FileExistsError, match=r"out\.png: exists already; --overwrite replaces it"):
        jobs.fuse_file(pair, out, slow)
    assert out.read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "out.png"]
    jobs.fuse_file(pair, out, slow, overwrite=True)
    assert out.read_bytes() != b"mine"
