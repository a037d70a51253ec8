"""DICOM in: of a folder's series only the one that is chosen counts; which of its files are slices of it."""

import numpy as np
import pytest
from dicoms import encapsulated, save, series_in, slice_of
from pydicom import uid

from haarmony.io.dicom import find_series, is_dicom, read_dicom
from haarmony.io.nifti import ENDINGS

RAMP = np.arange(4 * 12 * 10, dtype=np.uint16).reshape(4, 12, 10)
OTHER = {"series": "1.2.3.7", "number": 7, "modality": "OT"}


def palette(path):
    save(path, slice_of(RAMP[0].astype(np.uint8), PhotometricInterpretation="PALETTE COLOR", **OTHER))


def jpeg_lossless(path):
    save(path, encapsulated(RAMP[0], [b"\0\0"], uid.JPEGLosslessSV1, **OTHER))


def table(path):
    save(path, slice_of(RAMP[0], ModalityLUTSequence=[slice_of(RAMP[0])], **OTHER))


def cut_short(path):
    save(path, slice_of(RAMP[0], **OTHER))
    path.write_bytes(path.read_bytes().split(b"1.2.3.7")[0] + b"1.2.3.7\0")


UNREAD = {
    palette: "has pixels of the kind PALETTE COLOR",
    jpeg_lossless: "is compressed by JPEG Lossless",
    table: "maps its values by a table",
    cut_short: "is damaged or unfinished (it ends before it says how many rows it has)",
}


@pytest.mark.parametrize("make", UNREAD, ids=lambda make: make.__name__)
def test_what_is_not_read_matters_in_its_own_series_alone(tmp_path, make):
    series_in(tmp_path / "s", RAMP)
    make(tmp_path / "s/x.dcm")
    for series in (1, "1.2.3.1"):
        volume = read_dicom(tmp_path / "s", series=series)
        np.testing.assert_allclose(volume.voxels.transpose(2, 1, 0) * RAMP.max(), RAMP, atol=1e-3)
    with pytest.raises(ValueError, match=r"^[^\n]+s: holds 2 series; choose one ") as caught:
        read_dicom(tmp_path / "s")
    assert "1 (CT, 'CT of Jane', slices: 4)" in str(caught.value)
    assert f"slices: 0, not read: 1, x.dcm: {UNREAD[make]}" in str(caught.value)
    for place, series in ((tmp_path / "s/x.dcm", None), (tmp_path / "s", "1.2.3.7")):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
            read_dicom(place, series=series)
        assert str(caught.value).startswith(f"{tmp_path / 's/x.dcm'}: {UNREAD[make]}")


def test_a_series_with_one_file_that_is_not_read_is_not_read_without_it(tmp_path):
    series_in(tmp_path / "s", RAMP)
    save(tmp_path / "s/x.dcm", slice_of(RAMP[0], ModalityLUTSequence=[slice_of(RAMP[0])]))
    for series in (None, 1):
        with pytest.raises(ValueError, match=r"s/x\.dcm: maps its values by a table"):
            read_dicom(tmp_path / "s", series=series)


def test_a_file_whose_series_cannot_be_told(tmp_path):
    series_in(tmp_path / "s", RAMP)
    stray = tmp_path / "s/x.dcm"
    save(stray, slice_of(RAMP[0]))
    stray.write_bytes(stray.read_bytes().split(b"Study")[0][:700])  # before Series Instance UID
    with pytest.raises(ValueError, match=r"x\.dcm: .*; or name the series, 1, that is read without it$"):
        read_dicom(tmp_path / "s")
    volume = read_dicom(tmp_path / "s", series=1)
    assert volume.shape == (10, 12, 4)
    assert volume.notes[0].startswith(f"files that cannot be read passed over: 1 ({stray}: is damaged")


def test_slices_that_share_a_uid_but_no_place_are_no_copies(tmp_path):
    series_in(tmp_path / "s", RAMP, SOPInstanceUID="1.2.3.4.5")
    volume = read_dicom(tmp_path / "s")
    assert volume.shape == (10, 12, 4)
    assert not any("copies" in note for note in volume.notes)


def test_what_any_file_says_of_loss_and_burnt_in_words_holds_for_the_series(tmp_path):
    for k, (lossy, burned) in enumerate((("00", "NO"), ("01", "YES"), ("00", "NO"))):
        place = [0, 0, k]
        tags = {"LossyImageCompression": lossy, "BurnedInAnnotation": burned}
        save(tmp_path / f"s/{k}", slice_of(RAMP[k], ImagePositionPatient=place, **tags))
        save(tmp_path / f"n/{k}", slice_of(RAMP[k], ImagePositionPatient=place, BurnedInAnnotation="NO"))
    save(tmp_path / "n/3", slice_of(RAMP[3], ImagePositionPatient=[0, 0, 3]))
    about = find_series(tmp_path / "s").about
    assert (about.lossy, about.burned_in) == (True, "YES")
    assert find_series(tmp_path / "n").about.burned_in == ""  # one file does not say


def test_colour_slices_of_8_and_16_bit_do_not_mix(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (12, 10, 3))
    for k, kind in enumerate((np.uint8, np.uint16)):
        save(tmp_path / f"s/{k}", slice_of(rgb.astype(kind), ImagePositionPatient=[0, 0, k]))
    with pytest.raises(ValueError, match=r"s: its slices have different bits a sample \(8, 16\); keep one"):
        read_dicom(tmp_path / "s")


def test_grey_slices_of_8_and_16_bit_keep_their_values(tmp_path):
    for k, kind in enumerate((np.uint8, np.uint16)):
        save(tmp_path / f"s/{k}", slice_of(RAMP[k].astype(kind), ImagePositionPatient=[0, 0, k]))
    volume = read_dicom(tmp_path / "s")
    assert volume.value_range == (0, 239)
    np.testing.assert_allclose(volume.voxels.transpose(2, 1, 0) * 239, RAMP[:2], atol=1e-3)


def test_pixels_that_do_not_fill_the_lowest_bits_are_refused(tmp_path):
    save(tmp_path / "a", slice_of(RAMP[0] << 4, BitsStored=12, HighBit=15))
    with pytest.raises(ValueError, match="a: keeps its 12 bits under bit 15, not 11; export it again"):
        read_dicom(tmp_path / "a")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_of_volumes_is_no_dicom_for_what_is_below(tmp_path, ending):
    (tmp_path / "s").mkdir()
    (tmp_path / f"s/p1{ending}").write_bytes(b"")
    save(tmp_path / "s/raw/a.dcm", slice_of(RAMP[0]))
    assert not is_dicom(tmp_path / "s")
    assert is_dicom(tmp_path / "s/raw")
