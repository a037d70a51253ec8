"""DICOM out: what a derived series keeps, refers to and leaves behind; an independent validator; crashes."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from dicoms import AXIAL, IDENTITY, series_in
from pydicom import dcmread

from haarmony.io import Volume
from haarmony.io.dicom import find_series, read_dicom
from haarmony.io.dicom_writer import check_folder, write_dicom

OBLIQUE = (0.8, 0.6, 0, -0.36, 0.48, 0.8)
RAMP = np.linspace(0, 4095, 4 * 12 * 10).astype(np.uint16).reshape(4, 12, 10)


@pytest.fixture
def sources(tmp_path):
    """A CT of 4 slices 2 mm apart and an MR of 7, 1 mm apart, of one study and frame of reference."""
    series_in(tmp_path / "ct", RAMP, RescaleIntercept=-1024, RescaleSlope=1)
    series_in(
        tmp_path / "mr", np.resize(RAMP, (7, 12, 10)), modality="MR", series="1.2.3.2", number=2, gap=1.0
    )
    return find_series(tmp_path / "ct"), find_series(tmp_path / "mr")


def coloured(volume):
    levels = np.rint(255 * volume.voxels).astype(np.uint8)
    return Volume(np.stack([levels, 255 - levels, levels // 2], axis=3), (0.0, 255.0), volume.affine)


def written(folder):
    return [dcmread(path) for path in sorted(folder.iterdir())]


def texts(dataset):
    """Every value of a data set as text, sequences gone into."""
    return [str(element.value) for element in dataset.iterall() if element.VR not in ("OW", "OB", "SQ")]


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_geometry_and_values_survive(tmp_path, orientation):
    series_in(tmp_path / "s", RAMP, orientation=orientation, origin=(-31.25, 7, 3), PixelSpacing=[0.7, 0.4])
    volume, source = read_dicom(tmp_path / "s"), find_series(tmp_path / "s")
    write_dicom(tmp_path / "out", volume, references=[source])
    back = read_dicom(tmp_path / "out")
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    np.testing.assert_allclose(back.voxels, volume.voxels, atol=0.51 / 65535)
    assert back.value_range == pytest.approx(volume.value_range, abs=1e-6)
    assert sorted(os.listdir(tmp_path)) == ["out", "s"]
    assert [d.InstanceNumber for d in written(tmp_path / "out")] == [1, 2, 3, 4]


def test_a_sheared_grid_survives(tmp_path):
    affine = np.array([[-1, 0, 0, 5], [0, -1, -0.5, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    volume = Volume(RAMP.transpose(2, 1, 0).copy(), (0.0, 65535.0), affine)
    write_dicom(tmp_path / "out", volume, references=[])
    np.testing.assert_allclose(read_dicom(tmp_path / "out").affine, affine, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_and_inverted_grey_are_kept(tmp_path, dtype):
    voxels = (RAMP // 16).astype(dtype).transpose(2, 1, 0)
    for name, ends in (("up", (0.0, float(np.iinfo(dtype).max))), ("down", (100.0, -50.0))):
        write_dicom(tmp_path / name, Volume(voxels, ends, np.eye(4)), references=[])
        low, high = read_dicom(tmp_path / name, value_range=(min(ends), max(ends))).value_range
        assert (low, high) == ends
        back = read_dicom(tmp_path / name, value_range=(min(ends), max(ends)))
        np.testing.assert_allclose(back.voxels * np.iinfo(dtype).max, voxels, atol=1e-2)


def test_colour_is_kept(tmp_path, sources):
    volume = coloured(sources[0].read())
    write_dicom(tmp_path / "out", volume, references=sources)
    np.testing.assert_array_equal(read_dicom(tmp_path / "out").voxels, volume.voxels)


def test_every_image_refers_to_what_it_was_made_from(tmp_path, sources):
    write_dicom(tmp_path / "out", sources[0].read(), references=sources, description="model medical, seed 42")
    ct, mr = sources
    for k, dataset in enumerate(written(tmp_path / "out")):
        uids = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
        assert uids == [ct.frames[k].uid, mr.frames[2 * k].uid]
        (study,) = dataset.StudiesContainingOtherReferencedInstancesSequence
        assert study.StudyInstanceUID == "1.2.3"
        assert [item.SeriesInstanceUID for item in study.ReferencedSeriesSequence] == ["1.2.3.1", "1.2.3.2"]
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
        assert dataset.FrameOfReferenceUID == "1.2.3.99"
        assert dataset.DerivationDescription.endswith("from CT and MR, model medical, seed 42")
        assert dataset.DerivationCodeSequence[0].CodeValue == "FUSION"


def test_uids_are_new_and_follow_from_the_content(tmp_path, sources):
    volume = sources[0].read()
    write_dicom(tmp_path / "a", volume, references=sources)
    write_dicom(tmp_path / "b", volume, references=sources)
    write_dicom(tmp_path / "c", coloured(volume), references=sources)
    a, b, c = (written(tmp_path / name) for name in "abc")
    assert len({d.SOPInstanceUID for d in a}) == 4
    assert [d.SOPInstanceUID for d in a] == [d.SOPInstanceUID for d in b]
    assert not {d.SOPInstanceUID for d in a} & {d.SOPInstanceUID for d in c}
    assert a[0].SeriesInstanceUID != c[0].SeriesInstanceUID
    assert not {"1.2.3", "1.2.3.1", "1.2.3.2"} & {a[0].SeriesInstanceUID, a[0].StudyInstanceUID}
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_without_being_asked_nothing_of_the_patient_goes_along(tmp_path, sources):
    write_dicom(tmp_path / "out", sources[0].read(), references=sources)
    for path in sorted((tmp_path / "out").iterdir()):
        dataset, data = dcmread(path), path.read_bytes()
        for value in IDENTITY.values():
            assert value.encode() not in data or len(value) == 1
        assert not any("Jane" in text or "Doe" in text for text in texts(dataset))
        assert dataset.PatientName == "ANONYMOUS"
        assert (dataset.PatientIdentityRemoved, dataset.PatientSex, dataset.PatientID) == ("YES", "", "")
        dates = [e for e in dataset.iterall() if e.VR in ("DA", "TM", "DT") and e.value]
        assert dates == []


def test_with_keep_identity_the_series_joins_the_study(tmp_path, sources):
    write_dicom(tmp_path / "out", sources[0].read(), references=sources, keep_identity=True)
    for dataset in written(tmp_path / "out"):
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "AccessionNumber",
        ):
            assert str(dataset[keyword].value) == IDENTITY[keyword]
        assert dataset.StudyInstanceUID == "1.2.3"
        assert "PatientIdentityRemoved" not in dataset
        assert [item.SeriesInstanceUID for item in dataset.ReferencedSeriesSequence] == ["1.2.3.1", "1.2.3.2"]
        assert "InstitutionName" not in dataset


def test_identity_of_two_patients_is_not_mixed(tmp_path, sources):
    series_in(tmp_path / "other", RAMP, PatientID="ID-0815", series="1.2.4")
    with pytest.raises(ValueError, match="different Patient IDs"):
        write_dicom(
            tmp_path / "out",
            sources[0].read(),
            references=[sources[0], find_series(tmp_path / "other")],
            keep_identity=True,
        )
    with pytest.raises(ValueError, match="no source is DICOM"):
        write_dicom(tmp_path / "out", sources[0].read(), references=[None, None], keep_identity=True)
    assert not (tmp_path / "out").exists()


STUDY, UNKNOWN = {"StudyInstanceUID": "1.2.77"}, {"PatientID": ""}


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ({}, STUDY, None),  # one ID in two studies
        (UNKNOWN, UNKNOWN, None),  # a study is of one patient
        (UNKNOWN, UNKNOWN | STUDY, "no Patient ID and are of different studies"),
        ({"PatientID": None}, UNKNOWN | STUDY, "no Patient ID and are of different studies"),
        (UNKNOWN, {}, "different Patient IDs"),
        ({}, UNKNOWN, "different Patient IDs"),
        ({"IssuerOfPatientID": "A"}, {}, None),
        ({"IssuerOfPatientID": "A"}, {"IssuerOfPatientID": "B"}, "different Issuer of Patient IDs"),
        ({}, {"PatientBirthDate": "19700302"}, "different Patient's Birth Dates"),
        ({}, {"PatientBirthDate": ""}, None),
    ],
)
def test_two_who_are_not_known_to_be_one_patient_are_not_taken_for_one(tmp_path, first, second, says):
    series_in(tmp_path / "a", RAMP, **first)
    series_in(tmp_path / "b", RAMP, series="1.2.4", **second)
    found = [find_series(tmp_path / name) for name in "ab"]
    if says is None:
        write_dicom(tmp_path / "out", found[0].read(), references=found, keep_identity=True)
        assert {d.PatientID for d in written(tmp_path / "out")} == {first.get("PatientID", "ID-4711")}
        assert {d.StudyInstanceUID for d in written(tmp_path / "out")} == {"1.2.3"}
        return
    with pytest.raises(ValueError, match=f"^the sources have {says}.*; leave out --keep-identity$"):
        write_dicom(tmp_path / "out", found[0].read(), references=found, keep_identity=True)
    assert not (tmp_path / "out").exists()
    write_dicom(tmp_path / "out", found[0].read(), references=found)  # which says of nobody


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 144", "Люкс^А"),
    ],
)
def test_names_survive_in_any_script(tmp_path, charset, name):
    series_in(tmp_path / "s", RAMP, SpecificCharacterSet=charset, PatientName=name, StudyDescription="")
    source = find_series(tmp_path / "s")
    write_dicom(tmp_path / "out", source.read(), references=[source], keep_identity=True)
    for dataset in written(tmp_path / "out"):
        assert dataset.PatientName == name
        assert dataset.SpecificCharacterSet == "ISO_IR 192"


def test_an_empty_name_stays_empty(tmp_path):
    series_in(tmp_path / "s", RAMP, PatientName="", StudyInstanceUID="")
    source = find_series(tmp_path / "s")
    write_dicom(tmp_path / "out", source.read(), references=[source], keep_identity=True)
    assert {str(d.PatientName) for d in written(tmp_path / "out")} == {""}
    assert all(d.StudyInstanceUID for d in written(tmp_path / "out"))


def test_words_burnt_into_a_source_are_told_of(tmp_path):
    for burned, removed in (("YES", "NO"), ("NO", "YES"), ("", "YES")):
        series_in(tmp_path / f"s{burned}", RAMP, BurnedInAnnotation=burned)
        source = find_series(tmp_path / f"s{burned}")
        assert any("words are burnt into its pixels" in note for note in source.notes) == (burned == "YES")
        write_dicom(tmp_path / f"out{burned}", source.read(), references=[source])
        for dataset in written(tmp_path / f"out{burned}"):
            assert dataset.get("BurnedInAnnotation", "") == burned
            assert dataset.PatientIdentityRemoved == removed
            assert ("DeidentificationMethod" in dataset) == (removed == "YES")
            assert dataset.PatientName == "ANONYMOUS"


def test_loss_by_compression_stays_said(tmp_path):
    series_in(tmp_path / "s", RAMP, LossyImageCompression="01")
    series_in(tmp_path / "n", RAMP, LossyImageCompression="00")
    for name, said in (("s", "01"), ("n", None)):
        source = find_series(tmp_path / name)
        write_dicom(tmp_path / f"out{name}", source.read(), references=[None, source])
        assert {d.get("LossyImageCompression") for d in written(tmp_path / f"out{name}")} == {said}


@pytest.mark.parametrize("keep", [False, True], ids=["anonymous", "identity"])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "rgb"])
def test_an_independent_validator_finds_no_error(tmp_path, sources, keep, colour):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    volume = sources[0].read()
    write_dicom(
        tmp_path / "out",
        coloured(volume) if colour else volume,
        references=sources,
        keep_identity=keep,
    )
    for path in sorted((tmp_path / "out").iterdir()):
        result = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert "SCImage" in result.stderr
        assert "Error" not in result.stderr + result.stdout
        assert result.returncode == 0
    result = subprocess.run(["dciodvfy", tmp_path / "ct/000.dcm"], capture_output=True, text=True)
    assert "Error" in result.stderr  # of a file that lacks what its kind must have


def test_a_folder_that_is_there(tmp_path, sources):
    out, volume = tmp_path / "out", sources[0].read()
    out.mkdir()
    write_dicom(out, volume, references=sources)  # an empty one is taken
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(FileExistsError, match="out: exists already; --overwrite"):
        write_dicom(out, volume, references=sources)
    write_dicom(out, coloured(volume), references=sources, overwrite=True)
    assert {path.name for path in out.iterdir()} == set(before)
    assert read_dicom(out).voxels.ndim == 4
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes.txt, which is not Haarmony's"):
        write_dicom(out, volume, references=sources, overwrite=True)
    (tmp_path / "link").symlink_to(out)
    for name, error in (("link", NotADirectoryError), ("none/out", FileNotFoundError)):
        with pytest.raises(error):
            check_folder(tmp_path / name, overwrite=True)


def test_what_a_scanner_made_is_never_replaced(tmp_path, sources):
    series_in(tmp_path / "other", RAMP, series="1.2.9", names=[f"IM0000{k}.dcm" for k in range(4)])
    before = {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    with pytest.raises(FileExistsError, match=r"other: holds IM00000.dcm, which is not Haarmony's; choose"):
        write_dicom(tmp_path / "other", sources[0].read(), references=sources, overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before


def test_an_error_leaves_nothing(tmp_path, sources):
    shear = np.eye(4)
    shear[1, 0] = 0.3
    with pytest.raises(ValueError, match="not perpendicular"):
        write_dicom(tmp_path / "out", Volume(sources[0].read().voxels, (0.0, 1.0), shear), references=sources)
    # The second slice's file cannot be made: its name is taken by then.
    script = """
