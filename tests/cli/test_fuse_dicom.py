"""`haarmony fuse` on DICOM: the series that comes out, read back by pydicom; windows; whose it is."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from haarmony.io import read, write

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))
from dicoms import IDENTITY, series_in

CT = np.linspace(-1000, 1500, 3 * 16 * 20).round().astype(np.int16).reshape(3, 16, 20)
MR = np.random.default_rng(0).integers(0, 900, (3, 16, 20)).astype(np.uint16)
PLACE = {"origin": (-7.5, 12, 30), "gap": 2.5, "orientation": (0.8, 0.6, 0, -0.36, 0.48, 0.8)}
WINDOWS = {"brain": (0, 80), "40/80": (0, 80), "bone": (-800, 2000), "-50/100": (-100, 0)}


@pytest.fixture
def fuse(run, model):
    return lambda *argv: run("fuse", *argv, "--model", model)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """In the working directory the folders ct and mr, series of one study on one grid; their data sets."""
    monkeypatch.chdir(tmp_path)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelSpacing": [0.7, 0.5]}
    ct = series_in("ct", (CT + 1024).astype(np.uint16), **PLACE, **rescale)
    mr = series_in("mr", MR, modality="MR", series="1.2.3.2", number=2, PixelSpacing=[0.7, 0.5], **PLACE)
    return ct, mr


def unit(values, low, high):
    return np.clip((values - float(low)) / (high - low), 0, 1)


def written(folder):
    """Its data sets in order of Instance Number, and their values (slice, row, column)."""
    sets = sorted((dcmread(path) for path in Path(folder).iterdir()), key=lambda d: d.InstanceNumber)
    values = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in sets]
    return sets, np.stack(values)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_derived_series(sources, fuse, window):
    code, out, err = fuse("mr", "ct", "-o", "out", "--format", "dicom", "--window", window)
    low, high = WINDOWS[window]
    assert (code, len(out)) == (0, 1)
    assert out[0].endswith(f"; values from {MR.min()} to {MR.max()} and {low} to {high}")
    assert err[1] == f"ct: values from {low} to {high} shown from black to white (as asked)"
    ct, mr = sources
    sets, values = written("out")
    top = float(MR.max() - MR.min())
    expected = MR.min() + top * np.maximum(unit(MR, MR.min(), MR.max()), unit(CT, low, high))
    np.testing.assert_allclose(values, expected, atol=top / 65535)
    for k, dataset in enumerate(sets):
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            np.testing.assert_allclose(dataset[keyword].value, mr[k][keyword].value, atol=1e-6)
        assert dataset.FrameOfReferenceUID == mr[k].FrameOfReferenceUID
        made_of = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
        assert made_of == [mr[k].SOPInstanceUID, ct[k].SOPInstanceUID]
    old = {uid for d in ct + mr for uid in (d.SOPInstanceUID, d.SeriesInstanceUID, d.StudyInstanceUID)}
    assert not old & {
        uid for d in sets for uid in (d.SOPInstanceUID, d.SeriesInstanceUID, d.StudyInstanceUID)
    }
    assert len({d.SOPInstanceUID for d in sets}) == 3
    assert len({d.SeriesInstanceUID for d in sets}) == len({d.StudyInstanceUID for d in sets}) == 1


def test_patient_and_study_are_there_only_when_asked_for(sources, fuse):
    argv = ("mr", "ct", "--format", "dicom", "--quiet")
    assert fuse(*argv, "-o", "nobody")[0] == fuse(*argv, "-o", "jane", "--keep-identity")[0] == 0
    nobody, jane = written("nobody")[0], written("jane")[0]
    names = [value for value in IDENTITY.values() if len(value) > 1]
    for path in Path("nobody").iterdir():
        assert not [name for name in names if name.encode() in path.read_bytes()]
    assert {(str(d.PatientName), d.PatientID, d.PatientIdentityRemoved) for d in nobody} == {
        ("ANONYMOUS", "", "YES")
    }
    for dataset in jane:
        assert (str(dataset.PatientName), dataset.PatientID) == ("Doe^Jane", "ID-4711")
        assert dataset.StudyInstanceUID == "1.2.3"
        assert "PatientIdentityRemoved" not in dataset
    made = {d.SOPInstanceUID for d in nobody} & {d.SOPInstanceUID for d in jane}
    assert not made  # the one's UIDs do not lead to the other's
    np.testing.assert_array_equal(written("nobody")[1], written("jane")[1])


def test_identity_is_refused_where_two_unknowns_may_be_two_people(sources, fuse):
    series_in("other", MR, PatientID="", StudyInstanceUID="1.2.8", series="1.2.8.1", **PLACE)
    series_in("third", MR, PatientID="", StudyInstanceUID="1.2.9", series="1.2.9.1", **PLACE)
    code, out, err = fuse("other", "third", "-o", "out", "--format", "dicom", "--keep-identity", "--quiet")
    assert (code, out) == (2, [])
    assert "they may be of two patients; leave out --keep-identity" in err[-1]
    assert not Path("out").exists()


def test_files_say_nothing_of_the_patient_and_windows_hold_for_them_too(sources, fuse):
    assert fuse("mr", "ct", "-o", "f.nii.gz", "--window", "40/80", "--quiet")[0] == 0
    assert fuse("mr", "ct", "-o", "f.png", "--window", "brain", "--slices", "1:2", "--quiet")[0] == 0
    expected = np.maximum(unit(MR, MR.min(), MR.max()), unit(CT, 0, 80))
    image = nib.load("f.nii.gz")
    scaled = MR.min() + float(MR.max() - MR.min()) * expected
    np.testing.assert_allclose(image.get_fdata().transpose(2, 1, 0), scaled, atol=0.02)
    x, y = np.array(PLACE["orientation"]).reshape(2, 3)
    lps = np.column_stack([0.5 * x, 0.7 * y, 2.5 * np.cross(x, y), PLACE["origin"]])
    np.testing.assert_allclose(image.affine[:3], np.diag([-1, -1, 1]) @ lps, atol=1e-5)
    pixels = read("f.png").pixels / 65535
    assert sorted(pixels.ravel()) == pytest.approx(sorted(expected[1].ravel()), abs=1e-4)
    import gzip

    for content in (gzip.decompress(Path("f.nii.gz").read_bytes()), Path("f.png").read_bytes()):
        assert not [v for v in (*IDENTITY.values(), "1.2.3") if len(v) > 2 and v.encode() in content]


def test_a_stray_dicom_file_leaves_folders_of_pictures_what_they_are(sources, fuse):
    for folder in ("one", "two"):
        Path(folder).mkdir()
        write(f"{folder}/p1.png", np.zeros((16, 20), np.uint8))
    Path("ct/000.dcm").rename("one/stray.dcm")
    code, out, _ = fuse("one", "two", "-o", "out")
    assert (code, out) == (0, ["out: 1 fused, 0 skipped, 0 failed"])
    Path("mr/000.dcm").rename("two/stray.dcm")
    code, out, err = fuse("one", "two", "-o", "again")
    assert (code, out) == (2, [])
    assert err == ["haarmony: one and two: hold DICOM and also p1.png and p1.png; keep one kind in each"]


def test_a_series_beside_one_that_is_not_read(sources, fuse):
    Path("mr").rename("ct/mr")
    tags = {"series": "1.2.3.7", "number": 7, "PhotometricInterpretation": "PALETTE COLOR"}
    series_in("ct/palette", np.zeros((1, 8, 8), np.uint8), **tags)
    argv = ("ct", "ct", "-o", "out", "--format", "dicom", "--series-a", "2", "--quiet")
    code, _, err = fuse(*argv, "--series-b", "7")
    assert (code, len(err)) == (2, 1)
    assert "palette/000.dcm: has pixels of the kind PALETTE COLOR" in err[0]
    assert fuse(*argv, "--series-b", "1")[0] == 0
    assert len(written("out")[0]) == 3
