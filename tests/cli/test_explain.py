"""`haarmony fuse --explain`: the output as without it, a folder beside it, warnings, what is refused."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from haarmony import Fuser, cluster, phantom
from haarmony.explain import files
from haarmony.io import Volume, read, write
from haarmony.io.folders import MARK
from haarmony.manifest import sha256

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))
from dicoms import series_in

NAMES = [
    "explain.json",
    *(f"{m}{e}.png" for m in ("share_a", "share_b", "spread", "unsupported") for e in ("", "_overlay")),
]


@pytest.fixture
def fuse(run, model):
    return lambda *argv: run("fuse", *argv, "--model", model)


def state(folder: str | Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def contents(folder: str | Path) -> dict[str, bytes]:
    return {
        Path(name).relative_to(folder).as_posix(): content for name, (content, _) in state(folder).items()
    }


def loaded(folder: str) -> dict:
    return json.loads(Path(folder, "explain.json").read_text(encoding="utf-8"))


def statuses(out: list[str]) -> str:
    return out[0].split(": ", 1)[1]


def test_two_files(here, fuse):
    assert fuse("mri.png", "pet.png", "-o", "plain.png", "--seed", "3")[0] == 0
    code, out, err = fuse(
        "mri.png", "pet.png", "-o", "o.png", "--seed", "3", "--explain", "why", "--seeds", "2"
    )
    assert code == 0
    assert Path("o.png").read_bytes() == Path("plain.png").read_bytes()
    assert sorted(os.listdir("why")) == NAMES
    found = loaded("why")
    assert (
        out[1]
        == f"why: explained over 2 seeds; {found['flagged']['part']:.2%} of it shows what neither source does"
    )
    assert err == [f"o.png: {warning}" for warning in found["warnings"]]
    assert (found["seeds"], found["sources"], found["shape"]) == ([3, 4], ["mri.png", "pet.png"], [20, 18])
    assert (found["settings"]["model"], found["settings"]["alignment"]) == ("maximum", "none")
    assert found["maps"]["spread"]["maximum"] == 0  # the model knows no noise
    np.testing.assert_array_equal(read("why/spread.png").pixels, 0)


def test_the_maps_are_the_library_s(here, fuse, model):
    assert fuse("mri.png", "pet.png", "-o", "o.png", "--explain", "why")[0] == 0
    of = Fuser(model).explain(read("mri.png"), read("pet.png"))
    assert len(of.seeds) == 8
    of.save("other")
    same = [name for name in NAMES if not name.endswith(("json", "overlay.png"))]
    assert [Path("why", name).read_bytes() for name in same] == [
        Path("other", name).read_bytes() for name in same
    ]
    of_both = [loaded(folder)["flagged"] for folder in ("why", "other")]
    assert of_both[0] == of_both[1]


def test_folders_each_pair_in_its_own(here, fuse):
    assert fuse("mri", "pet", "-o", "plain", "--quiet")[0] == 0
    argv = ("mri", "pet", "-o", "out", "--explain", "deep/why", "--seeds", "2")
    code, out, _ = fuse(*argv)
    assert (code, out) == (0, ["out: 3 fused, 0 skipped, 0 failed"])
    assert sorted(os.listdir("deep/why")) == ["p1", "p2", "p3"]
    for stem in ("p1", "p2", "p3"):
        assert Path(f"out/{stem}.png").read_bytes() == Path(f"plain/{stem}.png").read_bytes()
        assert sorted(os.listdir(f"deep/why/{stem}")) == NAMES
        assert loaded(f"deep/why/{stem}")["sources"] == [f"{stem}.png", f"{stem}.png"]
    with open("out/manifest.csv", newline="", encoding="utf-8") as file:
        rows = {row["stem"]: row["explanation_sha256"] for row in csv.DictReader(file)}
    assert rows == {stem: sha256(Path(f"deep/why/{stem}/explain.json")) for stem in ("p1", "p2", "p3")}
    before = state(".")
    assert statuses(fuse(*argv)[1]) == "0 fused, 3 skipped, 0 failed"
    assert {k: v for k, v in state(".").items() if "manifest" not in k} == {
        k: v for k, v in before.items() if "manifest" not in k
    }


def test_a_second_run_makes_what_is_missing_or_of_other_settings(here, fuse):
    argv = ("mri", "pet", "-o", "out", "--explain", "why")
    fuse("mri", "pet", "-o", "out")
    code, out, err = fuse(*argv, "--seeds", "2")  # of outputs that stand without one
    assert (code, statuses(out)) == (0, "3 fused, 0 skipped, 0 failed")
    assert "out/p1.png: fused again, since there is no explanation in why/p1" in err
    whole = contents("why")
    shutil.rmtree("why/p2")
    Path("why/p3/spread.png").unlink()
    code, out, err = fuse(*argv, "--seeds", "2")
    assert (code, statuses(out)) == (0, "2 fused, 1 skipped, 0 failed")
    assert "out/p3.png: fused again, since why/p3/spread.png is gone" in err
    assert contents("why") == whole
    _, out, err = fuse(*argv, "--seeds", "3")
    assert statuses(out) == "3 fused, 0 skipped, 0 failed"
    assert "out/p1.png: fused again, since seeds: 2 → 3" in err
    assert loaded("why/p1")["seeds"] == [42, 43, 44]
    assert statuses(fuse("mri", "pet", "-o", "out")[1]) == "0 fused, 3 skipped, 0 failed"
    write("pet/p1.png", 255 - read("pet/p1.png").pixels)
    fuse("mri", "pet", "-o", "out", "--quiet")  # whose output why/p1 does not explain
    _, out, err = fuse(*argv, "--seeds", "3")
    assert statuses(out) == "1 fused, 2 skipped, 0 failed"
    assert "out/p1.png: fused again, since why/p1 explains another result" in err


def test_bytes_do_not_depend_on_who_does_the_work(here, fuse, monkeypatch):
    argv = ("mri", "pet", "--seeds", "2", "--quiet")
    assert fuse(*argv, "-o", "one", "--explain", "why1")[0] == 0
    assert fuse(*argv, "-o", "two", "--explain", "why2", "--workers", "2")[0] == 0
    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(
        cluster, "spread", lambda do, jobs, *, address: ((job, partial(do, job)) for job in jobs)
    )
    assert fuse(*argv, "-o", "three", "--explain", "why3", "--ray", "somewhere")[0] == 0
    assert contents("why1") == contents("why2") == contents("why3")
    for stem in ("p1", "p2", "p3"):
        assert Path(f"one/{stem}.png").read_bytes() == Path(f"two/{stem}.png").read_bytes()


def test_what_the_manifest_does_not_know_stays_unless_told(here, fuse):
    argv = ("mri", "pet", "-o", "out", "--explain", "why", "--seeds", "2", "--quiet")
    os.makedirs("why/p2")
    Path("why/p2/mine.txt").write_text("mine")
    code, _, err = fuse(*argv)
    assert code == 1
    assert "p2 failed: why/p2: exists already; --overwrite replaces it" in err
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p1.png", "p3.png"]
    code, _, err = fuse(*argv, "--overwrite")
    assert "p2 failed: why/p2: holds mine.txt, which is not Haarmony's; choose another folder" in err
    assert os.listdir("why/p2") == ["mine.txt"]
    shutil.rmtree("why/p2")
    shutil.copytree("why/p1", "why/p2")  # ours, but nobody knows of it
    assert fuse(*argv)[0] == 1
    assert fuse(*argv, "--overwrite")[0] == 0
    assert loaded("why/p2")["sources"] == ["p2.png", "p2.png"]


def test_a_full_disk_leaves_neither_and_the_next_run_makes_both(here, fuse, monkeypatch):
    argv = ("mri", "pet", "-o", "out", "--explain", "why", "--seeds", "2", "--quiet")
    real = files.whole_folder

    def full(folder, **options):
        if folder.name == "p2":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, **options)

    monkeypatch.setattr(files, "whole_folder", full)
    code, _, err = fuse(*argv)
    assert code == 2
    assert "the disk is full: 1 fused, 0 skipped, 1 failed, 1 not begun" in err[-1]
    assert sorted(os.listdir("out")) == ["manifest.csv", "manifest.jsonl", "p1.png"]
    assert os.listdir("why") == ["p1"]
    monkeypatch.setattr(files, "whole_folder", real)
    assert fuse(*argv)[0] == 0
    assert sorted(os.listdir("why")) == ["p1", "p2", "p3"]


def test_what_a_killed_run_left_is_made_whole(here, fuse):
    argv = ("mri", "pet", "-o", "out", "--explain", "why", "--seeds", "2", "--quiet")
    fuse(*argv)
    whole = contents("why")
    Path("why/p1").rename("why/p1.old.part")  # between both renames
    Path("why/p2").rename("why/p2.part")  # before the first
    Path("why/p2.part/spread.png").write_bytes(b"half")
    Path("why/p2.part", MARK).touch()
    assert fuse(*argv)[0] == 0
    assert contents("why") == whole


@pytest.mark.parametrize("quiet", [["--quiet"], []], ids=["quiet", "loud"])
def test_warnings_are_said_once_quiet_or_not(tmp_path, monkeypatch, fuse, quiet):
    monkeypatch.chdir(tmp_path)
    first, second = phantom.head(7, 128).pair("CT", 20)
    for folder, pixels in (("a", first), ("b", np.roll(second, (6, -5), (0, 1)))):
        Path(folder).mkdir()
        write(f"{folder}/p.png", pixels)
    for sources, out, why in ((("a/p.png", "b/p.png"), "p.png", "why"), (("a", "b"), "out", "whys")):
        code, _, err = fuse(*sources, "-o", out, "--explain", why, "--seeds", "2", *quiet)
        assert code == 0
        said = [line for line in err if "misaligned" in line]
        assert len(said) == 1
        name = out if out.endswith("png") else "out/p.png"
        assert said[0].startswith(f"{name}: the sources seem misaligned, by ")
        warnings = loaded(why if out.endswith("png") else "whys/p")["warnings"]
        assert [line for line in err if line.startswith(f"{name}: ")] == [
            f"{name}: {said}" for said in warnings
        ]


def test_two_volumes(tmp_path, monkeypatch, fuse):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    affine = np.array([[0, -2.0, 0, 9], [0, 0, 1.5, -7], [3.0, 0, 0, 4], [0, 0, 0, 1]])
    for name in "ab":
        write(f"{name}.nii.gz", Volume(rng.integers(0, 256, (4, 20, 18), np.uint8), (-100.0, 900.0), affine))
    argv = ("a.nii.gz", "b.nii.gz", "--seeds", "2", "--plane", "axial")
    assert fuse(*argv, "-o", "o.nii.gz", "--explain", "why")[0] == 0
    fuse(*argv[:2], "--plane", "axial", "-o", "plain.nii.gz")
    assert Path("o.nii.gz").read_bytes() == Path("plain.nii.gz").read_bytes()
    fused = nib.load("o.nii.gz")
    for name in ("spread", "unsupported", "share_a", "share_b"):
        image = nib.load(f"why/{name}.nii.gz")
        assert image.shape == fused.shape
        np.testing.assert_array_equal(image.affine, fused.affine)
    shares = sum(np.asarray(nib.load(f"why/share_{x}.nii.gz").dataobj) for x in "ab")
    assert set(np.unique(shares)) <= {0, 1}
    found = loaded("why")
    assert found["plane"] == "axial"
    assert found["maps"]["share_a"]["overlay_slice"] in range(4)
    assert fuse(*argv, "--slices", "2:3", "-o", "slice.png", "--explain", "slice")[0] == 0
    assert sorted(os.listdir("slice")) == NAMES
    stored = np.asarray(nib.load("why/unsupported.nii.gz").dataobj)[2]  # J leads to the left, K to the front
    levels = read("slice/unsupported.png").pixels.astype(float)
    np.testing.assert_allclose(levels * 4 / 65535, np.minimum(stored.T[::-1], 4), atol=4 / 65535)


def test_dicom_sources_are_explained_without_their_names(tmp_path, monkeypatch, fuse):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    series_in(
        "Doe^Jane", rng.integers(0, 900, (3, 16, 20)).astype(np.uint16), modality="MR", series="1.2.3.2"
    )
    series_in("ct", rng.integers(-200, 200, (3, 16, 20)).astype(np.int16))
    argv = ("Doe^Jane", "ct", "--seeds", "2")
    assert fuse(*argv, "-o", "o.nii.gz", "--explain", "why")[0] == 0
    assert fuse(*argv, "-o", "series", "--format", "dicom", "--explain", "whys")[0] == 0
    assert len(os.listdir("series")) == 3
    assert contents("why") == contents("whys")
    assert loaded("why")["sources"] == [None, None]
    assert not any(b"Doe" in content or b"Jane" in content for content in contents("why").values())
    assert nib.load("why/spread.nii.gz").shape == nib.load("o.nii.gz").shape
    assert fuse("Doe^Jane/001.dcm", "ct/001.dcm", "-o", "o.png", "--seeds", "2", "--explain", "slice")[0] == 0
    assert read("slice/spread.png").pixels.shape == read("o.png").pixels.shape[:2]
    code, _, err = fuse(*argv, "-o", "p.nii.gz", "--explain", "ct/why")
    assert (code, err) == (2, ["haarmony: ct/why: is or lies in the source folder ct; choose another folder"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["mri.png", "pet.png", "-o", "o.png", "--seeds", "3"], "--seeds is of --explain; give that, too"),
        (
            ["mri.png", "pet.png", "-o", "o.png", "--explain", "mri.png"],
            "mri.png: is no folder; an explanation",
        ),
        (["mri.png", "pet.png", "-o", "o.png", "--explain", "o.png"], "o.png: is the output, too"),
        (
            ["mri.png", "pet.png", "-o", "full/o.png", "--explain", "full"],
            "full: cannot hold, nor lie in, the o",
        ),
        (["mri.png", "pet.png", "-o", "o.png", "--explain", "no/why"], "no/why: there is no folder no"),
        (
            ["mri.png", "pet.png", "-o", "o.png", "--explain", "mri.png/why"],
            "mri.png/why: mri.png is not a folder",
        ),
        (
            ["mri.png", "pet.png", "-o", "o.png", "--explain", "full"],
            "full: exists already; --overwrite replaces",
        ),
        (
            ["mri.png", "pet.png", "-o", "o.png", "--explain", "full", "--overwrite"],
            "full: holds mine.txt, which is not Haarmony's",
        ),
        (["mri", "pet", "-o", "out", "--explain", "mri"], "mri: is or lies in the source folder mri"),
        (["mri", "pet", "-o", "out", "--explain", "pet/why"], "pet/why: is or lies in the source folder pet"),
        (["mri", "pet", "-o", "out", "--explain", "out"], "out: is the output, too"),
        (["mri", "pet", "-o", "out", "--explain", "mri.png/why"], "is a file; explanations need a folder"),
    ],
)
def test_bad_places_and_options_touch_nothing(here, fuse, argv, says):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    before = state("."), sorted(os.listdir())
    code, out, err = fuse(*argv)
    assert (code, out, len(err)) == (2, [], 1)
    assert says in err[0]
    assert (state("."), sorted(os.listdir())) == before


def test_one_seed_is_no_spread(here, fuse):
    code, out, err = fuse("mri.png", "pet.png", "-o", "o.png", "--explain", "why", "--seeds", "1")
    assert (code, out) == (2, [])
    assert "--seeds" in err[0]
    assert not Path("why").exists()


@pytest.mark.parametrize("sources", [["mri.png", "pet.png"], ["mri", "pet"]], ids=["files", "folders"])
def test_a_closed_folder(here, fuse, monkeypatch, sources):
    Path("closed").mkdir()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).endswith("closed") and real(path, mode)
    )
    code, _, err = fuse(*sources, "-o", "out.png", "--explain", "closed/why")
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("haarmony: closed/why: the folder ")
    assert err[0].endswith("closed cannot be written to")


def test_a_pair_called_like_an_unfinished_folder_fails_alone(here, fuse):
    for folder in ("mri", "pet"):
        Path(folder, "p2.png").rename(f"{folder}/p1.part.png")
    code, out, err = fuse("mri", "pet", "-o", "out", "--explain", "why", "--seeds", "2")
    assert (code, statuses(out)) == (1, "2 fused, 0 skipped, 1 failed")
    assert any(line.startswith("p1.part failed: why/p1.part: names that end in .part") for line in err)
    assert sorted(os.listdir("why")) == ["p1", "p3"]


def test_the_dif_fusion_model(run, street, dif_fusion, tmp_path):
    a, b = street / "visible" / "4.png", street / "infrared" / "4.png"
    argv = (a, b, "--model", dif_fusion.model, "--seed", "3")
    assert run("fuse", *argv, "-o", tmp_path / "plain.png")[0] == 0
    assert run("fuse", *argv, "-o", tmp_path / "o.png", "--explain", tmp_path / "why", "--seeds", "2")[0] == 0
    assert (tmp_path / "o.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert loaded(tmp_path / "why")["settings"]["steps"] is None