import os, resource, sys
from haarmony.io.dicom import find_series
from haarmony.io.dicom_writer import write_dicom
source = find_series(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    write_dicom(sys.argv[2], source.read(), references=[source])
except OSError as error:
    print(error)
"""
    argv = [sys.executable, "-c", script, tmp_path / "ct", tmp_path / "out"]
    if sys.platform == "win32":
        pytest.skip("no limit on a file's size")
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert result.stdout == f"{tmp_path / 'out'}: cannot be written (File too large)\n"
    assert sorted(os.listdir(tmp_path)) == ["ct", "mr"]


def test_a_killed_process_leaves_no_half_series_and_is_cleaned_up_after(tmp_path, sources):
    script = """
import os, signal, sys
from haarmony.io import dicom_writer
from haarmony.io.dicom import find_series
source, volume = (lambda s: (s, s.read()))(find_series(sys.argv[1]))
inner, count = dicom_writer._slice, 0
def dying(*arguments):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(*arguments)
dicom_writer._slice = dying
dicom_writer.write_dicom(sys.argv[2], volume, references=[source])
"""
    if sys.platform == "win32":
        pytest.skip("no SIGKILL")
    result = subprocess.run([sys.executable, "-c", script, tmp_path / "ct", tmp_path / "out"])
    assert result.returncode == -9
    assert sorted(os.listdir(tmp_path)) == ["ct", "mr", "out.part"]
    assert len(os.listdir(tmp_path / "out.part")) == 3  # two slices and the mark
    write_dicom(tmp_path / "out", sources[0].read(), references=sources)
    assert sorted(os.listdir(tmp_path)) == ["ct", "mr", "out"]
    assert len(os.listdir(tmp_path / "out")) == 4


def test_two_processes_do_not_write_the_same_folder(tmp_path, sources):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out.part").mkdir()
    handle = os.open(tmp_path / "out.part", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(FileExistsError, match="another process is writing it"):
            write_dicom(tmp_path / "out", sources[0].read(), references=sources)
    finally:
        os.close(handle)
    assert (tmp_path / "out.part").is_dir()


def test_a_series_put_aside_by_a_killed_process_comes_back(tmp_path, sources):
    out = tmp_path / "out"
    write_dicom(out, sources[0].read(), references=sources)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    out.rename(tmp_path / "out.old.part")  # what a kill between both renames leaves
    with pytest.raises(FileExistsError, match="out: exists already"):
        check_folder(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not (tmp_path / "out.old.part").exists()
