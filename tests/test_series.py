"""Two sources of which one is DICOM: which series, which window, what is written; the command's own words."""

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from haarmony import series
from haarmony.io import Volume, dicom_writer, read, write
from haarmony.io.dicom import read_dicom
from haarmony.jobs import Fusing, explaining
from haarmony.transform import Transform

sys.path.insert(0, str(Path(__file__).parent / "io"))
from dicoms import series_in

CT = np.linspace(-200, 200, 3 * 16 * 20).astype(np.int16).reshape(3, 16, 20)
MR = np.random.default_rng(0).integers(0, 900, (3, 16, 20)).astype(np.uint16)


class Maximum(Fusing):
    def __call__(self, a: Volume, b: Volume) -> Volume:
        return Volume(np.maximum(a.voxels, b.voxels), (0.0, 1.0), a.affine)


class First(Fusing):
    def __call__(self, a: Volume, b: Volume) -> Volume:
        return a


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series_in("ct", CT)
    series_in("mr", MR, modality="MR", series="1.2.3.2", number=2)
    return tmp_path


def unit(values, low, high):
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def test_a_derived_series_of_two(here):
    done = series.fuse_series(Path("mr"), Path("ct"), Path("out"), Maximum(), window="brain", as_dicom=True)
    fused = read_dicom("out", value_range=(0, 1)).voxels.transpose(2, 1, 0)
    np.testing.assert_allclose(fused, np.maximum(unit(MR, 0, MR.max()), unit(CT, 0, 80)), atol=1e-4)
    assert f"mr: values from 0 to {MR.max()} shown from black to white" in done.notes[0]
    assert done.values == ((0, MR.max()), (0, 80))
    assert done.notes[1:] == ("ct: values from 0 to 80 shown from black to white (as asked)",)


def test_series_are_chosen_by_number(here):
    os.mkdir("both")
    os.rename("ct", "both/ct")
    os.rename("mr", "both/mr")
    both = Path("both")
    done = series.fuse_series(both, both, Path("out"), First(), series=("2", "1"), as_dicom=True)
    assert done.values == ((0, MR.max()), (-200, 200))


def test_one_slice_makes_a_picture_without_identity(here):
    series.fuse_series(Path("ct/001.dcm"), Path("mr/001.dcm"), Path("out.png"), First())
    assert b"Jane" not in Path("out.png").read_bytes()
    expected = unit(CT[1], CT[1].min(), CT[1].max())
    np.testing.assert_allclose(read("out.png").pixels / 65535, expected, atol=1e-4)


