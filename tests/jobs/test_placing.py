"""An output and its transform stand in step: whatever ends the writing, no wrong one stands beside it."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from haarmony import jobs
from haarmony.io import Picture, write
from haarmony.jobs import Fused, Pair, placing
from haarmony.jobs.placing import is_former, left_beside, place, transform_of
from haarmony.transform import Transform, turned

CENTRE = np.full(2, 15.5)
VALUES = ((0.0, 255.0), (0.0, 255.0))


def moved(by: float) -> Transform:
    return Transform(turned(CENTRE, 0.0, np.array([by, 0.0])), CENTRE, "rigid", 1.0, 1.1)


class Moving(jobs.Fusing):
    """The maximum, whose settings need no model; moved by `seed` pixels where `register` says so."""

    def settings(self) -> jobs.fusing.Settings:
        return jobs.fusing.Settings(model="maximum", seed=self.seed, alignment=self.register)

    def align(self, a, b):
        return b, (moved(self.seed) if self.register == "rigid" else None), "", ""

    def __call__(self, a: Picture, b: Picture) -> Picture:
        return Picture(np.maximum(a.pixels, b.pixels) // (1 + self.seed), a.value_range)


ONE, TWO, UNMOVED = Moving(seed=1, register="rigid"), Moving(seed=2, register="rigid"), Moving(seed=3)


@pytest.fixture
def pair(tmp_path, monkeypatch) -> Pair:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate("ab"):
        Path(name).mkdir()
        write(f"{name}/p.png", np.random.default_rng(i).integers(0, 256, (32, 32), dtype=np.uint8))
    return Pair(Path("a/p.png"), Path("b/p.png"))


OUT, BESIDE = Path("out/p.png"), Path("out/p.transform.json")


def run(pair: Pair, fuse: jobs.Fusing, **options: bool) -> jobs.Outcome:
    (outcome,) = jobs.run([pair], Path("out"), fuse, **options)
    return outcome


def row() -> dict[str, str]:
    with open("out/manifest.csv", newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file))


def test_the_manifest_has_the_digest_of_the_transform_that_was_applied(pair):
    run(pair, ONE)
    assert BESIDE.read_bytes() == moved(1).encoded()
    assert row()["transform_sha256"] == hashlib.sha256(moved(1).encoded()).hexdigest()
    run(pair, TWO)
    assert row()["transform_sha256"] == hashlib.sha256(BESIDE.read_bytes()).hexdigest()
    assert BESIDE.read_bytes() == moved(2).encoded()
    run(pair, UNMOVED)
    assert row()["transform_sha256"] == ""


def test_a_former_runs_transform_goes_with_its_output(pair):
    run(pair, ONE)
    outcome = run(pair, UNMOVED)
    assert (outcome.status, len(outcome.notes)) == ("fused", 1)
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p.png"]
    assert run(pair, UNMOVED).status == "skipped"
    run(pair, ONE)
    OUT.unlink()
    assert run(pair, UNMOVED).notes == ()
    assert not BESIDE.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_transform_of_another_hand_stays(pair, overwrite):
    run(pair, ONE)
    BESIDE.write_bytes(b"mine")
    skipped = run(pair, ONE)
    assert skipped.status == "skipped"
    assert skipped.notes == (f"{BESIDE}: is not the transform that p.png was made by, and stays",)
    outcome = run(pair, UNMOVED, overwrite=overwrite)
    assert outcome.status == "fused"
    assert outcome.notes[-1] == f"{BESIDE}: stays, but p.png was made without a transform"
    assert BESIDE.read_bytes() == b"mine"
    before = OUT.read_bytes()
    refused = run(pair, TWO)
    assert refused.status == "failed"
    assert str(refused.error) == f"{BESIDE}: exists already; --overwrite replaces it"
    assert (BESIDE.read_bytes(), OUT.read_bytes()) == (b"mine", before)
    assert run(pair, TWO, overwrite=True).status == "fused"
    assert BESIDE.read_bytes() == moved(2).encoded()


def test_a_transform_that_is_gone_is_made_again(pair):
    run(pair, ONE)
    made = OUT.read_bytes()
    BESIDE.unlink()
    assert run(pair, ONE).notes == (f"{OUT}: fused again, since p.transform.json is gone",)
    assert (OUT.read_bytes(), BESIDE.read_bytes()) == (made, moved(1).encoded())
    assert run(pair, ONE).status == "skipped"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("then", [TWO, UNMOVED], ids=["two", "unmoved"])
def test_a_kill_at_any_step_leaves_no_wrong_transform_and_the_next_run_mends_it(
    pair, monkeypatch, then, after
):
    """The steps are what changes the folder: the removal of a file, and a file that is put in its place."""
    run(pair, then)
    expected = {path.name: path.read_bytes() for path in Path("out").glob("p.*")}
    for path in Path("out").iterdir():
        path.unlink()
    run(pair, ONE)
    first = OUT.read_bytes()
    left = after

    def counted(step):
        def take(*of, **options):
            nonlocal left
            if str(of[0]).startswith("out/manifest"):
                return step(*of, **options)
            if (left := left - 1) < 0:
                raise Killed
            return step(*of, **options)

        return take

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted(os.replace))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        try:
            run(pair, then)
        except Killed:
            assert after < 3
    stands = OUT.read_bytes()
    assert stands in (first, expected["p.png"])
    if BESIDE.exists():
        assert BESIDE.read_bytes() == moved(1 if stands == first else 2).encoded()
    run(pair, then)
    assert {path.name: path.read_bytes() for path in Path("out").glob("p.*")} == expected


@pytest.mark.parametrize("full", ["p.png.part", "p.transform.json.part"])
def test_where_there_is_no_room_both_stay_as_they_were(pair, monkeypatch, full):
    run(pair, ONE)
    before = OUT.read_bytes(), BESIDE.read_bytes()
    real = placing._write

    def no_room(file, content):
        if file.name.endswith(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, content)

    monkeypatch.setattr(placing, "_write", no_room)
    outcome = run(pair, TWO)
    assert outcome.error.errno == errno.ENOSPC
    name = f"out/{full.removesuffix('.part')}"
    assert str(outcome.error) == f"{name}: cannot be written (No space left on device)"
    assert (OUT.read_bytes(), BESIDE.read_bytes()) == before
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p.png", "p.transform.json"]


def test_what_has_appeared_since_is_not_replaced(tmp_path):
    out = tmp_path / "p.png"
    for taken in (out, transform_of(out)):
        taken.write_bytes(b"mine")
        with pytest.raises(FileExistsError, match=rf"{taken.name}: exists already; --overwrite replaces it"):
            place(out, b"fused", b"moved", overwrite=False)
        assert [path.name for path in tmp_path.iterdir()] == [taken.name]
        assert taken.read_bytes() == b"mine"
        taken.unlink()
    place(out, b"fused", b"moved", overwrite=False)
    assert (out.read_bytes(), transform_of(out).read_bytes()) == (b"fused", b"moved")


def test_a_single_output_that_is_replaced_takes_its_transform_with_it(tmp_path):
    out = tmp_path / "p.png"
    picture = Picture(np.zeros((16, 16), np.uint8), (0, 255))
    with_one = Fused(picture, (), VALUES, moved(1))
    without = Fused(picture, (), VALUES)
    with_one.write(out)
    assert without.write(out, overwrite=True).notes == ()
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    for name, content in (("p.tif", b""), ("p.transform.json", moved(1).encoded() + b"\n")):
        with_one.write(out, overwrite=True)
        (tmp_path / name).write_bytes(content)  # another output of that stem; a transform that was edited
        assert not is_former(transform_of(out), out)
        kept = transform_of(out).read_bytes()
        assert without.write(out, overwrite=True).notes == tuple(left_beside(out))
        assert transform_of(out).read_bytes() == kept
        (tmp_path / name).unlink()