def test_folders_that_both_hold_pictures_pair_up_unless_both_hold_dicom(here):
    for folder in ("one", "two"):
        os.mkdir(folder)
        write(f"{folder}/p1.png", np.zeros((16, 20), np.uint8))
    one, two, ct = Path("one"), Path("two"), Path("ct")
    assert not series.concerns(one, two)
    os.rename("ct/000.dcm", "one/stray.dcm")
    assert not series.concerns(one, two)
    assert not series.concerns(two, one)
    assert series.concerns(one, ct)  # which holds nothing that pairs up
    assert series.concerns(one, Path("ct/001.dcm"))
    os.rename("ct/002.dcm", "two/stray.dcm")
    with pytest.raises(ValueError, match=r"^one and two: hold DICOM and also p1.png and p1.png; keep one"):
        series.concerns(one, two)
    os.remove("one/p1.png")
    Path("one/p1.nii.gz").touch()
    with pytest.raises(ValueError, match=r"and also p1.nii.gz and p1.png"):
        series.concerns(one, two)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["ct", "mr", "-o", "out", "--format", "dicom", "--window", "liver"], "no window 'liver'"),
        (
            ["mr", "mr", "-o", "out", "--format", "dicom", "--window", "brain"],
            "neither mr (series 2) nor mr (series 2) is a DICOM CT",
        ),
        (["ct", "mr", "-o", "out", "--format", "dicom", "--series-a", "7"], "no series '7' in it"),
        (["ct", "mr", "-o", "ct", "--format", "dicom", "--overwrite"], "ct: is a source"),
        (["ct", "mr", "-o", "ct/out", "--format", "dicom"], "ct/out: lies in the source folder ct; write"),
        (["mr", "ct", "-o", "both/../ct/out.png", "--slices", "0:1"], "lies in the source folder ct; write"),
        (["both", "mr", "-o", "both/x/f.nii.gz", "--series-a", "5"], "lies in the source folder both; write"),
        (["both", "mr", "-o", "out", "--format", "dicom"], "both: holds 2 series; choose one"),
        (["ct", "a.png", "-o", "out", "--format", "dicom"], "a.png: is a picture"),
        (["ct", "a.png", "-o", "out", "--format", "dicom", "--series-b", "1"], "a.png: is no DICOM"),
        (["ct", "mr", "-o", "out.png", "--keep-identity"], "only a DICOM series keeps identity"),
        (["ct", "mr", "-o", "both", "--format", "dicom"], "both: exists already"),
        (["ct", "mr", "-o", "new"], "new: is no file's name; add --format dicom for a series, or end it in"),
        (["ct", "mr", "-o", "both"], "both: is no file's name; add --format dicom"),
        (["ct", "mr", "-o", "a.png", "--slices", "0:1"], "a.png: exists already; --overwrite replaces it"),
        (["a.png", "a.png", "-o", "out.png", "--window", "brain"], "no source is DICOM"),
        (["a.png", "a.png", "-o", "out", "--format", "dicom"], "no source is DICOM"),
    ],
)
def test_refused_in_one_line_and_nothing_is_written(here, capsys, argv, says):
    from haarmony import cli

    write("a.png", np.zeros((16, 20), np.uint8))
    for name, number in (("x", 5), ("y", 6)):
        series_in(f"both/{name}", CT, series=f"1.2.3.{number}", number=number)
    before = sorted(os.listdir()), sorted(os.listdir("ct"))
    assert cli.main(["fuse", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert (sorted(os.listdir()), sorted(os.listdir("ct"))) == before


@pytest.mark.parametrize("as_dicom", [True, False], ids=["dicom", "file"])
def test_a_transform_goes_with_the_output_that_it_was_of(here, as_dicom):
    out = Path("out" if as_dicom else "out.nii.gz")
    by = Transform(np.eye(4), np.zeros(3), "rigid", 1.0, 1.1)
    sources = Path("mr"), Path("ct"), out
    series.fuse_series(*sources, First(transform=by), as_dicom=as_dicom)
    assert Transform.load("out.transform.json").encoded() == by.encoded()
    done = series.fuse_series(*sources, First(), as_dicom=as_dicom, overwrite=True)
    assert not Path("out.transform.json").exists()
    assert not [note for note in done.notes if "transform" in note]
    Path("out.transform.json").write_text("mine")
    done = series.fuse_series(*sources, First(), as_dicom=as_dicom, overwrite=True)
    assert done.notes[-1] == f"out.transform.json: stays, but {out} was made without a transform"
    assert Path("out.transform.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("source", "out", "as_dicom", "says"),
    [
        ("s/out.part", "s/out", True, r"s/out\.part: is a source"),
        ("s/out.old.part", "s/out", True, r"s/out\.old\.part: is a source"),
        ("s/out.part/mr", "s/out", True, r"s/out\.part: holds a source"),
        ("s/out.png.part", "s/out.png", False, r"s/out\.png\.part: is a source"),
        ("s/out.nii.gz.part", "s/out.nii.gz", False, r"s/out\.nii\.gz\.part: is a source"),
        ("s/out.transform.json.part", "s/out.nii", False, r"s/out\.transform\.json\.part: is a source"),
    ],
)
def test_sources_called_what_the_output_is_while_it_is_written_stay(here, source, out, as_dicom, says):
    Path(source).parent.mkdir(parents=True)
    shutil.copytree("mr", source) if as_dicom else shutil.copy("mr/000.dcm", source)
    before = sorted(Path("s").rglob("*"))
    for sources in ((source, "ct"), ("ct", source)):
        a, b = map(Path, sources)
        with pytest.raises(ValueError, match=says):
            series.fuse_series(a, b, Path(out), First(), as_dicom=as_dicom, overwrite=True)
    assert sorted(Path("s").rglob("*")) == before


def test_sources_in_the_place_of_an_unfinished_explanation_stay(here):
    shutil.copytree("mr", "why.part/mr")
    for a, b, out in (("why.part/mr", "ct", "out.nii"), ("mr", "ct", "why.part/out.nii")):
        with pytest.raises(ValueError, match=r"why\.part: is or holds why\.part/"):
            explaining.check(Path(a), Path(b), Path(out), Path("why"), several=False, overwrite=True)


def test_a_series_that_appears_meanwhile_stays(here):
    class Slow(First):
        def __call__(self, a: Volume, b: Volume) -> Volume:
            Path("out").mkdir(exist_ok=True)
            Path("out/mine.txt").write_text("mine")
            return a

    with pytest.raises(FileExistsError, match="out: exists already"):
        series.fuse_series(Path("mr"), Path("ct"), Path("out"), Slow(), as_dicom=True)
    assert os.listdir("out") == ["mine.txt"]


@pytest.mark.parametrize("late", [False, True], ids=["writing", "placing"])
def test_a_series_that_cannot_be_written_leaves_the_former_one_its_transform(here, monkeypatch, late):
    by = Transform(np.eye(4), np.zeros(3), "rigid", 1.0, 1.1)
    sources = Path("mr"), Path("ct"), Path("out")
    series.fuse_series(*sources, First(transform=by), as_dicom=True)
    before = {path: path.read_bytes() for path in (*Path("out").iterdir(), Path("out.transform.json"))}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*(Path, "rename") if late else (dicom_writer, "_slice"), full)
    with pytest.raises(OSError, match="No space left"):
        series.fuse_series(*sources, First(), as_dicom=True, overwrite=True)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir()) == ["ct", "mr", "out", "out.transform.json"]
